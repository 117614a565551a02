"""The demo workflow on the sample data: two trainings, a distillation, a report."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari_graphflow.config.comparison import ComparisonConfig
from napari_graphflow.config.methods import GraphFlowOptions, SoftLabels
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.dataset.cases import Dataset, read_case, read_case_labels
from napari_graphflow.dataset.samples import sample_dataset
from napari_graphflow.imaging.files import write_labels, write_volume
from napari_graphflow.inference.comparing import compare_on_dataset
from napari_graphflow.inference.graph_flow_maps import variation_maps
from napari_graphflow.inference.loading import in_torch
from napari_graphflow.inference.predict import segment
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.queue import start
from napari_graphflow.jobs.store import create
from napari_graphflow.models.saved import load_model

TITLES = {
    "teacher": "Teacher",
    "student_alone": "Student without distillation",
    "student": "Student distilled with Graph Flow",
}


def configs(dataset: Path, out: Path) -> dict[str, TrainingConfig]:
    """Return the three runs: same data and seed, and equal budgets for the two students."""
    common: dict[str, Any] = {
        "dataset": dataset, "dims": 2, "patch_size": (64, 64), "batch_size": 8, "seed": 0,
        "mirror": (), "threads": 2,
    }  # fmt: skip
    student: dict[str, Any] = {
        "network": "mobile_unet", "width": 8, "learning_rate": 5e-3, "steps": 400,
        "validate_every": 100,
    }  # fmt: skip
    return {
        "teacher": TrainingConfig(
            **common,
            network="unet",
            learning_rate=2e-3,
            steps=350,
            validate_every=50,
            name="demo teacher",
        ),
        "student": DistillationConfig(
            **common,
            **student,
            teacher=out / "teacher",
            method=GraphFlowOptions(paraphraser_steps=60, logits=SoftLabels(weight=3)),
            # Without a warm-up of the distillation weights the student learns these small
            # organs more slowly than without a teacher.
            warmup=300,
            name="demo student",
        ),
        "student_alone": TrainingConfig(**common, **student, name="demo student alone"),
    }


def run(out: Path, follow: Callable[[Job], int], report: Callable[[str], None]) -> int:
    """Train the missing models, evaluate all three, and write ``report.html`` with its images.

    Parameters
    ----------
    out
        Folder of the demo.
    follow
        Waits until a job ends and returns its exit code.
    report
        Called with a description of the next stage.

    Returns
    -------
    exit_code
        0, or that of the first job that did not finish.
    """
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    data = out / "dataset"
    if not data.exists():
        shutil.copytree(sample_dataset("abdomen"), data)
    dataset = Dataset.open(data)
    report(
        f"{len(dataset.labelled('train'))} labelled and {len(dataset.unlabelled('train'))} "
        f"unlabelled phantoms for training, {len(dataset.labelled('test'))} for testing"
    )
    for name, config in configs(data, out).items():
        if (out / name).exists():
            continue
        report(TITLES[name])
        job = create("distill" if isinstance(config, DistillationConfig) else "train", config)
        start(job)
        code = follow(job)
        if job.status().state != "done":
            return code
        shutil.copytree(job.model, out / name)
    report("Comparing the three models")
    comparison = ComparisonConfig(
        a=out / "teacher", b=out / "student", alone=out / "student_alone", dataset=data, names=True,
        name="Teacher, student alone and student distilled with Graph Flow",
    )  # fmt: skip
    for _ in compare_on_dataset(comparison, out / "report.html", out / "study.json"):
        pass
    _write_for_viewer(out, dataset)
    return 0


def _write_for_viewer(out: Path, dataset: Dataset) -> None:
    """Write the first test case with its masks and maps as files that napari opens at the end."""
    models = {name: load_model(out / name) for name in TITLES}
    case = dataset.labelled("test")[0]
    image = read_case(case)
    shown = out / "shown"
    shown.mkdir(exist_ok=True)
    shutil.copy(case.images[0], shown / "scan.nii.gz")
    write_labels(shown / "reference.nii.gz", read_case_labels(dataset, case, image).array, image)
    for name, model in models.items():
        mask = segment(in_torch(model), image).labels
        write_labels(shown / f"{name}.nii.gz", mask.array, image)
    maps = variation_maps(models["student"], image, models["teacher"])
    assert maps.teacher is not None
    write_volume(shown / "variation_teacher.nii.gz", maps.teacher)
    write_volume(shown / "variation_student.nii.gz", maps.student)
