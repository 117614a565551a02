"""A combo box of saved models, with a line that describes the chosen one."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from napari.layers import Image, Layer
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QMenu, QWidget
from superqt.utils import signals_blocked

from napari_graphflow.config.model_card import ModelCard, read_model_card
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.dataset.compatibility import reason_not_to_fit_dataset
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.layer_facts import reason_not_to_fit_layer, what_decides
from napari_graphflow.plugin.widgets.class_table import ask_for_classes
from napari_graphflow.plugin.widgets.foreign_models import (
    MASKS_NEED_A_DATASET,
    ForeignModel,
    import_foreign,
    is_foreign,
    is_predictions,
)
from napari_graphflow.plugin.widgets.layout import browse_button, note, shrinkable
from napari_graphflow.plugin.widgets.list_watch import ListRefresher
from napari_graphflow.plugin.widgets.model_text import about_text, role_icon, tip_text
from napari_graphflow.plugin.widgets.panel import Panel
from napari_graphflow.plugin.widgets.questions import ask
from napari_graphflow.plugin.widgets.recent import remember
from napari_graphflow.plugin.widgets.saved_models import broken_models, saved_models
from napari_graphflow.plugin.widgets.unfit import Judge, mark_entry
from napari_graphflow.plugin.widgets.words import as_text
from napari_graphflow.system.folders import models_root

FILES = "Networks (*.onnx *.xml *.pt *.pth *.pt2 *.ts *.torchscript)"
PROGRAM = (
    "is a program of PyTorch, which can do anything on this computer when it is opened. Do you "
    "trust who made it?"
)
POOR = "A poor teacher makes a poor student. Do you want to keep it all the same?"


class ModelPicker(QWidget):
    """Chooses a saved model from the model folder, the jobs and recently opened folders.

    Parameters
    ----------
    panel
        Shows errors.
    optional
        Entry for choosing no model; empty if a model must be chosen.
    prefer
        The role that is listed first.

    Attributes
    ----------
    about
        A line about the chosen model, for the layout of the caller.
    """

    model_changed = Signal()

    def __init__(
        self,
        panel: Panel,
        *,
        optional: str = "",
        prefer: Literal["teacher", "student"] | None = None,
        empty: str = "no model yet",
    ) -> None:
        super().__init__()
        self._panel, self._optional, self._prefer, self._empty = panel, optional, prefer, empty
        self._cards: dict[Path, ModelCard] = {}
        self._broken: dict[Path, str] = {}
        self._judge: Judge | None = None
        self._deciding: Any = None
        self._dataset: Dataset | None = None
        self._by_user = False
        self.combo = _Combo(self.refresh)
        self.browse = browse_button(
            "Add a model: a saved one, a results folder of nnU-Net, a MONAI bundle, a network as a "
            "file, or, as a teacher, masks of another program for the cases of the dataset"
        )
        self.about = note()
        line = QHBoxLayout()
        line.setSpacing(4)
        line.addWidget(self.combo, 1)
        line.addWidget(self.browse)
        line.setContentsMargins(0, 0, 0, 0)
        self.setLayout(line)
        self.sources = QMenu(self.browse)
        self.sources.addAction("A folder: model, nnU-Net, MONAI bundle, masks …", self._browse)
        self.sources.addAction("A file: ONNX, OpenVINO, TorchScript …", self._browse_file)
        self.browse.clicked.connect(self._ask_for_source)
        self.combo.activated.connect(self._chosen_by_user)
        self.combo.currentIndexChanged.connect(self._changed)
        self.refresh()
        ListRefresher(self, self._list_changed)

    def folder(self) -> Path | None:
        """Return the folder of the chosen model, or None."""
        found = self.combo.currentData()
        return Path(found) if found else None

    def card(self) -> ModelCard | None:
        """Return the card of the chosen model, or None."""
        folder = self.folder()
        return None if folder is None else self._cards[folder]

    def judge(self, judge: Judge | None) -> None:
        """Grey the models that do not fit; None lets all fit."""
        self._judge = judge
        self._fill()

    def judge_for(self, image: Layer | None) -> None:
        """Grey the models that do not fit an image layer, if there is one."""
        shown, cases = image if isinstance(image, Image) else None, cases_of(self._panel.viewer)
        deciding = what_decides(shown, cases)
        if deciding != self._deciding:
            self._deciding = deciding
            judge = partial(reason_not_to_fit_layer, image=shown, cases=cases)
            self.judge(None if shown is None else judge)

    def judge_for_dataset(self, dataset: Dataset | None) -> None:
        """Grey the models that do not fit a dataset, if there is one."""
        self._dataset = dataset
        deciding = dataset and (dataset.name, dataset.classes, dataset.channel_names)
        if deciding != self._deciding:
            self._deciding = deciding
            self.judge(
                None if dataset is None else partial(reason_not_to_fit_dataset, dataset=dataset)
            )

    def misfit(self) -> str | None:
        """Return why the chosen model does not fit, as a clause; None if it does."""
        card = self.card()
        return None if card is None or self._judge is None else self._judge(card)

    def misfit_text(self, case: str) -> str:
        """Return why the chosen model does not fit a case, as a sentence; empty if it does."""
        card, reason = self.card(), self.misfit()
        return f"{card.name} does not fit {case}: {reason}." if card and reason else ""

    def choose(self, folder: Path) -> bool:
        """Choose a saved model in any folder, or import one of another program.

        With a dataset, also masks for its cases. Shows an error and returns False otherwise.
        """
        if is_foreign(folder) and not (folder / "model.json").is_file():
            self._import(folder)
            return True
        if is_predictions(folder):
            if self._dataset is None:
                self._panel.fail(MASKS_NEED_A_DATASET)
                return False
            self._import(folder)
            return True
        try:
            read_model_card(folder)
        except UserError as error:
            self._panel.fail(error)
            return False
        if folder not in saved_models():
            remember("models", folder)
        self._by_user = True
        self.refresh()
        self.combo.setCurrentIndex(self.combo.findData(str(folder)))
        return True

    def _import(self, path: Path) -> None:
        """Import a model of another program, and choose it."""
        self._run(ForeignModel(path, None if self._dataset is None else self._dataset.folder))

    def _run(self, model: ForeignModel) -> None:
        """Import a model, and ask for what is missing."""
        self.about.setText(f"Importing {model.path.name} ...")
        self.about.show()
        self.browse.setEnabled(False)

        def ended(result: Path | Exception) -> None:
            self.browse.setEnabled(True)
            self._describe()
            if isinstance(result, Path):
                self.choose(result)
            elif not self._asks(model, result):
                self._panel.fail(result)

        self._panel.background.run(partial(import_foreign, model), ended, ended)

    def _asks(self, model: ForeignModel, error: Exception) -> bool:
        """Ask what the import of a model needs to know; False if it needs nothing."""
        if not isinstance(error, UserError):
            return False
        code = error.code
        classes = ["background"] if self._dataset is None else list(self._dataset.classes)
        if code == "undescribed":
            from napari_graphflow.plugin.widgets.card_dialog import CardDialog  # needs magicgui

            CardDialog(
                self, model.path.stem, classes, lambda card: self._run(replace(model, card=card))
            ).open()
        elif code == "unknown_class" and model.dataset is not None:
            ask_for_classes(
                self, error.text, classes, lambda found: self._run(replace(model, classes=found))
            )
        elif code == "untrusted":
            trusted = partial(self._run, replace(model, trust=True))
            text = f"{model.path.name} {PROGRAM}"
            ask(self, "trust-model", "Program", text, "Open it", "Cancel", trusted)
        elif code == "poor_model":
            kept = partial(self._run, replace(model, force=True))
            ask(self, "poor-model", "Poor model", f"{error.text} {POOR}", "Keep it", "Cancel", kept)
        else:
            return False
        return True

    def refresh(self) -> None:
        """Search for models again; keep the choice."""
        self._cards, before = saved_models(self._prefer), self.folder()
        self._broken = broken_models()
        self._fill(before)

    def _fill(self, before: Path | None = None) -> None:
        before = chosen = before or self.folder()
        with signals_blocked(self.combo):
            self.combo.clear()
            if self._optional or not self._cards:
                self.combo.addItem(self._optional if self._cards else self._empty, "")
            fitting = []
            for folder, card in self._cards.items():
                index = self.combo.count()
                self.combo.addItem(role_icon(card.role), card.name, str(folder))
                reason = self._judge(card) if self._judge else None
                mark_entry(self.combo, index, card.name, reason)
                if not reason:
                    with suppress(OSError):  # removed a moment ago
                        tip = as_text(tip_text(card, folder))
                        self.combo.setItemData(index, tip, Qt.ItemDataRole.ToolTipRole)
                if not reason:
                    fitting.append(folder)
            for folder, reason in self._broken.items():
                self.combo.addItem(folder.name, "")
                mark_entry(self.combo, self.combo.count() - 1, folder.name, reason)
            # What nobody has chosen is replaced if it does not fit.
            if chosen not in fitting and not self._by_user and not self._optional:
                chosen = next(iter(fitting), chosen)
            if chosen in self._cards:
                self.combo.setCurrentIndex(self.combo.findData(str(chosen)))
            self.combo.setEnabled(bool(self._cards))
        if self.folder() == before:
            self._describe()
        else:
            self._changed()

    def _list_changed(self) -> bool:
        choosing = bool(self.combo.view().isVisible())
        if not choosing:
            self.refresh()
        return not choosing

    def _chosen_by_user(self, index: int) -> None:
        self._by_user = True

    def _changed(self) -> None:
        self._describe()
        self.model_changed.emit()

    def _describe(self) -> None:
        card, folder = self.card(), self.folder()
        if card is None or folder is None:
            self.about.hide()
            return
        with suppress(OSError):  # removed a moment ago
            self._describe_card(card, folder)

    def _describe_card(self, card: ModelCard, folder: Path) -> None:
        reason = self.misfit()
        text = about_text(card, folder)
        self.about.setText(f"✕ Does not fit: {reason}." if reason else text)
        self.about.setToolTip(as_text(tip_text(card, folder)))
        self.about.show()

    def _ask_for_source(self) -> None:
        self.sources.popup(self.browse.mapToGlobal(self.browse.rect().bottomLeft()))

    def _browse_file(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Network", str(models_root()), FILES)
        if file:
            self._import(Path(file))

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Model folder", str(models_root()))
        if folder:
            self.choose(Path(folder))


class _Combo(QComboBox):
    """Refreshes its entries each time it is opened."""

    def __init__(self, refresh: Callable[[], None]) -> None:
        super().__init__()
        self._refresh = refresh
        shrinkable(self)

    def showPopup(self) -> None:
        self._refresh()
        super().showPopup()
