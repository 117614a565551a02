"""Command lines that are equivalent to the current choices in a dock."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from napari_graphflow.config.prediction import DEFAULTS, PredictionOptions
from napari_graphflow.config.run import DistillationConfig, TrainingConfig

if TYPE_CHECKING:
    from napari_graphflow.runners import RunnerName

PROGRAM = "napari-graphflow"


def segment_command(
    image: str,
    model: Path,
    device: str,
    probabilities: bool,
    options: PredictionOptions = DEFAULTS,
) -> str:
    """Return the ``segment`` command."""
    words = ["segment", image or "IMAGE", "--model", str(model), "--out", "MASKS"]
    words += ["--device", device] if device != "auto" else []
    words += ["--probabilities"] if probabilities else []
    if options.mirror is not None:
        words += ["--mirror" if options.mirror else "--no-mirror"]
    words += [] if options.postprocess else ["--no-postprocess"]
    return shlex.join([PROGRAM, *words])


def job_command(config: TrainingConfig, runner: "RunnerName" = "local", workers: int = 1) -> str:
    """Return the ``train`` or ``distill`` command with all options that are not the default."""
    kind = "distill" if isinstance(config, DistillationConfig) else "train"
    where = ["--runner", runner] if runner != "local" else []
    where += ["--workers", str(workers)] if workers > 1 else []
    return shlex.join([PROGRAM, kind, *_options(config, ""), *where])


def _options(config: BaseModel, prefix: str) -> list[str]:
    words: list[str] = []
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if not field.is_required() and value == field.get_default():
            continue
        option = f"--{prefix}{name.replace('_', '-')}"
        if name == "method":  # its options form a group with its name
            words += [option, value.name] if value.name != field.get_default().name else []
            option = f"--{value.name.replace('_', '-')}"
        if isinstance(value, BaseModel):
            words += _options(value, f"{option.removeprefix('--')}.")
        elif isinstance(value, bool):
            words += [option if value else f"--{prefix}no-{name.replace('_', '-')}"]
        else:
            words += [option, *_values(value)]
    return words


def _values(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, tuple) else [str(value)]
