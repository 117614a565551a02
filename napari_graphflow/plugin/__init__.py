"""The napari part: the only place that knows napari and Qt, and that never loads torch."""
