"""Grey the models of a list that do not fit, with the reason."""

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.plugin.widgets.words import as_text

#: Returns why a model does not fit, as a clause, or None.
Judge = Callable[[ModelCard], str | None]


def mark_entry(combo: QComboBox, index: int, title: str, reason: str | None) -> None:
    """Show the reason in an entry that cannot be chosen; enable the entry if there is none."""
    combo.setItemText(index, f"{title}: {reason}" if reason else title)
    combo.setItemData(index, as_text(reason) if reason else None, Qt.ItemDataRole.ToolTipRole)
    # A list of masks and models has a method of this name of its own.
    QComboBox.model(combo).item(index).setEnabled(not reason)
