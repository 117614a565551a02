"""Services that run in a viewer after the first use of this plugin."""

from napari import Viewer

from napari_graphflow.plugin.viewer.autosave import start_autosave
from napari_graphflow.plugin.viewer.orientation_letters import show_orientation_letters
from napari_graphflow.plugin.viewer.overlay import warn_of_overlays


def start_session(viewer: Viewer | None) -> None:
    """Start autosave, show orientation letters, and warn of overlays that are not true."""
    start_autosave(viewer)
    show_orientation_letters(viewer)
    if viewer is not None:
        warn_of_overlays(getattr(viewer, "__wrapped__", viewer))
