"""The tutorials: what to do, and which button of which dock does it. No Qt."""

import shutil
from pathlib import Path
from typing import NamedTuple

from napari_graphflow.dataset.samples import sample_dataset, tutorial_copy
from napari_graphflow.errors import UserError
from napari_graphflow.system.failures import in_words
from napari_graphflow.system.files import written_aside


class Step(NamedTuple):
    """One step of a tutorial.

    Attributes
    ----------
    title, text
        What to do, and how it looks when it is done.
    dock, target
        Name of the dock, and the attribute of its widget that is highlighted, with dots for parts;
        empty for a step without a button.
    """

    title: str
    text: str
    dock: str = ""
    target: str = ""


class Tutorial(NamedTuple):
    """A tutorial on a sample dataset, and on the results of another program where it has them."""

    title: str
    sample: str
    steps: tuple[Step, ...]
    results: str = ""


_SCORES = Step(
    "Compare teacher and student",
    "Choose the teacher as A, the student as B and the finished mask as the reference, and press "
    "Compare. The table shows the Dice of each structure; a few hundred steps on a phantom show "
    "the workflow, not a gain.",
    "Compare",
    "button",
)
_REPORT = Step(
    "Write the report",
    "Choose the teacher as A and the student as B again, where their masks of one case stand now. "
    "Under “A whole dataset” choose the copy, and press “Compare on the dataset”. When it is done, "
    "the table lists the test cases, the worst ones first, and “Open the report” shows the page "
    "that you can file or send.",
    "Compare",
    "dataset.button",
)
_TEACHER = Step(
    "Train a teacher",
    "Choose the dataset of this tutorial. Leave Teacher at “train a teacher first”, Network at "
    "U-Net and Effort at “quick”, and press “Start training the teacher”. The job is a process of "
    "its own: you may close napari.",
    "Distil",
    "button",
)
_STUDENT = Step(
    "Distil a student",
    "When the teacher is done, choose it under Teacher, and ENet under Student. The unlabelled "
    "cases are used, too. Under Advanced set “smallest Dice of the teacher” to 0, because a "
    "teacher of 300 steps may miss small structures and then is refused. Press “Start "
    "distillation”.",
    "Distil",
    "teacher",
)
_STUDENT_OF_SCANS = Step(
    "Distil a student",
    "A teacher of 300 steps shows the way, but misses small structures and may be refused. With "
    "the copy came a better one: press the folder button beside the box and choose nnunet_results. "
    "Choose ENet under Student, and under Advanced set the learning rate to 0.005 for this short "
    "training. The unlabelled cases are used, too. Press “Start distillation”.",
    "Distil",
    "teacher",
)
_JOBS = Step(
    "Watch the jobs",
    "Each job shows its step, the time left and its curves. A job can be paused, resumed and "
    "cancelled.",
    "Distil",
    "show_jobs",
)
_PROPOSE = Step(
    "Let the model propose masks",
    "On the tab Proposals choose the student and press the button. The cases without a mask get "
    "proposals, which you accept, correct or reject.",
    "Dataset",
    "tabs.proposals.button",
)
_ROUND = Step(
    "Learn from what you corrected",
    "A round trains a teacher and a student on all finished masks, and says on cases held back "
    "whether the new student is better.",
    "Dataset",
    "tabs.rounds.button",
)

TUTORIALS: dict[str, Tutorial] = {
    "scans": Tutorial(
        "From scans to a student (phantom)",
        "abdomen",
        (
            Step(
                "Open the dataset",
                "Press “Copy the sample” above, then choose the copy on top of the dock Dataset. "
                "The table lists its cases: some have a mask, some have none.",
                "Dataset",
                "dataset",
            ),
            Step(
                "Open the next case",
                "The case that is worth the most comes next, and the line below says why. Paint "
                "or correct its mask; Ctrl+Z takes each edit back.",
                "Dataset",
                "next",
            ),
            _TEACHER,
            _JOBS,
            _STUDENT_OF_SCANS,
            _PROPOSE,
            _ROUND,
            _SCORES,
            _REPORT,
            Step(
                "Segment a new scan",
                "Open any scan, choose the student and press Segment. Save the mask: it keeps the "
                "geometry of the scan.",
                "Segment",
                "button",
            ),
        ),
        results="nnunet_results",
    ),
    "pictures": Tutorial(
        "From 2D images to a student (cells)",
        "cell_pictures",
        (
            Step(
                "Open the dataset",
                "Press “Copy the sample” above, then choose the copy on top of the dock Dataset. "
                "2D images need no voxel size.",
                "Dataset",
                "dataset",
            ),
            Step("Open the next image", "Paint the cells that are missing.", "Dataset", "next"),
            _TEACHER,
            _STUDENT,
            _PROPOSE,
            _SCORES,
        ),
    ),
    "nnunet": Tutorial(
        "My nnU-Net teaches",
        "abdomen",
        (
            Step(
                "Import the network",
                "Press “Copy the sample” above: it also copies a small results folder. Then press "
                "the folder button beside the box and choose it, or your own: the folder with "
                "plans.json, dataset.json and fold_0. nnU-Net need not be installed.",
                "Distil",
                "teacher",
            ),
            Step(
                "Choose your dataset",
                "Choose the copy, or your own: a folder below nnUNet_raw is a dataset as it is. "
                "Cases without a mask are used for the distillation.",
                "Distil",
                "dataset",
            ),
            Step(
                "Estimate time and memory",
                "A few real steps are measured, and the largest setting that fits is found.",
                "Distil",
                "measure",
            ),
            Step(
                "Start",
                "Press “Start distillation”. The student is used in the dock Segment; it takes the "
                "steps of nnU-Net around its network, which no export contains yet.",
                "Distil",
                "button",
            ),
            _SCORES,
        ),
        results="nnunet_results",
    ),
}


def copy_sample(name: str) -> Path:
    """Copy a sample dataset into the data folder of this user, once; return the copy.

    Raises
    ------
    UserError
        If the sample is not installed, or the copy cannot be written.
    """
    target = tutorial_copy(name)
    if target.exists():
        return target
    source = sample_dataset(name)
    try:
        with in_words():
            target.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(target) as aside:
                shutil.copytree(source, aside)
    except OSError as error:
        raise UserError(
            f"The sample cannot be copied to {target}: {error.strerror or error}.",
            "Free some space on the disk.",
        ) from None
    return target
