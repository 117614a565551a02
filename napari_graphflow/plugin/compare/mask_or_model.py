"""The two inputs of a comparison: each an open mask, or a saved model to run."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer

from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.viewer.cases import Cases, cases_of
from napari_graphflow.plugin.viewer.channels import volume_for
from napari_graphflow.plugin.viewer.layers import is_mask
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


def is_mask_of_shown(cases: Cases, layer: Layer) -> bool:
    """Whether a layer is a mask of the case that is shown."""
    shown = cases.shown()
    return shown is not None and is_mask(layer) and cases.key(layer) == shown.key


class MaskOrModelCombo(LayerCombo):
    """Lists the masks in the viewer, followed by the saved models."""

    def __init__(self, viewer: ViewerModel) -> None:
        accept = partial(is_mask_of_shown, cases_of(viewer))
        super().__init__(viewer, accept, empty="no mask is open")
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
    """Runs models on one image, one after the other.

    Parameters
    ----------
    viewer
        Receives the masks.
    progress
        Shows the progress.
    """

    def __init__(self, viewer: ViewerModel, progress: ProgressRow) -> None:
        self._viewer, self._progress = viewer, progress
        self._request: Request | None = None
        progress.cancelled.connect(self.cancel)

    @property
    def running(self) -> bool:
        """Whether a model is running."""
        return self._request is not None

    def start(
        self,
        sides: list[Labels | Path],
        image: Image,
        *,
        done: Callable[[list[Labels]], None],
        failed: Callable[[Exception], None],
        cancelled: Callable[[], None],
    ) -> None:
        """Run the models among the sides on an image.

        Parameters
        ----------
        sides
            Masks, and folders of models to run.
        image
            The image; the masks of the models belong to its case, whatever is shown meanwhile.
        done
            Called with a mask for every side.
        failed, cancelled
            Called with the error, or after cancelling; masks that are finished stay.
        """
        index = next((n for n, side in enumerate(sides) if isinstance(side, Path)), None)
        if index is None:
            self._end(partial(done, [side for side in sides if isinstance(side, Labels)]))
            return
        folder = Path(str(sides[index]))
        try:
            card = read_model_card(folder)
            volume = volume_for(image, card, cases_of(self._viewer))
            task = Task(image, card, volume, made_by=str(folder))
        except UserError as error:
            self._end(partial(failed, error))
            return

        def show(found: SegmentationResult) -> None:
            if image not in self._viewer.layers:
                self._end(cancelled)
                return
            reply, labels, _ = found
            mask = add_mask(self._viewer, task, labels, reply["classes"])
            rest = [*sides[:index], mask, *sides[index + 1 :]]
            self.start(rest, image, done=done, failed=failed, cancelled=cancelled)

        self._progress.wait(f"running {card.name} …")
        self._request = request_segmentation(
            task,
            folder,
            "auto",
            progress=self._progress.follow,
            done=show,
            failed=lambda error: self._end(partial(failed, error)),
            cancelled=lambda: self._end(cancelled),
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

    def _end(self, then: Callable[[], None]) -> None:
        self._request = None
        self._progress.hide()
        then()
