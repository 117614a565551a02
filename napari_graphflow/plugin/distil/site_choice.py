"""Choose the sites that a run learns from; the others are only scored."""

from collections.abc import Mapping
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QMenu, QPushButton, QWidget

from napari_graphflow.plugin.widgets.layout import note


class SiteChoice(QPushButton):
    """A button with a list of sites to tick.

    Attributes
    ----------
    text_below
        What becomes of the other sites, for the layout of the caller.
    """

    sites_changed = Signal()

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setToolTip(
            "Sites (hospitals, scanners) whose images are learnt from. Images of the others are "
            "never used for training or for choosing weights; Compare and the report score them."
        )
        self.list = QMenu(self)
        self.setMenu(self.list)
        self.text_below = note()
        self._dataset: Path | None = None

    def offer(self, dataset: Path, images: Mapping[str, int]) -> None:
        """List the sites of a dataset with their numbers of images, all ticked.

        Those that the user has left out stay so, also when the dataset got further cases.
        """
        same = dataset == self._dataset
        out = {one.data() for one in self.list.actions() if same and not one.isChecked()}
        ticked = {site: site not in out or not set(images) - out for site in images}
        self._dataset = dataset
        self.list.clear()
        for site, count in images.items():
            action = QAction(f"{site} ({count})".replace("&", "&&"), self.list)
            action.setCheckable(True)
            action.setChecked(ticked[site])
            action.setData(site)
            action.toggled.connect(self._toggled)
            self.list.addAction(action)
        self.sites_changed.emit()

    def sources(self) -> tuple[str, ...]:
        """Return the ticked sites; empty if these are all."""
        actions = self.list.actions()
        ticked = [one.data() for one in actions if one.isChecked()]
        return () if len(ticked) == len(actions) else tuple(ticked)

    def _toggled(self, ticked: bool) -> None:
        actions = self.list.actions()
        if not ticked and not any(one.isChecked() for one in actions):
            last = self.sender()
            assert isinstance(last, QAction)
            last.setChecked(True)  # without a site there is nothing to learn from
            return
        self.sites_changed.emit()
