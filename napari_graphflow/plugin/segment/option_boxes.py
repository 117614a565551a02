"""The choices of *Segment* that change the mask: mirroring, and only the largest parts."""

from collections.abc import Callable

from qtpy.QtWidgets import QCheckBox

from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.prediction import PredictionOptions
from napari_graphflow.plugin.widgets.words import in_words

NOT_MIRRORED = "The model was not trained on mirrored images, so that left and right would mix."
NOTHING_LEARNT = "The validation cases did not show that it helps for any structure of the model."


class OptionBoxes:
    """Two boxes, which can be changed only where the chosen model allows it.

    Parameters
    ----------
    changed
        Called when the user changes one.
    """

    def __init__(self, changed: Callable[[], object]) -> None:
        self.mirror = QCheckBox("also mirrored")
        self.largest = QCheckBox("only the largest part")
        self._card: ModelCard | None = None
        for box in (self.mirror, self.largest):
            box.toggled.connect(lambda _: changed())
        self.show_for(None)

    def show_for(self, card: ModelCard | None) -> None:
        """Show what a model does by default, unless it is already shown."""
        if card is not None and card == self._card:
            return
        self._card = card
        axes = () if card is None else card.mirror or card.trained_mirrored
        parts = () if card is None else card.largest_part
        for box, able, on in (
            (self.mirror, bool(axes), bool(card and card.mirror)),
            (self.largest, bool(parts), bool(parts)),
        ):
            box.blockSignals(True)
            box.setEnabled(able)
            box.setChecked(on)
            box.blockSignals(False)
        self.mirror.setToolTip(
            "Segment each window mirrored, too, and average: often a little better, "
            f"{2 ** len(axes)} times as slow."
            if axes
            else NOT_MIRRORED
        )
        self.largest.setToolTip(
            "Keep only the largest part of "
            f"{in_words(', '.join(parts))}, which helped on the validation cases."
            if parts
            else NOTHING_LEARNT
        )

    def options(self) -> PredictionOptions:
        """Return what is chosen; what the model does by default is left to its card."""
        default = bool(self._card and self._card.mirror)
        mirror = self.mirror.isChecked()
        return PredictionOptions(
            mirror=None if mirror == default else mirror,
            postprocess=self.largest.isChecked() or not self.largest.isEnabled(),
        )
