"""Layout of rows, notes and collapsible sections."""

from collections.abc import Callable, Iterable
from html import escape

from napari.settings import get_settings
from qtpy.QtCore import QEvent, QObject, QPoint, QSize, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPen, QPixmap, QPolygon
from qtpy.QtWidgets import (
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QSizePolicy,
    QStyle,
    QStyleOptionComboBox,
    QStylePainter,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_graphflow.plugin.viewer.preferences import after_opening
from napari_graphflow.plugin.widgets.palette import SYMBOL_GREY

#: Qt's value for an unlimited height.
MAX_HEIGHT = 2**24 - 1
#: Size of napari's font for which sizes in pixels are written.
_FONT_SIZE = 9


def scaled(pixels: int) -> int:
    """Return a size in pixels for the size of napari's font, if that is larger than usual."""
    return round(pixels * max(1.0, get_settings().appearance.font_size / _FONT_SIZE))


class Rows(QGridLayout):
    """Labelled fields with a common left edge; hidden rows leave no gap.

    `QFormLayout` would keep the spacing of hidden rows and misjudge the height of wrapped text.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setContentsMargins(0, 0, 0, 0)
        self.setHorizontalSpacing(8)
        self.setVerticalSpacing(5)
        self.setColumnStretch(1, 1)

    def add(self, label: str | QWidget, field: QWidget | QLayout) -> None:
        """Add a field with a label, which may be empty."""
        index = self.rowCount()
        if label:
            self.addWidget(QLabel(label) if isinstance(label, str) else label, index, 0)
        if isinstance(field, QLayout):
            self.addLayout(field, index, 1)
        else:
            self.addWidget(field, index, 1)

    def add_wide(self, field: QWidget) -> None:
        """Add a widget that spans both columns."""
        self.addWidget(field, self.rowCount(), 0, 1, 2)


def row(*widgets: QWidget, stretch: int = 0) -> QHBoxLayout:
    """Lay widgets out in a row; the one at index `stretch` grows."""
    line = QHBoxLayout()
    line.setContentsMargins(0, 0, 0, 0)
    line.setSpacing(6)
    for index, widget in enumerate(widgets):
        line.addWidget(widget, int(index == stretch))
    return line


def note(text: str = "", *, wrap: bool = True) -> QLabel:
    """Make a small grey text."""
    label = QLabel(text)
    label.setWordWrap(wrap)
    if not wrap:
        label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    label.setTextFormat(Qt.TextFormat.PlainText)
    set_role(label, "note")
    return label


def set_role(label: QLabel, role: str) -> None:
    """Style a label inside a `Panel` as ``note``, ``done``, ``warn``, ``fail`` or plain text."""
    label.setProperty("graphflow", role)
    label.style().unpolish(label)
    label.style().polish(label)


def swatch(text: str, colour: str) -> QLabel:
    """Make a label with a colour square."""
    label = QLabel(f'<span style="color:{colour}">■</span> {escape(text)}')
    label.setTextFormat(Qt.TextFormat.RichText)
    return label


class Section(QCollapsible):
    """A collapsible section that is as high as its content when expanded.

    `QCollapsible` limits the height to the size hint, which cuts wrapped text, and only squeezes
    what is collapsed, so that the Tab key would go through it. The content joins the section
    after the dock has opened, since napari's style sheet takes a third of a millisecond a widget.
    """

    def __init__(self, title: str, **icons: QIcon) -> None:
        super().__init__(title, **icons)
        self.layout().removeWidget(self.content())
        self.content().setParent(None)
        after_opening(self, self.join)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        self.layout().setAlignment(Qt.AlignmentFlag(0))
        self.toggled.connect(self._release_height)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Keep the height when a child is resized."""
        return False

    def join(self) -> None:
        """Take the content into the dock."""
        content = self.content()
        if content.parent() is None:
            content.hide()
            self.layout().addWidget(content)

    def _release_height(self, expanded: bool) -> None:
        self.join()
        if expanded:
            self.content().setMaximumHeight(MAX_HEIGHT)
        self.content().setVisible(expanded)


class FittedTabs(QTabWidget):
    """Tabs as high as the page that is shown; Qt's are as high as the highest one.

    All pages but the first join the tabs after the dock has opened, as the content of a `Section`;
    those of `add_later` are made only then.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pages: list[QWidget | Callable[[], QWidget]] = []
        self.currentChanged.connect(self.fit)
        after_opening(self, self.join)

    def addTab(self, page: QWidget, title: str) -> int:
        """Add a page."""
        self._pages.append(page)
        return int(super().addTab(page if len(self._pages) == 1 else _holder(QVBoxLayout()), title))

    def add_later(self, make: Callable[[], QWidget], title: str) -> int:
        """Add a page that is made when it is needed, or after the dock has opened."""
        self._pages.append(make)
        return int(super().addTab(_holder(QVBoxLayout()), title))

    def indexOf(self, page: QWidget) -> int:
        """Return the place of a page, or of what holds it; -1 if it is none."""
        return self._pages.index(page) if page in self._pages else int(super().indexOf(page))

    def currentWidget(self) -> QWidget | None:
        """Return the page that is shown."""
        return self._page(self.currentIndex()) if self._pages else None

    def setCurrentWidget(self, page: QWidget) -> None:
        """Show a page."""
        self.join()
        self.setCurrentIndex(self.indexOf(page))

    def join(self, indices: Iterable[int] | None = None) -> None:
        """Take pages, or all of them, into the dock."""
        for index in range(self.count()) if indices is None else indices:
            page = self._page(index)
            if page.parent() is None:
                self.widget(index).layout().addWidget(page)

    def _page(self, index: int) -> QWidget:
        page = self._pages[index]
        if not isinstance(page, QWidget):
            page = self._pages[index] = page()
        return page

    def fit(self, _: int = 0) -> None:
        """Adapt to the page that is shown."""
        if page := self.currentWidget():
            self.join([self.currentIndex()])
            page.show()
        for index in range(self.count()):
            shown = index == self.currentIndex()
            policy = QSizePolicy.Policy.Preferred if shown else QSizePolicy.Policy.Ignored
            self.widget(index).setSizePolicy(QSizePolicy.Policy.Preferred, policy)
        self.updateGeometry()

    def sizeHint(self) -> QSize:
        page = self.currentWidget()
        if page is None:
            return super().sizeHint()
        return self.minimumSizeHint() + page.sizeHint() - page.minimumSizeHint()

    def heightForWidth(self, width: int) -> int:
        page = self.currentWidget()
        if page is None or not page.hasHeightForWidth():
            return self.sizeHint().height()
        frame = self.minimumSizeHint().height() - page.minimumSizeHint().height()
        return frame + page.heightForWidth(page.width() if page.isVisible() else width)


def folded(title: str, *contents: QWidget | QLayout) -> QCollapsible:
    """Make a collapsible section."""
    section = Section(title, expandedIcon=_arrow(down=True), collapsedIcon=_arrow(down=False))
    section.setDuration(0)
    section.layout().setContentsMargins(0, 0, 0, 0)
    section.layout().setSpacing(0)
    section.toggleButton().setStyleSheet(
        "text-align: left; border: none; background: transparent; padding: 3px 0px;"
    )
    inner = section.content().layout()
    inner.setContentsMargins(18, 4, 0, 4)
    inner.setSpacing(6)
    for content in contents:
        section.addWidget(_holder(content) if isinstance(content, QLayout) else content)
    return section


def _holder(layout: QLayout) -> QWidget:
    widget = QWidget()
    layout.setContentsMargins(0, 0, 0, 0)
    widget.setLayout(layout)
    return widget


def _arrow(*, down: bool) -> QIcon:
    # superqt draws the arrow in black, which is invisible in the dark theme.
    pixmap = QPixmap(24, 24)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(QColor(SYMBOL_GREY), 3))
    corners = [(5, 9), (12, 16), (19, 9)] if down else [(9, 5), (16, 12), (9, 19)]
    painter.drawPolyline(QPolygon([QPoint(x, y) for x, y in corners]))
    painter.end()
    return QIcon(pixmap)


def browse_button(tip: str) -> QPushButton:
    """Make the small button next to a field that opens a file dialog."""
    button = QPushButton("…")
    button.setFixedWidth(28)
    button.setToolTip(tip)
    return button


class ElidedEntry(QObject):
    """Shortens the chosen entry of a combo box in its middle, with dots; Qt cuts it off."""

    def __init__(self, combo: QComboBox) -> None:
        super().__init__(combo)
        self._combo = combo
        combo.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Paint the combo box."""
        if event.type() != QEvent.Type.Paint or watched is not self._combo:
            return False
        combo = self._combo
        option, style = QStyleOptionComboBox(), combo.style()
        combo.initStyleOption(option)
        field = style.subControlRect(
            QStyle.ComplexControl.CC_ComboBox,
            option,
            QStyle.SubControl.SC_ComboBoxEditField,
            combo,
        )
        icon = 0 if option.currentIcon.isNull() else option.iconSize.width() + 4
        option.currentText = option.fontMetrics.elidedText(
            option.currentText, Qt.TextElideMode.ElideMiddle, field.width() - icon - 2
        )
        painter = QStylePainter(combo)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
        painter.end()
        return True


def shrinkable(combo: QComboBox, *, entry_as_tip: bool = True) -> None:
    """Elide long entries instead of widening the dock, and show the chosen one as the tooltip."""
    ElidedEntry(combo)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(9)
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    if entry_as_tip:
        combo.currentTextChanged.connect(combo.setToolTip)
