"""A dataset is made from folders by clicks; nothing is written before *Create*."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from clicking import click
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QFileDialog

from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.dataset import new_presenter as presenter
from napari_graphflow.plugin.dataset.new_dialog import NewDatasetDialog
from napari_graphflow.plugin.dataset.widget import DatasetWidget


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Six scans of six patients, three with masks of the values 1 and 4."""
    for sub in ("images", "masks"):
        (tmp_path / "study" / sub).mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(6):
        image = sitk.GetImageFromArray(random.normal(0, 9, (6, 9, 8)).astype(np.float32))
        sitk.WriteImage(image, str(tmp_path / "study" / "images" / f"p{number}.nii.gz"))
        if number < 3:
            mask = np.zeros((6, 9, 8), np.uint8)
            mask[1:4, 2:6, 2:6], mask[2, 3, 3] = 1, 4
            path = tmp_path / "study" / "masks" / f"p{number}.nii.gz"
            sitk.WriteImage(sitk.GetImageFromArray(mask), str(path))
    (tmp_path / "study" / "images" / "notes.txt").write_text("x", "utf-8")
    return tmp_path / "study"


@pytest.fixture
def dock(viewer: Viewer) -> Iterator[DatasetWidget]:
    _, widget = viewer.window.add_plugin_dock_widget("napari-graphflow", "Dataset")
    yield widget
    viewer.window.remove_dock_widget("all")


def choose(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, button: object, folder: Path) -> None:
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    click(qtbot, button)  # type: ignore[arg-type]


def open_dialog(qtbot: QtBot, dock: DatasetWidget) -> NewDatasetDialog:
    click(qtbot, dock.new)
    (dialog,) = dock.findChildren(NewDatasetDialog)
    qtbot.waitUntil(dialog.isVisible)
    return dialog


