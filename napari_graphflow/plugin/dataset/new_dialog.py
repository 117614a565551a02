"""Make a dataset from a folder of images and a folder of masks; nothing is written before."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QCheckBox,
    QColorDialog,
    QComboBox,
    QDialog,
    QFileDialog,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QStackedWidget,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.dataset.checks import check
from napari_graphflow.dataset.findings import Finding
from napari_graphflow.dataset.import_preview import ImportPreview, preview_import
from napari_graphflow.dataset.importing import import_dataset
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.dataset import new_presenter as presenter
from napari_graphflow.plugin.dataset.new_presenter import Structure
from napari_graphflow.plugin.dataset.tables import fill, table
from napari_graphflow.plugin.widgets.background import Background
from napari_graphflow.plugin.widgets.hints import set_hint
from napari_graphflow.plugin.widgets.layout import Rows, browse_button, row, scaled
from napari_graphflow.plugin.widgets.panel import StatusLine
from napari_graphflow.plugin.widgets.progress import ProgressRow

_TICK_MS = 100


class Stopped(Exception):
    """The user has cancelled."""


class NewDatasetDialog(QDialog):
    """Asks for folders, shows what would be imported, imports it and shows the checks."""

    created = Signal(object)

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("New dataset")
        self.resize(760, 640)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._preview: ImportPreview | None = None
        self._dataset: Dataset | None = None
        self._steps, self._stop = (0, 0), False
        self._background = Background(self)
        self._timer = QTimer(self)
        self._timer.setInterval(_TICK_MS)
        self._timer.timeout.connect(self._tick)
        self.images, self.masks, self.where = QLineEdit(), QLineEdit(), QLineEdit()
        set_hint(self.images, "folder with a file or a DICOM folder per scan")
        set_hint(self.masks, "optional: folder with masks of the same names")
        set_hint(self.where, "where the folder of the dataset is created")
        self.name = QLineEdit()
        set_hint(self.name, "name of the dataset")
        self.pick_images, self.pick_masks, self.pick_where = (
            browse_button(f"Choose the {what}")
            for what in ("folder of images", "folder of masks", "place of the dataset")
        )
        self.sites = QCheckBox("Each folder in it is a site")
        self.sites.setToolTip(
            "A hospital or a scanner, with the files of its cases; the folder of masks has the "
            "same folders. A student can then learn from some sites and be scored on the others."
        )
        self.summary = QLabel()
        self.summary.setWordWrap(True)
        self.pairs = table(presenter.PAIRS)
        self.structures = QTableWidget(0, 3)
        self.structures.setHorizontalHeaderLabels(("Colour", "Structure", "Value"))
        self.structures.verticalHeader().hide()
        self.structures.horizontalHeader().setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        #: What the value means that looks like that of voxels without annotation.
        self.meaning = QComboBox()
        self.meaning.hide()
        self.add, self.drop = QPushButton("Add structure"), QPushButton("Remove structure")
        self.progress, self.status = ProgressRow(), StatusLine()
        self.create, self.cancel = QPushButton("Create"), QPushButton("Cancel")
        self.create.setDefault(True)
        self.findings = table(presenter.FINDINGS)
        self.findings.setWordWrap(True)
        self.result = QLabel()
        self.result.setWordWrap(True)
        self.finish = QPushButton("Label the cases")
        self.pages = QStackedWidget()
        self.pages.addWidget(self._first_page())
        self.pages.addWidget(self._last_page())
        column = QVBoxLayout(self)
        column.addWidget(self.pages)

        self.pick_images.clicked.connect(partial(self._pick, self.images, "Folder of images"))
        self.pick_masks.clicked.connect(partial(self._pick, self.masks, "Folder of masks"))
        self.pick_where.clicked.connect(partial(self._pick, self.where, "Place of the dataset"))
        self.images.editingFinished.connect(self.look)
        self.masks.editingFinished.connect(self.look)
        self.sites.toggled.connect(self.look)
        self.name.textChanged.connect(self._update)
        self.where.textChanged.connect(self._update)
        self.meaning.activated.connect(self._choose_meaning)
        self.add.clicked.connect(self._add_structure)
        self.drop.clicked.connect(self._drop_structure)
        self.create.clicked.connect(self._create)
        self.cancel.clicked.connect(self.reject)
        self.progress.cancelled.connect(self._stop_work)
        self.finish.clicked.connect(self.accept)
        self._looked: tuple[str, str, bool] = ("", "", False)
        self._update()

    def look(self) -> None:
        """Pair images and masks of the chosen folders, without writing anything."""
        sites = self.sites.isChecked()
        chosen = (self.images.text().strip(), self.masks.text().strip(), sites)
        if not chosen[0] or chosen == self._looked:
            return
        self._looked, self._preview = chosen, None
        images, masks = Path(chosen[0]), Path(chosen[1]) if chosen[1] else None
        if not self.name.text():
            generic = images.name.casefold() in ("images", "imagestr", "scans", "image")
            self.name.setText(images.parent.name if generic else images.name)
        if not self.where.text():
            self.where.setText(str(images.parent / "datasets"))
        self._work(
            lambda progress: preview_import(images, masks, progress, site_folders=sites),
            self._show,
            "Reading masks …",
        )

    def done(self, result: int) -> None:
        """Stop what runs; an import that was interrupted leaves nothing behind."""
        self._stop = True
        self._timer.stop()
        self._background.finish(10)
        self._background.stop()
        if result == QDialog.DialogCode.Accepted and self._dataset is not None:
            self.created.emit(self._dataset.folder)
        super().done(result)

    def _first_page(self) -> QWidget:
        page, rows = QWidget(), Rows()
        rows.add("Images", row(self.images, self.pick_images))
        rows.add("", row(self.sites, QWidget(), stretch=1))
        rows.add("Masks", row(self.masks, self.pick_masks))
        rows.add("Name", self.name)
        rows.add("Place", row(self.where, self.pick_where))
        column = QVBoxLayout(page)
        column.addLayout(rows)
        column.addWidget(self.summary)
        column.addWidget(self.pairs, 1)
        column.addWidget(self.structures)
        column.addLayout(row(self.meaning, QWidget(), self.add, self.drop, stretch=1))
        column.addWidget(self.progress)
        column.addWidget(self.status)
        column.addLayout(row(QWidget(), self.cancel, self.create))
        return page

    def _last_page(self) -> QWidget:
        page = QWidget()
        column = QVBoxLayout(page)
        column.addWidget(self.result)
        column.addWidget(self.findings, 1)
        column.addLayout(row(QWidget(), self.finish))
        return page

    def _pick(self, field: QLineEdit, title: str, _: bool = False) -> None:
        folder = QFileDialog.getExistingDirectory(self, title, field.text() or self.images.text())
        if folder:
            field.setText(folder)
            self.look()

    def _show(self, preview: ImportPreview) -> None:
        self._preview = preview
        self.summary.setText(presenter.summary(preview))
        fill(self.pairs, presenter.pairs(preview))
        self._put_structures(presenter.structures(preview))
        ignored = preview.classes.get("ignore")
        self.meaning.setVisible(ignored is not None)
        self.meaning.clear()
        self.meaning.addItem(f"{ignored} means not annotated", True)
        self.meaning.addItem(f"{ignored} is a structure", False)
        self.status.info("Nothing is written yet. Check the pairs and the names of the structures.")

    def _put_structures(self, found: Sequence[Structure]) -> None:
        self.structures.setRowCount(len(found))
        for line, one in enumerate(found):
            colour = QPushButton()
            colour.setEnabled(bool(one.colour))
            colour.clicked.connect(partial(self._pick_colour, colour))
            _paint(colour, one.colour or "#808080")
            name = QTableWidgetItem(one.name)
            if one.name == "ignore":
                name.setFlags(Qt.ItemFlag.ItemIsEnabled)
            value = QSpinBox()
            value.setRange(1, 65535)
            value.setValue(one.value)
            # With masks, the values are those that occur.
            value.setEnabled(not (self._preview and self._preview.classes))
            self.structures.setCellWidget(line, 0, colour)
            self.structures.setItem(line, 1, name)
            self.structures.setCellWidget(line, 2, value)

        height = self.structures.horizontalHeader().sizeHint().height() + 4
        height += sum(self.structures.rowHeight(line) for line in range(len(found)))
        self.structures.setFixedHeight(min(height, scaled(170)))

    def entered(self) -> list[Structure]:
        """Return the structures as entered."""
        found = []
        for line in range(self.structures.rowCount()):
            colour = self.structures.cellWidget(line, 0)
            value = self.structures.cellWidget(line, 2)
            shown = str(colour.property("colour")) if colour.isEnabled() else ""
            found.append(Structure(self.structures.item(line, 1).text(), value.value(), shown))
        return found

    def _choose_meaning(self, _: int) -> None:
        value = self._preview.classes["ignore"] if self._preview is not None else 0
        ignored = bool(self.meaning.currentData())
        self._put_structures(presenter.with_meaning(self.entered(), value, ignored=ignored))

    def _add_structure(self, _: bool = False) -> None:
        found = self.entered()
        self._put_structures([*found, presenter.another(found)])

    def _drop_structure(self, _: bool = False) -> None:
        line = self.structures.currentRow()
        if line >= 0:
            self._put_structures([one for i, one in enumerate(self.entered()) if i != line])

    def _pick_colour(self, button: QPushButton, _: bool = False) -> None:
        chosen = QColorDialog.getColor(QColor(str(button.property("colour"))), self, "Colour")
        if chosen.isValid():
            _paint(button, chosen.name())

    def _create(self, _: bool = False) -> None:
        preview = self._preview
        if preview is None:
            return
        entered = self.entered()
        try:
            classes = presenter.classes(entered, presenter.background_of(preview.classes))
            out = presenter.target(Path(self.where.text().strip()), self.name.text())
        except UserError as error:
            self.status.fail(str(error))
            return
        images, masks, sites = self._looked
        name = self.name.text().strip()

        def make(progress: Callable[[int, int], None]) -> tuple[Dataset, list[Finding]]:
            dataset = import_dataset(
                images,
                masks or None,
                out,
                name=name,
                classes=classes,
                colours=presenter.colours(entered),
                site_folders=sites,
                progress=progress,
            )
            return dataset, check(dataset)

        self._work(make, self._made, "Writing the dataset …")

    def _made(self, found: tuple[Dataset, list[Finding]]) -> None:
        self._dataset, findings = found
        self.result.setText(f"The dataset {self._dataset.name} is in {self._dataset.folder}.")
        fill(
            self.findings,
            [
                (presenter.SEVERITIES[one.severity], one.case, one.text, one.remedy)
                for one in findings
            ],
        )
        self.findings.resizeRowsToContents()
        self.pages.setCurrentIndex(1)
        self.finish.setDefault(True)
        self.finish.setFocus()

    def _work(
        self,
        function: Callable[[Callable[[int, int], None]], Any],
        done: Callable[[Any], None],
        text: str,
    ) -> None:
        self._stop, self._steps = False, (0, 0)
        self.progress.wait(text)
        self.status.info(text)
        self._timer.start()
        self._update()

        def progress(step: int, total: int) -> None:
            if self._stop:
                raise Stopped
            self._steps = (step, total)

        def ended(act: Callable[[Any], None], result: Any) -> None:
            self._timer.stop()
            self.progress.hide()
            act(result)
            self._update()

        self._background.run(
            lambda: function(progress), partial(ended, done), partial(ended, self._failed)
        )
        self._update()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, Stopped):
            self.status.info("Cancelled; nothing was written.")
        elif isinstance(error, UserError):
            self.status.fail(str(error))
        else:
            raise error
        if self._preview is None:
            self._looked = ("", "", False)

    def _stop_work(self) -> None:
        self._stop = True
        self.progress.wait("cancelling …")

    def _tick(self) -> None:
        step, total = self._steps
        if total and not self._stop:
            self.progress.advance(step, total, None)

    def _update(self, _: Any = None) -> None:
        idle = not self._background.busy()
        ready = self._preview is not None
        self.create.setEnabled(
            idle and ready and bool(self.name.text().strip() and self.where.text().strip())
        )
        masks = ready and bool(self._preview and self._preview.classes)
        for button in (self.add, self.drop):
            button.setEnabled(idle and ready and not masks)
        given = (self.pick_images, self.pick_masks, self.images, self.masks, self.sites)
        for widget in given:
            widget.setEnabled(idle)
        if not ready and idle and not self.status.text():
            self.status.info("Choose the folder of images.")


def _paint(button: QPushButton, colour: str) -> None:
    button.setProperty("colour", colour)
    button.setStyleSheet(f"background: {colour}; margin: 3px 12px; border-radius: 3px;")
