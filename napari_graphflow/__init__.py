"""Distil large segmentation networks into small ones, inside napari.

``import napari_graphflow as gf`` gives `gf.read_volume`, `gf.load_model`, `gf.segment`,
`gf.train`, `gf.distill`, `gf.evaluate`, `gf.import_teacher` and `gf.losses`. Each is imported when
it is first used, so that importing the package costs nothing.
"""

from importlib import import_module

TYPE_CHECKING = False  # as in `typing`, which would have to be imported
if TYPE_CHECKING:
    from napari_graphflow.api import losses
    from napari_graphflow.api.apply import evaluate, load_model, segment
    from napari_graphflow.api.runs import distill, train
    from napari_graphflow.api.teachers import import_teacher
    from napari_graphflow.imaging.files import read_volume
    from napari_graphflow.models.importing import ImportOptions

    __version__: str

__all__ = [
    "ImportOptions",
    "__version__",
    "distill",
    "evaluate",
    "import_teacher",
    "load_model",
    "losses",
    "read_volume",
    "segment",
    "train",
]

#: Module of each name; an empty attribute stands for the module itself.
_NAMES = {
    "read_volume": "imaging.files:read_volume",
    "load_model": "api.apply:load_model",
    "segment": "api.apply:segment",
    "evaluate": "api.apply:evaluate",
    "train": "api.runs:train",
    "distill": "api.runs:distill",
    "losses": "api.losses:",
    "ImportOptions": "models.importing:ImportOptions",
    "import_teacher": "api.teachers:import_teacher",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        globals()[name] = found_version = _version()
        return found_version
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _NAMES[name].split(":")
    found = import_module(f"{__name__}.{module}")
    return getattr(found, attribute) if attribute else found


def _version() -> str:
    """Return the version that was installed, which is made from the tags of the repository."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("napari-graphflow")
    except PackageNotFoundError:  # a checkout on the path, without an installation
        return "unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES})
