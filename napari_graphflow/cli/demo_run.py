"""The demo workflow on the sample data: two trainings, a distillation, a report."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_graphflow.config.methods import GraphFlowOptions, SoftLabels
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.dataset.cases import Case, Dataset, read_case, read_case_labels
from napari_graphflow.dataset.samples import sample_dataset
from napari_graphflow.evaluation.metrics import dice_score
from napari_graphflow.evaluation.pictures import sheet, slice_with_contours, slice_with_map
from napari_graphflow.evaluation.report import Scored, write_report
from napari_graphflow.evaluation.scores import Scores, evaluate
from napari_graphflow.imaging.files import write_labels, write_volume
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.graph_flow_maps import VariationMaps, variation_maps
from napari_graphflow.inference.loading import in_torch
from napari_graphflow.inference.predict import segment
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.queue import start
from napari_graphflow.jobs.store import create
from napari_graphflow.models.saved import Model, load_model

TITLES = {
    "teacher": "Teacher",
    "student_alone": "Student without distillation",
    "student": "Student distilled with Graph Flow",
}
WINDOW = (-160.0, 240.0)
CASES_SHOWN = 3


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
    report("Evaluating the three models")
    models = {name: load_model(out / name) for name in TITLES}
    scores = {name: _score(dataset, model) for name, model in models.items()}
    (out / "scores.json").write_text(json.dumps(scores, indent=1, default=str), "utf-8")
    _write_report(out, dataset, models, scores)
    return 0


def _score(dataset: Dataset, model: Model) -> Scores:
    seconds = []

    def predict(case: Case, image: Volume) -> NDArray[np.integer]:
        prediction = segment(in_torch(model), image)
        seconds.append(prediction.seconds)
        return prediction.labels.array

    scores = evaluate(dataset, dataset.labelled("test"), predict)
    return scores | {"seconds_per_case": float(np.mean(seconds))}


def _write_report(
    out: Path, dataset: Dataset, models: dict[str, Model], scores: dict[str, Scores]
) -> None:
    rows = [
        Scored(
            TITLES[name],
            models[name].card.parameters,
            scores[name]["seconds_per_case"],
            scores[name]["summary"],
        )
        for name in TITLES
    ]
    sections = []
    for number, case in enumerate(dataset.labelled("test")[:CASES_SHOWN]):
        image = read_case(case)
        masks = {name: segment(in_torch(model), image).labels for name, model in models.items()}
        reference = read_case_labels(dataset, case, image)
        maps = variation_maps(models["student"], image, models["teacher"])
        if number == 0:
            _write_for_viewer(out, case, image, reference, masks, maps)
        figure = _figure(dataset, image, reference, masks, maps)
        figure.save(out / f"{case.name}.png")
        sections.append((case.name, " ".join(maps.notes), figure))
    provenance = models["student"].card.provenance
    assert provenance is not None
    facts = {
        "Data": f"{dataset.name}, a phantom computed from formulas",
        "Labelled cases": provenance.labelled_cases,
        "Unlabelled cases": provenance.unlabelled_cases,
        "Test cases": len(dataset.labelled("test")),
        "Command": "napari-graphflow demo",
    }
    write_report(
        out / "report.html",
        "Teacher, student alone and student distilled with Graph Flow",
        rows,
        sections,
        facts,
        dataset.classes,
    )


def _write_for_viewer(
    out: Path,
    case: Case,
    image: Volume,
    reference: Volume,
    masks: dict[str, Volume],
    maps: VariationMaps,
) -> None:
    """Write a case with its masks and maps as files that napari opens at the end."""
    shown = out / "shown"
    shown.mkdir(exist_ok=True)
    shutil.copy(case.images[0], shown / "scan.nii.gz")
    for name, mask in {"reference": reference, **masks}.items():
        write_labels(shown / f"{name}.nii.gz", mask.array, image)
    assert maps.teacher is not None
    for name, heat in {
        "variation_teacher": maps.teacher,
        "variation_student": maps.student,
    }.items():
        write_volume(shown / f"{name}.nii.gz", heat)


def _figure(
    dataset: Dataset,
    image: Volume,
    reference: Volume,
    masks: dict[str, Volume],
    maps: VariationMaps,
) -> Image.Image:
    """Draw one slice with all masks, the teacher-student disagreement and the variation maps.

    The slice has the most voxels that are foreground or on which the two networks disagree.
    """
    oriented = {name: mask.oriented().array for name, mask in masks.items()}
    truth, scan = reference.oriented().array, image.oriented()
    differs = (oriented["student"] != oriented["teacher"]) & (truth >= 0)
    z = int(np.argmax((differs | (truth > 0)).sum(axis=(1, 2))))
    spacing = scan.spacing[1:]

    def contours(mask: NDArray[Any]) -> Image.Image:
        return slice_with_contours(scan.array[z], mask[z], spacing, WINDOW)

    panels = {"reference": contours(truth)}
    for name, mask in oriented.items():
        values = [dice_score(mask, truth, value) for value in dataset.classes.values() if value]
        panels[f"{TITLES[name]}  Dice {np.nanmean(values):.3f}"] = contours(mask)
    assert maps.teacher is not None
    heat_t, heat_s = maps.teacher.oriented().array, maps.student.oriented().array
    top = float(max(heat_t.max(), heat_s.max()))
    panels["teacher-student disagreement"] = slice_with_map(
        scan.array[z], differs[z].astype(float), spacing, WINDOW, 1.0
    )
    panels["variation map, teacher"] = slice_with_map(
        scan.array[z], heat_t[z], spacing, WINDOW, top
    )
    panels["variation map, student"] = slice_with_map(
        scan.array[z], heat_s[z], spacing, WINDOW, top
    )
    return sheet(panels)
