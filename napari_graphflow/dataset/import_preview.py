"""What an import would do: which images and masks belong together, and which classes there are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_graphflow.dataset.classes import choose_classes
from napari_graphflow.dataset.importing import Progress, Steps, survey_masks
from napari_graphflow.dataset.sources import Source, find_sources


@dataclass(frozen=True)
class ImportPreview:
    """What would be imported from two folders.

    Attributes
    ----------
    sources
        The cases, with their masks and splits.
    record
        Names of the files that would be left out, by reason.
    classes
        Value of each class in the masks, by name; empty without masks.
    """

    sources: tuple[Source, ...]
    record: Mapping[str, Sequence[str]]
    classes: Mapping[str, int]


def preview_import(
    images: Path,
    masks: Path | None,
    progress: Progress | None = None,
    *,
    site_folders: bool = False,
) -> ImportPreview:
    """Pair images and masks and read the values of the masks, without writing anything.

    Parameters
    ----------
    images, masks, progress, site_folders
        As for `import_dataset`.

    Raises
    ------
    UserError
        If the folders cannot be imported.
    """
    sources, record = find_sources(images, masks, None, site_folders=site_folders)
    labelled = sum(source.mask is not None for source in sources)
    known = choose_classes(survey_masks(sources, Steps(progress, labelled)), None)
    named = dict(zip(known.names, known.values, strict=True)) if labelled else {}
    if known.ignore is not None:
        named["ignore"] = known.ignore
    return ImportPreview(tuple(sources), record, named)
