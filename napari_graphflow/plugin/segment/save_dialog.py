"""The dialog in which the file of a mask is chosen."""

from pathlib import Path

from napari.layers import Labels
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_graphflow.imaging.formats.endings import split_ending
from napari_graphflow.plugin.viewer.case_files import origin_file
from napari_graphflow.plugin.viewer.cases import Shown


def ask_where_to_save(parent: QWidget, layer: Labels, shown: Shown) -> Path | None:
    """Suggest a file next to the image of the mask, and return the chosen one."""
    source = origin_file(shown.image) if shown.image is not None else None
    source = source or Path(shown.name)
    flat = layer.ndim == 2
    suffix = ".png" if flat else ".nii.gz"
    kinds = "2D images (*.png *.tif)" if flat else "Volumes (*.nii.gz *.nii *.nrrd *.mha)"
    path, _ = QFileDialog.getSaveFileName(
        parent,
        f"Save {layer.name} of {shown.name}",
        str(source.with_name(f"{split_ending(source.name)[0]}_mask{suffix}")),
        kinds,
    )
    if not path:
        return None
    chosen = Path(path)
    return chosen if chosen.suffix else chosen.with_name(chosen.name + suffix)
