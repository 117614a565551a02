"""Pictures of slices with contours and maps, and the page that holds them; needs no screen."""

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from napari_graphflow.evaluation.pictures import COLOURS

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
    """Write one HTML page with everything inside it.

    Parameters
    ----------
    path
        The page.
    title
        Its heading.
    models
        Rows of the table of scores.
    sections
        Heading, caption and picture of each section.
    facts
        What was run on what, by name.
    legend
        Class names and values, for the colours of the contours.
    """
    blocks = [
        f"<h1>{html.escape(title)}</h1>",
        f"<dl>{''.join(_fact(name, value) for name, value in facts.items())}</dl>",
        _table(models),
        f"<p class=legend>{' '.join(_key(n, value) for n, value in legend.items() if value)}</p>",
    ]
    for heading, caption, picture in sections:
        data = io.BytesIO()
        picture.save(data, "PNG", optimize=True)
        source = base64.b64encode(data.getvalue()).decode()
        blocks.append(
            f"<h2>{html.escape(heading)}</h2><p>{html.escape(caption)}</p>"
            f'<img alt="{html.escape(heading)}" src="data:image/png;base64,{source}">'
        )
    blocks.append("<footer>Not a medical device. For research only.</footer>")
    aside = path.with_name(f".{path.name}.part")
    aside.write_text(_PAGE.format(title=html.escape(title), body="\n".join(blocks)), "utf-8")
    aside.replace(path)


def _table(models: Sequence[Scored]) -> str:
    classes = list(models[0].summary)
    head = "".join(f"<th colspan={len(METRICS)}>{html.escape(name)}</th>" for name in classes)
    subhead = "".join(f"<th>{label}</th>" for _ in classes for label, _ in METRICS.values())
    rows = ""
    for model in models:
        cells = "".join(
            f"<td>{_number(model.summary[name][metric]['mean'], digits)}</td>"
            for name in classes
            for metric, (_, digits) in METRICS.items()
        )
        rows += (
            f"<tr><th>{html.escape(model.title)}</th><td>{model.parameters / 1e6:.2f} M</td>"
            f"<td>{model.seconds_per_case:.2f}</td>{cells}</tr>"
        )
    return (
        f"<div class=wide><table><tr><th rowspan=2>model<th rowspan=2>parameters"
        f"<th rowspan=2>s per case{head}</tr><tr>{subhead}</tr>{rows}</table></div>"
    )


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def _fact(name: str, value: Any) -> str:
    return f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>"


def _key(name: str, value: int) -> str:
    red, green, blue = COLOURS[(value - 1) % len(COLOURS)]
    return f'<span style="color:rgb({red},{green},{blue})">&#9632;</span> {html.escape(name)}'


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1250px; margin: 2rem auto; padding: 0 1rem;
  background: #15171c; color: #dfe3ea }}
h1, h2 {{ font-weight: 600 }} h2 {{ margin-top: 2rem }}
img {{ max-width: 100%; border-radius: 6px }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem }}
dt {{ color: #8f98a8 }}
dd {{ margin: 0 }} .wide {{ overflow-x: auto }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
th, td {{ padding: .35rem .7rem; text-align: right; border-bottom: 1px solid #2c313b }}
tr th:first-child {{ text-align: left }}
.legend span {{ margin-left: .8rem }} footer {{ margin: 3rem 0 1rem; color: #8f98a8 }}
</style>
{body}
</html>
"""
