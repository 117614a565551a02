"""HTML report that compares models: scores, and slices with contours and maps."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

from napari_graphflow.evaluation.pictures import class_colour, png
from napari_graphflow.system.files import replace_file

METRICS = {
    "dice_score": ("Dice", 3),
    "hausdorff_distance_95": ("HD95 mm", 2),
    "average_surface_distance": ("ASSD mm", 2),
}


@dataclass(frozen=True)
class Scored:
    """A model with its scores, as a row of the report."""

    title: str
    parameters: int
    seconds_per_case: float
    summary: Mapping[str, Mapping[str, Mapping[str, float]]]


def write_report(
    path: Path,
    title: str,
    models: Sequence[Scored],
    sections: Sequence[tuple[str, str, Image.Image]],
    facts: Mapping[str, Any],
    legend: Mapping[str, int],
) -> None:
    """Write a self-contained HTML page.

    Parameters
    ----------
    path
        HTML file to write.
    title
        Heading of the page.
    models
        Rows of the table of scores.
    sections
        Heading, caption and 2D image of each section.
    facts
        Data, numbers of cases and command, by name.
    legend
        Class names and values, for the colours of the contours.
    """
    environment = Environment(
        loader=PackageLoader("napari_graphflow", "evaluation"), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": _number, "data_url": _data_url, "colour": class_colour}
    page = environment.get_template("report.html.j2").render(
        title=title, models=models, sections=sections, facts=facts, legend=legend, metrics=METRICS
    )
    replace_file(path, page.encode())


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def _data_url(image_2d: Image.Image) -> str:
    return f"data:image/png;base64,{base64.b64encode(png(image_2d)).decode()}"
