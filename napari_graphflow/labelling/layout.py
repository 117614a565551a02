"""Paths inside ``labelling/`` of a dataset, defined only here."""

from pathlib import Path
from urllib.parse import quote, unquote

from napari_graphflow.dataset.statuses import RECORDS

#: Characters of a model's hash in the names of its proposals.
SHORT = 12


class LabellingPaths:
    """The paths of a dataset's labelling; the files may not exist yet.

    Parameters
    ----------
    dataset
        Folder of the dataset.
    ending
        Suffix of its masks, such as ``.nii.gz``.

    Attributes
    ----------
    cases, drafts, proposals, versions, rounds
        Folders of the records of cases, the masks in progress, the masks of models, all masks that
        ever counted, and the records of rounds.
    log
        What was done, one JSON object per line.
    settings
        Settings of the labelling.
    locks
        Folder of the notes of who has a case open.
    log_guard, description_guard, rounds_guard
        Files locked during a write to the log, to ``dataset.json`` and to the rounds.
    """

    def __init__(self, dataset: Path, ending: str) -> None:
        self.ending = ending
        self.cases = dataset / RECORDS
        self.folder = self.cases.parent
        self.drafts = self.folder / "drafts"
        self.proposals = self.folder / "proposals"
        self.versions = self.folder / "versions"
        self.rounds = self.folder / "rounds"
        self.log = self.folder / "log.jsonl"
        self.settings = self.folder / "settings.json"
        self.locks = self.folder / "locks"
        self.log_guard = self.locks / ".log"
        self.description_guard = self.locks / ".dataset"
        self.rounds_guard = self.locks / ".rounds"

    def case(self, case: str) -> Path:
        """Return the record of a case."""
        return self.cases / f"{case}.json"

    def draft(self, case: str, reader: str) -> Path:
        """Return the mask in progress of a reader, whose name may contain any characters."""
        return self.drafts / f"{case}.{_escaped(reader)}{self.ending}"

    def readers(self, case: str) -> dict[str, Path]:
        """Return the masks in progress of a case, by reader."""
        return self.drafts_by_case().get(case, {})

    def drafts_by_case(self) -> dict[str, dict[str, Path]]:
        """Return all masks in progress, by case and reader."""
        return {
            case: {unquote(part): path for part, path in parts.items()}
            for case, parts in _by_case(self.drafts, self.ending).items()
        }

    def proposal(self, case: str, model: str) -> Path:
        """Return the mask that a model proposes; `model` is the SHA-256 of its weights."""
        return self.proposals / f"{case}.{model[:SHORT]}{self.ending}"

    def proposal_record(self, case: str, model: str) -> Path:
        """Return the description of a proposal."""
        return self.proposals / f"{case}.{model[:SHORT]}.json"

    def proposal_records(self, case: str) -> list[Path]:
        """Return the descriptions of all proposals of a case."""
        return self.proposals_by_case().get(case, [])

    def proposals_by_case(self) -> dict[str, list[Path]]:
        """Return the descriptions of all proposals, by case."""
        found = _by_case(self.proposals, ".json")
        return {case: list(parts.values()) for case, parts in found.items()}

    def version(self, sha256: str) -> Path:
        """Return the copy of a mask with this content."""
        return self.versions / f"{sha256}{self.ending}"

    def new_version(self, case: str, token: str) -> Path:
        """Return a hidden path for a mask whose content is not known yet."""
        return self.versions / f".{case}.{token}{self.ending}"

    def round(self, number: int) -> Path:
        """Return the record of a round."""
        return self.rounds / f"{number:04d}.json"

    def lock(self, case: str) -> Path:
        """Return the note of who has a case open."""
        return self.locks / f"{case}.json"

    def guard(self, case: str) -> Path:
        """Return the file that is locked while a case is written."""
        return self.locks / f".{case}.guard"

    def create(self) -> None:
        """Create all folders."""
        for folder in (
            self.cases, self.drafts, self.proposals, self.versions, self.rounds, self.locks,
        ):  # fmt: skip
            folder.mkdir(parents=True, exist_ok=True)


def _by_case(folder: Path, ending: str) -> dict[str, dict[str, Path]]:
    """Return the files ``CASE.PART.ending`` by case and part; a part contains no dot."""
    found: dict[str, dict[str, Path]] = {}
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    for name in names:
        case, _, part = name.removesuffix(ending).rpartition(".")
        if case and part and name.endswith(ending) and not name.startswith("."):
            found.setdefault(case, {})[part] = folder / name
    return found


def _escaped(reader: str) -> str:
    """Escape all characters that file names or the dots of `LabellingPaths` do not allow."""
    return quote(reader, safe=" ").replace(".", "%2E")
