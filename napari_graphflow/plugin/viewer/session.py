"""What goes on in a viewer from the first time on that it uses anything of ours."""

from napari import Viewer

from napari_graphflow.plugin.viewer.autosave import watch
from napari_graphflow.plugin.viewer.orientation_letters import show_letters


def attend(viewer: Viewer | None) -> None:
    """Keep painted masks aside, and show which way the patient lies."""
    watch(viewer)
    show_letters(viewer)
