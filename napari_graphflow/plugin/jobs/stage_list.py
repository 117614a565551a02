"""The stages of a generalisable distillation as lines below each other."""

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from napari_graphflow.plugin.jobs.stages import Stage, StageState
from napari_graphflow.plugin.widgets.layout import set_role

#: Sign, style and tooltip of each state.
LOOKS: dict[StageState, tuple[str, str, str]] = {
    "waiting": ("○", "note", "not begun"),
    "running": ("▶", "", "running"),
    "done": ("✓", "done", "done"),
    "weak": ("!", "warn", "done, but below what is wanted: train this stage longer"),
}


class StageList(QWidget):
    """One line per stage: sign, title, and the numbers at its end; hidden while there is none."""

    def __init__(self) -> None:
        super().__init__()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 2, 0, 2)
        self._grid.setHorizontalSpacing(8)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(1, 1)
        self._lines: list[tuple[QLabel, QLabel]] = []
        self._shown: list[Stage] = []
        self.hide()

    def show_stages(self, stages: Sequence[Stage]) -> None:
        """Show some stages instead of those before."""
        if list(stages) == self._shown:
            return
        self._shown = list(stages)
        self.setVisible(bool(stages))
        while len(self._lines) < len(stages):
            sign, text = QLabel(), QLabel()
            text.setTextFormat(Qt.TextFormat.PlainText)
            text.setWordWrap(True)
            number = len(self._lines)
            self._grid.addWidget(sign, number, 0, Qt.AlignmentFlag.AlignTop)
            self._grid.addWidget(text, number, 1)
            self._lines.append((sign, text))
        for (sign, text), stage in zip(self._lines, stages, strict=False):
            mark, role, tip = LOOKS[stage.state]
            sign.setText(mark)
            text.setText(f"{stage.title}: {stage.text}" if stage.text else stage.title)
            for label in (sign, text):
                label.setToolTip(tip)
                set_role(label, role)

    def text(self) -> str:
        """Return the lines as they are shown."""
        lines = self._lines[: len(self._shown)]
        return "\n".join(f"{sign.text()} {text.text()}" for sign, text in lines)
