"""One case of a dataset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Case:
    """One scan or 2D image, with its mask if labelled.

    Attributes
    ----------
    name
        File name without channel number and suffix, in Unicode normal form C.
    images
        One file per channel, or a single file with all channels.
    label
        The mask, or None if the case is unlabelled.
    split
        Split of the case.
    site
        Where it comes from, by ``sites.csv``; empty if not known.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | None
    split: Split
    site: str = ""
