"""The layers of a comparison: outlines, disagreement, reference; flicker and side by side."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.colormaps import CyclicLabelColormap
from numpy.typing import NDArray

from napari_graphflow.evaluation.comparison import DISAGREEMENT
from napari_graphflow.plugin.viewer.cases import PANEL, Cases
from napari_graphflow.plugin.viewer.layers import class_table
from napari_graphflow.plugin.viewer.placement import DERIVED
from napari_graphflow.plugin.viewer.world import transform_keywords, voxels

COLOURS = {"A": "#35c8f0", "B": "#ff9d3c", "reference": "#6fdc6f"}


class ComparisonViews:
    """Adds and removes the layers of the last comparison.

    Parameters
    ----------
    viewer, cases
        Where they are shown.
    """

    def __init__(self, viewer: ViewerModel, cases: Cases) -> None:
        self._viewer, self._cases = viewer, cases
        self._layers: dict[str, Labels] = {}
        self._copies: list[Any] = []
        self._masks: tuple[Labels, ...] = ()
        self._reference: Labels | None = None
        #: The side that flicker shows alone, if any.
        self.flickering = ""

    def show(
        self,
        a: Labels,
        b: Labels,
        reference: Labels | None,
        differs: NDArray[Any],
        wanted: Callable[[], Mapping[str, bool]],
    ) -> Iterator[None]:
        """Replace the layers by those of another comparison, one in each step.

        Parameters
        ----------
        a, b, reference
            The masks.
        differs
            Where they differ, in their grid.
        wanted
            Returns the keywords of `update`.
        """
        self.remove()
        self._masks, self._reference = (a, b), reference
        for other in self._viewer.layers:
            # Filled below the outlines, a third mask would be taken for one of the two.
            third = isinstance(other, Labels) and other not in (a, b)
            if third and self._cases.key(other) == self._cases.key(a):
                self._cases.set_visible(other, visible=False)
        colours = [COLOURS["A"], COLOURS["B"], "#ff4fb0"]
        table = class_table(DISAGREEMENT)
        # Shown from the start, because napari takes as long to show a layer as to add it.
        shown = self._shown(**wanted())["disagreement"]
        self._layers["disagreement"] = self._add(differs, "disagreement", colours, a, shown, table)
        yield
        outlined = {"A": a, "B": b} | ({} if reference is None else {"reference": reference})
        for title, layer in outlined.items():
            if a not in self._viewer.layers:
                self.remove()
                return
            name, shown = f"outline {title}: {layer.name}", self._shown(**wanted())[title]
            self._layers[title] = self._add(voxels(layer), name, [COLOURS[title]], a, shown)
            yield
        self.update(**wanted())

    def _shown(self, *, outlines: bool, disagreement: bool) -> dict[str, bool]:
        """Return which of the layers are shown."""
        return {
            "disagreement": disagreement,
            "A": outlines and self.flickering in ("", "A"),
            "B": outlines and self.flickering in ("", "B"),
            "reference": True,
        }

    def update(self, *, outlines: bool, disagreement: bool) -> None:
        """Show what is wanted; without outlines the masks themselves."""
        wanted = self._shown(outlines=outlines, disagreement=disagreement)
        for title, layer in self._layers.items():
            self._cases.set_visible(layer, wanted[title])
        if self._reference is not None:
            self._cases.set_visible(self._reference, False)  # its outline is shown
        if self._layers:
            for title, mask in zip("AB", self._masks, strict=True):
                shown = not outlines and self.flickering in ("", title)
                self._cases.set_visible(mask, shown)

    def flicker(self) -> str:
        """Show A alone, then B alone, ...; return which."""
        if not self._layers:
            return ""
        self.flickering = "B" if self.flickering == "A" else "A"
        return self.flickering

    def side_by_side(self, image: Image | None, wanted: bool) -> None:
        """Show A in one half of napari's grid and B in the other, or both over each other."""
        for layer in self._copies:
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._copies = []
        moved = self._layers.get("B")
        if moved is not None:
            moved.metadata[PANEL] = int(wanted)
        if wanted and moved is not None:
            if image is not None:
                self._copies.append(self._copy(image))
            if "reference" in self._layers:
                one = self._layers["reference"]
                name, colours = "outline reference (B)", [COLOURS["reference"]]
                again = self._add(one.data, name, colours, one, visible=True)
                again.metadata[PANEL] = 1
                self._copies.append(again)
        self._cases.side_by_side = wanted

    def remove(self) -> None:
        """Remove all layers of the last comparison."""
        if self._copies:
            self.side_by_side(None, False)
        for layer in self._layers.values():
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
        self._layers, self._masks, self._reference, self.flickering = {}, (), None, ""

    def _copy(self, image: Image) -> Image:
        one = Image(
            image.data,
            name=f"{image.name} (B)",
            **transform_keywords(image),
            rgb=image.rgb,
            metadata={DERIVED: image.name, PANEL: 1},
        )
        if not image.rgb:
            one.contrast_limits, one.colormap = image.contrast_limits, image.colormap
        self._cases.add(one, image)
        # Below the outlines, and above A's image, so that A stands on the left.
        layers = self._viewer.layers
        layers.move(layers.index(one), layers.index(image) + 1)
        return one

    def _add(
        self,
        data: NDArray[Any],
        name: str,
        colours: list[str],
        like: Labels,
        visible: bool,
        features: Mapping[str, Any] | None = None,
    ) -> Labels:
        contour = features is None
        layer = Labels(
            data,
            name=name,
            **transform_keywords(like),
            colormap=CyclicLabelColormap(colors=["transparent", *colours]),
            metadata={DERIVED: like.name},
            opacity=1.0 if contour else 0.6,
            visible=visible,
            features=features,
        )
        layer.contour = int(contour)
        layer.editable = False
        self._cases.add(layer, like)
        return layer
