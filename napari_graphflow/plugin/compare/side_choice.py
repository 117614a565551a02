"""What A or B is on a whole dataset: the model above, a round, or a folder of a reader's masks."""

from contextlib import suppress
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog
from superqt.utils import signals_blocked

from napari_graphflow.config.model_card import name_of_model
from napari_graphflow.config.settings import read_config
from napari_graphflow.errors import UserError
from napari_graphflow.labelling.layout import LabellingPaths
from napari_graphflow.plugin.widgets.layout import shrinkable

FOLDER = "a folder of masks …"


class SideChoice(QComboBox):
    """Chooses one side of a comparison on a dataset.

    Parameters
    ----------
    letter
        ``A`` or ``B``.
    """

    side_changed = Signal()

    def __init__(self, letter: str) -> None:
        super().__init__()
        self._letter = letter
        self._above: Path | None = None
        self._dataset: Path | None = None
        self._folders: list[Path] = []
        shrinkable(self)
        self.setAccessibleName(letter)
        self.activated.connect(self._activated)
        self._list("")

    def path(self) -> Path | None:
        """Return the folder of the model, or of the masks; None if there is none."""
        found = self.currentData()
        return Path(found) if found else self._above

    def take(self, above: Path | None, dataset: Path | None) -> None:
        """Take over the model that is chosen above, and list the rounds of a dataset."""
        if (above, dataset) != (self._above, self._dataset):
            self._above, self._dataset = above, dataset
            self._list(self.currentData() or "")

    def _list(self, chosen: str) -> None:
        above = name_of_model(self._above) if self._above is not None else "no model"
        with signals_blocked(self):
            self.clear()
            self.addItem(f"{self._letter} above: {above}", "")
            for title, model in rounds_of(self._dataset):
                self.addItem(title, str(model))
            for folder in self._folders:
                self.addItem(f"masks: {folder.name}", str(folder))
            self.addItem(FOLDER, None)
            self.setCurrentIndex(max(0, self.findData(chosen)))

    def _activated(self, index: int) -> None:
        if self.itemText(index) == FOLDER:
            title = f"{self._letter}: a folder of masks named like the cases"
            chosen = QFileDialog.getExistingDirectory(self, title)
            if chosen:
                self._folders.append(Path(chosen))
            self._list(str(Path(chosen)) if chosen else "")
        self.side_changed.emit()


def rounds_of(dataset: Path | None) -> list[tuple[str, Path]]:
    """Return the rounds of a dataset that have a model, the newest first."""
    if dataset is None:
        return []
    from napari_graphflow.labelling.rounds import Round

    found = []
    for path in sorted(LabellingPaths(dataset, "").rounds.glob("[0-9]*.json"), reverse=True):
        with suppress(UserError, OSError):
            one = read_config(Round, path)
            if one.model and Path(one.model).is_dir():
                found.append(
                    (f"round {one.number}: {name_of_model(Path(one.model))}", Path(one.model))
                )
    return found
