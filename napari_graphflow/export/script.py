"""Copy a script into an export, so that it runs without this project."""

import re
from collections.abc import Sequence
from pathlib import Path

import napari_graphflow

#: Files of this project that the script of a network alone runs: they need numpy and SimpleITK.
STEPS = (
    "errors",
    "config.padding",
    "export.runtimes",
    "imaging.intensities",
    "imaging.itk",
    "imaging.parts",
    "imaging.preprocessing",
    "imaging.restoring",
    "imaging.sampling",
    "imaging.volume",
    "inference.engines",
    "inference.whole_volume",
    "inference.windows",
)
#: The only whole file among what they import.
_ITK = "from steps import itk"
_PACKAGE = Path(napari_graphflow.__file__).parent


def copy_script(name: str, folder: Path, steps: Sequence[str] = ()) -> None:
    """Write a script of `export` as ``segment.py`` and, under ``steps``, the files that it runs."""
    (folder / "segment.py").write_text(_standalone(f"export.{name}"), "utf-8")
    for step in steps:
        path = folder / "steps" / f"{step.rpartition('.')[2]}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(_standalone(step), "utf-8")


def _standalone(module: str) -> str:
    """Return the text of a file that imports from ``steps`` instead of this project."""
    source = (_PACKAGE / module.replace(".", "/")).with_suffix(".py")
    text = source.read_text("utf-8").replace("from napari_graphflow.imaging import itk", _ITK)
    pattern = r"from napari_graphflow(?:\.\w+)*\.(\w+) import"
    return re.sub(pattern, r"from steps.\1 import", text)
