"""From which file a layer came, and which files are opened in one go; without Qt."""

from contextlib import suppress
from pathlib import Path

from napari.layers import Layer
from napari.utils import progress

from napari_graphflow.imaging.channel_files import case_of_file
from napari_graphflow.imaging.formats.endings import split_ending
from napari_graphflow.plugin.viewer.record import recorded


def origin_file(layer: Layer) -> Path | None:
    """Return the file or folder from which any reader opened a layer, None if from none."""
    known = recorded(layer)
    found = (known.path if known is not None else "") or layer.source.path
    return Path(found).absolute() if found else None


def case_title(layer: Layer) -> str:
    """Return the name of a layer without the number of a channel, if a person did not give it."""
    file = origin_file(layer)
    unchanged = file is not None and layer.name == split_ending(file.name)[0]
    return case_of_file(file) if file is not None and unchanged else str(layer.name)


def file_key(path: Path, series: str = "") -> str:
    """Return what identifies an image file: path, DICOM series, size and time of change.

    A file that was replaced under its name is another image.
    """
    version = ""
    with suppress(OSError):
        status = path.stat()
        version = f"{status.st_size}-{status.st_mtime_ns}"
    return f"{path}|{series}|{version}"


def series_of(layer: Layer) -> str:
    """Return the key of the DICOM series of a layer, empty if it is of none."""
    known = recorded(layer)
    return known.series if known is not None else ""


def current_drop() -> frozenset[Path]:
    """Return the files that napari is opening in one go, empty if it opens none."""
    bars = list(progress._all_instances)  # noqa: SLF001 - napari names them nowhere else
    for bar in bars:
        paths = getattr(bar, "iterable", None)
        if isinstance(paths, list) and all(isinstance(one, str) for one in paths):
            return frozenset(Path(one).absolute() for one in paths)
    return frozenset()
