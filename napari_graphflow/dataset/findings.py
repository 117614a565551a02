"""What a user should know of a dataset, as sentences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
_MOST_NAMED = 3


@dataclass(frozen=True)
class Finding:
    """Something noticed when a dataset was opened, imported or checked.

    Attributes
    ----------
    severity
        ``error`` if training would fail or its scores be wrong, ``warning`` if they may, else
        ``info``.
    case
        Name of the case; empty if it concerns the dataset.
    text, remedy
        One sentence each.
    """

    severity: Severity
    case: str
    text: str
    remedy: str = ""


def counted(number: int, word: str) -> str:
    """Return a number with its noun, such as ``1 mask`` or ``3 masks``."""
    return f"{number} {word}{'s' * (number != 1)}"


def are(number: int) -> str:
    """Return the verb of a number of things."""
    return "is" if number == 1 else "are"


def some_of(names: Sequence[str]) -> str:
    """List at most three names, such as ``a, b, c, ...``."""
    return ", ".join([*names[:_MOST_NAMED], *(["..."] if len(names) > _MOST_NAMED else [])])


def listed(words: Sequence[str]) -> str:
    """List all words, such as ``a, b and c``."""
    return " and ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else words[0]
