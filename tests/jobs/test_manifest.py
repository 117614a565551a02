"""Hashes of the input files: recorded at the start of a run, verified on resume."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from safetensors.numpy import load_file, save_file

from napari_graphflow.config.methods import LogitsOptions
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.dataset.cases import Case, data_files
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.system.events import CheckpointSaved, ModelSaved, Phase, Progress
from napari_graphflow.training import loop


@pytest.fixture
def config(blobs: Path, tmp_path: Path) -> TrainingConfig:
    data = Path(shutil.copytree(blobs, tmp_path / "blobs"))
    return TrainingConfig(
        dataset=data, network="unet", width=4, steps=4, validate_every=2, batch_size=1,
        patch_size=(16,) * 3, threads=1, device="cpu",
    )  # fmt: skip


def begin(config: TrainingConfig, folder: Path) -> None:
    """Run until the first checkpoint."""
    run = loop.distill if isinstance(config, DistillationConfig) else loop.train
    for event in run(config, folder):  # type: ignore[arg-type]
        if isinstance(event, CheckpointSaved):
            return


def test_the_input_files_of_a_run_are_recorded(config: TrainingConfig, tmp_path: Path) -> None:
    begin(config, tmp_path / "job")
    recorded = json.loads(JobPaths(tmp_path / "job").manifest.read_text())
    assert set(recorded) == {
        f"{kind}Tr/blob_{n}{end}.nii.gz"
        for n in (0, 1, 5)
        for kind, end in (("images", "_0000"), ("labels", ""))
    }
    for name, facts in recorded.items():
        content = (config.dataset / name).read_bytes()
        assert facts == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_the_check_of_the_files_reports_progress_and_can_be_paused(
    config: TrainingConfig, tmp_path: Path
) -> None:
    running = loop.train(config, tmp_path / "job")
    events = [next(running) for _ in range(4)]
    assert events[0] == Phase(kind="checking", name="checking the files")
    assert events[1:] == [Progress(step=step, total=6) for step in (1, 2, 3)]
    running.close()
    assert not JobPaths(tmp_path / "job").manifest.exists(), "an incomplete manifest is not written"
    begin(config, tmp_path / "job")


def test_a_changed_mask_is_refused_on_resume(config: TrainingConfig, tmp_path: Path) -> None:
    job = tmp_path / "job"
    begin(config, job)
    path = config.dataset / "labelsTr" / "blob_1.nii.gz"
    old = path.read_bytes()
    mask = sitk.ReadImage(str(path))
    mask[10, 10, 10] = 0
    sitk.WriteImage(mask, str(path))
    with pytest.raises(UserError, match=r"blob_1\.nii\.gz of .* blobs has changed since the job"):
        begin(config, job)
    path.write_bytes(old)
    begin(config, job)
    sitk.WriteImage(mask, str(path))
    JobPaths(job).manifest.unlink()
    begin(config, job)


def test_a_changed_teacher_is_refused_on_resume(config: TrainingConfig, tmp_path: Path) -> None:
    assert isinstance([*loop.train(config, tmp_path / "teaching")][-1], ModelSaved)
    teacher, job = JobPaths(tmp_path / "teaching").model, tmp_path / "job"
    student = DistillationConfig(
        **config.model_dump(exclude={"role"}),
        teacher=teacher,
        method=LogitsOptions(),
        teacher_min_dice=0,
    )
    begin(student, job)
    moved = Path(shutil.copytree(teacher, tmp_path / "moved"))
    begin(student.model_copy(update={"teacher": moved}), job)
    path = teacher / "weights.safetensors"
    save_file({name: value + 1 for name, value in load_file(path).items()}, path)
    message = r"^weights\.safetensors of the teacher .*model has changed since the job started"
    with pytest.raises(UserError, match=message) as error:
        begin(student, job)
    assert "Restore the original model" in error.value.remedy
    shutil.copy(moved / path.name, path)
    begin(student, job)


@pytest.mark.parametrize("gone", ["imagesTr/blob_5_0000.nii.gz", "labelsTr/blob_5.nii.gz"])
def test_a_missing_file_is_refused_on_resume(
    config: TrainingConfig, tmp_path: Path, gone: str
) -> None:
    begin(config, tmp_path / "job")
    (config.dataset / gone).unlink()
    with pytest.raises(UserError, match="blob_5"):
        begin(config, tmp_path / "job")


def test_changes_of_unused_cases_are_allowed(config: TrainingConfig, tmp_path: Path) -> None:
    begin(config, tmp_path / "job")
    (config.dataset / "labelsTs" / "blob_6.nii.gz").unlink()
    shutil.copy(
        config.dataset / "labelsTr" / "blob_0.nii.gz", config.dataset / "labelsTr" / "blob_2.nii.gz"
    )
    begin(config, tmp_path / "job")


def test_the_data_file_of_a_header_is_included(tmp_path: Path) -> None:
    path = tmp_path / "one_0000.mhd"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.uint8)), str(path))
    found = data_files([], [Case("one", (path,), None, "train")])
    assert {one.name for one in found} == {"one_0000.mhd", "one_0000.raw"}
