"""Pack a job with its data and teacher into one archive for another computer."""

import json
import time
import zipfile
from pathlib import Path

from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.config.settings import paths_in
from napari_graphflow.dataset.cases import Case, Dataset, data_files
from napari_graphflow.dataset.splits import NNUNET, OWN
from napari_graphflow.dataset.subset import described, splits_of
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.jobs.status import Process
from napari_graphflow.system.failures import in_words

#: Folder of the job within the archive.
JOB = "job"
#: Bytes; Ray rejects packages of 512 MiB.
LIMIT = 500_000_000


def pack_job(job: Job, path: Path) -> None:
    """Write the archive; its paths are relative to its root, in which the job is run.

    Raises
    ------
    UserError
        If the data are too large, or outside the folder of the dataset.
    """
    config = job.config
    if not isinstance(config, TrainingConfig):
        raise UserError(
            f"The job {job.title} changes the dataset on this computer and cannot be packed.",
            "Choose the runner local.",
        )
    sent = {config.dataset, getattr(config, "teacher", None)}
    if left := [path for path in paths_in(config) if path not in sent]:
        raise UserError(
            f"The job {job.title} also reads {left[0]}, which is not packed.",
            "Choose the runner ray, with a file system that the cluster shares.",
        )
    dataset = Dataset.of_run(config)
    places = {"dataset": f"data/{config.dataset.name}"}
    used = [case for case in dataset.cases if case.split != "test"]
    files = _dataset_files(dataset, used, places["dataset"])
    if isinstance(config, DistillationConfig):
        places["teacher"] = f"teacher/{config.teacher.name}"
        found = (one for one in config.teacher.rglob("*") if one.is_file())
        files |= {
            f"{places['teacher']}/{one.relative_to(config.teacher).as_posix()}": one
            for one in found
        }
    files |= {f"{JOB}/{name}": one for name, one in job.portable_files().items()}
    with in_words():
        size = sum(one.stat().st_size for one in files.values())
        if size > LIMIT:
            raise UserError(
                f"Data, teacher and job are {size / 1e9:.1f} GB, but Ray accepts at most "
                f"{LIMIT / 1e9:.1f} GB.",
                "Store them on a file system shared with the cluster, and choose the runner ray.",
            )
        # The cases of other sites stay here.
        spec = job.spec | {"config": job.spec["config"] | places | {"sources": []}}
        status = job.saved_status().queued(Process(runner="ray", launched=time.time()))
        packed = JobPaths(Path(JOB))
        # Uncompressed: scans and weights are hardly compressible.
        with zipfile.ZipFile(path, "w", strict_timestamps=False) as archive:
            for name, one in files.items():
                archive.write(one, name)
            archive.writestr(packed.spec_file.as_posix(), json.dumps(spec, indent=1))
            archive.writestr(packed.status_file.as_posix(), status.model_dump_json())
            description = described(
                dataset, used, lambda path: path.relative_to(dataset.folder).as_posix()
            )
            archive.writestr(f"{places['dataset']}/dataset.json", json.dumps(description))
            splits = splits_of(used)
            content = [splits] * (config.fold + 1) if config.fold else splits
            name = NNUNET if config.fold else OWN
            archive.writestr(f"{places['dataset']}/{name}", json.dumps(content))


def _dataset_files(dataset: Dataset, used: list[Case], place: str) -> dict[str, Path]:
    """Return the files of the cases to pack, by path in the archive."""
    files = {}
    for path in data_files(used, []):
        if not path.is_relative_to(dataset.folder):
            raise UserError(
                f"{path} is outside the folder of the dataset and cannot be packed.",
                "Import the images into one folder, or choose the runner ray.",
            )
        files[f"{place}/{path.relative_to(dataset.folder).as_posix()}"] = path
    return files
