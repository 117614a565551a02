"""Services that run in a viewer after the first use of this plugin."""

from napari import Viewer

from napari_graphflow.plugin.viewer.autosave import start_autosave
from napari_graphflow.plugin.viewer.orientation_letters import show_orientation_letters


def start_session(viewer: Viewer | None) -> None:
    """Start autosave and show orientation letters."""
    start_autosave(viewer)
    show_orientation_letters(viewer)
