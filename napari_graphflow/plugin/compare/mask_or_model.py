"""The two inputs of a comparison: each an open mask, or a saved model to run."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer

from napari_graphflow.config.model_card import WEIGHTS, ModelCard, read_model_card
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.compare.presenter import cost
from napari_graphflow.plugin.viewer.cases import Cases, cases_of
from napari_graphflow.plugin.viewer.channels import volume_for
from napari_graphflow.plugin.viewer.edits import maker_of
from napari_graphflow.plugin.viewer.layer_facts import reason_not_to_fit_layer
from napari_graphflow.plugin.viewer.layers import is_mask
from napari_graphflow.plugin.widgets.layer_combo import LayerCombo
from napari_graphflow.plugin.widgets.list_watch import ListRefresher
from napari_graphflow.plugin.widgets.progress import ProgressRow
from napari_graphflow.plugin.widgets.saved_models import saved_models
from napari_graphflow.plugin.widgets.unfit import mark_entry
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
        self._cases = cases_of(viewer)
        self._cards: dict[Path, ModelCard] = {}
        self._reasons: dict[str, str] = {}
        accept = partial(is_mask_of_shown, self._cases)
        super().__init__(viewer, accept, empty="no mask is open")
        ListRefresher(self, self._list_changed)

    def model(self) -> Path | None:
        """Return the folder of the chosen model, or None if no model is chosen."""
        found = self.currentData()
        return Path(found) if isinstance(found, str) else None

    def maker(self) -> Path | None:
        """Return the folder of the chosen model, or of the model that made the chosen mask."""
        mask = self.layer()
        made_by = maker_of(mask) if isinstance(mask, Labels) else ""
        return Path(made_by) if made_by and Path(made_by).is_dir() else self.model()

    def choose_model(self, folder: Path) -> None:
        """Choose a model that is listed."""
        self.setCurrentIndex(self.findData(str(folder)))

    def showPopup(self) -> None:
        """Refresh the list each time it is opened."""
        self.refresh()
        super().showPopup()

    def refresh(self, event: Any = None) -> None:
        """List the masks and models, and grey the models that do not fit the shown image."""
        super().refresh(event)
        for folder, card in self._cards.items():
            index = self.findData(str(folder))
            mark_entry(self, index, f"run {card.name}", self._reasons.get(str(folder)))

    def misfit(self) -> str:
        """Return why the chosen model does not fit the shown image; empty if it does."""
        shown, folder = self._cases.shown(), str(self.currentData())
        if shown is None or folder not in self._reasons:
            return ""
        name = self._cards[Path(folder)].name
        return f"{name} does not fit {shown.name}: {self._reasons[folder]}."

    def _list_changed(self) -> bool:
        choosing = bool(self.view().isVisible())
        if not choosing:
            self.refresh()
        return not choosing

    def _more(self) -> list[tuple[str, Any]]:
        self._cards, shown = saved_models(), self._cases.shown()
        image = shown.image if shown else None
        self._reasons = {
            str(folder): reason
            for folder, card in self._cards.items()
            if image and (reason := reason_not_to_fit_layer(card, image, self._cases))
        }
        return [(f"run {card.name}", str(folder)) for folder, card in self._cards.items()]


class ModelRuns:
    """Runs models on one image, one after the other.

    Parameters
    ----------
    viewer
        Receives the masks.
    progress
        Shows the progress.

    Attributes
    ----------
    cautions
        What the user must know about the masks since they were last cleared.
    costs
        What each model cost in the last runs, as sentences.
    """

    def __init__(self, viewer: ViewerModel, progress: ProgressRow) -> None:
        self._viewer, self._progress = viewer, progress
        self._request: Request | None = None
        self.cautions: list[str] = []
        self.costs: list[str] = []
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
            self.cautions += reply["cautions"]
            self.costs.append(cost(card.name, card, _size(folder), reply))
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


def _size(folder: Path) -> int | None:
    with suppress(OSError):
        return (folder / WEIGHTS).stat().st_size
    return None
