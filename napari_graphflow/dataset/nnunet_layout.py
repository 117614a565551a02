"""List the cases of a folder in the layout of nnU-Net v2, nnU-Net v1 or the Decathlon.

nnU-Net v2 names images ``CASE_0000.nii.gz`` and masks ``CASE.nii.gz``. The Decathlon and nnU-Net v1
list the cases under ``training``; nnU-Net v1 leaves out the channel number there. What a folder
holds and no case uses is a finding.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from napari_graphflow.dataset.case import Case, Split
from napari_graphflow.dataset.findings import Finding, are, counted, some_of
from napari_graphflow.dataset.names import composed
from napari_graphflow.imaging.formats.endings import FORMATS, split_channel, split_ending
from napari_graphflow.system.files import listing

#: Variables in paths of a listing; others of the environment are none of its business.
_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
_PARTS: tuple[tuple[str, Split], ...] = (("Tr", "train"), ("Ts", "test"))
#: Files beside images and masks: voxels of a header, and descriptions.
_BESIDE = (*(end for one in FORMATS.values() for end in one.data), ".raw", ".zraw", ".json")


def list_cases(folder: Path, description: Mapping[str, Any]) -> tuple[list[Case], list[Finding]]:
    """List the cases described by ``dataset.json``, and what is wrong with their files.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        If the description has another form.
    """
    layout = _Layout(folder)
    if isinstance(description.get("training"), list):
        cases = layout.listed(description)
    else:
        cases = layout.found(file_ending(description["file_ending"]), description.get("dataset"))
    return cases, [*layout.findings(cases)]


def file_ending(text: str) -> str:
    """Return a suffix with its dot, which some leave out."""
    return f".{text.strip().lstrip('.')}"


def entry_name(entry: Any) -> str:
    """Return the name of the case that an entry of the Decathlon or nnU-Net v1 lists."""
    return _named(entry if isinstance(entry, dict) else {"image": entry})[0]


def _named(entry: Mapping[str, Any]) -> tuple[str, str]:
    return split_ending(composed(_slashed(_texts(entry)[0]).rsplit("/", 1)[-1]))


def _texts(entry: Mapping[str, Any]) -> list[str]:
    image = entry["image"]
    return image if isinstance(image, list) else [image]


class _Layout:
    """A folder, the files of which are matched by composed names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ending = ""
        self.folders: dict[Path, dict[str, Path]] = {}
        self.by_stem: dict[Path, dict[str, list[Path]]] = {}
        self.image_names: set[str] | None = None
        self.renamed: list[Path] = []
        self.absent: list[str] = []

    def files(self, folder: Path) -> dict[str, Path]:
        """Return the files in a folder by name."""
        if folder not in self.folders:
            found = listing(folder) if folder.is_dir() else []
            self.folders[folder] = {composed(one.name): one for one in found if not one.is_dir()}
        return self.folders[folder]

    def stems(self, folder: Path) -> dict[str, list[Path]]:
        """Return the images in a folder by name without suffix."""
        if folder not in self.by_stem:
            found = self.by_stem.setdefault(folder, {})
            for name, path in self.files(folder).items():
                stem, ending = split_ending(name)
                if ending and ending not in _BESIDE:
                    found.setdefault(stem, []).append(path)
        return self.by_stem[folder]

    def cases(self) -> set[str]:
        """Return all names of images without channel number and suffix."""
        if self.image_names is None:
            folders = (self.folder / f"images{part}" for part, _ in _PARTS)
            stems = (stem for one in folders for stem in self.stems(one))
            self.image_names = {split_channel(stem)[0] for stem in stems}
        return self.image_names

    def found(self, ending: str, listed: Mapping[str, Any] | None) -> list[Case]:
        """Return the cases in the folders of nnU-Net v2, and those listed with their paths."""
        self.ending = ending
        cases = {}
        for part, split in _PARTS:
            channels: dict[str, list[Path]] = {}
            for name, path in self.files(self.folder / f"images{part}").items():
                stem = _stem(name, ending)
                case, channel = split_channel(stem or "")
                if channel is not None:
                    channels.setdefault(case, []).append(path)
            for name, paths in channels.items():
                label = self.mask(self.folder / f"labels{part}", name, ending)
                cases[part, name] = Case(name, tuple(paths), label, split)
        in_folders = {case.images: key for key, case in cases.items()}
        for title, files in (listed or {}).items():
            name = composed(str(title))
            images = tuple(self.path(one) for one in files["images"])
            if found := in_folders.get(images):
                cases.pop(found, None)
            cases["Tr", name] = Case(name, images, self.stated(files.get("label")), "train")
        return list(cases.values())

    def listed(self, description: Mapping[str, Any]) -> list[Case]:
        """Return the cases listed by the Decathlon or nnU-Net v1."""
        cases = []
        for part, entries in (("Tr", description["training"]), ("Ts", description.get("test"))):
            for entry in entries or []:
                one = entry if isinstance(entry, dict) else {"image": entry}
                images = tuple(path for text in _texts(one) for path in self.images(text))
                name, ending = _named(one)
                if (label := self.stated(one.get("label"))) is None and part == "Ts":
                    label = self.mask(self.folder / "labelsTs", name, ending)
                cases.append(Case(name, images, label, "train" if part == "Tr" else "test"))
        return cases

    def path(self, text: str) -> Path:
        """Resolve a path as nnU-Net does: relative to the dataset, with nnU-Net's own variables."""
        for name in _VARIABLES:
            text = text.replace(f"${{{name}}}", f"${name}").replace(
                f"${name}", os.environ.get(name, f"${name}")
            )
        path = self.folder / _slashed(text)
        return path if path.exists() else self.files(path.parent).get(composed(path.name), path)

    def images(self, text: str) -> list[Path]:
        """Return the file of a listed image, or its channels, which nnU-Net v1 does not list."""
        path = self.path(text)
        if path.exists():
            return [path]
        stem, ending = split_ending(composed(path.name))
        channels = []
        for name, one in self.files(path.parent).items():
            other, suffix = split_ending(name)
            case, channel = split_channel(other)
            same = (case.casefold(), suffix) == (stem.casefold(), ending)
            channels += [one] * (same and channel is not None)
        return channels or [path]

    def stated(self, text: str | None) -> Path | None:
        """Return a listed mask; a missing one is noted, and its case is unlabelled."""
        if not text:
            return None
        path = self.path(text)
        if path.is_file():
            return path
        stem, ending = split_ending(composed(path.name))
        if (other := self.mask(path.parent, stem, ending)) is None:
            self.absent.append(_slashed(text))
        return other

    def mask(self, folder: Path, name: str, ending: str) -> Path | None:
        """Find the mask of a case, also with another suffix or with a channel number."""
        if exact := self.files(folder).get(name + ending):
            return exact
        fitting = list(self.stems(folder).get(name, ()))
        if f"{name}_0000" not in self.cases():
            fitting += self.stems(folder).get(f"{name}_0000", ())
        if len(fitting) != 1:
            return None
        self.renamed += fitting
        return fitting[0]

    def findings(self, cases: Iterable[Case]) -> Iterable[Finding]:
        """Tell of masks and images that no case uses."""
        used = {path for case in cases for path in (*case.images, case.label)}
        for part, _ in _PARTS:
            if left := self.unused(f"labels{part}", used):
                yield Finding(
                    "warning",
                    "",
                    f"{counted(len(left), 'mask')} in labels{part} without an image "
                    f"{are(len(left))} not used: {some_of(left)}.",
                    f"Name each mask like its image, as CASE{self.ending or '.nii.gz'}.",
                )
            left = self.unused(f"images{part}", used)
            if left and self.ending:
                yield Finding(
                    "warning",
                    "",
                    f"{counted(len(left), 'file')} in images{part} {are(len(left))} not used: "
                    f"{some_of(left)}.",
                    f"Name images CASE_0000{self.ending}, by the file_ending of dataset.json.",
                )
        if self.renamed:
            number = len(self.renamed)
            yield Finding(
                "warning",
                "",
                f"{counted(number, 'mask')} {are(number)} not named as nnU-Net expects, but "
                f"belong{'s' * (number == 1)} to an image and {are(number)} used: "
                f"{some_of([f'{one.parent.name}/{one.name}' for one in self.renamed])}.",
                f"nnU-Net itself needs CASE{self.ending or '.nii.gz'}.",
            )
        if self.absent:
            number = len(self.absent)
            yield Finding(
                "warning",
                "",
                f"{counted(number, 'mask')} listed in dataset.json {are(number)} missing, so the "
                f"case{'s' * (number > 1)} {are(number)} unlabelled: {some_of(self.absent)}.",
                "Add the files, or correct the list.",
            )

    def unused(self, part: str, used: Collection[Path | None]) -> list[str]:
        """Return the names of images or masks in a folder that no case uses."""
        return [
            path.name
            for name, path in self.files(self.folder / part).items()
            if path not in used and not name.lower().endswith(_BESIDE)
        ]


def _stem(name: str, ending: str) -> str | None:
    """Return a file name without its suffix, in capitals or not; None if it has another one."""
    fits = name.lower().endswith(ending.lower())
    return name[: len(name) - len(ending)] if fits else None


def _slashed(path: str) -> str:
    """Return a path of Windows with slashes."""
    return path.replace("\\", "/")
