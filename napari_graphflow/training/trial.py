"""Trial run of an estimate: a few training steps on one case of each kind."""

import itertools
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from napari_graphflow.config.generalisable import GeneralisableOptions
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.jobs.folder import RunKind
from napari_graphflow.system.events import PeakMemory, Phase, PhaseKind, Progress, SettingChosen
from napari_graphflow.training.loop import distill, train

#: Number of steps; the first is slower and is not counted.
STEPS = 4


def measure(kind: RunKind, config: TrainingConfig) -> None:
    """Print the measurements of a trial as one line of JSON."""
    with tempfile.TemporaryDirectory(prefix="graphflow-") as folder:
        print(json.dumps(_trial(kind, config, Path(folder))))  # noqa: T201, the result


def _trial(kind: RunKind, config: TrainingConfig, folder: Path) -> dict[str, Any]:
    short, longer = _shortened(config)
    run = (
        distill(short, folder, cases=1, allow_smaller=False)
        if kind == "distill" and isinstance(short, DistillationConfig)
        else train(short, folder, cases=1, allow_smaller=False)
    )
    phase: Phase | None = None
    began, steps, found = time.perf_counter(), [], {}
    seconds: dict[PhaseKind, float] = defaultdict(float)
    for event in run:
        now = time.perf_counter()
        match event:
            case Phase():
                if phase is not None:
                    share = longer if phase.steps is not None else 1.0
                    seconds[phase.kind] += share * (now - began)
                phase, began = event, now
            case SettingChosen():
                found = event.model_dump(include={"batch_size", "patch_size"})
                # Printed at once, in case this process is killed.
                print(json.dumps({"patch_size": event.patch_size}), flush=True)  # noqa: T201
            case Progress() if phase is not None and phase.kind == "training":
                steps.append(now)
            case PeakMemory():
                found["peak_bytes"] = event.peak_bytes
    gaps = [after - before for before, after in itertools.pairwise(steps)]
    step = median(gaps[:-1])  # the last one holds the validation
    return found | {
        "step_s": step,
        "validating_s": max(0.0, gaps[-1] - step),
        "reading_s": seconds["reading"] / (3 if kind == "distill" else 2),
        "preparing_s": seconds["preparing"],
    }


def _shortened(config: TrainingConfig) -> tuple[TrainingConfig, float]:
    """Return a run of a few steps, and the factor by which its method's own training is shorter."""
    update: dict[str, Any] = {"steps": STEPS, "validate_every": STEPS}
    longer = 1.0
    if isinstance(config, DistillationConfig):
        update["labels_only"] = 0.0  # these steps are faster
        options = config.method
        steps = {n: v for n, v in options if n.endswith("_steps") and isinstance(v, int)}
        if steps and max(steps.values()) > STEPS:
            longer = max(steps.values()) / STEPS
            update["method"] = options.model_copy(update=dict.fromkeys(steps, STEPS))
        elif isinstance(options, GeneralisableOptions) and not steps:
            longer = config.steps / STEPS  # its stages are shares of the steps of the run
    return config.model_copy(update=update), longer
