"""Export a saved model to a folder that runs without this project."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from napari_graphflow.config.exports import EXPORTS, PARITY, ExportParity, Kind
from napari_graphflow.config.model_card import ModelCard, read_model_card
from napari_graphflow.errors import UserError
from napari_graphflow.export.cases import find_cases
from napari_graphflow.system.destinations import require_writable, saying_what_stands
from napari_graphflow.system.files import written_aside
from napari_graphflow.system.install import install_hint


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
    require_writable([out])
    if out.exists():
        raise UserError(f"{out} already exists.", "Choose another folder for the export.")
    if card.preprocessing.nnunet is not None or card.mirror:
        raise UserError(
            f"{card.name} has the steps of nnU-Net around its network, which no export contains.",
            "Use it with napari-graphflow segment.",
        )
    missing = [name for name in info.packages if find_spec(name) is None]
    if missing:
        raise UserError(f"{missing[0]} is not installed.", install_hint(info.extra))
    images = list(find_cases(card, cases))
    from napari_graphflow.export.parity import compare
    from napari_graphflow.export.writers import WRITERS
    from napari_graphflow.models.saved import load_model

    model = load_model(model_folder)
    stands = "Nothing was written, and the model is unchanged."
    with saying_what_stands(out, stands), written_aside(out) as aside:
        aside.mkdir(parents=True)
        progress(f"converting to {info.title}")
        WRITERS[kind](model, aside, [volume for _, volume in images])
        parity = compare(model, aside, kind, images, lambda case: progress(f"comparing {case}"))
        if parity.problem:
            raise ParityError(
                f"The export to {info.title} is not finished: {parity.problem} compared with "
                "PyTorch. Nothing was written."
            )
        (aside / PARITY).write_text(parity.model_dump_json(indent=2), "utf-8")
        (aside / "README.md").write_text(readme(card, kind, parity), "utf-8")
    return parity


def readme(card: ModelCard, kind: Kind, parity: ExportParity) -> str:
    """Return ``README.md`` of an export."""
    info = EXPORTS[kind]
    classes = "\n".join(f"| {value} | {name} |" for name, value in card.classes.items())
    return f"""# {card.name}

A segmentation network exported from napari-graphflow to {info.title}.

- For: {card.purpose_text}
- Licence: {card.purpose.licence or "not stated; ask whoever trained the model"}
- Source: {card.purpose.source or "not stated"}
{_largest_part(card, kind)}- Compared with PyTorch ({PARITY}): {parity}

Not a medical device.

## Run

    pip install {" ".join(info.needs)}
    python segment.py scan.nii.gz --out mask.nii.gz

Files of several channels are given one after the other. {info.note}

## Values of the mask

| value | structure |
|---|---|
{classes}
"""


def _largest_part(card: ModelCard, kind: Kind) -> str:
    """Return the line on the post-processing; empty without one."""
    if not card.largest_part:
        return ""
    names = ", ".join(card.largest_part)
    if EXPORTS[kind].keeps_largest_parts:
        return f"- Only the largest part is kept of {names}\n"
    return f"- Not in this export: the model keeps only the largest part of {names}\n"
