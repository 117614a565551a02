"""Export a saved model to a folder that runs without this project."""

import json
import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import napari_graphflow
from napari_graphflow.config.exports import EXPORTS, PARITY, SETTINGS, ExportParity, Kind
from napari_graphflow.config.model_card import ModelCard, read_model_card
from napari_graphflow.errors import UserError
from napari_graphflow.export.cases import find_cases
from napari_graphflow.system.files import written_aside
from napari_graphflow.system.install import install_hint

#: Files of this project that an export runs: they need numpy and SimpleITK only.
STEPS = (
    "errors",
    "config.padding",
    "export.runtimes",
    "imaging.intensities",
    "imaging.preprocessing",
    "imaging.restoring",
    "imaging.volume",
    "inference.engines",
    "inference.whole_volume",
    "inference.windows",
)
_PACKAGE = Path(napari_graphflow.__file__).parent


class ParityError(Exception):
    """The export computes something else than the model; the message is for the user."""


def export_model(
    model_folder: Path,
    kind: Kind,
    out: Path,
    cases: Sequence[Path] = (),
    progress: Callable[[str], None] = lambda step: None,
) -> ExportParity:
    """Export a saved model, and compare the export with PyTorch.

    Parameters
    ----------
    model_folder
        Folder of a saved model.
    kind
        Format.
    out
        Folder of the export; must not exist.
    cases
        Images on which it is compared; none generates some.
    progress
        Called with the name of each step.

    Raises
    ------
    UserError
        If the model or a case cannot be read, the folder exists, a package is missing, or the
        network cannot be converted.
    ParityError
        If the results differ; nothing is left at `out`.
    """
    info = EXPORTS[kind]
    card = read_model_card(model_folder)
    if out.exists():
        raise UserError(f"{out} already exists.", "Choose another folder for the export.")
    missing = [name for name in info.packages if find_spec(name) is None]
    if missing:
        raise UserError(f"{missing[0]} is not installed.", install_hint("export"))
    images = list(find_cases(card, cases))
    from napari_graphflow.export.networks import WRITERS
    from napari_graphflow.export.parity import compare
    from napari_graphflow.models.saved import load_model

    model = load_model(model_folder)
    out.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(out) as aside:
        aside.mkdir()
        progress(f"converting to {info.title}")
        network = WRITERS[kind](model, aside)
        write_script(aside)
        settings = export_settings(card, network, model.multiples)
        (aside / SETTINGS).write_text(settings, "utf-8")
        parity = compare(
            model, aside, kind, info.limits, images, lambda case: progress(f"comparing {case}")
        )
        if parity.problem:
            raise ParityError(
                f"The export to {info.title} is not finished: {parity.problem} compared with "
                "PyTorch. Nothing was written."
            )
        (aside / PARITY).write_text(parity.model_dump_json(indent=2), "utf-8")
        (aside / "README.md").write_text(readme(card, kind, parity), "utf-8")
    return parity


def write_script(folder: Path) -> None:
    """Write ``segment.py`` and, under ``steps``, the files of this project that it runs."""
    steps = folder / "steps"
    steps.mkdir()
    for name in STEPS:
        source = (_PACKAGE / name.replace(".", "/")).with_suffix(".py")
        (steps / source.name).write_text(_standalone(source), "utf-8")
    script = _PACKAGE / "export" / "segment.py"
    (folder / script.name).write_text(_standalone(script), "utf-8")


def _standalone(source: Path) -> str:
    """Return the text of a file that imports from ``steps`` instead of this project."""
    return re.sub(
        r"from napari_graphflow(?:\.\w+)*\.(\w+) import", r"from steps.\1 import",
        source.read_text("utf-8"),
    )  # fmt: skip


def export_settings(card: ModelCard, network: str, multiples: tuple[int, ...]) -> str:
    """Return ``settings.json``: all that the script needs to know."""
    settings = {
        "name": card.name,
        "network": network,
        "dims": card.dims,
        "in_channels": card.in_channels,
        "classes": card.classes,
        "patch_size": card.patch_size,
        "multiple": multiples,
        "windows": card.windows,
        "preprocessing": card.preprocessing.model_dump()
        | {"channels": card.preprocessing.channels},
        "purpose": card.purpose.model_dump() | {"modality": card.modality},
    }
    return json.dumps(settings, indent=1)


def readme(card: ModelCard, kind: Kind, parity: ExportParity) -> str:
    """Return ``README.md`` of an export."""
    info = EXPORTS[kind]
    classes = "\n".join(f"| {value} | {name} |" for name, value in card.classes.items())
    return f"""# {card.name}

A segmentation network exported from napari-graphflow to {info.title}.

- For: {card.purpose_text}
- Licence: {card.purpose.licence or "not stated; ask whoever trained the model"}
- Source: {card.purpose.source or "not stated"}
- Compared with PyTorch ({PARITY}): {parity}

Not a medical device.

## Run

    pip install numpy SimpleITK {" ".join(info.packages)}
    python segment.py scan.nii.gz --out mask.nii.gz

Files of several channels are given one after the other. `{SETTINGS}` holds all steps before and
after the network, `steps` the code of napari-graphflow that computes them (BSD-3-Clause).

## Values of the mask

| value | structure |
|---|---|
{classes}
"""
