"""The dock Tutorial: one step after the other, and the button that each is about."""

from collections.abc import Callable
from functools import partial
from operator import attrgetter

from napari.components import ViewerModel
from qtpy.QtCore import QObject, QTimer
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QComboBox,
    QGraphicsColorizeEffect,
    QLabel,
    QPushButton,
    QScrollArea,
    QTabWidget,
    QWidget,
)

from napari_graphflow.errors import UserError
from napari_graphflow.plugin.tutorial.steps import TUTORIALS, Step, Tutorial, copy_sample
from napari_graphflow.plugin.widgets.docks import show_dock
from napari_graphflow.plugin.widgets.layout import FittedTabs, Section, note, row, shrinkable
from napari_graphflow.plugin.widgets.panel import NOT_A_DEVICE, Panel, PrimaryButton
from napari_graphflow.plugin.widgets.recent import remember

#: Milliseconds for which a button is highlighted.
HIGHLIGHTED_MS = 4000
#: Milliseconds after which a section that was opened has its height.
LAID_OUT_MS = 50


class TutorialWidget(Panel):
    """Leads through a tutorial, step by step."""

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self.place = 0
        self.tutorial = QComboBox()
        for name, one in TUTORIALS.items():
            self.tutorial.addItem(one.title, name)
        shrinkable(self.tutorial)
        self.copy = QPushButton("Copy the sample")
        self.copy.setToolTip("Copy the sample dataset into your data folder; it is then offered.")
        self.count, self.heading, self.text = note(), QLabel(), note()
        self.heading.setWordWrap(True)
        self.heading.setStyleSheet("font-weight: bold;")
        self.show_me = PrimaryButton("Show me", self)
        self.back, self.forward = QPushButton("Back"), QPushButton("Next step")
        self.column.addLayout(row(self.tutorial, stretch=1))
        self.column.addLayout(row(self.copy, stretch=-1))
        for one in (self.count, self.heading, self.text):
            self.column.addWidget(one)
        self.column.addLayout(row(self.show_me, self.back, self.forward, stretch=0))
        self.column.addWidget(self.status)
        self.column.addStretch(1)
        self.column.addWidget(note(NOT_A_DEVICE))
        self.tutorial.currentIndexChanged.connect(lambda _: self._go(0))
        self.copy.clicked.connect(lambda _: self._copy())
        self.show_me.clicked.connect(lambda _: self._show_me())
        self.back.clicked.connect(lambda _: self._go(self.place - 1))
        self.forward.clicked.connect(lambda _: self._go(self.place + 1))
        self._go(0)

    @property
    def chosen(self) -> Tutorial:
        return TUTORIALS[self.tutorial.currentData()]

    @property
    def step(self) -> Step:
        return self.chosen.steps[self.place]

    def _go(self, place: int) -> None:
        self.place = place
        last = len(self.chosen.steps) - 1
        self.count.setText(f"Step {place + 1} of {last + 1}")
        self.heading.setText(self.step.title)
        self.text.setText(self.step.text)
        self.back.setEnabled(place > 0)
        self.forward.setEnabled(place < last)
        self.show_me.setEnabled(bool(self.step.dock))
        self.status.info("")

    def _copy(self) -> None:
        try:
            folder = copy_sample(self.chosen.sample)
            remember("datasets", folder)
            results = copy_sample(self.chosen.results) if self.chosen.results else None
        except UserError as error:
            self.fail(error)
            return
        text = f"The sample is in {folder} and is offered in the docks."
        if results is not None:
            text += f" The results of nnU-Net are in {results}."
        self.status.done(text)

    def _show_me(self) -> None:
        dock = show_dock(self.viewer, self.step.dock)
        for part in dock.findChildren(Section) + dock.findChildren(FittedTabs):
            part.join()  # a dock that was just opened does so later
        target = attrgetter(self.step.target)(dock)
        reveal(target)
        highlight(target, self.colour("warning"))
        self.status.info(f"See the dock {self.step.dock}.")


def reveal(target: QWidget) -> None:
    """Bring a widget into view: its tab to the front, its section open, scrolled to its place."""
    child: QWidget | None = target
    while child is not None:
        parent = child.parentWidget()
        tabs = parent.parentWidget() if parent is not None else None
        if isinstance(tabs, QTabWidget) and tabs.indexOf(child) >= 0:
            tabs.setCurrentWidget(child)
        if isinstance(parent, Section):
            parent.expand(animate=False)
        child = parent
    # Once the open section has its height.
    _after(target, LAID_OUT_MS, partial(_scroll_to, target))


def _scroll_to(target: QWidget) -> None:
    parent = target.parentWidget()
    while parent is not None:
        if isinstance(parent, QScrollArea):
            parent.ensureWidgetVisible(target)
        parent = parent.parentWidget()


def highlight(target: QWidget, colour: str) -> None:
    """Tint a widget for some seconds."""
    effect = QGraphicsColorizeEffect(target)
    effect.setColor(QColor(colour))
    target.setGraphicsEffect(effect)
    _after(effect, HIGHLIGHTED_MS, effect.deleteLater)  # which takes it off the widget


def _after(owner: QObject, milliseconds: int, function: Callable[[], None]) -> None:
    """Call a function later, unless its owner is gone by then."""
    timer = QTimer(owner)
    timer.setSingleShot(True)
    timer.timeout.connect(function)
    timer.timeout.connect(timer.deleteLater)
    timer.start(milliseconds)
