"""A student with its control, and the comparison of both with their teacher."""

import json
import shutil
from pathlib import Path

import pytest
from training_cases import assert_equal_weights, distillation

from napari_graphflow.config.comparison import ComparisonConfig
from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.config.settings import read_config
from napari_graphflow.config.student_alone import student_alone
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.study import Study
from napari_graphflow.inference.comparing import compare_on_dataset
from napari_graphflow.inference.describing import describe_dataset
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.system.events import ModelSaved
from napari_graphflow.training.loop import train
from napari_graphflow.training.stages import distill_and_train_alone

FLAT = {"dims": 2, "patch_size": (32, 32), "batch_size": 2}


@pytest.fixture(scope="module")
def pair(blobs: Path, teacher: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a job that trained a student and the student alone."""
    folder = tmp_path_factory.mktemp("pair")
    config = distillation(blobs, teacher, also_alone=True, steps=2, validate_every=2)
    events = list(distill_and_train_alone(config, folder))
    assert sum(isinstance(event, ModelSaved) for event in events) == 1
    assert list(distill_and_train_alone(config, folder)) == [], "nothing is trained again"
    return folder


def test_the_student_alone_is_that_of_a_training_of_its_own(
    pair: Path, blobs: Path, teacher: Path, tmp_path: Path
) -> None:
    config = distillation(blobs, teacher, steps=2, validate_every=2)
    list(train(student_alone(config, read_model_card(teacher)), tmp_path))
    assert_equal_weights(tmp_path, JobPaths(pair).alone)
    assert read_model_card(JobPaths(JobPaths(pair).alone).model).provenance.teacher is None


def test_a_comparison_finds_the_student_alone_and_gives_a_verdict(
    pair: Path, blobs: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_graphflow.inference.comparing.measured_peak", lambda *_: 5)
    dataset = shutil.copytree(blobs, tmp_path / "blobs")
    names = [case.name for case in Dataset.open(dataset).labelled("train")]
    rows = [f"{name},{site}" for name, site in zip(names, ("Bonn", *["Ulm"] * 9), strict=False)]
    (dataset / "sites.csv").write_text("\n".join(("case,site", *rows)))
    describe_dataset(JobPaths(pair).model, blobs, "cpu")
    config = ComparisonConfig(a=teacher, b=pair, dataset=dataset, split="train", device="cpu")
    job = JobPaths(tmp_path / "job")
    job.artifacts.mkdir(parents=True)
    list(compare_on_dataset(config, job.report, job.study))
    found = read_config(Study, job.study)  # as the window does
    assert [side.role for side in found.sides] == ["teacher", "student", "alone"]
    assert all(side.cost.seconds > 0 and side.cost.peak_bytes == 5 for side in found.sides)
    data = json.loads(job.report.with_suffix(".json").read_text("utf-8"))
    assert "without distillation it would keep" in data["verdict"]
    page = job.report.read_text("utf-8")
    assert "variation map" not in page and "features change most" in page
    assert page.count("data:image/png;base64,") >= 2
    assert not any(case in page for case in found.cases), "cases are numbered"
    (described,) = found.codes
    assert [one.name for one in described.groups] == ["training images", "Bonn", "Ulm"]
    assert "images" in described.groups[1].text and ">site 2<" in page and "Ulm" not in page


def test_what_cannot_be_compared_is_refused(blobs: Path, teacher: Path, tmp_path: Path) -> None:
    for changes, words in (
        ({"b": teacher}, "the same model"),
        ({"b": tmp_path / "none"}, "There is no folder"),
    ):
        config = ComparisonConfig(
            **{"a": teacher, "b": teacher, "dataset": blobs, "split": "val"} | changes
        )
        with pytest.raises(UserError, match=words):
            list(compare_on_dataset(config, tmp_path / "out.html"))
