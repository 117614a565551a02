"""Estimate time and memory of a run from trials of a few steps.

Each trial runs in a separate process: the peak memory of a process never decreases, and running out
of memory must not kill the caller.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from napari_graphflow.config.model_card import read_model_card
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.config.student_alone import student_alone
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.folder import RunKind
from napari_graphflow.jobs.memory import Setting
from napari_graphflow.jobs.readiness import check_run
from napari_graphflow.jobs.store import absolute_paths
from napari_graphflow.system.devices import available_device, devices
from napari_graphflow.system.failures import Failure, explain_exit
from napari_graphflow.system.processes import NO_CONSOLE, child_environment, end_process_tree
from napari_graphflow.system.words import duration

#: Fraction of the free memory that a run may use; the rest is left to other programs.
USABLE_FRACTION = 0.9
#: Time of the second network of a self-training, relative to the first: a step has as many
#: unlabelled as labelled patches, and the first network answers for both, without gradients.
SECOND_NETWORK = 2.7
#: Failure codes that a smaller setting may resolve; the system kills processes to free memory.
OUT_OF_MEMORY = ("out_of_memory", "out_of_gpu_memory", "killed")


class Measurements(BaseModel):
    """Measurements of a trial that succeeded.

    Attributes
    ----------
    patch_size
        Patch size in voxels that was used.
    peak_bytes
        Peak memory.
    reading_s
        Seconds to read one case.
    preparing_s
        Seconds that the method trains and measures before the first step.
    step_s, validating_s
        Seconds of one step, and to validate one case.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)

    patch_size: tuple[int, ...]
    peak_bytes: int
    reading_s: float
    preparing_s: float
    step_s: float
    validating_s: float


@dataclass(frozen=True)
class OutOfMemory:
    """A trial ran out of memory; `patch_size` is empty if none had been chosen."""

    patch_size: tuple[int, ...] = ()


@dataclass(frozen=True)
class Estimate:
    """Estimated time and memory of a run.

    Attributes
    ----------
    seconds
        Total time, including reading the data and validation.
    peak_bytes, free_bytes
        Peak memory of the run, and memory now free on the device.
    device
        Device of the run.
    setting
        The largest setting that fits; the batch is reduced first, then the patches.
    fits
        Whether the requested setting fits.
    """

    seconds: float
    peak_bytes: int
    free_bytes: int
    device: str
    setting: Setting
    fits: bool

    def __str__(self) -> str:
        peak, free = self.peak_bytes / 2**30, self.free_bytes / 2**30
        text = f"about {duration(self.seconds)}, {peak:.1f} of {free:.1f} GB free on {self.device}"
        return text if self.fits else f"{text}, reduced to {self.setting} to fit"


def estimate(
    kind: RunKind,
    config: TrainingConfig,
    report: Callable[[str], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Estimate:
    """Measure a run and, if it does not fit, find the largest setting that does.

    Parameters
    ----------
    kind, config
        As for :func:`napari_graphflow.jobs.store.create`.
    report
        Called with a description of each trial.
    cancelled
        Polled during trials; once it returns True, the trial is killed and a `UserError` raised.

    Raises
    ------
    UserError
        If the run cannot start, the smallest setting does not fit, or the run fails for another
        reason.
    """
    check_run(config)
    present = devices()
    device = available_device(config.device, present, set()) or config.device
    free = next((one.free_bytes for one in present if one.name == device), 0)
    # Absolute, because the trial runs in another folder.
    config = absolute_paths(config).model_copy(update={"device": device})

    def attempt(
        batch_size: int, patch_size: tuple[int, ...]
    ) -> tuple[Setting, Measurements | None]:
        """Measure a setting; return None for the measurements if it does not fit."""
        report(f"measuring with batch size {batch_size}")
        update = {"batch_size": batch_size, "patch_size": patch_size}
        found = _measure(kind, config.model_copy(update=update), cancelled)
        setting = Setting(batch_size, found.patch_size or patch_size)
        if isinstance(found, OutOfMemory) or found.peak_bytes > USABLE_FRACTION * free:
            return setting, None
        return setting, found

    too_large = 0
    setting, found = attempt(config.batch_size, config.patch_size)
    while found is None:
        smaller = setting.smaller() if setting.patch_size or setting.batch_size > 1 else None
        if smaller is None:
            raise UserError(
                f"Even {setting} does not fit into the free memory of {device}.",
                "Close other programs, or choose a smaller network.",
            )
        too_large = setting.batch_size
        setting, found = attempt(smaller.batch_size, smaller.patch_size)
    fits = too_large == 0
    # The batch was halved; a larger batch may still fit.
    while too_large - setting.batch_size > 1:
        middle = (too_large + setting.batch_size) // 2
        tried, more = attempt(middle, setting.patch_size)
        if more is None:
            too_large = middle
        else:
            setting, found = tried, more
    seconds = _seconds(config, found)
    if isinstance(config, DistillationConfig) and config.also_alone:
        report("measuring the student alone")
        alone = student_alone(config, read_model_card(config.teacher))
        single = _measure("train", alone.model_copy(update=asdict(setting)), cancelled)
        if isinstance(single, Measurements):
            seconds += _seconds(alone, single)
    elif config.self_training != "none":
        seconds *= 1 + SECOND_NETWORK
    return Estimate(seconds, found.peak_bytes, free, device, setting, fits)


def _measure(
    kind: RunKind, config: TrainingConfig, cancelled: Callable[[], bool]
) -> Measurements | OutOfMemory:
    with tempfile.TemporaryDirectory(prefix="graphflow-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "config.json"
        path.write_text(config.model_dump_json(), "utf-8")
        command = [sys.executable, "-m", "napari_graphflow", "jobs", "measure", kind, str(path)]
        child = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder,
            env=child_environment(), creationflags=NO_CONSOLE,
        )  # fmt: skip
        found = _replies(_wait(child, cancelled))
    if child.returncode == 0:
        return Measurements.model_validate(found)
    if "failure" in found:
        failure = Failure.model_validate(found["failure"])
    else:
        failure = explain_exit(child.returncode, what="The measurement")
    if failure.code in OUT_OF_MEMORY:
        return OutOfMemory(tuple(found.get("patch_size", ())))
    raise failure.as_error()


def _wait(child: "subprocess.Popen[str]", cancelled: Callable[[], bool]) -> str:
    while True:
        try:
            return child.communicate(timeout=0.2)[0]
        except subprocess.TimeoutExpired:
            if cancelled():
                end_process_tree(child.pid, kill=True)
                child.communicate()
                raise UserError("The measurement was cancelled.") from None


def _replies(output: str) -> dict[str, Any]:
    """Merge the JSON lines that a trial has printed."""
    found: dict[str, Any] = {}
    for line in output.splitlines():
        if line.startswith("{"):
            with suppress(ValueError):  # truncated by a kill, or printed by a library
                found |= json.loads(line)
    return found


def _seconds(config: TrainingConfig, found: Measurements) -> float:
    dataset = Dataset.of_run(config)
    labelled, validation = len(dataset.labelled("train")), len(dataset.labelled("val"))
    cases = (config.labelled or labelled) + validation
    if isinstance(config, DistillationConfig) and config.unlabelled:
        cases = labelled + validation + len(dataset.unlabelled("train"))
    validations = -(-config.steps // config.validate_every)
    return (
        cases * found.reading_s
        + found.preparing_s
        + config.steps * found.step_s
        + validations * validation * found.validating_s
    )
