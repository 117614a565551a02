"""Layers and files in napari's viewer."""
