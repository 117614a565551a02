"""The report of a comparison: one HTML page that needs no network, a table (CSV) and JSON."""

import base64
import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from napari_graphflow.evaluation.charts import SIDE_COLOURS, Chart, box_plots, code_chart, curves
from napari_graphflow.evaluation.metrics import RULE
from napari_graphflow.evaluation.paired import PairedDifference
from napari_graphflow.evaluation.pictures import class_colour
from napari_graphflow.evaluation.scores import as_cell, finite_or_none
from napari_graphflow.evaluation.sites import site_rows
from napari_graphflow.evaluation.study import COLUMNS, Side, Study, cases_by_dice
from napari_graphflow.evaluation.verdict import verdict
from napari_graphflow.system.destinations import write_or_keep
from napari_graphflow.system.files import replace_file, written_aside


@dataclass(frozen=True)
class Picture:
    """A picture of a report: its case, what it shows, and the PNG itself."""

    case: str
    caption: str
    png: bytes


@dataclass(frozen=True)
class Row:
    """A row of the table of scores: one structure, one side.

    Attributes
    ----------
    cells
        Mean, standard deviation and digits of each of `COLUMNS`.
    volume, volume_error
        Mean size, and mean absolute relative error.
    n, missed, absent
        Cases with a Dice; of those, with infinite distances; cases without the structure.
    """

    structure: str
    side: str
    first: bool
    cells: tuple[tuple[float, float, int], ...]
    volume: float
    volume_error: float
    n: int
    missed: int
    absent: int


@dataclass(frozen=True)
class Difference:
    """A row of the table of paired differences."""

    structure: str
    what: str
    found: PairedDifference


def report_files(path: Path) -> tuple[Path, Path, Path]:
    """Return the page, the table and the JSON of a report."""
    return path, path.with_suffix(".csv"), path.with_suffix(".json")


def write_report(
    path: Path,
    study: Study,
    *,
    title: str = "Comparison",
    pictures: Sequence[Picture] = (),
    maps: Sequence[Picture] = (),
    classes: dict[str, int] | None = None,
    facts: Sequence[tuple[str, str]] = (),
) -> list[Path]:
    """Write the report of a study, or keep it elsewhere if that fails; existing files are replaced.

    Parameters
    ----------
    path
        The page; ``.csv`` and ``.json`` are written beside it.
    study
        The study, `Study.unnamed` where no names of cases may be in it.
    pictures, maps
        Pictures of masks, and maps of the networks.
    classes
        Name and value of each class, for the colours of contours.
    facts
        Further lines on how it was made.

    Raises
    ------
    UserError
        If it could not be written; names where it was kept instead.
    """
    rows, found = score_rows(study), differences(study)
    boxes = None
    if len(study.cases) > 1:
        boxes = box_plots(
            {
                name: [
                    (study.heading(side), [v for v in side.dice(name).values() if v is not None])
                    for side in study.scored
                ]
                for name in study.structures
            }
        )
    page = _environment().get_template("report.html.j2").render(
        title=title, study=study, verdict=verdict(study), rows=rows, differences=found,
        columns=COLUMNS, unit=study.unit.replace("mm2", "mm²"), rule=RULE, boxes=boxes,
        curves=curves({study.heading(side): side.curve for side in study.sides if side.curve}),
        side_keys=[
            (study.heading(side), colour)
            for side, colour in zip(study.scored, SIDE_COLOURS, strict=False)
        ],
        class_keys=[
            ("reference", "#ffffff;border:1px solid #888"),
            *(
                (name, "rgb({},{},{})".format(*class_colour(value)))
                for name, value in (classes or {}).items()
                if value
            ),
        ],
        site_rows=site_rows(study.sites, _dice(study)), site_boxes=_site_boxes(study),
        code_maps=[
            (study.heading(study.sides[one.side]), one, code_chart(one)) for one in study.codes
        ],
        case_rows=_case_rows(study), pictures=pictures, maps=maps, stem=path.stem,
        facts=[*_facts(study), *facts],
    )  # fmt: skip
    content = {"verdict": verdict(study), **study.model_dump(mode="json")}
    content["summary"] = {study.heading(side): side.summary() for side in study.scored}
    content["differences"] = [
        {"structure": one.structure, "what": one.what, **one.found.model_dump()} for one in found
    ]
    content["rule"] = RULE

    def write(to: Path) -> list[Path]:
        html, table, data = report_files(to)
        to.parent.mkdir(parents=True, exist_ok=True)
        replace_file(data, json.dumps(finite_or_none(content), indent=1).encode() + b"\n")
        _write_table(table, study)
        replace_file(html, page.encode())
        return [html, table, data]

    return write_or_keep(path, write)


