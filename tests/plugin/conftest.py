"""Fixtures: a viewer, the inference worker, small models and a small dataset."""

import gc
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import napari.settings
import numpy as np
import pytest
import SimpleITK as sitk
from leaks import leaked_widgets, living_widgets
from napari import Viewer
from pytestqt.qtbot import QtBot

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.jobs.store import list_jobs
from napari_graphflow.plugin.jobs.widget import JobsWidget
from napari_graphflow.plugin.worker.requests import dispatcher

CLASSES = {"background": 0, "organ": 1, "lesion": 2}
OBLIQUE = (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)
LONGEST_WAIT_MS = 20_000
MakeModel = Callable[..., Path]
WriteScan = Callable[..., Path]


@pytest.fixture
def qtbot(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> QtBot:
    """Wait long enough for what runs in the background of a slow or busy computer."""
    monkeypatch.setattr(qtbot, "waitUntil", partial(qtbot.waitUntil, timeout=LONGEST_WAIT_MS))
    return qtbot


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Viewer], qtbot: QtBot) -> Iterator[Viewer]:
    """A visible napari viewer."""
    window: Viewer = make_napari_viewer(show=True)
    yield window
    # Mesa sometimes crashes if the canvas is painted while napari removes its layers.
    window.window._qt_window.hide()
    qtbot.wait(20)


@pytest.fixture(autouse=True)
def reader_is_no_default(home: Path) -> None:
    """The user has answered the question about the default reader."""
    (home / "reader.json").write_text('{"default": false}', "utf-8")


@pytest.fixture(scope="session", autouse=True)
def modules_are_not_collected() -> None:
    """Leave modules out of garbage collections, which each window test runs several times."""
    import napari_graphflow.models.saved  # noqa: F401  PyTorch is the largest

    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Leave what napari keeps of each window out of later garbage collections, too.

    After 400 windows these would take most of the time of a test.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def preferences_are_the_default_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Neither read nor write the preferences of whoever runs the tests."""
    monkeypatch.setattr("napari.settings._CFG_PATH", str(tmp_path / "napari" / "settings.yaml"))
    clear = getattr(napari.settings, "_clear_plugin_settings_cache", lambda: None)
    clear()
    yield
    clear()


@pytest.fixture(scope="session")
def _worker() -> Iterator[None]:
    yield
    dispatcher().close()


@pytest.fixture(autouse=True)
def no_widget_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaks widgets, unless it has already failed."""
    before, failed = living_widgets(), request.session.testsfailed
    yield
    if request.session.testsfailed == failed:
        request.node.funcargs.clear()  # otherwise pytest still references the values of fixtures
        assert leaked_widgets(before) == []


@pytest.fixture(autouse=True)
def no_request_is_left(_worker: None) -> Iterator[None]:
    """Keep the worker process between tests, but drop all requests."""
    yield
    dispatcher().drop_all()


@pytest.fixture
def view(viewer: Viewer) -> Iterator[JobsWidget]:
    """The dock *Jobs*; its jobs are cancelled afterwards."""
    _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Jobs")
    assert isinstance(widget, JobsWidget)
    yield widget
    viewer.window.remove_dock_widget("all")
    # Waiting jobs first, otherwise they would start.
    for job in sorted(list_jobs(), key=lambda job: not job.status().waiting):
        if job.status().active:
            job.cancel(timeout=1)


@pytest.fixture
def make_model(home: Path) -> MakeModel:
    """Save a small network with random weights in the model folder."""

    def make(
        name: str = "small",
        *,
        role: str = "student",
        dims: int = 3,
        in_channels: int = 1,
        network: str = "enet",
        seed: int = 0,
        classes: dict[str, int] = CLASSES,
    ) -> Path:
        import torch

        from napari_graphflow.models.saved import save_model
        from napari_graphflow.networks import build

        torch.set_num_threads(1)
        torch.manual_seed(seed)
        module = build(network, in_channels, len(classes), dims, 8 if network == "unet" else None)
        with torch.no_grad():
            # Otherwise all classes are equally likely, and a misplaced mask would not be noticed.
            *_, last = (one for one in module.modules() if hasattr(one, "kernel_size"))
            last.weight *= 1000
        card = ModelCard(
            name=name,
            role=role,
            network=network,
            dims=dims,
            in_channels=in_channels,
            classes=classes,
            width=8 if network == "unet" else None,
            patch_size=(16,) * dims,
            preprocessing=Preprocessing(intensity="zscore"),
            parameters=sum(parameter.numel() for parameter in module.parameters()),
        )
        save_model(home / "models" / name, card, module.eval())
        return home / "models" / name

    return make


@pytest.fixture
def write_scan(tmp_path: Path) -> WriteScan:
    """Write an image with SimpleITK alone."""

    def write(
        name: str = "scan.nii.gz",
        *,
        shape: tuple[int, ...] = (12, 20, 24),
        spacing: tuple[float, ...] = (0.8, 0.7, 2.5),
        origin: tuple[float, ...] = (-30.0, 12.5, 100.0),
        direction: tuple[float, ...] = OBLIQUE,
        seed: int = 0,
    ) -> Path:
        noise = np.random.default_rng(seed).normal(100, 20, shape)
        image = sitk.GetImageFromArray(noise.astype(np.int16))
        image.SetSpacing(spacing)
        image.SetOrigin(origin)
        image.SetDirection(direction)
        path = tmp_path / name
        sitk.WriteImage(image, str(path))
        return path

    return write


@pytest.fixture
def tiny_dataset(tmp_path: Path) -> Path:
    """Six small volumes in the nnU-Net layout: three labelled, one of them for validation."""
    folder = tmp_path / "blobs"
    for sub in ("imagesTr", "labelsTr"):
        (folder / sub).mkdir(parents=True)
    names = [f"blob_{number:03d}" for number in range(1, 7)]
    random = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*[np.arange(16)] * 3, indexing="ij"))
    for index, name in enumerate(names):
        centre = random.uniform(6, 10, 3)[:, None, None, None]
        distance = np.sqrt(((grid - centre) ** 2).sum(0))
        labels = (distance < 5).astype(np.uint8) + (distance < 2.5)
        image = random.normal(0, 10, labels.shape) + 100 * labels
        for array, path in (
            (image.astype(np.float32), folder / "imagesTr" / f"{name}_0000.nii.gz"),
            (labels.astype(np.uint8), folder / "labelsTr" / f"{name}.nii.gz"),
        ):
            if index >= 3 and path.parent.name == "labelsTr":
                continue
            sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    description = {
        "name": "blobs",
        "channel_names": {"0": "MR"},
        "labels": CLASSES,
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description), "utf-8")
    splits = {"train": [*names[:2], *names[3:]], "val": [names[2]], "test": []}
    (folder / "splits.json").write_text(json.dumps(splits), "utf-8")
    return folder
