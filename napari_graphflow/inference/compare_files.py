"""Compare two masks, or two models on one image, and write the report."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.case_pictures import case_picture
from napari_graphflow.evaluation.metrics import evaluate_case
from napari_graphflow.evaluation.report import write_report
from napari_graphflow.evaluation.study import Cost, Side, Study, role_of, versions, worst_slice
from napari_graphflow.imaging.class_names import read_class_names
from napari_graphflow.imaging.files import read_labels, read_volume
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.cost import measured_peak
from napari_graphflow.inference.loading import load_for_inference
from napari_graphflow.inference.predict import segment
from napari_graphflow.inference.sides import model_bytes, training_facts
from napari_graphflow.jobs.trained import alone_beside, model_folder, training_curve

CASE = "case 1"


@dataclass
class _Mask:
    """A mask with its grid, the names of its values, and the side it is."""

    volume: Volume
    names: Mapping[str, int]
    side: Side


def compare_files(
    a: Path,
    b: Path,
    report: Path,
    *,
    reference: Path | None = None,
    image: Path | None = None,
    alone: Path | None = None,
    tolerance: float = 2.0,
    names: bool = False,
    device: str = "auto",
    title: str = "",
) -> Study:
    """Compare two masks or models on one image, and write the report.

    Parameters
    ----------
    a, b
        Each a mask, a saved model, or a job with a model.
    report
        The page to write.
    reference
        The true mask; without it B is scored against A.
    image
        The image, which models need.
    alone
        The student trained without its teacher; by default the one beside the student.
    tolerance
        Of the surface Dice, in mm.
    names
        Whether the report names files.
    device
        Device of the models.
    title
        Title of the report.

    Raises
    ------
    UserError
        If something cannot be read, does not fit, or lies on another grid; or the masks name
        their values differently.
    """
    sources = _sources(a, b, alone, with_alone=reference is not None)
    if image is None and any(folder for _, folder, _ in sources):
        raise UserError(
            "A model needs an image or a dataset.", "Add --image IMAGE or --dataset FOLDER."
        )
    scan = None if image is None else read_volume(image)
    masks = [_open(*one, scan, device) for one in sources]
    truth = None if reference is None else _mask(reference, "", scan)
    against = truth or masks[0]
    for one in masks:
        _refuse_other_grid(one, against)
    classes = _classes([*masks, *([truth] if truth else [])])
    grid = against.volume
    upright = grid.oriented().array
    sides = []
    for one in masks:
        if one is against:
            sides.append(one.side)
            continue
        scores = evaluate_case(
            one.volume.array, grid.array, classes, grid.spacing, tolerance=tolerance,
            ignore=IGNORE if truth else None,
        )  # fmt: skip
        worst = worst_slice(one.volume.oriented().array, upright, IGNORE if truth else -1)
        changes = {"scores": {CASE: scores}, "worst_slices": {CASE: worst}}
        sides.append(one.side.model_copy(update=changes))
    study = Study(
        sides=tuple(sides), against="reference" if truth else "A", tolerance=tolerance,
        dims=grid.ndim, made=datetime.now().astimezone().isoformat(timespec="minutes"),
        versions=versions(),
        notes=tuple(dict.fromkeys(note for one in masks for note in one.volume.warnings)),
    )  # fmt: skip
    shown = study if names else study.unnamed()
    picture = None
    if scan is not None:
        drawn = {
            study.heading(side): (one.volume.oriented().array, side.dice().get(CASE))
            for side, one in zip(study.sides, masks, strict=True)
        }
        index = study.sides[1].worst_slices[CASE]
        picture = case_picture(CASE, scan.oriented(), upright if truth else None, drawn, index)
    write_report(
        report, shown, title=title or "Comparison of segmentations",
        pictures=[picture] if picture else [], classes=classes,
        facts=[("Image", image.name)] if names and image else [],
    )  # fmt: skip
    return study


def _sources(
    a: Path, b: Path, alone: Path | None, *, with_alone: bool
) -> list[tuple[Path, Path | None, str]]:
    """Return path, folder of the model (if it is one) and letter of what is compared."""
    found: list[tuple[Path, Path | None, str]] = []
    for path, letter in ((a, "A"), (b, "B")):
        folder = model_folder(path) if path.is_dir() else None
        if path.is_dir() and folder is None and not path.name.lower().endswith(".zarr"):
            raise UserError(
                f"{path} is neither a mask nor a saved model.",
                "Compare folders of masks with --dataset.",
            )
        found.append((path, folder, letter))
    folders = [folder for _, folder, _ in found if folder is not None]
    beside = alone or next((one for folder in folders if (one := alone_beside(folder))), None)
    if with_alone and beside is not None and model_folder(beside) not in folders:
        found.append((beside, model_folder(beside), ""))
    return found


def _open(path: Path, folder: Path | None, letter: str, scan: Volume | None, device: str) -> _Mask:
    if folder is None:
        return _mask(path, letter, scan)
    assert scan is not None
    model = load_for_inference(folder, device)
    started = time.perf_counter()
    labels = segment(model, scan).labels
    seconds = time.perf_counter() - started
    side = Side(
        letter=letter,
        role=role_of(model.card),
        name=model.card.name,
        cost=Cost(
            parameters=model.card.parameters or None,
            model_bytes=model_bytes(folder),
            seconds=seconds,
            peak_bytes=measured_peak(folder, scan, device),
            device=model.engine.title,
        ),
        curve=training_curve(folder),
        facts=training_facts(model.card),
    )
    return _Mask(labels, model.card.classes, side)


def _mask(path: Path, letter: str, scan: Volume | None) -> _Mask:
    volume = read_labels(path, scan)
    side = Side(letter=letter, role="mask", name=path.name)
    return _Mask(volume, read_class_names(path), side)


def _refuse_other_grid(one: _Mask, against: _Mask) -> None:
    if not one.volume.same_grid(against.volume):
        raise UserError(
            f"{one.side.name} and {against.side.name} lie on different grids (sizes "
            f"{_size(one.volume)} and {_size(against.volume)}).",
            "Compare masks of the same image.",
        )


def _classes(masks: list[_Mask]) -> dict[str, int]:
    """Return name and value of every structure; values without a name get one.

    Raises
    ------
    UserError
        If two masks give a value different names: they cannot be compared by value.
    """
    known: dict[int, str] = {}
    for one in masks:
        for name, value in one.names.items():
            if value and known.setdefault(value, name) != name:
                raise UserError(
                    f"The value {value} is {known[value]} in one mask and {name} in another.",
                    "Give both masks the same classes.",
                )
    found: set[int] = set(known)
    for one in masks:
        found |= set(_values(one.volume.array))
    return {known.get(value, f"label {value}"): value for value in sorted(found - {0, IGNORE})}


def _values(array: NDArray[np.integer]) -> list[int]:
    return [int(value) for value in np.unique(array)]


def _size(volume: Volume) -> str:
    return " x ".join(map(str, volume.shape))
