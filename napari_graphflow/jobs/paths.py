"""Paths of all files of a job, defined only here."""

from pathlib import Path
from typing import Literal

#: Requests to a job, made by creating a file of this name.
Request = Literal["cancel", "pause", "resume", "checkpoint_now"]


class JobPaths:
    """The paths in a job's folder; the files may not exist yet.

    Parameters
    ----------
    folder
        Folder of the job.

    Attributes
    ----------
    spec_file, events_file, status_file, lock_file, log
        Settings, events, latest state, write lock and printed output.
    control
        Folder of the requests; see `request_file`.
    checkpoints, last_checkpoint, previous_checkpoint, best_weights
        Folder of the checkpoints, and its files.
    artifacts, model, preview
        Folder of the results: the trained model, and the latest 2D image of a validation case.
    report, study
        Of a comparison: its page, and its scores with the names of cases.
    preview_case
        Name of the validation case of the preview.
    cases_file, manifest, memory_setting, teacher_scores
        Names of the cases of the run, hashes of its files, the reduced setting after a lack of
        memory, and the scores of the teacher on the dataset.
    cache
        Folder of the preprocessed data during the run.
    teacher, alone
        Folders like that of a job: of a round for its teacher, of a distillation or round for the
        student without one.
    first
        The same of a self-training, for its first network.
    frozen, frozen_scores
        Of a round: the dataset as it was at its start, and the scores of its models so far.
    reserve
        Disk space reserved for the final status.
    runner_note, slurm
        Engine of the job, and the folder of submitit.
    title_file
        Title that replaces the first one, once the user has renamed the job.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spec_file = folder / "job.json"
        self.events_file = folder / "events.jsonl"
        self.status_file = folder / "status.json"
        self.lock_file = folder / "lock"
        self.log = folder / "log.txt"
        self.control = folder / "control"
        self.checkpoints = folder / "checkpoints"
        self.last_checkpoint = self.checkpoints / "last.pt"
        self.previous_checkpoint = self.checkpoints / "before.pt"
        self.best_weights = self.checkpoints / "best.safetensors"
        self.artifacts = folder / "artifacts"
        self.model = self.artifacts / "model"
        self.preview = self.artifacts / "preview.png"
        self.report = self.artifacts / "comparison.html"
        self.study = self.artifacts / "study.json"  # the report has comparison.json beside it
        self.preview_case = folder / "preview_case"
        self.cases_file = folder / "cases.json"
        self.manifest = folder / "manifest.json"
        self.memory_setting = folder / "setting.json"
        self.teacher_scores = folder / "teacher.json"
        self.cache = folder / "cache"
        self.answers = folder / "answers"
        self.teacher = folder / "teacher_stage"
        self.alone = folder / "alone_stage"
        self.first = folder / "first_stage"
        self.frozen = folder / "frozen_dataset"
        self.frozen_scores = folder / "frozen_scores.json"
        self.reserve = folder / ".reserve"
        self.runner_note = folder / "runner.json"
        self.slurm = folder / "slurm"
        self.title_file = folder / "title"

    def request_file(self, request: Request) -> Path:
        """Return the file that makes a request when created."""
        return self.control / request

    def models(self) -> list[Path]:
        """Return the folders of all models that a job may train."""
        stages = (self.teacher, self.alone, self.first)
        return [self.model, *(JobPaths(stage).model for stage in stages)]

    def relative(self, path: Path) -> str:
        """Return a path relative to the folder as in events, with slashes on all systems."""
        return path.relative_to(self.folder).as_posix()

    def foreign_files(self) -> list[str]:
        """Return the names of what is in the folder, but not written by a job."""
        own = {path.name for path in vars(self).values() if path.parent == self.folder}
        # Temporary files of an interrupted writing are hidden and belong to the job, too.
        return sorted(
            path.name
            for path in self.folder.iterdir()
            if path.name not in own and not (path.name[0] == "." and path.suffix == ".part")
        )

    def portable_files(self) -> dict[str, Path]:
        """Return the files that are copied to and from another computer, by relative path.

        The others are specific to one computer, or are written anew.
        """
        local = {
            self.spec_file, self.status_file, self.lock_file, self.log, self.control, self.cache,
            self.runner_note, self.slurm,
        }  # fmt: skip
        found = {}
        for path in self.folder.rglob("*"):
            parts = path.relative_to(self.folder).parts
            hidden = any(part[0] == "." for part in parts)
            if self.folder / parts[0] not in local and not hidden and path.is_file():
                found["/".join(parts)] = path
        return found
