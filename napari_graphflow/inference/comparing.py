"""Compare two models, or folders of masks, on a dataset, and write the report."""

import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.config.comparison import ComparisonConfig
from napari_graphflow.dataset.cases import Case, Dataset, read_case, read_case_labels
from napari_graphflow.dataset.findings import counted
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.case_pictures import case_picture
from napari_graphflow.evaluation.metrics import evaluate_case
from napari_graphflow.evaluation.report import Picture, write_report
from napari_graphflow.evaluation.sites import CodeMap, code_map
from napari_graphflow.evaluation.study import (
    Side,
    Study,
    cases_by_dice,
    versions,
    worst_slice,
)
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.cost import measured_peak
from napari_graphflow.inference.report_maps import map_pictures
from napari_graphflow.inference.sides import OpenSide, open_side
from napari_graphflow.inference.site_check import site_report
from napari_graphflow.jobs.trained import alone_beside, model_folder
from napari_graphflow.system.events import Event, Phase, Progress
from napari_graphflow.system.files import replace_file

#: Cases of which pictures are kept in memory; of more, only the first ones.
_MOST_PICTURES = 60


@dataclass
class _Found:
    """What was found so far: scores and slices by side and case, and the pictures by case."""

    sides: list[Side]
    pictures: dict[str, Picture] = field(default_factory=dict)
    warnings: dict[str, list[str]] = field(default_factory=dict)


