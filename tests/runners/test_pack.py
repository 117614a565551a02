"""A job packed as one archive: its content, and running it elsewhere."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest

from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.jobs import store
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.status import Status
from napari_graphflow.runners.ray import node
from napari_graphflow.runners.ray.package import pack_job


def new_job(dataset: Path) -> Job:
    config = TrainingConfig(
        dataset=dataset, network="unet", width=4, steps=2, validate_every=1, batch_size=1,
        patch_size=(16,) * 3, threads=1, device="cpu",
    )  # fmt: skip
    return store.create("train", config)


def test_an_archive_contains_only_what_the_job_needs(blobs: Path, tmp_path: Path) -> None:
    job = new_job(blobs)
    for name in ("checkpoints/last.pt", "cache/0/image.npy", "control/pause", "log.txt", "lock"):
        path = job.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    pack_job(job, tmp_path / "job.zip")
    with zipfile.ZipFile(tmp_path / "job.zip") as archive:
        archive.extractall(tmp_path / "there")
    there = tmp_path / "there"
    found = {path.relative_to(there / "job").as_posix() for path in (there / "job").rglob("*.*")}
    assert found == {"checkpoints/last.pt", "job.json", "status.json"}
    dataset = Dataset.open(there / "data" / "blobs")
    wanted = [case.name for case in Dataset.open(blobs).cases if case.split != "test"]
    assert [case.name for case in dataset.cases] == wanted
    packed = Job(there / "job")
    assert packed.config.dataset == Path("data/blobs")
    assert packed.status().may_become("running")
    assert str(blobs.parent) not in (there / "job" / "job.json").read_text()


def test_a_decathlon_dataset_lists_only_the_packed_cases(blobs: Path, tmp_path: Path) -> None:
    """A listed case that is in the test split is neither packed nor listed."""
    data = tmp_path / "decathlon"
    names = ["blob_0", "blob_1", "blob_5"]
    for name in names:
        for kind, end in (("images", "_0000"), ("labels", "")):
            (data / f"{kind}Tr").mkdir(parents=True, exist_ok=True)
            source = blobs / f"{kind}Tr" / f"{name}{end}.nii.gz"
            shutil.copy(source, data / f"{kind}Tr" / f"{name}.nii.gz")
    pairs = [
        {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
        for name in names
    ]
    described = {
        "name": "decathlon", "modality": {"0": "MR"}, "training": pairs,
        "labels": {"0": "background", "1": "organ", "2": "lesion"},
        "test": ["./imagesTs/gone.nii.gz"],
    }  # fmt: skip
    (data / "dataset.json").write_text(json.dumps(described))
    splits = {"train": ["blob_0"], "val": ["blob_5"], "test": ["blob_1"]}
    (data / "splits.json").write_text(json.dumps(splits))
    pack_job(new_job(data), tmp_path / "job.zip")
    with zipfile.ZipFile(tmp_path / "job.zip") as archive:
        archive.extractall(tmp_path / "there")
    found = Dataset.open(tmp_path / "there" / "data" / "decathlon")
    assert [(case.name, case.split) for case in found.cases] == [
        ("blob_0", "train"), ("blob_5", "val"),
    ]  # fmt: skip
    assert all(case.label is not None for case in found.cases)


@pytest.mark.parametrize("fold", [None, 0, 1])
def test_a_packed_job_has_the_split_of_its_fold_or_the_drawn_one(
    blobs: Path, tmp_path: Path, fold: int | None
) -> None:
    data = tmp_path / "data"
    shutil.copytree(blobs, data, ignore=shutil.ignore_patterns("splits.json", "*Ts"))
    if fold is not None:
        folds = [{"train": ["blob_0", "blob_1"], "val": ["blob_5"]}]
        folds.append({"train": ["blob_1", "blob_5"], "val": ["blob_0"]})
        (data / "splits_final.json").write_text(json.dumps(folds))
    config = new_job(data).config.model_copy(update={"fold": fold or 0})
    pack_job(store.create("train", config), tmp_path / "job.zip")
    with zipfile.ZipFile(tmp_path / "job.zip") as archive:
        archive.extractall(tmp_path / "there")
    there = config.model_copy(update={"dataset": tmp_path / "there" / "data" / "data"})
    sides = [
        [(case.name, case.split) for case in Dataset.of_run(one).cases] for one in (config, there)
    ]
    assert sides[0] == sides[1]
    assert {split for _, split in sides[0]} == {"train", "val"}


def test_a_job_that_cannot_be_packed_is_refused(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as small:
        small.setattr("napari_graphflow.runners.ray.package.LIMIT", 1000)
        with pytest.raises(UserError, match=r"Ray accepts at most 0\.0 GB"):
            pack_job(new_job(blobs), tmp_path / "job.zip")
    data = Path(shutil.copytree(blobs, tmp_path / "blobs"))
    image, mask = (tmp_path / f"{name}.nii.gz" for name in ("image", "mask"))
    shutil.copy(data / "imagesTr" / "blob_0_0000.nii.gz", image)
    shutil.copy(data / "labelsTr" / "blob_0.nii.gz", mask)
    described = json.loads((data / "dataset.json").read_text())
    described["dataset"] = {"elsewhere": {"images": [str(image)], "label": str(mask)}}
    (data / "dataset.json").write_text(json.dumps(described))
    with pytest.raises(UserError, match="is outside the folder of the dataset"):
        pack_job(new_job(data), tmp_path / "job.zip")


@pytest.mark.slow
def test_a_packed_job_runs_without_its_original_files(
    blobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code of the cluster, run here: its entry point, and access to the job's folder."""
    data = Path(shutil.copytree(blobs, tmp_path / "blobs"))
    pack_job(new_job(data), tmp_path / "job.zip")
    shutil.rmtree(data)
    with zipfile.ZipFile(tmp_path / "job.zip") as archive:
        archive.extractall(tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")
    assert node.inspect("one", [], "") is None
    assert node.run(Path("job"), 1, "one") == 0
    seen = node.inspect("one", ["pause"], "blob_5")
    assert seen is not None
    assert Status.model_validate(seen["status"]).state == "done"
    path = "artifacts/model/weights.safetensors"
    stamp = seen["files"][path]
    now, start = node.read("one", path, 0, 100)
    _, rest = node.read("one", path, 100, 1 << 30)
    assert tuple(now) == tuple(stamp)
    assert len(start) == 100
    assert len(start + rest) == stamp[0]
    assert not {"job.json", "status.json", "log.txt"} & set(seen["files"])
    assert node.read("one", "gone", 0, 1) == ((0, 0), b"")
    node.forget("one")
    assert node.inspect("one", [], "") is None
