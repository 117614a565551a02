"""*Proposals*: masks of a model for the cases that wait for one, and in which order to see them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QComboBox, QPushButton, QVBoxLayout, QWidget

from napari_graphflow.labelling.overview import WAITING, CaseRow
from napari_graphflow.labelling.priority import Strategy
from napari_graphflow.labelling.store import Labelling
from napari_graphflow.plugin.dataset import proposals_presenter as presenter
from napari_graphflow.plugin.widgets.command import Command
from napari_graphflow.plugin.widgets.layout import Rows, note, shrinkable
from napari_graphflow.plugin.widgets.model_picker import ModelPicker
from napari_graphflow.plugin.widgets.panel import Panel, PrimaryButton
from napari_graphflow.plugin.widgets.progress import ProgressRow

_TICK_MS = 700


class ProposalsTab(QWidget):
    """Makes proposals in a process of its own; an interrupted one continues where it was."""

    #: Other proposals exist, or another order was chosen.
    changed = Signal()
    #: The list of proposed cases is wanted.
    wanted = Signal()

    def __init__(self, panel: Panel, labelling: Callable[[], Labelling | None]) -> None:
        super().__init__()
        self._panel, self._labelling = panel, labelling
        self._begun, self._total = 0.0, 0
        self._rows: list[CaseRow] = []
        self.text = note()
        self.model = ModelPicker(panel, prefer="student")
        self.button = PrimaryButton("Propose masks", panel)
        self.button.setToolTip("For all cases without a finished mask. It can be interrupted.")
        self.progress = ProgressRow()
        self.order = QComboBox()
        shrinkable(self.order)
        for title, strategy in presenter.ORDERS.items():
            self.order.addItem(title, strategy)
        self.inbox = QPushButton("Show proposed cases")
        self.command = Command(self)
        self._timer = QTimer(self)
        self._timer.setInterval(_TICK_MS)
        self._timer.timeout.connect(self._tick)
        rows = Rows()
        rows.add("Model", self.model)
        rows.add("", self.model.about)
        order = Rows()
        order.add("Order", self.order)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 6, 0, 0)
        column.addWidget(self.text)
        column.addLayout(rows)
        column.addWidget(self.button)
        column.addWidget(self.progress)
        column.addLayout(order)
        column.addWidget(note(presenter.ABOUT_ORDER))
        column.addWidget(self.inbox)
        column.addStretch(1)
        self.model.model_changed.connect(self._update)
        self.button.clicked.connect(lambda _: self.propose())
        self.progress.cancelled.connect(self.cancel)
        self.order.currentIndexChanged.connect(lambda _: self.changed.emit())
        self.inbox.clicked.connect(lambda _: self.wanted.emit())
        self.show_rows([])

    def strategy(self) -> Strategy | None:
        """Return the chosen order; None for the default one."""
        found: Strategy | None = self.order.currentData()
        return found

    def show_rows(self, rows: list[CaseRow]) -> None:
        """Count the cases that wait, and those with a proposal."""
        self._rows = rows
        self.text.setText(presenter.waiting_text(rows))
        self._update()

    def propose(self) -> None:
        """Start to propose masks."""
        labelling, model = self._labelling(), self.model.folder()
        if labelling is None or model is None:
            return
        self._begun = time.time()
        self._total = sum(row.status in WAITING for row in self._rows)
        self.command.run(
            ["propose", str(labelling.dataset.folder), "--model", str(model)],
            self._ended,
            self._failed,
        )
        self.progress.wait("loading the model …")
        self._timer.start()
        self._update()

    def cancel(self) -> None:
        """Stop; what was proposed stays."""
        self.command.stop()
        self._over()
        self._panel.status.info("Stopped. “Propose masks” continues where it was.")

    def stop(self) -> None:
        """Stop before the dock is closed."""
        self._timer.stop()
        self.command.stop()

    def _ended(self, reply: Any) -> None:
        self._over()
        self._panel.status.show_message(presenter.proposed_message(reply))

    def _failed(self, error: Exception) -> None:
        self._over()
        self._panel.fail(error)

    def _over(self) -> None:
        self._timer.stop()
        self.progress.hide()
        self._update()
        self.changed.emit()

    def _tick(self) -> None:
        labelling = self._labelling()
        if labelling is not None and (made := _newer(labelling.paths.proposals, self._begun)):
            self.progress.advance(made, max(made, self._total), None)

    def _update(self) -> None:
        waiting = any(row.status in WAITING for row in self._rows)
        self.button.setEnabled(
            waiting and self.model.folder() is not None and not self.command.running
        )
        self.model.setEnabled(not self.command.running)
        self.inbox.setEnabled(any(row.status == "proposed" for row in self._rows))


def _newer(folder: Path, since: float) -> int:
    return sum(path.stat().st_mtime >= since for path in folder.glob("*.json"))
