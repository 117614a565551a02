"""Colours of texts and curves for napari's dark and light themes, with legible contrast."""

from dataclasses import dataclass

from napari.utils.theme import get_theme

#: Contrast of text to its background that WCAG 2.2 (level AA) asks for, and that of symbols.
TEXT_CONTRAST, SYMBOL_CONTRAST = 4.5, 3.0
#: Name of lists with coloured texts.
LIST = "graphflow-list"
#: Role of fields with a hint.
HINTED = "hinted"
#: What has a frame while it has the focus; napari shows that of few.
_FRAMED = (
    "QPushButton", "QToolButton", "QComboBox", "QLineEdit", "QAbstractSpinBox", "QListView",
    "QTableView", "QSlider",
)  # fmt: skip
#: Grey of symbols and icons, on either theme.
SYMBOL_GREY = "#797c82"


@dataclass(frozen=True)
class Colours:
    """Colours of one theme, as ``#rrggbb``.

    Attributes
    ----------
    note
        Secondary text.
    active, done, warn, fail
        Text of these states.
    groove
        Background of a thin bar.
    curves
        Lines, in this order.
    """

    note: str
    active: str
    done: str
    warn: str
    fail: str
    groove: str
    curves: tuple[str, ...]


DARK = Colours(
    note="#a6abb3",
    active="#5cb8ff",
    done="#62c46d",
    warn="#e0ac2b",
    fail="#ff8d87",
    groove="#4d545f",
    curves=(
        "#5cb8ff", "#ffb454", "#7fd77f", "#d58cff", "#ff8d87", "#4fd6c4", "#c9c24f", "#f58bc0"
    ),
)  # fmt: skip
LIGHT = Colours(
    note="#565a61",
    active="#0a5795",
    done="#1d6427",
    warn="#744c00",
    fail="#ab1d17",
    groove="#b9b6b3",
    curves=(
        "#0a5795", "#944300", "#1d6427", "#7a33b0", "#ab1d17", "#0b6459", "#5f5a00", "#a02368"
    ),
)  # fmt: skip


def colours_of(theme: str) -> Colours:
    """Return the colours for a theme of napari, also one of another plugin."""
    background = str(get_theme(theme).background.as_hex(format="long"))
    return DARK if luminance(background) < 0.2 else LIGHT


def hint_colour(letters: str) -> str:
    """Return the colour of a hint in a field, for that of its letters as ``#rrggbb``."""
    return DARK.note if luminance(letters) > 0.5 else LIGHT.note


def luminance(colour: str) -> float:
    """Return the relative luminance (WCAG 2.2) of a colour ``#rrggbb``, from 0 to 1."""
    parts = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio (WCAG 2.2) of two colours ``#rrggbb``, from 1 to 21."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def style_sheet(theme: str, font_size: int) -> str:
    """Return the style of a dock: roles of labels (see `set_role`), lists, sizes, and the focus.

    Parameters
    ----------
    theme
        Name of a theme of napari.
    font_size
        Size of napari's letters in points, which its own style gives to labels and buttons only.
    """
    colours = colours_of(theme)
    roles = {
        "note": f"color: {colours.note};",
        "done": f"color: {colours.done};",
        "warn": f"color: {colours.warn};",
        "fail": f"color: {colours.fail};",
    }
    labels = [f'QLabel[graphflow="{role}"] {{ {style} }}' for role, style in roles.items()]
    # napari's lists and fields are brighter, too bright for coloured letters.
    field = get_theme(theme).foreground.as_hex(format="long")
    focus = f"border: 1px solid {colours.active};"
    small = f"QLineEdit, QAbstractItemView, QHeaderView {{ font-size: {font_size}pt; }}"
    framed = ", ".join(f"{kind}:focus" for kind in _FRAMED)
    return "\n".join(
        [
            small,
            *labels,
            f"QListView#{LIST} {{ background-color: {field}; }}",
            f'QLineEdit[graphflow="{HINTED}"] {{ background-color: {field}; }}',
            f"{framed} {{ {focus} }}",
            "QCheckBox:focus, QRadioButton:focus { text-decoration: underline; }",
        ]
    )
