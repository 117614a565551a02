"""The code of the documentation, and the files that its readers have."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from dicom_cases import COLUMNS, ROWS, write_series
from PIL import Image
from pydicom.dataset import FileDataset

from napari_graphflow.config.labelling import RoundConfig
from napari_graphflow.config.methods import GraphFlowOptions
from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.imaging.dicom.reading import read_series
from napari_graphflow.imaging.dicom.series import list_series
from napari_graphflow.imaging.files import write_labels, write_volume
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.jobs import queue
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.store import create
from napari_graphflow.models.saved import save_model
from napari_graphflow.networks import build
from napari_graphflow.training import batches, process

CHECKOUT = Path(__file__).parent.parent
PAGES = (
    "README.md",
    *(path.relative_to(CHECKOUT).as_posix() for path in sorted((CHECKOUT / "docs").rglob("*.md"))),
)
CLASSES = {"background": 0, "liver": 1, "lesion": 2}
SHAPE = (16, 16, 16)
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
_CODE = re.compile(
    r"^ *```(?P<language>\w*)\n(?P<block>.*?)^ *```"
    r"|^    (?P<indented>napari-graphflow [^\n]+)$"
    r"|`(?P<inline>napari-graphflow [^`|]+)`",
    re.DOTALL | re.MULTILINE,
)


def code_of(page: str) -> Iterator[tuple[str, str]]:
    """Yield the language and the text of each block of a page, in their order.

    Commands between backticks count as blocks of a shell in the README, whose table they are;
    elsewhere they are parts of sentences.
    """
    text = (CHECKOUT / page).read_text("utf-8")
    for match in _CODE.finditer(text):
        if match["inline"]:
            if page == "README.md":
                yield "sh", match["inline"]
        elif match["indented"]:
            yield "sh", match["indented"]
        else:
            yield match["language"] or "sh", match["block"]


def commands_of(block: str) -> Iterator[str]:
    """Yield the commands of a block, without comments."""
    for line in block.splitlines():
        command = re.sub(r"(^|\s+)#.*$", "", line).strip()
        if command:
            yield command


def write_files(folder: Path) -> None:
    """Write what the readers of the pages have: datasets, models, scans, masks."""
    for name in ("data/liver", "data/fundus", "DATA", "DATASET"):
        write_dataset(folder / name, CLASSES)
    write_dataset(folder / "liver-pilot", {"background": 0, "liver": 1, "tumour": 2})
    write_dataset(folder / "data" / "spleen", {"background": 0, "spleen": 1}, most=1)
    for name in ("data/fundus", "DATASET"):
        cases = sorted((folder / name).glob("images*/*"))
        rows = [f"{path.name[:8]},{'HRF' if n % 4 else 'other'}" for n, path in enumerate(cases)]
        (folder / name / "sites.csv").write_text("\n".join(["case,site", *rows]), "utf-8")
    for name in ("models/teacher", "TEACHER"):
        save(folder / name, "unet")
    for name in ("models/student", "STUDENT", "models/a", "models/b"):
        save(folder / name, "enet")
    _write_images(folder)
    _write_masks(folder)


def _write_images(folder: Path) -> None:
    image, _ = phantom(99)
    write_volume(folder / "scan.nii.gz", image)
    Image.fromarray(image.array[8].clip(0, 255).astype(np.uint8)).save(folder / "photo.png")
    for name in ("scans", "masks"):
        (folder / name).mkdir()
    for number in range(6):
        image, labels = phantom(number)
        write_volume(folder / "scans" / f"scan_{number}.nii.gz", image)
        if number < 5:
            labels[1::2] = 0  # drawn in every second slice
            write_labels(folder / "masks" / f"scan_{number}.nii.gz", labels, image)
    for place in ("folder", "study"):
        for number in (1, 2)[: 1 + (place == "study")]:
            write_series(
                folder / place,
                [5.0 * n for n in range(3 + number)],
                change=lambda _, one, number=number: described(one, number),
                uid=f"1.2.3.4.{number}",
            )


def described(one: FileDataset, number: int) -> None:
    one.SeriesNumber, one.Modality, one.RescaleIntercept = number, "MR", 0


def _write_masks(folder: Path) -> None:
    Image.fromarray(phantom(99)[1][8]).save(folder / "mask.png")
    series, _ = list_series(folder / "study")
    write_labels(folder / "mask.nii.gz", phantom(1)[1][7:11, :ROWS, :COLUMNS], read_series(series))
    for number, name in {17: "drawn_again.nii.gz", 18: "lesion.nii.gz"}.items():
        image, labels = phantom(number)
        write_labels(folder / name, labels if number == 17 else labels // 2, image)
    image, labels = phantom(17)
    mask = sitk.GetImageFromArray(labels)
    mask.CopyInformation(sitk.ReadImage(str(folder / "drawn_again.nii.gz")))
    for number, name in enumerate(("liver", "lesion")):
        mask.SetMetaData(f"Segment{number}_Name", name)
        mask.SetMetaData(f"Segment{number}_LabelValue", str(number + 1))
    sitk.WriteImage(mask, str(folder / "scan_017.seg.nrrd"))


def make_job(place: Path) -> None:
    """Create a distillation as the folder JOB."""
    config = DistillationConfig(dataset=place / "data/liver", teacher=place / "models/teacher")
    create("distill", config, place / "jobs").folder.rename(place / "JOB")


def save(folder: Path, network: str, classes: dict[str, int] = CLASSES) -> None:
    """Save a small 3D network with random weights."""
    torch.manual_seed(0)
    card = ModelCard(
        name=folder.name, role="teacher" if network == "unet" else "student", network=network,
        dims=3, in_channels=1, classes=classes, patch_size=(16, 16, 16), width=8,
        preprocessing=Preprocessing(intensity="zscore"),
    )  # fmt: skip
    save_model(folder, card, build(network, 1, len(classes), 3, 8))


def phantom(seed: int) -> tuple[Volume, np.ndarray]:
    """Return a scan of a ball with a bright core, and its mask."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"))
    centre = random.uniform(7, 10, 3)[:, None, None, None]
    distance = np.sqrt(((grid - centre) ** 2).sum(0))
    labels = (distance < 5).astype(np.uint8) + (distance < 3)
    image = (random.normal(0, 10, SHAPE) + 100 * labels).astype(np.int16)
    return Volume(image, (2.0, 1.5, 1.0), (10.0, -20.0, 30.0), AXIAL), labels


