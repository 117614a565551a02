"""Pictures of slices with contours and maps, and the page that holds them; needs no screen."""

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

#: One colour per class, the background without one; apart also for most colour-blind readers.
COLOURS = ((230, 89, 76), (63, 167, 240), (98, 196, 98), (242, 177, 52), (176, 123, 224))
HEIGHT = 300
METRICS = {
    "dice_score": ("Dice", 3),
    "hausdorff_distance_95": ("HD95 mm", 2),
    "average_surface_distance": ("ASSD mm", 2),
}

Grey = NDArray[np.floating]
Mask = NDArray[np.integer]


@dataclass(frozen=True)
class Scored:
    """A model with its scores, as a row of the report."""

    title: str
    parameters: int
    seconds_per_case: float
    summary: Mapping[str, Mapping[str, Mapping[str, float]]]


def slice_with_contours(
    image: Grey, mask: Mask | None, spacing: Sequence[float], limits: tuple[float, float]
) -> Image.Image:
    """Draw a slice in grey, in the proportions of the body, with the outline of each class.

    Parameters
    ----------
    image
        (y, x).
    mask
        (y, x), class indices, or None.
    spacing
        (y, x) in mm.
    limits
        Intensities shown black and white.
    """
    low, high = limits
    grey = np.clip((image - low) / max(high - low, 1e-9), 0, 1) * 255
    picture = _enlarged(Image.fromarray(grey.astype(np.uint8)), image.shape, spacing, smooth=True)
    picture = picture.convert("RGB")
    if mask is None:
        return picture
    large = np.asarray(
        _enlarged(Image.fromarray(mask.astype(np.uint8)), image.shape, spacing, smooth=False)
    )
    pixels = np.asarray(picture).copy()
    for value in np.unique(large[large > 0]):
        inside = large == value
        outline = inside & ~ndimage.binary_erosion(inside, iterations=2)
        pixels[outline] = COLOURS[(int(value) - 1) % len(COLOURS)]
    return Image.fromarray(pixels)


def slice_with_map(
    image: Grey, heat: Grey, spacing: Sequence[float], limits: tuple[float, float], top: float
) -> Image.Image:
    """Draw a map (y, x) in warm colours over a slice: nothing at 0, full at `top`."""
    base = np.asarray(slice_with_contours(image, None, spacing, limits), float)
    strength = Image.fromarray(np.clip(heat / max(top, 1e-9), 0, 1).astype(np.float32))
    share = np.asarray(_enlarged(strength, image.shape, spacing, smooth=False), float)[..., None]
    warm = np.concatenate([np.full_like(share, 255), 210 * share, np.zeros_like(share)], axis=-1)
    weight = 0.75 * np.sqrt(share)
    return Image.fromarray((base * (1 - weight) + warm * weight).astype(np.uint8))


def sheet(pictures: Mapping[str, Image.Image], columns: int = 4) -> Image.Image:
    """Put pictures in rows, each under its title."""
    gap, head = 8, 22
    wide = max(picture.width for picture in pictures.values()) + gap
    high = max(picture.height for picture in pictures.values()) + gap + head
    rows = math.ceil(len(pictures) / columns)
    page = Image.new("RGB", (wide * min(columns, len(pictures)), high * rows), (24, 26, 31))
    draw = ImageDraw.Draw(page)
    for place, (title, picture) in enumerate(pictures.items()):
        left, top = place % columns * wide, place // columns * high
        draw.text((left + 2, top + 4), title, fill=(225, 228, 235), font_size=14)
        page.paste(picture, (left, top + head))
    return page


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


def _enlarged(
    picture: Image.Image, shape: Sequence[int], spacing: Sequence[float], *, smooth: bool
) -> Image.Image:
    width = round(HEIGHT * (shape[1] * spacing[1]) / (shape[0] * spacing[0]))
    method = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return picture.resize((max(1, width), HEIGHT), method)


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
