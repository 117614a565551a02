"""A results folder of nnU-Net is imported where a model is chosen."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clicking import answer, click
from napari import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QDialog, QFileDialog, QLineEdit, QPushButton

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.settings import read_config
from napari_graphflow.plugin.segment.widget import SegmentWidget
from napari_graphflow.plugin.widgets.card_dialog import CardDialog
from napari_graphflow.plugin.widgets.class_table import NAME
from napari_graphflow.plugin.widgets.docks import show_dock
from napari_graphflow.plugin.widgets.model_picker import ModelPicker


def add(qtbot: QtBot, picker: ModelPicker, *, file: bool = False) -> None:
    """Add a model from a folder, the first entry of the menu, or from a file."""
    click(qtbot, picker.browse)
    qtbot.waitUntil(picker.sources.isVisible)
    for _ in range(1 + file):
        qtbot.keyClick(picker.sources, Qt.Key.Key_Down)
    qtbot.keyClick(picker.sources, Qt.Key.Key_Return)


@pytest.fixture
def dock(viewer: Viewer, home: Path) -> Iterator[SegmentWidget]:
    yield show_dock(viewer, "Segment")
    viewer.window.remove_dock_widget("all")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like one of nnU-Net, and is chosen in the dialog."""
    folder = tmp_path / "results"
    folder.mkdir()
    for name in ("plans.json", "dataset.json"):
        (folder / name).write_text("{}", "utf-8")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    return folder


def test_a_results_folder_is_imported_and_chosen(
    dock: SegmentWidget, results: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch,
    make_model: Callable[..., Path],
) -> None:  # fmt: skip
    calls = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        calls.append(command[3:])
        model = make_model("foreign", role="teacher", network="unet")
        return subprocess.CompletedProcess(command, 0, json.dumps({"model": str(model)}), "")

    monkeypatch.setattr(subprocess, "run", run)
    add(qtbot, dock.model)
    qtbot.waitUntil(lambda: dock.model.combo.currentText() == "foreign")
    assert calls == [["models", "import", str(results), "--json"]]
    assert dock.model.browse.isEnabled()


def test_a_folder_that_cannot_be_imported_is_refused_in_words(
    dock: SegmentWidget, results: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    failure = {"code": "user", "text": "It is a cascade.", "remedy": "Import 2d."}
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda command, **_: subprocess.CompletedProcess(
            command, 2, json.dumps({"failure": failure}), ""
        ),
    )
    shown: list[str] = []
    monkeypatch.setattr(SegmentWidget, "fail", lambda self, error: shown.append(str(error)))
    add(qtbot, dock.model)
    qtbot.waitUntil(lambda: bool(shown))
    assert shown == ["It is a cascade. Import 2d."]
    assert dock.model.folder() is None


def test_a_program_of_pytorch_is_opened_only_after_a_question(
    dock: SegmentWidget, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch,
    make_model: Callable[..., Path],
) -> None:  # fmt: skip
    calls = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        calls.append(command[5:])
        if "--trust" not in command:
            failure = {"failure": {"code": "untrusted", "text": "It is a program."}}
            return subprocess.CompletedProcess(command, 2, json.dumps(failure), "")
        model = make_model("lungs", role="teacher", network="unet")
        return subprocess.CompletedProcess(command, 0, json.dumps({"model": str(model)}), "")

    file = tmp_path / "lungs.ts"
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(file), ""))
    add(qtbot, dock.model, file=True)
    assert "lungs.ts is a program of PyTorch" in answer(qtbot, "Cancel")
    assert dock.model.folder() is None and calls == [[str(file), "--json"]]
    add(qtbot, dock.model, file=True)
    answer(qtbot, "Open it")
    qtbot.waitUntil(lambda: dock.model.combo.currentText() == "lungs")
    assert calls[1:] == [[str(file), "--json"], [str(file), "--json", "--trust"]]


class Calls:
    """Stands for the command: the first call does not know the classes."""

    def __init__(self, make_model: Callable[..., Path]) -> None:
        self.commands: list[list[str]] = []
        self._make_model = make_model

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        self.commands.append(command[5:])
        if "--classes" in command:
            classes = {"background": 0, "organ": 1, "lesion": 2}
            model = self._make_model("foreign", role="teacher", network="unet", classes=classes)
            card = json.loads((model / "model.json").read_text("utf-8"))
            (model / "model.json").write_text(
                json.dumps(card | {"network": "predictions"}), "utf-8"
            )
            return subprocess.CompletedProcess(command, 0, json.dumps({"model": str(model)}), "")
        failure = {"code": "unknown_class", "text": "The teacher has no class 'organ'."}
        return subprocess.CompletedProcess(command, 2, json.dumps({"failure": failure}), "")


