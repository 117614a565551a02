"""The saved models and datasets of this user, as the lists of the docks show them; without Qt."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from napari_graphflow.dataset.samples import sample_dataset, tutorial_copy
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.jobs.trained import is_control
from napari_graphflow.plugin.widgets.recent import recent
from napari_graphflow.system.folders import jobs_root, models_root

if TYPE_CHECKING:  # a list of datasets does without: cards come with all settings of a run
    from napari_graphflow.config.model_card import ModelCard

#: What changes in the folder of a dataset when cases, masks or classes do.
_OF_DATASETS = (
    "dataset.json", "splits.json", "imagesTr", "labelsTr", "labelling/cases", "labelling/proposals",
    "labelling/rounds",
)  # fmt: skip


def saved_models(prefer: str | None = None) -> "dict[Path, ModelCard]":
    """Return the cards of all saved models: the preferred role first, then the newest first.

    Students that a job trained alone are the last ones: they are there to be compared with.
    """
    from napari_graphflow.config.model_card import read_model_card

    found: dict[Path, ModelCard] = {}
    for file, _ in sorted(_model_files().items(), key=lambda item: -item[1]):
        # Incomplete or of a later version: see `broken_models`.
        with suppress(UserError, OSError):
            found[file.parent] = read_model_card(file.parent)

    def rank(item: "tuple[Path, ModelCard]") -> tuple[bool, bool]:
        folder, card = item
        return is_control(folder), prefer is not None and card.role != prefer

    return dict(sorted(found.items(), key=rank))


def broken_models() -> dict[Path, str]:
    """Return the folders of models whose card cannot be read, with the reason as a clause."""
    from napari_graphflow.config.model_card import read_model_card

    found = {}
    for file in _model_files():
        try:
            read_model_card(file.parent)
        except UserError as error:
            found[file.parent] = error.text.partition("model.json ")[2].rstrip(".") or error.text
        except OSError as error:
            found[file.parent] = f"cannot be read: {(error.strerror or 'system error').lower()}"
    return found


def listed_datasets() -> list[Path]:
    """Return the folders of recently opened datasets and of the sample.

    The sample is left out beside its copy, which has the same name.
    """
    folders = recent("datasets")
    with suppress(UserError):  # the sample data may not be installed
        sample = sample_dataset("abdomen")
        if not {sample, tutorial_copy(sample.name).resolve()} & set(folders):
            folders.append(sample)
    return folders


def snapshot() -> dict[Path, int]:
    """Return the modification times of everything that the lists depend on."""
    return _model_files() | {
        file: time for folder in listed_datasets() for file, time in dataset_stamp(folder).items()
    }


def dataset_stamp(folder: Path) -> dict[Path, int]:
    """Return the modification times that change with the cases and masks of a dataset."""
    return dict(_times(folder / part for part in _OF_DATASETS))


def _model_files() -> dict[Path, int]:
    """Return ``model.json`` of every saved model with its modification time."""
    root = models_root()
    folders = jobs_root().glob("*")
    of_jobs = (one / "model.json" for folder in folders for one in JobPaths(folder).models())
    opened = (path / "model.json" for path in recent("models"))
    return dict(_times((*root.glob("*/model.json"), *of_jobs, *opened)))


def _times(paths: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    for path in paths:
        with suppress(OSError):  # there is none, or no longer
            yield path, path.stat().st_mtime_ns
