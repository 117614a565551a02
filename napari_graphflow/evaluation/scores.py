"""Score a model or a folder of masks against a dataset, case by case and class by class."""

import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_graphflow.dataset.cases import Case, Dataset, read_case, read_case_labels
from napari_graphflow.dataset.findings import some_of
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.lesions import lesion_scores, summarise_lesions
from napari_graphflow.evaluation.metrics import evaluate_case, summarise
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.system.files import replace_file, written_aside

Scores = dict[str, Any]
Predict = Callable[[Case, Volume], NDArray[np.integer]]
#: Name of an organ -> its classes, such as whole -> liver and lesion.
Organs = Mapping[str, Sequence[str]]


def evaluate(
    dataset: Dataset,
    cases: Iterable[Case],
    predict: Predict,
    progress: Callable[[int, int], None] | None = None,
    *,
    organs: Organs | None = None,
    lesions: Sequence[str] = (),
) -> Scores:
    """Predict a mask for each case and score it against the reference.

    Parameters
    ----------
    dataset, cases
        The dataset, and its labelled cases to score.
    predict
        Returns the mask of a case on the grid of its image.
    progress
        Called after each case with the number of cases done and the total.
    organs
        Name and classes of each structure that is scored as a whole, besides the regions of the
        dataset.
    lesions
        Classes whose lesions are scored one by one.

    Returns
    -------
    dict
        ``cases`` and ``summary``, see :func:`evaluate_case` and :func:`summarise`; ``warnings``:
        each warning of reading images and masks -> names of the cases; with `lesions` also
        ``lesions``, see :func:`lesion_scores`.

    Raises
    ------
    UserError
        If the dataset lacks one of the classes, or an organ has the name of a class.
    """
    cases = list(cases)
    organs = dict(dataset.regions) | dict(organs or {})
    values = _values(dataset, organs, lesions)
    warnings: dict[str, list[str]] = {}
    scored: dict[str, Any] = {}
    whole: dict[str, Any] = {}
    of_lesions: dict[str, dict[str, Any]] = {name: {} for name in lesions}
    for done, case in enumerate(cases, start=1):
        image = read_case(case)
        reference = read_case_labels(dataset, case, image)
        labels = predict(case, image)
        for text in dict.fromkeys((*image.warnings, *reference.warnings)):
            warnings.setdefault(text, []).append(case.name)
        truth, spacing = reference.array, image.spacing
        scored[case.name] = evaluate_case(labels, truth, dataset.classes, spacing)
        whole[case.name] = {
            name: _evaluate_organ(labels, truth, values[name], spacing) for name in organs
        }
        for name in lesions:
            of_lesions[name][case.name] = lesion_scores(labels, truth, values[name][0], spacing)
        if progress is not None:
            progress(done, len(cases))
    summary, of_organs = summarise(scored), summarise(whole)
    mean = summary.pop("mean", {})
    summary |= {name: of_organs[name] for name in organs} | {"mean": mean}
    merged = {name: scored[name] | whole[name] for name in scored}
    result: Scores = {"cases": merged, "summary": summary, "warnings": warnings}
    if lesions:
        result["lesions"] = {
            name: {"cases": one, "summary": summarise_lesions(one)}
            for name, one in of_lesions.items()
        }
    return result


def warning_lines(scores: Scores) -> list[str]:
    """Return the warnings of reading as lines, each with the names of its cases."""
    return [f"{some_of(cases)}: {text}" for text, cases in scores.get("warnings", {}).items()]


def score_files(path: Path) -> tuple[Path, Path, Path]:
    """Return the files of the scores: of all, of the table, and of the lesions."""
    endings = (".json", ".csv", "-lesions.csv")
    json_path, csv_path, lesions_path = (path.with_name(path.name + end) for end in endings)
    return json_path, csv_path, lesions_path


def write_scores(scores: Scores, path: Path) -> list[Path]:
    """Write ``PATH.json`` (all scores) and ``PATH.csv`` (one row per case and class).

    If lesions were scored, also write ``PATH-lesions.csv``, one row per lesion.
    """
    rows = [
        {"case": case, "class": name, "lesion": number, **lesion}
        for name, scored in scores.get("lesions", {}).items()
        for case, one in scored["cases"].items()
        for number, lesion in enumerate(one["lesions"], start=1)
    ]
    table = [
        {"case": case, "class": name, **metrics}
        for case, classes in finite_or_none(scores["cases"]).items()
        for name, metrics in classes.items()
    ]
    json_path, csv_path, lesions_path = score_files(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(json_path, json.dumps(finite_or_none(scores), indent=1).encode() + b"\n")
    written = [json_path, csv_path]
    _write_table(table, csv_path)
    if rows:
        written.append(lesions_path)
        _write_table(rows, lesions_path)
    return written


def _write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    with written_aside(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: as_cell(value) for key, value in row.items()} for row in rows)


def as_cell(value: Any) -> Any:
    """Put an apostrophe before text that a spreadsheet would calculate."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


def finite_or_none(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not support, with None in nested dictionaries."""
    if isinstance(value, dict):
        return {key: finite_or_none(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _values(dataset: Dataset, organs: Organs, lesions: Sequence[str]) -> dict[str, list[int]]:
    """Return the label values of each organ and of each class of lesions."""
    requested = {name: list(parts) for name, parts in organs.items()} | {n: [n] for n in lesions}
    for name, parts in requested.items():
        for part in parts:
            if not dataset.classes.get(part):
                known = ", ".join(one for one, value in dataset.classes.items() if value)
                raise UserError(
                    f"'{part}' is not a class of {dataset.name}.", f"Choose from: {known}."
                )
        if name in organs and name in dataset.classes:
            raise UserError(
                f"The dataset already has a class '{name}'.",
                f"Choose another name, such as {name}_whole.",
            )
    return {name: [dataset.classes[part] for part in parts] for name, parts in requested.items()}


def _evaluate_organ(
    labels: NDArray[Any], truth: NDArray[Any], values: list[int], spacing: Sequence[float]
) -> dict[str, float]:
    whole = np.where(truth == IGNORE, IGNORE, np.isin(truth, values)).astype(np.uint8)
    prediction = np.isin(labels, values).astype(np.uint8)
    return evaluate_case(prediction, whole, {"organ": 1}, spacing)["organ"]
