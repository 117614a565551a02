"""Fixtures of all tests: one thread, an empty home folder, the shared data folder."""

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import settings
from napari.settings import get_settings

from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.system import processes
from napari_graphflow.system.events import ModelSaved

# Read when numpy and torch are first imported, here and in processes started by tests.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Prevents napari from reading or writing the settings of the user, here and in processes started
# by tests.
get_settings(None)
os.environ["NAPARI_CONFIG"] = ""

# Converting each model takes seconds; the tests of OpenVINO use it.
os.environ["GRAPHFLOW_ENGINE"] = "torch"

# Tests wait for their jobs, and several run at once.
processes.NICE = 0

settings.register_profile("graphflow", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("graphflow")

CHECKOUT = Path(__file__).resolve().parent.parent
BINDINGS = ("pyqt5", "pyqt6")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--share-with-other-binding",
        choices=BINDINGS,
        help="with this Qt binding, run every other test, and all those marked both_bindings",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Share the window tests between the two Qt bindings, apart from those that both run."""
    binding = config.getoption("--share-with-other-binding")
    if binding is None:
        return
    turns = itertools.cycle(BINDINGS)
    here, elsewhere = [], []
    for item in items:
        both = item.get_closest_marker("both_bindings") is not None
        (here if both or next(turns) == binding else elsewhere).append(item)
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = here


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for jobs and models of the test."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("GRAPHFLOW_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real images: ``GRAPHFLOW_DATA``, or next to the checkout."""
    folder = Path(os.environ.get("GRAPHFLOW_DATA", CHECKOUT.parent / "shared" / "data"))
    if not (folder / "splits.json").is_file():
        pytest.skip(f"the shared data folder is not at {folder}; set GRAPHFLOW_DATA to it")
    return folder


@pytest.fixture(scope="session")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small volumes: two labelled, three unlabelled, one for validation, two for testing.

    An organ with a lesion, bright enough to be learned in a few steps.
    """
    folder = tmp_path_factory.mktemp("data") / "blobs"
    random = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*[np.arange(20)] * 3, indexing="ij"))
    splits = {"train": range(5), "val": [5], "test": [6, 7]}
    for split, numbers in splits.items():
        end = "Ts" if split == "test" else "Tr"
        for number in numbers:
            centre = random.uniform(8, 12, 3)[:, None, None, None]
            distance = np.sqrt(((grid - centre) ** 2).sum(0))
            labels = (distance < 6).astype(np.uint8) + (distance < 3)
            image = random.normal(0, 10, labels.shape) + 100 * labels
            _write(folder / f"images{end}" / f"blob_{number}_0000.nii.gz", image.astype(np.float32))
            if number not in (2, 3, 4):
                _write(folder / f"labels{end}" / f"blob_{number}.nii.gz", labels)
    description = {
        "name": "blobs",
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, "organ": 1, "lesion": 2},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description), "utf-8")
    names = {split: [f"blob_{n}" for n in numbers] for split, numbers in splits.items()}
    (folder / "splits.json").write_text(json.dumps(names), "utf-8")
    return folder


def _write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.0, 1.5, 2.0))
    image.SetDirection((-1.0, 0, 0, 0, 1, 0, 0, 0, -1))
    sitk.WriteImage(image, str(path))


@pytest.fixture
def folders(tmp_path):
    """Two empty folders, for images and masks."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    return images, masks


@pytest.fixture(scope="session")
def teacher(blobs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small 3D U-Net, trained for 30 steps."""
    from training_cases import training

    from napari_graphflow.training.loop import train

    folder = tmp_path_factory.mktemp("teacher")
    events = list(train(training(blobs, steps=30, validate_every=15), folder))
    assert isinstance(events[-1], ModelSaved)
    return JobPaths(folder).model
