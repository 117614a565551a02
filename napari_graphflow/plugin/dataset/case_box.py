"""The open case: its buttons with their keys, difficulty, comment and the slices that are done."""

from collections.abc import Collection, Mapping
from functools import partial

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_graphflow.plugin.dataset import presenter
from napari_graphflow.plugin.dataset.open_case import OpenCase
from napari_graphflow.plugin.dataset.presenter import BUTTONS, Button
from napari_graphflow.plugin.dataset.proposals_presenter import worst_places
from napari_graphflow.plugin.widgets.hints import set_hint
from napari_graphflow.plugin.widgets.keys import with_key
from napari_graphflow.plugin.widgets.layout import note, row
from napari_graphflow.plugin.widgets.panel import Panel, PrimaryButton


class CaseBox(QWidget):
    """Shows what can be done with the open case; hidden without one."""

    pressed = Signal(str)
    described = Signal(object)
    slice_marked = Signal()
    take_over = Signal()
    next_place = Signal()

    def __init__(self, panel: Panel) -> None:
        super().__init__()
        self._case: OpenCase | None = None
        self._possible: set[Button] = set()
        self._keys: Mapping[str, str] = {}
        self.title = QLabel()
        self.title.setWordWrap(True)
        self.title.setStyleSheet("font-weight: bold;")
        self.taken = QLabel()
        self.taken.setWordWrap(True)
        self.take = QPushButton("Take over")
        self.take.setToolTip("The other window can then no longer save this case.")
        self.buttons: dict[str, QPushButton] = {}
        self._grid = QGridLayout()
        self._grid.setSpacing(4)
        for name, info in BUTTONS.items():
            button = PrimaryButton("", panel) if name == "finish" else QPushButton()
            button.setToolTip(info.tip)
            button.clicked.connect(partial(self._press, name))
            self.buttons[name] = button
        self.slice = QPushButton()
        self.slice.setCheckable(True)
        self.slice.setToolTip(
            "Mark only some slices as done if you do not annotate the whole case. The others are "
            "then ignored in training."
        )
        self.slices = note()
        self.place = QPushButton()
        self.place.setToolTip("Go to the slices where the model that proposed the mask is unsure.")
        self.difficulty = QButtonGroup(self)
        self.difficulty.setExclusive(False)
        levels = []
        for level, tip in ((1, "easy"), (2, "medium"), (3, "hard")):
            button = QPushButton(str(level))
            button.setCheckable(True)
            button.setFixedWidth(30)
            button.setToolTip(tip)
            self.difficulty.addButton(button, level)
            levels.append(button)
        self.comment = QLineEdit()
        set_hint(self.comment, "Comment")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        column.addWidget(self.title)
        column.addLayout(row(self.taken, self.take))
        column.addLayout(self._grid)
        places = QHBoxLayout()
        places.setSpacing(4)
        places.addWidget(self.slice, 2)
        places.addWidget(self.place, 3)
        column.addLayout(places)
        column.addWidget(self.slices)
        #: To be placed below what is needed more often.
        self.remarks = QWidget()
        self.remarks.setLayout(row(QLabel("Difficulty"), *levels, self.comment, stretch=4))
        self.slice.clicked.connect(self._mark_slice)
        self.difficulty.idClicked.connect(self._rate)
        self.comment.editingFinished.connect(self._comment)
        self.place.clicked.connect(lambda _: self.next_place.emit())
        self.take.clicked.connect(lambda _: self.take_over.emit())
        self.show_case(None)

    def show_case(
        self,
        case: OpenCase | None,
        *,
        taken: str = "",
        done: bool = False,
        elsewhere: bool = False,
    ) -> None:
        """Show a case and what its status allows.

        Parameters
        ----------
        case
            The open case.
        taken
            Why it cannot be edited.
        done
            Whether the slice in view is marked as done.
        elsewhere
            Whether another case is shown and selected in the viewer.
        """
        same = self._case is case
        self._case = case
        self.setVisible(case is not None)
        self.remarks.setVisible(case is not None)
        if case is None:
            return
        facts = case.opened.facts
        edited = " · edited" if case.changed else ""
        self.title.setText(presenter.case_title(case.name, facts, case.opened.origin) + edited)
        self.taken.setText(taken or presenter.elsewhere_text(case.mask.name))
        self.taken.setVisible(bool(taken) or elsewhere)
        self.take.setVisible(bool(taken) and not elsewhere)
        usable = presenter.buttons(facts, editable=case.editable or facts.status == "excluded")
        usable = set() if taken or elsewhere else usable
        editable = case.editable and not elsewhere
        self._lay_out(presenter.buttons(facts))
        for name, button in self.buttons.items():
            button.setEnabled(name in usable)
        self._name_finish()
        solid = case.mask.ndim == 3
        self.slice.setVisible(solid)
        self.slices.setVisible(solid and bool(case.slices))
        self.slice.setEnabled(editable)
        self.slice.setChecked(done)
        self.slices.setText(presenter.slices_text(case.slices, case.slice_count))
        self.place.setVisible(bool(worst_places(case.opened.proposal)))
        self.place.setEnabled(not elsewhere)
        for level in (1, 2, 3):
            self.difficulty.button(level).setChecked(facts.difficulty == level)
            self.difficulty.button(level).setEnabled(editable)
        self.comment.setEnabled(editable)
        if not (same and self.comment.hasFocus()):
            self.comment.setText(facts.comment)

    def show_keys(self, keys: Mapping[str, str]) -> None:
        """Show other keys on the buttons."""
        self._keys = keys
        for name, info in BUTTONS.items():
            self.buttons[name].setText(with_key(info.text, keys[name]))
        self.slice.setText(with_key("Slice done", keys["slice"]))
        self.place.setText(with_key("Next worst place", keys["place"]))
        self._name_finish()

    def _name_finish(self) -> None:
        facts = self._case.opened.facts if self._case is not None else None
        text = presenter.finish_text(facts)
        self.buttons["finish"].setText(with_key(text, self._keys.get("finish", "")))

    def press(self, name: str) -> None:
        """Press a button if it is enabled, as its key does."""
        if self.isVisible() and self.buttons[name].isEnabled():
            self.buttons[name].click()

    def _lay_out(self, possible: Collection[Button]) -> None:
        """Show the buttons that the status allows, two in a row."""
        if self._possible == possible:
            return
        self._possible = set(possible)
        for button in self.buttons.values():
            self._grid.removeWidget(button)
            button.hide()
        places = iter((row, column) for row in range(1, 9) for column in (0, 1))
        for name, button in self.buttons.items():
            if name in possible:
                place = (0, 0, 1, 2) if name == "finish" else next(places)
                self._grid.addWidget(button, *place)
                button.show()

    def _press(self, name: str, _: bool = False) -> None:
        self.pressed.emit(name)

    def _mark_slice(self, _: bool = False) -> None:
        self.slice_marked.emit()

    def _rate(self, level: int) -> None:
        chosen = self.difficulty.button(level).isChecked()
        self.described.emit({"difficulty": level if chosen else None})

    def _comment(self) -> None:
        case = self._case
        if case is not None and self.comment.text() != case.opened.facts.comment:
            self.described.emit({"comment": self.comment.text()})


def confirmed(parent: QWidget, name: str, case: OpenCase) -> bool:
    """Ask before edits are discarded or an empty mask is saved; whether to go on."""
    question = None
    if name == "reject" and case.changed and case.opened.facts.status == "proposed":
        question = "Reject?", f"Your edits of the proposed mask of {case.name} are discarded."
    if name == "finish" and not case.mask.data.any():
        question = "Empty mask?", presenter.empty_text(case.name)
    if question is None:
        return True
    return QMessageBox.question(parent, *question) == QMessageBox.StandardButton.Yes
