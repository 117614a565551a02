"""What a job from elsewhere names, to be shown and accepted once."""

from contextlib import suppress

from napari_graphflow.errors import UserError
from napari_graphflow.jobs.job import Job
from napari_graphflow.jobs.trust import accept, is_known, outside_paths, spec_hash
from napari_graphflow.runners.handover import read_note


def named_elsewhere(job: Job) -> list[str]:
    """Return what a job names that this user has neither used nor accepted, in words."""
    files: list[str] = []
    with suppress(UserError):  # settings that cannot be read; such a job does not start either
        if not is_known("jobs", spec_hash(job)):
            files = [f"reads {path}" for path in outside_paths(job)]
    return files + [f"runs on the cluster {one}" for one in _unknown_addresses(job)]


def accept_job(job: Job) -> None:
    """Accept the files and the cluster that a job names."""
    accept("jobs", spec_hash(job))
    accept("addresses", *_unknown_addresses(job))


def _unknown_addresses(job: Job) -> list[str]:
    with suppress(FileNotFoundError, UserError):
        noted = read_note(job)
        named = [noted.get("address", ""), noted.get("client", "")]
        return [one for one in named if one and not is_known("addresses", one)]
    return []
