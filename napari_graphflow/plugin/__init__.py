"""The napari plugin: the only package that imports napari and Qt; it never loads torch."""
