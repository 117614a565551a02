"""Distil large segmentation networks into small ones, inside napari."""

__version__ = "0.1.0"
