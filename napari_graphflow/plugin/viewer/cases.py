"""Which patient a layer belongs to, and which one is shown and selected; without Qt.

A case is one scan with everything that lies on it: its channels, masks, maps and annotations. Every
layer of a viewer belongs to one case. One case is shown at a time: opening or selecting another one
hides the layers of the last, because two patients in one space are soon taken for one. Docks ask
here what to work on whenever they need it, and remember nothing themselves.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer
from napari.utils.events import EmitterGroup
from napari.utils.notifications import show_info, show_warning

from napari_graphflow.plugin.viewer.case_files import case_title, file_key, origin_file, series_of
from napari_graphflow.plugin.viewer.case_matching import (
    case_of_annotation,
    case_of_image,
    case_of_mask,
    was_opened_for,
    why_apart,
)
from napari_graphflow.plugin.viewer.case_names import opened_text
from napari_graphflow.plugin.viewer.case_views import (
    View,
    current_view,
    grid_of,
    group_by_case,
    look_at,
    set_view,
)
from napari_graphflow.plugin.viewer.layers import is_image
from napari_graphflow.plugin.viewer.placement import CASE, same_place

_numbers = count(1)
_cases: "WeakKeyDictionary[ViewerModel, Cases]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Shown:
    """The case that is shown and selected.

    Attributes
    ----------
    key, name
        What identifies the case, and its name for a person.
    image
        The image of the case that is selected or uppermost, None if the case has none.
    """

    key: str
    name: str
    image: Image | None


#: In the metadata of a layer: the part of the grid, among those of its case, in which it is shown.
PANEL = "graphflow_panel"


class Cases:
    """The cases of one viewer, which is referenced weakly.

    `events.changed` is emitted whenever another answer of `shown` is possible.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = ref(viewer)
        self.events = EmitterGroup(source=self, changed=None)
        self._keys: WeakKeyDictionary[Layer, str] = WeakKeyDictionary()
        #: Layers of cases that are put away, and whether they were visible.
        self._away: WeakKeyDictionary[Layer, bool] = WeakKeyDictionary()
        self._followed: WeakSet[Layer] = WeakSet()
        self._views: dict[str, View] = {}
        self._current = ""
        self._busy = False
        # What was shown while these layers were made is not known.
        self._started = False
        for layer in sorted(viewer.layers, key=lambda one: not is_image(one)):
            self._follow(layer)
        self._started = True
        self._current = shown.key if (shown := self.shown()) is not None else ""
        if self._current and (away := self._put_others_away()):
            self._say_hidden(away)
        # Last, so that napari has already adapted its sliders to the new layer.
        viewer.layers.events.inserted.connect(self._inserted, position="last")
        viewer.layers.events.removed.connect(self._removed, position="last")
        viewer.layers.events.reordered.connect(self._emit)
        viewer.layers.selection.events.active.connect(self._selected)
        viewer.layers.selection.events.changed.connect(self._emit)
        group_by_case(viewer, self._case_numbers)
        grid_of(viewer).events.enabled.connect(self._side_by_side_changed, position="last")

    def shown(self) -> Shown | None:
        """Return the case to work on: of the selected layer if it is visible, else the uppermost.

        None if nothing is visible, or if layers of several cases are selected or side by side.
        """
        visible = [layer for layer in self._layers() if layer.visible]
        viewer = self._viewer()
        selected = [layer for layer in visible if viewer and layer in viewer.layers.selection]
        keys = {self._keys[layer] for layer in selected}
        if not keys and self.side_by_side:
            keys = {self._keys[layer] for layer in visible}
        if not keys and visible:
            images = [layer for layer in visible if isinstance(layer, Image)]
            keys = {self._keys[(images or visible)[-1]]}
        if len(keys) != 1:
            return None
        key = keys.pop()
        return Shown(key, self.name(key), self._image(key, selected[-1] if selected else None))

    def advice(self) -> str:
        """Return what to do if no case is shown."""
        if not self._layers():
            return "Open an image: drop a file onto the window or use File > Open Sample."
        if not any(layer.visible for layer in self._layers()):
            return "No image is shown. Click the eye of an image in the layer list."
        return "Several cases are selected or side by side. Select a layer of one of them."

    def key(self, layer: Layer) -> str:
        """Return what identifies the case of a layer."""
        if layer not in self._keys:
            self._keys[layer] = self._find_key(layer)
            layer.metadata[CASE] = self._keys[layer]
        return self._keys[layer]

    def new_key(self, layer: Layer) -> str:
        """Return a key for a layer that is a case of its own."""
        return f"{layer.name}|{next(_numbers)}"

    def image_of(self, layer: Layer) -> Image | None:
        """Return the image on which a layer lies, None if its case has none."""
        return self._image(self.key(layer), layer)

    def layers(self, key: str) -> list[Layer]:
        """Return the layers of a case, the uppermost last."""
        return [layer for layer in self._layers() if self._keys[layer] == key]

    def name(self, key: str) -> str:
        """Return the name of a case: that of its image, as in the layer list."""
        layers = self.layers(key)
        images = [layer for layer in layers if is_image(layer)]
        if not layers:
            return Path(key.split("|", maxsplit=1)[0]).name
        name = case_title((images or layers)[0])
        return name.removesuffix(" [0]") if len(images) > 1 else name

    def keys(self) -> list[str]:
        """Return the cases in the order of their layers."""
        return list(dict.fromkeys(self._keys[layer] for layer in self._layers()))

    def show(self, layer: Layer) -> None:
        """Show the case of a layer, and select the layer."""
        viewer = self._viewer()
        if viewer is None or layer not in viewer.layers:
            return
        self._switch(self.key(layer))
        with self._quiet():
            layer.visible = True
        viewer.layers.selection.active = layer
        self._emit()

    def add(self, layer: Layer, like: Layer) -> Layer:
        """Add a result to the case of `like`; what is shown and selected stays.

        If another case is shown meanwhile, the layer appears with its own case.
        """
        viewer = self._viewer()
        assert viewer is not None
        layer.metadata[CASE] = self.key(like)
        before = set(viewer.layers.selection)
        with self._quiet():
            viewer.add_layer(layer)
            viewer.layers.selection.clear()
            viewer.layers.selection.update(before)
        self._emit()
        return layer

    def set_visible(self, layer: Layer, visible: bool) -> None:
        """Show or hide a layer of an open case; at once, or when its case is shown again."""
        if layer in self._away:
            self._away[layer] = visible
        elif layer in self._layers() and layer.visible != visible:
            layer.visible = visible

    @property
    def side_by_side(self) -> bool:
        """Whether all cases are shown, each in a part of the window, as in napari's grid mode."""
        viewer = self._viewer()
        return viewer is not None and bool(grid_of(viewer).enabled)

    @side_by_side.setter
    def side_by_side(self, wanted: bool) -> None:
        viewer = self._viewer()
        if viewer is not None:
            grid_of(viewer).enabled = wanted

    def _case_numbers(self) -> list[int]:
        """Return the number of the case, and of the part of it, of each layer of the viewer."""
        viewer = self._viewer()
        layers = viewer.layers if viewer is not None else []
        keys = [(self.key(layer), layer.metadata.get(PANEL, 0)) for layer in layers]
        order = list(dict.fromkeys(keys))
        return [order.index(key) for key in keys]

    def _layers(self) -> list[Layer]:
        viewer = self._viewer()
        return [layer for layer in viewer.layers if layer in self._keys] if viewer else []

    def _image(self, key: str, near: Layer | None) -> Image | None:
        images = [layer for layer in self.layers(key) if isinstance(layer, Image)]
        images = [layer for layer in images if is_image(layer)]
        if near in images:
            return near
        if len(images) == 1:
            return images[0]
        return max(
            reversed(images),
            key=lambda one: (one.visible, near is not None and same_place(near, one)),
            default=None,
        )

    def _find_key(self, layer: Layer) -> str:
        recorded = layer.metadata.get(CASE)
        if isinstance(recorded, str) and recorded:
            return recorded
        parent = layer.source.parent
        parent = parent() if isinstance(parent, ref) else parent
        if parent is not None and parent in self._keys:
            return self._keys[parent]
        images = [(other, self._keys[other]) for other in self._layers() if is_image(other)]
        file = origin_file(layer)
        shown = self._shown_key() if self._started or not images else ""
        if is_image(layer):
            found = case_of_image(layer, images)
        elif file is not None:
            found = case_of_mask(layer, images, shown)
        else:
            found = shown or case_of_annotation(layer, images)
        if found:
            return found
        return self.new_key(layer) if file is None else file_key(file, series_of(layer))

    def _adopt_masks(self, image: Layer) -> None:
        """Let masks that were opened before their image belong to its case."""
        for mask in self._layers():
            key = self._keys[mask]
            alone = isinstance(mask, Labels) and not any(map(is_image, self.layers(key)))
            if alone and was_opened_for(mask, image):
                self._keys[mask] = mask.metadata[CASE] = self._keys[image]

    def _shown_key(self) -> str:
        shown = self.shown()
        return shown.key if shown is not None else ""

    def _follow(self, layer: Layer) -> None:
        self.key(layer)
        self._followed.add(layer)
        layer.events.visible.connect(self._eye_clicked)
        layer.events.name.connect(self._emit)

    def _inserted(self, event: Any) -> None:
        layer = event.value
        new = layer not in self._followed
        self._follow(layer)
        key = self._keys[layer]
        if new and is_image(layer):
            self._adopt_masks(layer)
        if self._busy and self._current and key != self._current and not self.side_by_side:
            self._hide(layer)
        elif not self._busy and key != self._current:
            first = len(self.layers(key)) == 1 or is_image(layer)
            self._switch(key, opened=first)
        self._emit()

    def _removed(self, event: Any) -> None:
        viewer = self._viewer()
        layers = self._layers()
        if viewer is not None and layers and not self.layers(self._current):
            self._switch(self._keys[viewer.layers.selection.active or layers[-1]])
        self._emit()

    def _selected(self, event: Any) -> None:
        viewer = self._viewer()
        active = viewer.layers.selection.active if viewer is not None else None
        # A layer that is being added is selected before it has a case.
        if active is not None and active in self._keys and not self._busy:
            self._switch(self._keys[active])
        self._emit()

    def _eye_clicked(self, event: Any) -> None:
        layer = event.source
        if self._busy or layer not in self._keys:
            return
        if layer.visible and layer in self._away:
            self.show(layer)
        self._emit()

    def _side_by_side_changed(self, event: Any) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        if self.side_by_side:
            self._bring_back(self._layers())
        else:
            active = viewer.layers.selection.active
            layers = [layer for layer in self._layers() if layer.visible] or self._layers()
            if layers:
                self._current = self._keys[active if active in self._keys else layers[-1]]
                self._put_others_away()
        if layers := self._layers():
            viewer.reset_view(layers=layers if self.side_by_side else self.layers(self._current))
        self._emit()

    def _switch(self, key: str, *, opened: bool = False) -> None:
        """Show one case and hide the others."""
        viewer = self._viewer()
        if viewer is None or key == self._current:
            return
        last, self._current = self._current, key
        if self.side_by_side:
            return
        if last:
            self._views[last] = current_view(viewer)
        away = self._put_others_away()
        self._bring_back(self.layers(key))
        if opened or key not in self._views:
            look_at(viewer, self._image(key, None) or self.layers(key)[-1])
        else:
            set_view(viewer, self._views[key])
        if opened and away:
            self._say_hidden(away)

    def _say_hidden(self, away: list[str]) -> None:
        """Say in one line which case is shown and which were hidden, and why a mask is alone."""
        opened, hidden = self.layers(self._current)[-1], self.layers(away[-1])
        text = opened_text(self.name(self._current), [self.name(one) for one in away])
        if reason := why_apart(opened, hidden):
            show_warning(f"{reason} {text}")
        else:
            show_info(text)

    def _put_others_away(self) -> list[str]:
        """Hide all layers of other cases, and return the cases that were visible."""
        others = [layer for layer in self._layers() if self._keys[layer] != self._current]
        seen = [self._keys[layer] for layer in others if layer.visible]
        for layer in others:
            self._hide(layer)
        return list(dict.fromkeys(seen))

    def _hide(self, layer: Layer) -> None:
        if layer not in self._away:
            self._away[layer] = bool(layer.visible)
        with self._quiet():
            layer.visible = False

    def _bring_back(self, layers: list[Layer]) -> None:
        with self._quiet():
            for layer in layers:
                if layer in self._away:
                    layer.visible = self._away.pop(layer) or layer.visible

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before

    def _emit(self, event: Any = None) -> None:
        if not self._busy:
            self.events.changed()


def cases_of(viewer: ViewerModel) -> Cases:
    """Return the cases of a viewer."""
    viewer = getattr(viewer, "__wrapped__", viewer)
    found = _cases.get(viewer)
    if found is None:
        found = _cases[viewer] = Cases(viewer)
    return found
