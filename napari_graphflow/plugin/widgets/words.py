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
    "alignment_steps": "steps of the alignment",
    "answers": "teacher's answers",
    "autoencoder_input": "input of the auto-encoder",
    "autoencoder_steps": "steps of the auto-encoder",
    "checkpoint_minutes": "minutes between checkpoints",
    "code_length": "numbers in a code",
    "codes": "codes are read from",
    "confidence": "least probability of an answer",
    "cross_temperature": "temperature of cross distillation",
    "cross_weight": "weight of cross distillation",
    "curves": "curves for other programs",
    "cutmix": "share of mixed patches (CutMix)",
    "detach_skips": "cross distillation trains only the decoder",
    "dims": "dimensions",
    "edge_loss": "comparison of edges",
    "ema_decay": "averaging of the weights",
    "grad_clip": "limit of the gradient",
    "init": "start from the model",
    "inter_nodes": "nodes of the complete graph",
    "inter_weight": "weight of the complete graph",
    "intra_weight": "weight of the star graph",
    "labelled": "labelled cases used",
    "labels_only": "share of steps with labels only",
    "paraphraser_steps": "steps to compress the teacher",
    "patience": "stop after ... validations without gain",
    "precision": "precision of numbers",
    "skip_drop": "dropped share of skip connections",
    "stages": "stages from the model",
    "student": "trained student",
    "student_init": "student starts",
    "student_steps": "steps of the student alone",
    "student_tap": "feature map of the student",
    "teacher_min_dice": "smallest Dice of the teacher",
    "teacher_tap": "feature map of the teacher",
    "test_images": "use test images, without masks",
    "unlabelled": "use unlabelled cases",
    "validate_every": "validate every ... steps",
    "view_kinds": "changes of the copies",
    "view_share": "share of the loss on a changed copy",
    "views": "changed copies of a patch",
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
    "kl": "divergence",
    "mse": "squares",
    "scratch": "untrained",
    "typed": "one each",
    "warm": "trained",
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