def write_dataset(folder: Path, classes: dict[str, int], most: int = 2) -> None:
    """Write six cases with masks, three without, scan_017 to scan_019, and one for testing."""
    labelled = range(11, 17)
    for number in (*labelled, 17, 18, 19, 20):
        part = "Ts" if number == 20 else "Tr"
        for name in ("images", "labels"):
            (folder / f"{name}{part}").mkdir(parents=True, exist_ok=True)
        image, labels = phantom(number)
        write_volume(folder / f"images{part}" / f"scan_{number:03}_0000.nii.gz", image)
        if number in labelled or part == "Ts":
            path = folder / f"labels{part}" / f"scan_{number:03}.nii.gz"
            write_labels(path, labels.clip(max=most), image)
    description = {
        "channel_names": {"0": "MR"}, "labels": classes, "numTraining": len(labelled),
        "file_ending": ".nii.gz",
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(description), "utf-8")


def small(config: Any) -> Any:
    """Return the settings of a job with two steps of a small network, by any teacher."""
    if isinstance(config, RoundConfig):
        parts = {name: small(getattr(config, name)) for name in ("network", "teacher")}
        return config.model_copy(update=parts)
    if not isinstance(config, TrainingConfig):
        return config
    changes: dict[str, Any] = {
        "steps": 2, "validate_every": 2, "batch_size": 1, "patch_size": (16,) * config.dims,
        "width": 4, "threads": 1, "device": "cpu",
    }  # fmt: skip
    if isinstance(config, DistillationConfig):
        changes["teacher_min_dice"] = 0
        if isinstance(config.method, GraphFlowOptions):
            changes["method"] = config.method.model_copy(update={"paraphraser_steps": 2})
    return config.model_copy(update=changes)


def run_jobs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let jobs run in this process, where torch is imported already, and with `small` settings."""

    def run(command: list[str], folder: Path, log: Path) -> Ended:
        assert command[-3:-1] == ["jobs", "run"], command
        job = Job(folder)
        vars(job)["config"] = small(job.config)
        return Ended(process.run(folder, process._events_with_conversion(job)))

    monkeypatch.setattr(queue, "start_detached", run)
    monkeypatch.setattr(batches, "FEWEST_PATCHES", 2)
    monkeypatch.setattr(batches, "MEASURED_PATCHES", 4)


class Ended:
    """Stands for a process that has ended."""

    pid = 2**22 + 1  # above the largest number of a process on Linux

    def __init__(self, returncode: int) -> None:
        self.returncode = returncode

    def wait(self) -> int:
        return self.returncode

    poll = wait
