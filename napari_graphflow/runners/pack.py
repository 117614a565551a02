"""A job with its data and its teacher as one archive, which runs on a computer that has neither."""

import json
import time
import zipfile
from pathlib import Path

from napari_graphflow.config import DistillationConfig
from napari_graphflow.dataset import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.failures import in_words
from napari_graphflow.jobs import Job, Status
from napari_graphflow.manifest import data_files

#: Folder of the job within the archive.
JOB = "job"
#: Ray refuses packages of 512 MiB.
LIMIT = 500_000_000
#: What stays at home: it belongs to one computer, or is made anew.
LEFT = {"control", "cache", "slurm", "lock", "log.txt", "runner.json", "status.json", "job.json"}


def pack_job(job: Job, path: Path) -> None:
    """Write the archive; paths in it are relative to its root, where the job is to be run.

    Raises
    ------
    UserError
        If the data are too large, or lie outside the folder of the dataset.
    """
    config = job.config
    dataset = Dataset.open(config.dataset)
    places = {"dataset": f"data/{config.dataset.name}"}
    files = _dataset_files(dataset, places["dataset"])
    if isinstance(config, DistillationConfig):
        places["teacher"] = f"teacher/{config.teacher.name}"
        found = (one for one in config.teacher.rglob("*") if one.is_file())
        files |= {
            f"{places['teacher']}/{one.relative_to(config.teacher).as_posix()}": one
            for one in found
        }
    for one in job.folder.rglob("*"):
        parts = one.relative_to(job.folder).parts
        if one.is_file() and parts[0] not in LEFT and not any(name[0] == "." for name in parts):
            files["/".join((JOB, *parts))] = one
    with in_words():
        size = sum(one.stat().st_size for one in files.values())
        if size > LIMIT:
            raise UserError(
                f"Data, teacher and job are {size / 1e9:.1f} GB, and Ray takes at most "
                f"{LIMIT / 1e9:.1f} GB.",
                "Put them on a file system that the cluster sees, and choose the runner ray.",
            )
        spec = job.spec | {"config": job.spec["config"] | places}
        kept = job.saved_status().model_dump(include={"step", "total", "best"})
        status = Status(state="queued", runner="ray", launched=time.time(), **kept)
        # Scans and weights are compressed already.
        with zipfile.ZipFile(path, "w", strict_timestamps=False) as archive:
            for name, one in files.items():
                archive.write(one, name)
            archive.writestr(f"{JOB}/job.json", json.dumps(spec, indent=1))
            archive.writestr(f"{JOB}/status.json", status.model_dump_json())
            if (dataset.folder / "splits.json").is_file():
                splits = {
                    split: sorted({case.name for case in dataset.cases if case.split == split})
                    for split in ("train", "val")
                }
                archive.writestr(f"{places['dataset']}/splits.json", json.dumps(splits))


def _dataset_files(dataset: Dataset, place: str) -> dict[str, Path]:
    """The files of all cases but those to test on."""
    used = [case for case in dataset.cases if case.split != "test"]
    files = {}
    for path in [dataset.folder / "dataset.json", *data_files(used, [])]:
        if not path.is_relative_to(dataset.folder):
            raise UserError(
                f"{path} lies outside the folder of the dataset and cannot be packed.",
                "Import the images into one folder, or choose the runner ray.",
            )
        files[f"{place}/{path.relative_to(dataset.folder).as_posix()}"] = path
    return files
