"""Where each file of a job lies; no other module spells these names."""

from pathlib import Path
from typing import Literal

#: What may be asked of a job, by a file of this name that anybody may create.
Request = Literal["cancel", "pause", "resume", "checkpoint_now"]


class JobPaths:
    """The paths in a job's folder, whether or not there is anything yet.

    Parameters
    ----------
    folder
        Folder of the job.

    Attributes
    ----------
    spec_file, events_file, status_file, lock_file, log
        What was asked, what happened, the last state, the right to write, what was printed.
    control
        Folder of the requests; see `request_file`.
    checkpoints, last_checkpoint, previous_checkpoint, best_weights
        Folder of all that a resumed run reads, and its files.
    artifacts, model, preview
        Folder of the results: the finished model, and the newest 2D image of a validation case.
    preview_case
        Names the validation case that the preview is to show.
    cases_file, manifest, memory_setting
        Names of the cases of the run, fingerprints of its files, and the setting that fits into
        memory where a larger one did not.
    cache
        Folder of the prepared data while the run lasts.
    reserve
        Disk space kept free for the last state.
    runner_note, slurm
        Which engine has the job, and the folder of submitit.
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
        self.preview_case = folder / "preview_case"
        self.cases_file = folder / "cases.json"
        self.manifest = folder / "manifest.json"
        self.memory_setting = folder / "setting.json"
        self.cache = folder / "cache"
        self.reserve = folder / ".reserve"
        self.runner_note = folder / "runner.json"
        self.slurm = folder / "slurm"

    def request_file(self, request: Request) -> Path:
        """The file whose existence is a request to the job."""
        return self.control / request

    def relative(self, path: Path) -> str:
        """A path of the job as it stands in events, with slashes on every system."""
        return path.relative_to(self.folder).as_posix()

    def portable_files(self) -> dict[str, Path]:
        """The files that go with the job to another computer and come back, by relative path.

        The others belong to one computer, or are written anew on each.
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