def test_masks_teach_after_their_classes_are_named(
    viewer: Viewer, home: Path, blobs: Path, tmp_path: Path, qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch, make_model: Callable[..., Path],
) -> None:  # fmt: skip
    masks = tmp_path / "masks"
    masks.mkdir()
    (masks / "blob_0.nii.gz").write_bytes(b"")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(masks))
    calls = Calls(make_model)
    dock = show_dock(viewer, "Distil")
    dock.dataset.choose(blobs)
    qtbot.waitUntil(dock.dataset.checked, timeout=60_000)
    monkeypatch.setattr(subprocess, "run", calls)
    add(qtbot, dock.teacher)

    def dialogs() -> list[QDialog]:
        found = QApplication.topLevelWidgets()
        return [one for one in found if one.objectName() == NAME and one.isVisible()]

    qtbot.waitUntil(lambda: bool(dialogs()))
    fields = dialogs()[0].findChildren(QLineEdit)
    assert [field.text() for field in fields] == ["organ", "lesion"]
    fields[0].setText("liver")
    fields[1].setText("cyst_left, cyst_right")
    (ok,) = [one for one in dialogs()[0].findChildren(QPushButton) if "OK" in one.text()]
    click(qtbot, ok)
    qtbot.waitUntil(lambda: dock.teacher.combo.currentText() == "foreign")
    dataset = ["--json", "--dataset", str(blobs)]
    table = ["--classes", "organ=liver", "lesion=cyst_left, cyst_right"]
    assert calls.commands == [[str(masks), *dataset], [str(masks), *dataset, *table]]
    dock.method.setCurrentIndex(dock.method.findData("emkd"))
    assert "needs feature maps" in dock.status.text()
    assert not dock.button.isEnabled()
    dock.method.setCurrentIndex(dock.method.findData("logits"))
    assert dock.button.isEnabled()
    viewer.window.remove_dock_widget("all")


def failing(text: str, code: str) -> Callable[[list[str]], subprocess.CompletedProcess[str]]:
    failure = json.dumps({"failure": {"text": text, "code": code}})
    return lambda command: subprocess.CompletedProcess(command, 2, failure, "")


def test_a_network_without_a_card_is_imported_after_its_images_are_described(
    dock: SegmentWidget, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch,
    make_model: Callable[..., Path],
) -> None:  # fmt: skip
    cards = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if "--card" not in command:
            refused = failing("lungs.onnx does not say which images it is for.", "undescribed")
            return refused(command)
        cards.append(read_config(ModelCard, Path(command[command.index("--card") + 1])))
        model = make_model("lungs", role="teacher", network="unet")
        return subprocess.CompletedProcess(command, 0, json.dumps({"model": str(model)}), "")

    file = tmp_path / "lungs.onnx"
    file.write_bytes(b"")
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(file), ""))
    add(qtbot, dock.model, file=True)
    found = QApplication.topLevelWidgets
    qtbot.waitUntil(lambda: any(isinstance(one, CardDialog) for one in found()))
    (dialog,) = [one for one in found() if isinstance(one, CardDialog)]
    qtbot.waitUntil(dialog.isVisible)
    (ok,) = [one for one in dialog.findChildren(QPushButton) if "OK" in one.text()]
    click(qtbot, ok)
    assert "Name each class once, and at least one." in dialog.problem.text()
    dialog.classes.setText("lung, nodule")
    dialog.form.put_fields(patch_size=(64, 64))
    click(qtbot, ok)
    assert "patch_size has 2 numbers, but dims is 3" in dialog.problem.text()
    assert cards == []
    dialog.form.put_fields(patch_size=(96, 96, 32))
    dialog.form.part("preprocessing").put_fields(orientation="RAS", intensity="ct_window")
    click(qtbot, ok)
    qtbot.waitUntil(lambda: dock.model.combo.currentText() == "lungs")
    (card,) = cards
    assert card.classes == {"background": 0, "lung": 1, "nodule": 2}
    assert (card.name, card.patch_size) == ("lungs", (96, 96, 32))
    assert (card.preprocessing.orientation, card.modality) == ("RAS", "CT")


def test_a_poor_model_is_kept_only_after_a_question(
    dock: SegmentWidget, results: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch,
    make_model: Callable[..., Path],
) -> None:  # fmt: skip
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        if "--force" not in command:
            return failing("It is too poor to teach.", "poor_model")(command)
        model = make_model("poor", role="teacher", network="unet")
        return subprocess.CompletedProcess(command, 0, json.dumps({"model": str(model)}), "")

    monkeypatch.setattr(subprocess, "run", run)
    add(qtbot, dock.model)
    assert answer(qtbot, "Cancel").startswith("It is too poor to teach. A poor teacher makes")
    assert dock.model.folder() is None
    add(qtbot, dock.model)
    answer(qtbot, "Keep it")
    qtbot.waitUntil(lambda: dock.model.combo.currentText() == "poor")


def test_masks_are_refused_where_no_dataset_is_chosen(
    dock: SegmentWidget, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"")
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path))
    shown: list[str] = []
    monkeypatch.setattr(SegmentWidget, "fail", lambda self, error: shown.append(str(error)))
    add(qtbot, dock.model)
    assert "folder of masks, which can teach but segments no image" in shown[0]
