"""The models that jobs trained: their folders, the student alone beside a student, their curves."""

from pathlib import Path

from napari_graphflow.errors import UserError
from napari_graphflow.jobs.paths import JobPaths


def model_folder(path: Path) -> Path | None:
    """Return the folder of a model, given it or its job; None if it is neither.

    Raises
    ------
    UserError
        If it is a job without a trained model.
    """
    if (path / "model.json").is_file():
        return path
    paths = JobPaths(path)
    if (paths.model / "model.json").is_file():
        return paths.model
    if paths.spec_file.is_file():
        raise UserError(f"The job {path.name} has no trained model yet.", "Wait until it is done.")
    return None


def alone_beside(student: Path) -> Path | None:
    """Return the student that was trained without the teacher of this one, beside it."""
    job = student.parent.parent
    folders = [student.with_name(f"{student.name}-alone")]
    if student == JobPaths(job).model:
        folders.append(JobPaths(JobPaths(job).alone).model)
    return next((folder for folder in folders if (folder / "model.json").is_file()), None)


def is_control(model: Path) -> bool:
    """Whether a model is the student that a job trained alone, for comparison with another."""
    stage = model.parent.parent
    return stage == JobPaths(stage.parent).alone


def training_curve(model: Path) -> tuple[tuple[int, float], ...]:
    """Return step and validation Dice of a model's training, while its job is there."""
    # Imported here, because every list of models imports this module.
    from napari_graphflow.jobs.event_log import read_events
    from napari_graphflow.system.events import Metric

    folder, name = model.parent.parent, "dice"
    if model != JobPaths(folder).model:
        return ()
    if is_control(model):
        folder, name = folder.parent, "alone/dice"
    points: dict[int, float] = {}
    offset, before = 0, -1
    while offset != before:
        before = offset
        events, offset = read_events(JobPaths(folder).events_file, offset)
        for event in events:
            if isinstance(event, Metric) and event.name == name and event.value is not None:
                points[event.step] = event.value
    return tuple(sorted(points.items()))
