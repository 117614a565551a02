"""A model that does not fit is greyed with the reason, and nothing starts with it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from clicking import click
from dicom_cases import write_series
from napari import Viewer
from PIL import Image
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox

from napari_graphflow.jobs.store import list_jobs
from napari_graphflow.plugin.widgets.docks import show_dock

MakeModel = Callable[..., Path]


def change_card(folder: Path, **changes: Any) -> Path:
    """Change fields of ``model.json``."""
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")
    return folder


def entry(combo: QComboBox, name: str) -> tuple[str, bool]:
    """Return the text of the entry of a model, and whether it can be chosen."""
    index = next(i for i in range(combo.count()) if name in combo.itemText(i))
    return combo.itemText(index), QComboBox.model(combo).item(index).isEnabled()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"purpose": {"modality": "CT"}}, "it is for CT, and blobs is MR"),
        ({"in_channels": 2}, "it needs 2 channels, and blobs has 1"),
        ({"classes": {"background": 0, "vein": 1}}, "it has the classes background, vein"),
    ],
)
def test_distil_greys_a_teacher_that_does_not_fit_the_dataset_and_starts_nothing(
    viewer: Viewer,
    qtbot: QtBot,
    make_model: MakeModel,
    tiny_dataset: Path,
    changes: dict[str, Any],
    reason: str,
) -> None:
    make_model("right", role="teacher", network="unet")
    wrong = change_card(make_model("wrong", role="teacher", network="unet"), **changes)
    distil = show_dock(viewer, "Distil")
    distil.teacher.choose(wrong)
    assert entry(distil.teacher.combo, "wrong")[1], "judged without a dataset"
    distil.dataset.choose(tiny_dataset)
    qtbot.waitUntil(lambda: not distil.button.isEnabled() and reason in distil.status.text())
    assert distil.status.text().startswith("⚠ The teacher wrong does not fit")
    assert reason in distil.teacher.about.text()
    text, enabled = entry(distil.teacher.combo, "wrong")
    assert reason in text and not enabled
    assert entry(distil.teacher.combo, "right") == ("right", True)
    qtbot.mouseClick(distil.button, Qt.MouseButton.LeftButton)
    qtbot.wait(300)
    assert list_jobs() == []
    viewer.window.remove_dock_widget("all")


BODY = np.random.default_rng(0).normal(40, 30, (10, 24, 24))
SLOW_MS = 300_000


def write_volume(path: Path, array: np.ndarray[Any, Any], spacing: float = 1.0) -> Path:
    image = sitk.GetImageFromArray(array.astype(np.int16))
    image.SetSpacing((spacing, spacing, 2.5))
    sitk.WriteImage(image, str(path))
    return path


def write_mr(folder: Path) -> Path:
    write_series(folder, change=lambda index, header: setattr(header, "Modality", "MR"))
    return folder


def write_photograph(path: Path) -> Path:
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(path)
    return path


def ct_with_air(path: Path, spacing: float = 1.0) -> Path:
    body = BODY.copy()
    body[:, :6] = -1000
    return write_volume(path, body, spacing)


def ct_model(make_model: MakeModel, name: str = "liver", **changes: Any) -> Path:
    purpose = {"modality": "CT", "spacing": [2.5, 1.0, 1.0]}
    return change_card(make_model(name, dims=changes.pop("dims", 3)), purpose=purpose, **changes)


@pytest.fixture
def show(viewer: Viewer) -> Iterator[Callable[[Path], None]]:
    yield lambda path: viewer.open(str(path), plugin="napari-graphflow")
    viewer.window.remove_dock_widget("all")


@pytest.mark.parametrize(
    ("name", "write", "changes", "reason"),
    [
        ("mr", write_mr, {}, "it is for CT, and this is MR"),
        (
            "spine.nii.gz",
            lambda path: write_volume(path, np.abs(BODY) * 10),
            {},
            "it is for CT, and the values of this image are not Hounsfield units",
        ),
        ("picture.png", write_photograph, {}, "it needs 3D volumes, and this image is 2D"),
        (
            "picture.png",
            write_photograph,
            {"dims": 2},
            "it needs 1 channel, and this image has 3",
        ),
        ("scan.nii.gz", ct_with_air, {"in_channels": 2}, "it needs 2 channels, and this image"),
    ],
)
def test_a_model_that_does_not_fit_the_image_is_greyed_in_segment_and_compare(
    viewer: Viewer,
    qtbot: QtBot,
    make_model: MakeModel,
    tmp_path: Path,
    show: Callable[[Path], None],
    name: str,
    write: Callable[[Path], Path],
    changes: dict[str, Any],
    reason: str,
) -> None:
    model = ct_model(make_model, **changes)
    segment, compare = (show_dock(viewer, dock) for dock in ("Segment", "Compare"))
    assert entry(segment.model.combo, "liver") == ("liver", True), "judged without an image"
    show(write(tmp_path / name))
    compare.a.choose_model(model)
    for combo in (segment.model.combo, compare.a, compare.heatmap.student.combo):
        text, enabled = entry(combo, "liver")
        assert reason in text and not enabled
    assert segment.status.text().startswith("⚠ liver does not fit")
    assert reason in segment.status.text()
    layers = len(viewer.layers)
    for button in (segment.button, compare.button):
        assert not button.isEnabled()
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert not segment.running
    assert len(viewer.layers) == layers


def test_the_list_follows_the_image_that_is_shown(
    viewer: Viewer, make_model: MakeModel, tmp_path: Path, show: Callable[[Path], None]
) -> None:
    ct_model(make_model)
    segment = show_dock(viewer, "Segment")
    show(ct_with_air(tmp_path / "ct.nii.gz"))
    show(write_mr(tmp_path / "mr"))
    ct, mr = viewer.layers
    assert not segment.button.isEnabled()
    for layer, fits in ((ct, True), (mr, False)):
        viewer.layers.selection.active = layer
        for one in viewer.layers:
            one.visible = one is layer
        assert segment.button.isEnabled() is fits
        assert entry(segment.model.combo, "liver")[1] is fits


def test_of_several_models_one_that_fits_is_chosen_unless_the_user_has_chosen(
    viewer: Viewer, make_model: MakeModel, tmp_path: Path, show: Callable[[Path], None]
) -> None:
    change_card(make_model("spine"), purpose={"modality": "MR"})
    liver = ct_model(make_model)
    segment = show_dock(viewer, "Segment")
    show(write_mr(tmp_path / "mr"))
    assert segment.model.card().name == "spine"
    segment.model.choose(liver)
    assert not segment.button.isEnabled()
    assert "liver does not fit" in segment.status.text()


def run(qtbot: QtBot, segment: Any) -> str:
    click(qtbot, segment.button)
    qtbot.waitUntil(lambda: not segment.running, timeout=SLOW_MS)
    return str(segment.status.text())


@pytest.mark.parametrize(
    ("write", "doubt"),
    [
        (lambda path: write_volume(path, BODY), "the modality of this image is unknown"),
        (lambda path: ct_with_air(path, 4.0), "and these are 2.5 x 4 x 4 mm"),
        (ct_with_air, ""),
    ],
)
def test_a_doubtful_result_is_a_warning_and_not_a_green_tick(
    viewer: Viewer,
    qtbot: QtBot,
    make_model: MakeModel,
    tmp_path: Path,
    show: Callable[[Path], None],
    write: Callable[[Path], Path],
    doubt: str,
) -> None:
    ct_model(make_model)
    segment = show_dock(viewer, "Segment")
    show(write(tmp_path / "scan.nii.gz"))
    text = run(qtbot, segment)
    assert text.startswith("⚠" if doubt else "✓"), text
    assert doubt in text


def test_an_empty_result_is_no_green_tick(
    viewer: Viewer,
    qtbot: QtBot,
    make_model: MakeModel,
    tmp_path: Path,
    show: Callable[[Path], None],
) -> None:
    from safetensors.numpy import load_file, save_file

    folder = ct_model(make_model)
    weights = load_file(folder / "weights.safetensors")
    bias = next(name for name in reversed(weights) if weights[name].shape == (3,))
    weights = {name: np.zeros_like(value) for name, value in weights.items()}
    weights[bias] = np.array([5.0, 0.0, 0.0], np.float32)
    save_file(weights, folder / "weights.safetensors")
    segment = show_dock(viewer, "Segment")
    show(ct_with_air(tmp_path / "scan.nii.gz"))
    text = run(qtbot, segment)
    assert text.startswith("⚠"), text
    assert "liver found none of: organ, lesion." in text


def test_a_model_of_two_channels_fits_once_both_files_of_the_case_are_open(
    viewer: Viewer, make_model: MakeModel, tmp_path: Path, show: Callable[[Path], None]
) -> None:
    first, second = (write_volume(tmp_path / f"case_1_000{number}.nii.gz", BODY) for number in "01")
    make_model("two", in_channels=2)
    segment = show_dock(viewer, "Segment")
    show(first)
    text, enabled = entry(segment.model.combo, "two")
    assert not enabled
    assert "it needs 2 channels, and case_1_0000 is open; open also case_1_0001.nii.gz" in text
    show(second)
    assert entry(segment.model.combo, "two") == ("two", True)
    assert segment.button.isEnabled()
