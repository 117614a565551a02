"""Contrast of the colours of texts, on the backgrounds of napari's themes."""

import dataclasses

import pytest
from napari.utils.theme import get_theme

from napari_graphflow.plugin.widgets.palette import (
    SYMBOL_CONTRAST,
    SYMBOL_GREY,
    TEXT_CONTRAST,
    colours_of,
    contrast,
)

#: Of docks, and of lists and fields.
BACKGROUNDS = ("background", "foreground")


def test_the_contrast_of_known_colours() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_every_text_is_legible(theme: str) -> None:
    colours, napari = colours_of(theme), get_theme(theme)
    backgrounds = [getattr(napari, name).as_hex(format="long") for name in BACKGROUNDS]
    texts = [colours.note, colours.active, colours.done, colours.warn, colours.fail]
    for text in (*texts, *colours.curves):
        for background in backgrounds:
            assert contrast(text, background) >= TEXT_CONTRAST, (text, background)
    for background in backgrounds:
        assert contrast(SYMBOL_GREY, background) >= SYMBOL_CONTRAST
    primary = napari.current.as_hex(format="long")
    assert contrast(napari.text.as_hex(format="long"), primary) >= TEXT_CONTRAST


def test_the_themes_have_the_same_roles() -> None:
    dark, light = (dataclasses.asdict(colours_of(theme)) for theme in ("dark", "light"))
    assert dark.keys() == light.keys()
