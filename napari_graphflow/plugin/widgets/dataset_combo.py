"""A combo box of recently opened datasets, with a button for another folder."""

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QWidget
from superqt.utils import signals_blocked

from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.widgets.layout import browse_button, shrinkable
from napari_graphflow.plugin.widgets.list_watch import ListRefresher
from napari_graphflow.plugin.widgets.panel import Panel
from napari_graphflow.plugin.widgets.recent import remember
from napari_graphflow.plugin.widgets.saved_models import dataset_stamp, listed_datasets


class DatasetCombo(QWidget):
    """Chooses a dataset."""

    #: Another dataset was chosen, or something in the chosen one changed.
    chosen = Signal()
    dataset_updated = Signal()

    def __init__(self, panel: Panel) -> None:
        super().__init__()
        self._panel = panel
        self._stamp: dict[Path, int] = {}
        self.combo = QComboBox()
        shrinkable(self.combo)
        self.browse = browse_button("Choose a dataset folder")
        line = QHBoxLayout(self)
        line.setSpacing(4)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.combo, 1)
        line.addWidget(self.browse)
        self.browse.clicked.connect(self._browse)
        self.combo.currentIndexChanged.connect(self._announce)
        self._list(None)
        ListRefresher(self, self._list_changed)

    def folder(self) -> Path | None:
        """Return the folder of the dataset, or None before one is chosen."""
        found = self.combo.currentData()
        return Path(found) if found else None

    def choose(self, folder: Path) -> None:
        """Open the dataset in a folder."""
        try:
            Dataset.open(folder)
        except UserError as error:
            self._panel.fail(error)
            return
        remember("datasets", folder)
        self._list(Path(folder).resolve())
        self._announce()

    def put_back(self, folder: Path | None) -> None:
        """Show a dataset as chosen without announcing it."""
        with signals_blocked(self.combo):
            self.combo.setCurrentIndex(max(0, self.combo.findData(str(folder or ""))))

    def _list(self, chosen: Path | None) -> None:
        folders = listed_datasets()
        if chosen not in folders:  # removed
            chosen = None
        with signals_blocked(self.combo):
            self.combo.clear()
            if chosen is None:
                self.combo.addItem("choose a dataset …" if folders else "no dataset yet", "")
            for folder in folders:
                self.combo.addItem(folder.name, str(folder))
                self.combo.setItemData(
                    self.combo.count() - 1, str(folder), Qt.ItemDataRole.ToolTipRole
                )
            self.combo.setCurrentIndex(max(0, self.combo.findData(str(chosen or ""))))

    def _list_changed(self) -> bool:
        if self.combo.view().isVisible():  # the user is choosing
            return False
        folder = self.folder()
        listed = [Path(self.combo.itemData(i)) for i in range(self.combo.count())]
        if listed_datasets() != [one for one in listed if one != Path()]:
            self._list(folder)
            if self.folder() != folder:
                self._announce()
        elif folder is not None and self._stamp != dataset_stamp(folder):
            self._stamp = dataset_stamp(folder)
            self.dataset_updated.emit()
        return True

    def _announce(self, _: int = 0) -> None:
        folder = self.folder()
        self._stamp = dataset_stamp(folder) if folder else {}
        self.chosen.emit()

    def _browse(self) -> None:
        start = self.folder() or Path.home()
        folder = QFileDialog.getExistingDirectory(self, "Dataset folder", str(start.parent))
        if folder:
            self.choose(Path(folder))