def score_rows(study: Study) -> list[Row]:
    """Return the table of scores: for each structure a row per side, and the mean at the end."""
    summaries = [(side, side.summary()) for side in study.scored]
    names = study.structures
    rows = []
    for name in [*names, "mean"] if len(names) > 1 else names:
        for number, (side, summary) in enumerate(summaries):
            if name not in summary:
                continue
            found = summary[name]
            dice, distance = found["dice_score"], found["hausdorff_distance_95"]
            size = found[f"prediction_{study.unit}"]
            rows.append(
                Row(
                    "mean over structures" if name == "mean" else name,
                    study.heading(side),
                    number == 0,
                    tuple(
                        (found[metric]["mean"], found[metric].get("std", math.nan), digits)
                        for metric, _, digits in COLUMNS
                    ),
                    math.nan if name == "mean" else size["mean"],
                    found["absolute_volume_error"]["mean"],
                    len(study.cases) if name == "mean" else int(dice["n"]),
                    int(distance["infinite"]),
                    int(dice["undefined"]),
                )
            )
    return rows


def differences(study: Study) -> list[Difference]:
    """Return the paired differences in Dice, over all structures and of each."""
    pairs: list[tuple[Side, Side]] = []
    scored = study.scored
    if len(scored) > 1:
        student, alone = study.of_role("student"), study.of_role("alone")
        pairs.append((scored[1], scored[0]))
        if student and alone and (student, alone) not in pairs:
            pairs.append((student, alone))
    return [
        Difference(name or "mean", f"{study.heading(new)} − {study.heading(last)}", found)
        for new, last in pairs
        for name in (None, *study.structures)
        if (found := study.difference(new, last, name)) is not None
    ]


def _dice(study: Study) -> dict[str, dict[str, float | None]]:
    return {study.heading(side): side.dice() for side in study.scored}


def _site_boxes(study: Study) -> Chart | None:
    if not study.sites:
        return None
    by_site = {
        site: [
            (title, [v for case, v in dice.items() if v is not None and study.sites[case] == site])
            for title, dice in _dice(study).items()
        ]
        for site in sorted(set(study.sites.values()))
    }
    return box_plots(by_site)


def _case_rows(study: Study) -> list[tuple[str, list[float]]]:
    dice = [side.dice() for side in study.scored]
    if len(dice) == 0:
        return []
    judged = study.of_role("student") or study.scored[-1]
    order = cases_by_dice(judged)
    order += [case for case in study.cases if case not in order]
    found = [[one.get(case) for one in dice] for case in order]
    return [
        (case, [math.nan if value is None else value for value in values])
        for case, values in zip(order, found, strict=True)
    ]


def _write_table(path: Path, study: Study) -> None:
    rows = [
        {"side": study.heading(side), "case": case, "structure": name, **metrics}
        for side in study.scored
        for case, structures in side.scores.items()
        for name, metrics in structures.items()
    ]
    with written_aside(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        names = list(rows[0]) if rows else ["side", "case", "structure"]
        writer = csv.DictWriter(file, fieldnames=names, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: as_cell(finite_or_none(value)) for key, value in row.items()})


def _facts(study: Study) -> list[tuple[str, str]]:
    facts = [("Dataset", study.dataset), ("Split", study.split), ("Made", study.made)]
    facts += [("Cases", str(len(study.cases)))]
    for side in study.sides:
        described = "; ".join(f"{name} {value}" for name, value in side.facts.items())
        facts.append((study.heading(side), described))
    facts += [("Versions", ", ".join(f"{name} {one}" for name, one in study.versions.items()))]
    facts += [("Note", note) for note in study.notes]
    return [(name, value) for name, value in facts if value]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("napari_graphflow", "evaluation"), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "number": lambda value, digits: _text(value, f".{digits}f"),
        "percent": lambda value: _text(None if value is None else 100 * value, ".0f", " %"),
        "points": lambda value: f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}"),
        "count": lambda value: _text(value, ",d"),
        "size": _size,
        "data_url": lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}",
        "map_keys": lambda lines: [(name, colour) for name, colour, _ in lines],
    }
    return environment


def _text(value: Any, form: str, unit: str = "") -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:{form}}{unit}"


def _size(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value / 1e9:.2f} GB" if value >= 1e9 else f"{value / 1e6:.1f} MB"
