"""*Readers*: who labels, whose case it is, how far two readers agree, and their consensus."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QLineEdit, QPushButton, QSpinBox, QVBoxLayout, QWidget

from napari_graphflow.labelling.agreement import (
    Agreement,
    agreement,
    mask_of,
    readers_of,
    store_consensus,
)
from napari_graphflow.labelling.overview import CaseRow
from napari_graphflow.labelling.proposals import Proposal
from napari_graphflow.labelling.rereads import due, set_share, share
from napari_graphflow.plugin.dataset import readers_presenter as presenter
from napari_graphflow.plugin.dataset.differences import show_differences, show_reader
from napari_graphflow.plugin.dataset.session import CaseSession
from napari_graphflow.plugin.dataset.tables import fill, table
from napari_graphflow.plugin.widgets.hints import set_hint
from napari_graphflow.plugin.widgets.layout import Rows, note, row, scaled, shrinkable
from napari_graphflow.plugin.widgets.panel import Panel


class ReadersTab(QWidget):
    """Compares the masks of two readers of one case."""

    #: Somebody else labels now.
    reader_changed = Signal()
    #: The record of a case, or its proposals, changed.
    changed = Signal()

    def __init__(self, panel: Panel, session: CaseSession) -> None:
        super().__init__()
        self._panel, self._session = panel, session
        self._case = ""
        self._rows: list[Agreement] = []
        self.reader, self.given = QLineEdit(presenter.known_reader()), QLineEdit()
        self.reader.setToolTip("Drafts and the log are kept under this name.")
        set_hint(self.given, "everybody")
        self.given.setToolTip("Names with commas. The case then comes next for these readers only.")
        self.text = note()
        self.first, self.second = QComboBox(), QComboBox()
        for combo in (self.first, self.second):
            shrinkable(combo)
        self.compare = QPushButton("Compare")
        self.layers = QPushButton("As layers")
        self.layers.setToolTip("Open both masks, locked. Compare then takes them as A and B.")
        self.table = table(presenter.HEADERS)
        self.table.setFixedHeight(scaled(130))
        self.table.setToolTip("Click a row to see the slice where they differ most.")
        self.method = QComboBox()
        self.method.addItems(["STAPLE", "majority"])
        self.consensus = QPushButton("Propose the consensus")
        self.consensus.setToolTip("Their consensus becomes a proposal, to accept, edit or reject.")
        rows = Rows()
        rows.add("Reader", self.reader)
        rows.add("Case given to", self.given)
        rows.add("Compare", self.first)
        rows.add("with", self.second)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 6, 0, 0)
        column.addLayout(rows)
        column.addWidget(self.text)
        column.addLayout(row(self.compare, self.layers, stretch=-1))
        column.addWidget(self.table)
        column.addLayout(row(self.method, self.consensus, stretch=1))
        column.addStretch(1)
        self.share = QSpinBox()
        self.share.setRange(0, 100)
        self.share.setSuffix(" %")
        self.share.setToolTip(
            "Share of the proposals accepted untouched that are drawn again, without seeing them."
        )
        self.again = QPushButton("Draw again")
        self.again.setEnabled(False)  # until it is known what is due
        self.again.setToolTip(
            "Open a case with an empty mask. Yours is compared with the accepted one, which stays."
        )
        second = Rows()
        second.add("Blind re-read", self.share)
        second.add("", self.again)
        column.insertLayout(column.count() - 1, second)
        self._due: list[str] = []
        self.share.editingFinished.connect(self._share_chosen)
        self.again.clicked.connect(lambda _: self._session.open_blind(self._due[0]))
        self.reader.editingFinished.connect(self._rename)
        self.given.editingFinished.connect(self._give)
        self.compare.clicked.connect(lambda _: self._compare())
        self.layers.clicked.connect(lambda _: self._open())
        self.consensus.clicked.connect(lambda _: self._propose())
        self.table.cellClicked.connect(self._go_to)

    def show_case(self, found: CaseRow | None) -> None:
        """Show whose masks of a case there are."""
        labelling = self._session.labelling
        name = found.name if found is not None and labelling is not None else ""
        if labelling is not None:
            set_hint(self.reader, labelling.reader)
        if name != self._case:
            self._rows = []
            self.table.setRowCount(0)
        self._case = name
        self.given.setEnabled(bool(name))
        if not self.given.hasFocus():
            self.given.setText(", ".join(found.facts.readers) if found is not None else "")
        if labelling is None or not name:
            self._show_masks(name, [])
        if labelling is not None:
            self._panel.background.run(
                lambda: (share(labelling), due(labelling)), self._show_due, self._panel.fail
            )
        if labelling is None or not name:
            return
        self._panel.background.run(
            lambda: readers_of(labelling, name), partial(self._show_masks, name), self._panel.fail
        )

    def _show_masks(self, name: str, found: list[str]) -> None:
        if name != self._case:
            return
        self.text.setText(presenter.masks_text(name, found))
        for place, combo in enumerate((self.first, self.second)):
            chosen = combo.currentText()
            combo.clear()
            combo.addItems(found)
            combo.setCurrentIndex(found.index(chosen) if chosen in found else place)
            combo.setEnabled(len(found) > 1)
        self.compare.setEnabled(len(found) > 1)
        self.consensus.setEnabled(len(found) > 1)
        self._enable_layers()

    def _enable_layers(self) -> None:
        case = self._session.case
        here = case is not None and case.name == self._case and not case.blind
        self.layers.setEnabled(here and self.first.count() > 1)

    def _show_due(self, found: tuple[float, list[str]]) -> None:
        part, self._due = found
        if not self.share.hasFocus():
            self.share.setValue(round(100 * part))
        self.again.setEnabled(bool(self._due))
        self.again.setText(presenter.again_text(self._due))

    def _share_chosen(self) -> None:
        labelling, part = self._session.labelling, self.share.value() / 100
        if labelling is None:
            return

        def keep() -> tuple[float, list[str]]:
            if part != share(labelling):
                set_share(labelling, part)
            return part, due(labelling)

        self._panel.background.run(keep, self._show_due, self._panel.fail)

    def _rename(self) -> None:
        name = self.reader.text().strip()
        if name != presenter.known_reader():
            presenter.remember_reader(name)
            self.reader_changed.emit()

    def _give(self) -> None:
        labelling, name = self._session.labelling, self._case
        if labelling is None or not name or not self.given.isModified():
            return
        self.given.setModified(False)
        readers = presenter.names(self.given.text())
        self._panel.background.run(
            lambda: labelling.describe(name, readers=readers),
            lambda _: self.changed.emit(),
            self._panel.fail,
        )

    def _compare(self) -> None:
        labelling, name = self._session.labelling, self._case
        if labelling is None:
            return
        pair = (self.first.currentText(), self.second.currentText())
        self._panel.status.info(f"Comparing {pair[0]} and {pair[1]} …")
        self._panel.background.run(
            lambda: agreement(labelling, name, pair),
            lambda found: self._show_rows(name, pair, *found),
            self._panel.fail,
        )

    def _open(self) -> None:
        labelling, name, case = self._session.labelling, self._case, self._session.case
        if labelling is None or case is None:
            return
        image = case.opened.image
        readers = list(dict.fromkeys((self.first.currentText(), self.second.currentText())))

        def show(masks: list[NDArray[Any]]) -> None:
            if self._session.case is not case:
                return
            for reader, labels in zip(readers, masks, strict=True):
                show_reader(self._panel.viewer, case, labels, reader)
            self._panel.status.done("Choose them as A and B in Compare.")

        self._panel.background.run(
            lambda: [mask_of(labelling, name, reader, image) for reader in readers],
            show,
            self._panel.fail,
        )

    def _show_rows(
        self, name: str, pair: tuple[str, str], rows: list[Agreement], differs: NDArray[np.uint8]
    ) -> None:
        if name != self._case:
            return
        case = self._session.case
        if case is not None and case.name == name:
            show_differences(self._panel.viewer, case, differs, pair)
        self._rows = rows
        cells = [presenter.cells(one, self._shown(one.worst_slice)) for one in rows]
        fill(self.table, cells, numbers=(1, 2, 3))
        self._panel.status.done(f"Masks of {name} were compared, as they were last put away.")

    def _shown(self, index: int | None) -> int | None:
        case = self._session.case
        if index is None or case is None or case.name != self._case:
            return index
        return case.shown_slice(0, index)[1]

    def _go_to(self, line: int, _: int) -> None:
        worst, case = self._rows[line].worst_slice, self._session.case
        if worst is None:
            return
        if case is not None and case.name == self._case:
            self._session.go_to((worst, worst))
        else:
            self._panel.status.warn(f"Open {self._case} to see this slice.")

    def _propose(self) -> None:
        labelling, name = self._session.labelling, self._case
        if labelling is None:
            return
        method: Any = self.method.currentText()
        readers = tuple(dict.fromkeys((self.first.currentText(), self.second.currentText())))

        def done(made: Proposal) -> None:
            self._panel.status.done(f"The consensus is a proposal for {name}. {made.note}")
            self.changed.emit()

        self._panel.background.run(
            lambda: store_consensus(labelling, name, method, readers), done, self._panel.fail
        )
