"""The demo workflow on the sample data: a teacher, students of several seeds, reports.

The sample phantoms are computed from formulas. Lesions count as liver, because no small network
finds them in a few hundred steps. The recipe was chosen with other seeds (11, 12) on phantoms of
other seeds, not with those that the demo trains.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_graphflow.config.comparison import ComparisonConfig
from napari_graphflow.config.methods import GraphFlowOptions, SoftLabels
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.config.settings import read_config
from napari_graphflow.dataset.cases import Dataset, read_case, read_case_labels
from napari_graphflow.dataset.samples import sample_dataset
from napari_graphflow.evaluation.paired import PairedDifference, paired_difference
from napari_graphflow.evaluation.study import Side, Study, cases_by_dice
from napari_graphflow.imaging.files import read_labels, write_labels, write_volume
from napari_graphflow.inference.comparing import compare_on_dataset
from napari_graphflow.inference.graph_flow_maps import variation_maps
from napari_graphflow.inference.loading import in_torch
from napari_graphflow.inference.predict import segment
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.jobs.queue import start
from napari_graphflow.jobs.store import create
from napari_graphflow.models.saved import load_model
from napari_graphflow.system.destinations import copy_or_name, saying_what_stands
from napari_graphflow.system.files import written_aside

#: Masks that the students learn from; the other training cases count as unlabelled.
STUDENT_MASKS = 2


def configs(dataset: Path, out: Path, seeds: Sequence[int]) -> dict[str, TrainingConfig]:
    """Return the runs: a teacher, and for each seed a student that is also trained alone."""
    common: dict[str, Any] = {
        "dataset": dataset, "dims": 2, "patch_size": (64, 64), "batch_size": 8, "mirror": (),
        "steps": 300, "validate_every": 100, "threads": 2,
    }  # fmt: skip
    teacher = TrainingConfig(
        **common, network="unet", width=16, learning_rate=3e-3, seed=0, name="demo teacher"
    )
    return {"teacher": teacher} | {
        student(seed): DistillationConfig(
            **common,
            network="mobile_unet",
            width=8,
            learning_rate=5e-3,
            labelled=STUDENT_MASKS,
            teacher=JobPaths(out / "teacher").model,
            # The correlation of each class counts as much for the spleen as for the liver.
            method=GraphFlowOptions(paraphraser_steps=60, logits=SoftLabels(loss="dist", weight=3)),
            also_alone=True,
            seed=seed,
            name=f"demo student, seed {seed}",
        )
        for seed in seeds
    }


def student(seed: int) -> str:
    """Return the name of the folder of a student and of the same student alone."""
    return f"student-{seed}"


def run(
    out: Path,
    seeds: Sequence[int],
    follow: Callable[[Job], int],
    report: Callable[[str], None],
) -> tuple[int, dict[int, Study]]:
    """Train the missing models and compare those of each seed.

    Parameters
    ----------
    out
        Folder of the demo.
    seeds
        Seeds of the students.
    follow
        Waits until a job ends and returns its exit code.
    report
        Called with a description of the next stage.

    Returns
    -------
    exit_code
        0, or that of the first job that did not finish.
    studies
        The comparison of each seed.
    """
    out = out.resolve()
    with saying_what_stands(out, "The next run uses the models trained so far."):
        return _run(out, seeds, follow, report)


def _run(
    out: Path,
    seeds: Sequence[int],
    follow: Callable[[Job], int],
    report: Callable[[str], None],
) -> tuple[int, dict[int, Study]]:
    out.mkdir(parents=True, exist_ok=True)
    data = out / "dataset"
    if not data.exists():
        _write_dataset(data)
    dataset = Dataset.open(data)
    train = len(dataset.labelled("train"))
    report(
        f"A teacher learns from {train} phantoms with masks; students from {STUDENT_MASKS} of them "
        f"and {train - STUDENT_MASKS + len(dataset.unlabelled('train'))} without. "
        f"{len(dataset.labelled('test'))} others are for testing."
    )
    for name, config in configs(data, out, seeds).items():
        if (out / name).exists():
            continue
        report(f"Training: {config.name}")
        job = create("train" if name == "teacher" else "distill", config)
        start(job)
        code = follow(job)
        if job.status().state != "done":
            return code, {}
        copy_or_name(job.folder, out / name, "The finished job")
    studies = {}
    for seed in seeds:
        report(f"Comparing: seed {seed}")
        page = out / ("report.html" if seed == seeds[0] else f"report-{seed}.html")
        comparison = ComparisonConfig(
            a=out / "teacher", b=out / student(seed), dataset=data, names=True,
            maps=seed == seeds[0], name="Teacher, student alone and student distilled",
        )  # fmt: skip
        for _ in compare_on_dataset(comparison, page, out / f"study-{seed}.json"):
            pass
        studies[seed] = read_config(Study, out / f"study-{seed}.json")
    _write_for_viewer(out, dataset, studies[seeds[0]], seeds[0])
    return 0, studies


def gain(studies: dict[int, Study]) -> PairedDifference | None:
    """Return the paired difference of distilled and undistilled student, averaged over seeds."""
    return paired_difference(_averaged(studies, "student"), _averaged(studies, "alone"))


def _averaged(studies: dict[int, Study], role: str) -> dict[str, float | None]:
    sides: list[Side] = [
        side for study in studies.values() for side in study.sides if side.role == role
    ]
    every = [side.dice() for side in sides]
    cases = every[0] if every else {}
    found: dict[str, float | None] = {}
    for case in cases:
        values = [value for one in every if (value := one.get(case)) is not None]
        found[case] = float(np.mean(values)) if len(values) == len(every) else None
    return found


def _write_dataset(folder: Path) -> None:
    """Write the sample phantoms with lesions counted as liver."""
    with written_aside(folder) as aside:
        shutil.copytree(sample_dataset("abdomen"), aside)
        file = aside / "dataset.json"
        content = json.loads(file.read_text("utf-8"))
        lesion, liver = content["labels"].pop("lesion"), content["labels"]["liver"]
        file.write_text(json.dumps(content, indent=1), "utf-8")
        for path in sorted(aside.glob("labelsT*/*.nii.gz")):
            mask = read_labels(path)
            write_labels(path, np.where(mask.array == lesion, liver, mask.array), mask)


def _write_for_viewer(out: Path, dataset: Dataset, study: Study, seed: int) -> None:
    """Write the case on which distillation helped most, with masks and maps, for napari."""
    folders = {
        "teacher": out / "teacher",
        "student": out / student(seed),
        "student_alone": JobPaths(out / student(seed)).alone,
    }
    models = {name: load_model(JobPaths(folder).model) for name, folder in folders.items()}
    distilled, alone = study.of_role("student"), study.of_role("alone")
    assert distilled is not None
    assert alone is not None
    ours, theirs = distilled.dice(), alone.dice()
    best = max(
        cases_by_dice(distilled), key=lambda case: (ours[case] or 0.0) - (theirs.get(case) or 0.0)
    )
    case = next(one for one in dataset.cases if one.name == best)
    image = read_case(case)
    maps = variation_maps(models["student"], image, models["teacher"])
    assert maps.teacher is not None
    with written_aside(out / "shown") as shown:
        shown.mkdir()
        shutil.copy(case.images[0], shown / "scan.nii.gz")
        reference = read_case_labels(dataset, case, image)
        write_labels(shown / "reference.nii.gz", reference.array, image)
        for name, model in models.items():
            mask = segment(in_torch(model), image).labels
            write_labels(shown / f"{name}.nii.gz", mask.array, image)
        write_volume(shown / "variation_teacher.nii.gz", maps.teacher)
        write_volume(shown / "variation_student.nii.gz", maps.student)
