"""The curves of a run for other programs: a table, or the files of TensorBoard."""

import csv
import importlib.util
from collections.abc import Generator
from contextlib import closing

from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.system.events import CheckpointSaved, Event, Metric, ModelSaved
from napari_graphflow.system.files import written_aside
from napari_graphflow.system.install import install_hint

#: Events of a run; closing it pauses the run.
Events = Generator[Event, None, None]


def with_curves(events: Events, job: Job) -> Events:
    """Pass the events of a run on, and write its curves as its settings ask.

    Raises
    ------
    UserError
        If TensorBoard is asked for and not installed.
    """
    kind = job.config.curves if isinstance(job.config, TrainingConfig) else "none"
    if kind == "none":
        yield from events
    elif kind == "csv":
        yield from _with_table(events, job)
    else:
        yield from _with_tensorboard(events, job)


def _with_table(events: Events, job: Job) -> Events:
    with closing(events):
        for event in events:
            yield event
            if isinstance(event, (CheckpointSaved, ModelSaved)):
                write_table(job)


def write_table(job: Job) -> None:
    """Write ``artifacts/curves.csv``, one row per point; what a resumed job repeated, once."""
    points: dict[tuple[str, str, int], float | None] = {}
    offset, before = 0, -1
    while offset != before:
        before = offset
        events, offset = job.events(offset)
        for event in events:
            if isinstance(event, Metric):
                points[event.split, event.name, event.step] = event.value
    with (
        written_aside(job.artifacts / "curves.csv") as aside,
        aside.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("split", "name", "step", "value"))
        writer.writerows(
            (*key, "" if value is None else value) for key, value in sorted(points.items())
        )


def _with_tensorboard(events: Events, job: Job) -> Events:
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError(
            "The curves for TensorBoard need the package tensorboard, which is not installed.",
            f"{install_hint('tensorboard')}, or choose curves csv.",
        )
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(job.artifacts / "tensorboard")
    with closing(events), closing(writer):
        for event in events:
            yield event
            if isinstance(event, Metric) and event.value is not None:
                writer.add_scalar(f"{event.split}/{event.name}", event.value, event.step)
