"""The two inputs of a comparison: each an open mask, or a saved model to run."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.viewer.layers import image_volume, is_mask
from napari_graphflow.plugin.widgets.layer_combo import LayerCombo
from napari_graphflow.plugin.widgets.list_watch import ListRefresher
from napari_graphflow.plugin.widgets.progress import ProgressRow
from napari_graphflow.plugin.widgets.saved_models import saved_models
from napari_graphflow.plugin.worker.requests import Request, dispatcher
from napari_graphflow.plugin.worker.segmentation import (
    SegmentationResult,
    Task,
    add_mask,
    request_segmentation,
)


class MaskOrModelCombo(LayerCombo):
    """Lists the masks in the viewer, followed by the saved models."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer, is_mask, empty="no mask is open")
        ListRefresher(self, self._list_changed)

    def model(self) -> Path | None:
        """Return the folder of the chosen model, or None if no model is chosen."""
        found = self.currentData()
        return Path(found) if isinstance(found, str) else None

    def choose_model(self, folder: Path) -> None:
        """Choose a model that is listed."""
        self.setCurrentIndex(self.findData(str(folder)))

    def showPopup(self) -> None:
        """Refresh the list each time it is opened."""
        self.refresh()
        super().showPopup()

    def _list_changed(self) -> bool:
        choosing = bool(self.view().isVisible())
        if not choosing:
            self.refresh()
        return not choosing

    def _more(self) -> list[tuple[str, Any]]:
        return [(f"run {card.name}", str(folder)) for folder, card in saved_models().items()]


class ModelRuns:
    """Runs the chosen models on one image and selects the resulting masks instead.

    Parameters
    ----------
    viewer
        Receives the masks.
    progress
        Shows the progress.
    done
        Called once a mask is selected in every combo.
    failed
        Called with the error; masks that are finished stay.
    cancelled
        Called after the runs were cancelled.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        progress: ProgressRow,
        done: Callable[[], None],
        failed: Callable[[Exception], None],
        cancelled: Callable[[], None],
    ) -> None:
        self._viewer, self._progress = viewer, progress
        self._done, self._failed, self._cancelled = done, failed, cancelled
        self._request: Request | None = None
        progress.cancelled.connect(self.cancel)

    @property
    def running(self) -> bool:
        """Whether a model is running."""
        return self._request is not None

    def start(self, combos: list[MaskOrModelCombo], image: Image) -> None:
        """Run the chosen models one after the other."""
        waiting = [combo for combo in combos if combo.model() is not None]
        if not waiting:
            self._end(self._done)
            return
        folder = waiting[0].model()
        assert folder is not None
        try:
            card = read_model_card(folder)
            task = Task(image, card, image_volume(image))
        except UserError as error:
            self._end(partial(self._failed, error))
            return
        self._progress.wait(f"running {card.name} …")
        self._request = request_segmentation(
            task,
            folder,
            "auto",
            progress=self._progress.follow,
            done=lambda found: self._show(waiting, task, found),
            failed=lambda error: self._end(partial(self._failed, error)),
            cancelled=lambda: self._end(self._cancelled),
        )

    def cancel(self) -> None:
        """Cancel the running model."""
        if self._request is not None:
            self._progress.wait("cancelling …")
            dispatcher().cancel(self._request)

    def release(self) -> None:
        """Drop the pending request."""
        if self._request is not None:
            dispatcher().drop(self._request)

    def _show(self, waiting: list[MaskOrModelCombo], task: Task, found: SegmentationResult) -> None:
        reply, labels, _ = found
        if task.image not in self._viewer.layers:
            self._end(self._cancelled)
            return
        mask: Labels = add_mask(self._viewer, task, labels, reply["classes"])
        waiting[0].choose(mask)
        self.start(waiting[1:], task.image)

    def _end(self, then: Callable[[], None]) -> None:
        self._request = None
        self._progress.hide()
        then()
