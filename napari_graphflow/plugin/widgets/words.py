"""Formatting of numbers and progress, and the message of a status line; without Qt."""

from dataclasses import dataclass
from html import escape
from typing import Literal

from napari_graphflow.system.words import duration


@dataclass(frozen=True)
class Message:
    """A message and its level.

    Attributes
    ----------
    text
        The message; nothing is shown if it is empty.
    level
        ``info``, ``done`` after a successful action of the user, ``warn`` or ``fail``.
    """

    text: str
    level: Literal["info", "done", "warn", "fail"] = "info"


@dataclass(frozen=True)
class Progress:
    """A progress bar: the steps, or only `text` while their number is unknown."""

    text: str = ""
    step: int = 0
    total: int = 0
    eta_s: float | None = None


def as_text(text: str) -> str:
    """Return text of a file for a place where Qt would run markup, such as a tooltip."""
    if "<" not in text:
        return text
    return f"<qt>{escape(text)}</qt>".replace("\n", "<br>")


#: Settings whose names are jargon or too short.
_SETTINGS = {
    "answers": "teacher's answers",
    "checkpoint_minutes": "minutes between checkpoints",
    "confidence": "least probability of an answer",
    "curves": "curves for other programs",
    "cutmix": "share of mixed patches (CutMix)",
    "dims": "dimensions",
    "ema_decay": "averaging of the weights",
    "grad_clip": "limit of the gradient",
    "init": "start from the model",
    "labels_only": "share of steps with labels only",
    "labelled": "labelled cases used",
    "paraphraser_steps": "steps to compress the teacher",
    "patience": "stop after ... validations without gain",
    "precision": "precision of numbers",
    "teacher_min_dice": "smallest Dice of the teacher",
    "unlabelled": "use unlabelled cases",
    "test_images": "use test images, without masks",
    "validate_every": "validate every ... steps",
    "warmup": "steps of warm-up",
}
#: Choices whose names are jargon.
CHOICES = {
    "auto": "automatic",
    "32-true": "32 bits, exact",
    "16-mixed": "16 bits, faster",
    "bf16-mixed": "16 bits (bfloat16), faster",
    "graph_flow": "Graph Flow",
    "emkd": "EMKD",
}


def setting_title(name: str) -> str:
    """Return the name of a setting in words."""
    return _SETTINGS.get(name, name.replace("_", " "))


def in_words(name: str) -> str:
    """Return the name of a structure as it is read aloud: ``left_kidney`` is left kidney."""
    return name.replace("_", " ")


def progress_text(done: int, total: int, eta_s: float | None) -> str:
    """Format progress, such as ``62 % · 14 s left``."""
    share = f"{100 * done // max(total, 1)} %"
    return share if eta_s is None else f"{share} · {duration(eta_s)} left"


def count_text(number: int) -> str:
    """Format a number of parameters as 38 M, 0.35 M or 12 k."""
    if number >= 10_000_000:
        return f"{number / 1e6:.0f} M"
    if number >= 1_000_000:
        return f"{number / 1e6:.1f} M"
    if number >= 100_000:
        return f"{number / 1e6:.2f} M"
    return f"{number / 1e3:.0f} k" if number >= 1000 else str(number)


def volume_text(value: float, unit: str = "ml") -> str:
    """Format a volume with three significant digits."""
    return f"{value:.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