def compare_on_dataset(
    config: ComparisonConfig, report: Path, study_file: Path | None = None
) -> Iterator[Event]:
    """Score both sides and, where there is one, the student alone; write the report.

    Parameters
    ----------
    config
        What to compare.
    report
        The page to write; ``.csv`` and ``.json`` are written beside it.
    study_file
        Receives the study with the names of its cases, for the window.

    Yields
    ------
    event
        Progress, case by case.

    Raises
    ------
    UserError
        If the split has no labelled case, a model does not fit, or a mask is missing.
    """
    dataset = Dataset.open(config.dataset, fold=config.fold)
    cases = dataset.labelled(config.split)
    if not cases:
        raise UserError(
            f"The split {config.split} of {dataset.name} has no labelled case.",
            "Choose another split.",
        )
    yield Phase(kind="starting", name="loading the models")
    opened = [
        open_side(path, letter, dataset, cases, device=config.device, threads=config.threads)
        for path, letter in _sides(config)
    ]
    _refuse_same(opened)
    yield Phase(kind="scoring", name="scoring the cases")
    found = _Found([one.side for one in opened])
    for number, case in enumerate(cases, start=1):
        _score(config, dataset, case, opened, found)
        yield Progress(step=number, total=len(cases))
    yield Phase(kind="scoring", name="measuring memory")
    image = read_case(cases[0])
    for index, one in enumerate(opened):
        found.sides[index] = _with_cost(found.sides[index], one, image, config.device)
        yield Progress(step=index + 1, total=len(opened))
    sites = _sites_of(cases)
    study = Study(
        sides=tuple(found.sides),
        sites=sites,
        codes=_codes(opened, sites, dataset.name),
        dataset=dataset.name,
        split=config.split,
        tolerance=config.tolerance,
        dims=image.ndim,
        made=datetime.now().astimezone().isoformat(timespec="minutes"),
        versions=versions(),
        notes=(*_notes(opened), *_warnings(opened, found)),
    )
    shown = _shown_cases(study, found)
    maps: list[Picture] = []
    if config.maps and shown:
        yield Phase(kind="scoring", name="computing the maps")
        middle = next(case for case in cases if case.name == shown[len(shown) // 2])
        maps = map_pictures(opened, found.sides, middle)
    if study_file is not None:
        replace_file(study_file, study.model_dump_json().encode())
    pictures = [found.pictures[name] for name in shown]
    if not config.names:
        numbers = {name: f"case {n}" for n, name in enumerate(study.cases, start=1)}
        pictures, maps = (_renamed(one, numbers) for one in (pictures, maps))
    write_report(
        report,
        study if config.names else study.unnamed(),
        title=config.name or "Comparison of segmentations",
        pictures=pictures,
        maps=maps,
        classes=dataset.classes,
        facts=[("Computer", f"{sys.platform}, {os.cpu_count()} threads")],
    )


def _sides(config: ComparisonConfig) -> list[tuple[Path, str]]:
    found = [(config.a, "A"), (config.b, "B")]
    alone = config.alone
    for path, _ in tuple(found):
        folder = model_folder(path)
        if alone is None and folder is not None:
            alone = alone_beside(folder)
    others = {model_folder(path) for path, _ in found}
    if alone is not None and model_folder(alone) not in others:
        found.append((alone, ""))
    return found


def _refuse_same(opened: Sequence[OpenSide]) -> None:
    if opened[0].folder is not None and opened[0].folder == opened[1].folder:
        raise UserError("A and B are the same model.", "Choose two different ones.")


def _score(
    config: ComparisonConfig,
    dataset: Dataset,
    case: Case,
    opened: Sequence[OpenSide],
    found: _Found,
) -> None:
    image = read_case(case)
    reference = read_case_labels(dataset, case, image)
    truth = reference.array
    for text in dict.fromkeys((*image.warnings, *reference.warnings)):
        found.warnings.setdefault(text, []).append(case.name)
    upright = image.with_array(truth).oriented().array
    masks = []
    for index, one in enumerate(opened):
        labels = one.predict(case, image)
        side = found.sides[index]
        scores = evaluate_case(
            labels, truth, dataset.classes, image.spacing, tolerance=config.tolerance
        )
        mask = image.with_array(labels).oriented().array
        masks.append(mask)
        found.sides[index] = side.model_copy(
            update={
                "scores": side.scores | {case.name: scores},
                "worst_slices": side.worst_slices | {case.name: worst_slice(mask, upright, IGNORE)},
            }
        )
    if len(found.pictures) < _MOST_PICTURES:
        study = Study(sides=tuple(found.sides), tolerance=config.tolerance)
        judged = found.sides.index(_judged(study))
        titles = {
            study.heading(side): (mask, side.dice()[case.name])
            for side, mask in zip(found.sides, masks, strict=True)
        }
        found.pictures[case.name] = case_picture(
            case.name,
            image.oriented(),
            upright,
            titles,
            found.sides[judged].worst_slices[case.name],
        )


def _sites_of(cases: Sequence[Case]) -> dict[str, str]:
    """Return the site of each case; empty with fewer than two sites."""
    found = {case.name: case.site or "no site" for case in cases}
    return found if len(set(found.values())) > 1 else {}


def _codes(opened: Sequence[OpenSide], sites: dict[str, str], dataset: str) -> tuple[CodeMap, ...]:
    """Return how the networks that know their training images describe the cases of each site."""
    maps = []
    for index, one in enumerate(opened):
        if one.training is None or not one.codes:
            continue
        by_site: dict[str, list[NDArray[np.float32]]] = {}
        for case, code in one.codes.items():
            by_site.setdefault(sites.get(case, dataset), []).append(code)
        texts = {site: site_report(one.training, codes).text for site, codes in by_site.items()}
        found = code_map(index, one.training, by_site, texts)
        maps += [found] if found is not None else []
    return tuple(maps)


def _notes(opened: Sequence[OpenSide]) -> list[str]:
    noted = (note for one in opened if one.masks is not None for note in one.masks.notes)
    return list(dict.fromkeys(noted))


def _warnings(opened: Sequence[OpenSide], found: _Found) -> list[str]:
    """Return the warnings of reading with the number of their cases, which are not named."""
    of_masks = [one.masks.warnings for one in opened if one.masks is not None]
    every = [*found.warnings.items(), *(pair for one in of_masks for pair in one.items())]
    return [f"{counted(len(cases), 'case')}: {text}" for text, cases in every]


def _judged(study: Study) -> Side:
    """Return the side whose worst cases are shown: the student, else B."""
    return study.of_role("student") or study.sides[1]


def _shown_cases(study: Study, found: _Found) -> list[str]:
    """Return the worst, the median and the best case of those with a picture."""
    order = [case for case in cases_by_dice(_judged(study)) if case in found.pictures]
    if not order:
        return list(found.pictures)[:3]
    return list(dict.fromkeys((order[0], order[len(order) // 2], order[-1])))


def _with_cost(side: Side, one: OpenSide, image: Volume, device: str) -> Side:
    if side.cost is None or one.folder is None:
        return side
    measured = {
        "seconds": statistics.median(one.seconds) if one.seconds else None,
        "peak_bytes": measured_peak(one.folder, image, device),
    }
    return side.model_copy(update={"cost": side.cost.model_copy(update=measured)})


def _renamed(pictures: Sequence[Picture], numbers: dict[str, str]) -> list[Picture]:
    return [
        Picture(numbers[one.case], one.caption.replace(one.case, numbers[one.case], 1), one.png)
        for one in pictures
    ]
