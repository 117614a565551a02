"""What runs in a viewer from its first use of this plugin on."""

from napari import Viewer

from napari_graphflow.plugin.viewer.autosave import start_autosave
from napari_graphflow.plugin.viewer.orientation_letters import show_orientation_letters


def start_session(viewer: Viewer | None) -> None:
    """Autosave painted masks, and show the orientation of the patient."""
    start_autosave(viewer)
    show_orientation_letters(viewer)