def test_255_is_ignored_or_a_structure_as_the_user_says(
    qtbot: QtBot, dock: DatasetWidget, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (scans / "masks").iterdir():
        mask = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        mask[5] = 255
        sitk.WriteImage(sitk.GetImageFromArray(mask), str(path))
    dialog = open_dialog(qtbot, dock)
    choose(qtbot, monkeypatch, dialog.pick_images, scans / "images")
    qtbot.waitUntil(lambda: dialog.create.isEnabled())  # noqa: PLW0108
    assert not dialog.meaning.isVisible()
    choose(qtbot, monkeypatch, dialog.pick_masks, scans / "masks")
    qtbot.waitUntil(dialog.meaning.isVisible)
    assert dialog.meaning.currentText() == "255 means not annotated"
    assert dialog.structures.item(2, 1).text() == "ignore"
    dialog.meaning.setCurrentIndex(1)
    dialog.meaning.activated.emit(1)
    assert dialog.structures.item(2, 1).text() == "structure 255"
    dialog.structures.item(2, 1).setText("border")
    qtbot.waitUntil(lambda: dialog.create.isEnabled())  # noqa: PLW0108
    click(qtbot, dialog.create)
    qtbot.waitUntil(dialog.finish.isVisible)
    click(qtbot, dialog.finish)
    qtbot.waitUntil(lambda: len(dock.rows) == 6)
    folder = dock.dataset.folder()
    assert folder is not None
    made = Dataset.open(folder)
    assert list(made.classes) == ["background", "class_1", "class_4", "border"]
    assert made.ignore is None
    assert made.record["colours"]["border"] == presenter.colour(2)


def test_folders_of_sites_are_imported_by_a_tick(
    qtbot: QtBot, dock: DatasetWidget, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("images", "masks"):
        for site in ("north", "south"):
            shutil.copytree(scans / part, scans / "sites" / part / site)
    dialog = open_dialog(qtbot, dock)
    choose(qtbot, monkeypatch, dialog.pick_images, scans / "sites" / "images")
    qtbot.waitUntil(lambda: "contains 6 images" in dialog.status.text())
    assert "if each is a site, import them as sites" in dialog.status.text()
    choose(qtbot, monkeypatch, dialog.pick_masks, scans / "sites" / "masks")
    qtbot.waitUntil(lambda: dialog.sites.isEnabled())  # noqa: PLW0108
    click(qtbot, dialog.sites)
    assert dialog.sites.isChecked()
    qtbot.waitUntil(lambda: dialog.create.isEnabled())  # noqa: PLW0108
    assert [dialog.pairs.item(line, 0).text() for line in (0, 6)] == ["north_p0", "south_p0"]
    click(qtbot, dialog.create)
    qtbot.waitUntil(dialog.finish.isVisible)
    click(qtbot, dialog.finish)
    qtbot.waitUntil(lambda: len(dock.rows) == 12)
    folder = dock.dataset.folder()
    assert folder is not None
    assert {case.site for case in Dataset.open(folder).cases} == {"north", "south"}


def test_the_meaning_of_a_value_is_taken_back() -> None:
    rows = [presenter.Structure("organ", 1, "#112233"), presenter.Structure("ignore", 255, "")]
    named = presenter.with_meaning(rows, 255, ignored=False)
    assert named[1] == presenter.Structure("structure 255", 255, presenter.colour(1))
    assert presenter.with_meaning(named, 255, ignored=True) == rows


def test_a_folder_becomes_a_dataset_by_clicks(
    qtbot: QtBot, dock: DatasetWidget, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialog = open_dialog(qtbot, dock)
    choose(qtbot, monkeypatch, dialog.pick_images, scans / "images")
    qtbot.waitUntil(lambda: dialog.create.isEnabled())  # noqa: PLW0108
    choose(qtbot, monkeypatch, dialog.pick_masks, scans / "masks")
    qtbot.waitUntil(lambda: dialog.structures.rowCount() == 2)
    qtbot.waitUntil(lambda: dialog.create.isEnabled())  # noqa: PLW0108
    assert dialog.pairs.rowCount() == 6
    assert dialog.pairs.item(0, 2).text() == "p0.nii.gz"
    assert dialog.pairs.item(5, 2).text() == "no mask"
    assert "3 with a mask, 3 without" in dialog.summary.text()
    assert "notes.txt" in dialog.summary.text()
    assert not (scans / "datasets").exists(), "nothing is written before Create"
    dialog.structures.item(0, 1).setText("organ")
    dialog.structures.item(1, 1).setText("lesion")
    click(qtbot, dialog.create)
    qtbot.waitUntil(dialog.finish.isVisible)
    assert dialog.findings.rowCount() > 0
    click(qtbot, dialog.finish)
    qtbot.waitUntil(lambda: len(dock.rows) == 6)
    assert dock.dataset.combo.currentText() == "study"
    dataset = Dataset.open(scans / "datasets" / "study")
    assert dataset.classes == {"background": 0, "organ": 1, "lesion": 2}
    assert dataset.record["original_values"] == {"background": 0, "organ": 1, "lesion": 4}
    assert dataset.record["colours"]["lesion"] == presenter.colour(1)


def test_images_without_masks_become_a_dataset_with_named_structures(
    qtbot: QtBot, dock: DatasetWidget, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialog = open_dialog(qtbot, dock)
    choose(qtbot, monkeypatch, dialog.pick_images, scans / "images")
    qtbot.waitUntil(lambda: dialog.create.isEnabled())  # noqa: PLW0108
    click(qtbot, dialog.add)
    dialog.structures.item(0, 1).setText("kidney")
    click(qtbot, dialog.create)
    qtbot.waitUntil(dialog.finish.isVisible)
    click(qtbot, dialog.finish)
    qtbot.waitUntil(lambda: len(dock.rows) == 6)
    assert list(Dataset.open(scans / "datasets" / "study").classes) == [
        "background", "kidney", "structure 2",
    ]  # fmt: skip
    assert dock.counts.text() == "6 unlabelled"


def test_a_folder_without_images_is_refused_in_words(
    qtbot: QtBot, dock: DatasetWidget, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scans / "empty").mkdir()
    dialog = open_dialog(qtbot, dock)
    choose(qtbot, monkeypatch, dialog.pick_images, scans / "empty")
    qtbot.waitUntil(lambda: "contains no images" in dialog.status.text())
    assert not dialog.create.isEnabled()
    click(qtbot, dialog.cancel)


def test_an_existing_folder_is_not_overwritten(
    qtbot: QtBot, dock: DatasetWidget, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (scans / "datasets" / "study").mkdir(parents=True)
    (scans / "datasets" / "study" / "thesis.txt").write_text("x", "utf-8")
    dialog = open_dialog(qtbot, dock)
    choose(qtbot, monkeypatch, dialog.pick_images, scans / "images")
    qtbot.waitUntil(lambda: dialog.create.isEnabled())  # noqa: PLW0108
    click(qtbot, dialog.create)
    qtbot.waitUntil(lambda: "is not an empty folder" in dialog.status.text())
    click(qtbot, dialog.cancel)


def test_two_structures_of_one_name_are_refused() -> None:
    rows = [presenter.Structure("a", 1, ""), presenter.Structure(" a", 2, "")]
    with pytest.raises(UserError, match="Two structures are called a"):
        presenter.classes(rows)
    with pytest.raises(UserError, match="has no name"):
        presenter.classes([presenter.Structure("", 1, "")])


def test_chosen_colours_are_those_of_the_mask(tmp_path: Path, scans: Path) -> None:
    from napari_graphflow.dataset.importing import import_dataset
    from napari_graphflow.labelling.store import Labelling
    from napari_graphflow.plugin.dataset.loading import load_case

    out = tmp_path / "out"
    import_dataset(scans / "images", scans / "masks", out, colours={"class_4": "#0000ff"})
    loaded = load_case(Labelling(out), "p0")
    colours = loaded.mask[1]["colormap"]
    assert np.allclose(colours.map(2), (0, 0, 1, 1))
    assert np.allclose(colours.map(1)[:3], np.array([0xE6, 0x59, 0x4C]) / 255, atol=1e-2)
    assert json.loads((out / "dataset.json").read_text("utf-8"))["labels"]["class_4"] == 2
