"""Check a teacher on the dataset before it teaches, once per job."""

import gc
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor

from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.evaluation.teachers import refuse_poor
from napari_graphflow.inference.likely_cause import score_with_cause
from napari_graphflow.inference.loading import in_torch
from napari_graphflow.jobs.memory import is_out_of_memory
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.models.devices import resolve_device
from napari_graphflow.models.given import GivenTeacher
from napari_graphflow.models.saved import Model
from napari_graphflow.networks.taps import Output
from napari_graphflow.system.events import Event, Phase, TeacherScored, Warned
from napari_graphflow.system.files import replace_file
from napari_graphflow.system.regular_file import read_regular

#: Smallest class probability of a given answer; its logits are logarithms, and those of 0 infinite.
LEAST = 1e-4


def output_of(answers: Tensor) -> Output:
    """Return class probabilities (B, K, *spatial) as the output of a network: their logarithms."""
    return Output(answers.clamp_min(LEAST).log(), {})


def check_teacher(
    config: DistillationConfig, teacher: Model | GivenTeacher, dataset: Dataset, folder: Path
) -> Iterator[Event]:
    """Score the teacher on validation cases, and refuse it below the bound of the run.

    A resumed run uses the scores in its folder.

    Raises
    ------
    UserError
        If the mean Dice is below the bound.
    """
    if not config.teacher_min_dice or os.environ.get("RANK", "0") != "0":
        return
    path = JobPaths(folder).teacher_scores
    kept = None
    with suppress(OSError, ValueError):  # missing or damaged
        kept = TeacherScored.model_validate_json(read_regular(path))
    if kept is not None:
        yield kept
        refuse_poor(teacher.card.name, kept, config.teacher_min_dice)
        return
    yield Phase(kind="checking", name="checking the teacher")
    try:
        if isinstance(teacher, Model):
            teacher.module.to(resolve_device(config.device))
        scored = in_torch(teacher) if isinstance(teacher, Model) else teacher.answers
        bound = config.teacher_min_dice
        scores = yield from score_with_cause(teacher.card, scored, dataset, bound)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        yield Warned(
            text="The teacher was not checked on labelled cases, because the memory is too small "
            "for whole images."
        )
    else:
        replace_file(path, scores.model_dump_json().encode())
        yield scores
        refuse_poor(teacher.card.name, scores, config.teacher_min_dice)
    finally:
        # Only after the handler are the error and the frames that held the memory released.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()


def padded_for(teacher: Model | GivenTeacher | None, images: Tensor, inside: Tensor) -> Tensor:
    """Return patches padded as the teacher's own windows are, with zeros or with edge values.

    With edge values, an nnU-Net finds structures at the edges of images that it does not find in
    its own padding.

    Parameters
    ----------
    images, inside
        (B, C, *patch), and where they are not padding, (B, *patch).
    """
    if not isinstance(teacher, Model) or not teacher.card.pads_with_zeros:
        return images
    return images.where(inside[:, None], 0)
