"""Services that run in a viewer after the first use of this plugin."""

from weakref import WeakSet

from napari import Viewer

from napari_graphflow.plugin.viewer.autosave import start_autosave
from napari_graphflow.plugin.viewer.cases import cases_of
from napari_graphflow.plugin.viewer.default_reader import ask_once
from napari_graphflow.plugin.viewer.edits import follow_edits
from napari_graphflow.plugin.viewer.orientation_letters import show_orientation_letters
from napari_graphflow.plugin.viewer.overlay import warn_of_overlays

_started: "WeakSet[Viewer]" = WeakSet()


def start_session(viewer: Viewer | None) -> None:
    """Start what runs in a viewer: cases, edits, autosave, letters, warnings, questions."""
    if viewer is None:
        return
    viewer = getattr(viewer, "__wrapped__", viewer)
    cases_of(viewer)
    if viewer not in _started:
        _started.add(viewer)
        follow_edits(viewer)
    start_autosave(viewer)
    show_orientation_letters(viewer)
    warn_of_overlays(viewer)
    ask_once(viewer)
