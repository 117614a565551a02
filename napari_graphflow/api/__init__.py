"""What ``import napari_graphflow as gf`` offers; a thin layer over the other rooms."""
