"""Datasets of two sites each: a source, and a target that no run is trained on.

Written in the layout of nnU-Net with ``splits.json`` and ``sites.csv``.
"""

import csv
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from napari_graphflow.imaging.files import read_volume, write_volume

Array = NDArray[Any]
#: Pixels per degree: HRF at a quarter of its pixels has 876 over 60 degrees, CHASE 999 over 30.
HRF_DEGREE, CHASE_DEGREE = 876 / 60, 999 / 30


class Made(NamedTuple):
    """A case: its name, site, split, and the files that `write` puts at two paths."""

    name: str
    site: str
    split: str
    write: Callable[[Path, Path], None]


def write_dataset(
    folder: Path, cases: Iterator[Made], classes: list[str], channel: str, ending: str
) -> Path:
    """Write a dataset, unless it exists."""
    if folder.exists():
        return folder
    aside = folder.with_name(f".{folder.name}")
    for part in ("imagesTr", "labelsTr", "imagesTs", "labelsTs"):
        (aside / part).mkdir(parents=True, exist_ok=True)
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    sites = []
    for case in cases:
        part = "Ts" if case.split == "test" else "Tr"
        image = aside / f"images{part}" / f"{case.name}_0000{ending}"
        case.write(image, aside / f"labels{part}" / f"{case.name}{ending}")
        splits[case.split].append(case.name)
        sites.append((case.name, case.site))
    description = {
        "name": folder.name,
        "channel_names": {"0": channel},
        "labels": {"background": 0, **{name: n for n, name in enumerate(classes, 1)}},
        "numTraining": len(splits["train"]) + len(splits["val"]),
        "file_ending": ending,
    }
    (aside / "dataset.json").write_text(json.dumps(description))
    (aside / "splits.json").write_text(json.dumps(splits))
    with (aside / "sites.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("case", "site"), *sites])
    aside.rename(folder)
    return folder


# Vessels: HRF and CHASE, two cameras, fields of view and populations


def vessels(data: Path, out: Path, *, equal: bool = False) -> Path:
    """HRF as source, CHASE as target; `equal` brings CHASE to HRF's pixels per degree."""
    splits = json.loads((data / "splits.json").read_text())["hrf_quarter"]
    scale = HRF_DEGREE / CHASE_DEGREE if equal else 1.0

    def cases() -> Iterator[Made]:
        for split in ("train", "val", "test"):
            for name in splits[split]:
                yield Made(f"hrf_{name}", "HRF", split, _pair(data / "hrf_quarter", name, 1.0))
        folder = data / "chase_db1_part"
        for image in sorted((folder / "images").iterdir()):
            yield Made(f"chase_{image.stem}", "CHASE", "test", _pair(folder, image.stem, scale))

    return write_dataset(out, cases(), ["vessel"], "RGB", ".png")


def _pair(folder: Path, name: str, scale: float) -> Callable[[Path, Path], None]:
    (image,) = (folder / "images").glob(f"{name}.*")
    (mask,) = (folder / "masks").glob(f"{name}[._]*")  # CHASE adds the observer

    def write(to_image: Path, to_mask: Path) -> None:
        picture, labels = Image.open(image).convert("RGB"), Image.open(mask).convert("L")
        if scale != 1:
            size = (round(picture.width * scale), round(picture.height * scale))
            picture = picture.resize(size, Image.Resampling.LANCZOS)
            labels = labels.resize(size, Image.Resampling.BOX)
        picture.save(to_image)
        Image.fromarray((np.asarray(labels) > 127).astype(np.uint8)).save(to_mask)

    return write


# Hippocampus: half of the test cases as another scanner might show them


def hippocampus(data: Path, out: Path) -> Path:
    """Medical Segmentation Decathlon; every second test case with another contrast and noise."""
    folder = data / "hippocampus_msd"
    splits = json.loads((data / "splits.json").read_text())["hippocampus_msd"]

    def cases() -> Iterator[Made]:
        for split in ("train", "val", "test"):
            for number, name in enumerate(splits[split]):
                other = split == "test" and number % 2 == 1
                site = "other scanner" if other else "scanner"
                yield Made(name, site, split, _volume(folder, name, number if other else None))

    return write_dataset(out, cases(), ["anterior", "posterior"], "MRI", ".nii.gz")


def _volume(folder: Path, name: str, seed: int | None) -> Callable[[Path, Path], None]:
    def write(to_image: Path, to_mask: Path) -> None:
        volume, mask = (
            read_volume(folder / part / f"{name}.nii.gz") for part in ("images", "masks")
        )
        array = volume.array.astype(np.float32)
        if seed is not None:
            array = another_scanner(array, np.random.default_rng([17, seed]), FAR)
        write_volume(to_image, volume.with_array(array))
        write_volume(to_mask, mask.with_array(mask.array.astype(np.uint8)))

    return write


class Scanner(NamedTuple):
    """Ranges of the exponent of the grey values and of the blur in voxels, and two strengths."""

    gamma: tuple[float, float] = (0.5, 0.7)
    blur: tuple[float, float] = (0.6, 0.9)
    bias: float = 0.4
    noise: float = 0.05


NEAR = Scanner()
#: On the hippocampus, networks lose only 1 to 4 points of Dice with the one above.
FAR = Scanner(gamma=(0.3, 0.45), blur=(1.0, 1.3), bias=0.5, noise=0.1)


def another_scanner(image: Array, random: np.random.Generator, scanner: Scanner = NEAR) -> Array:
    """Change gamma, add a bias field, blur and add noise, as a scanner of another make might."""
    low, high = np.percentile(image, (1, 99))
    x = np.clip((image - low) / max(high - low, 1e-6), 0, 1) ** random.uniform(*scanner.gamma)
    coarse = random.uniform(1 - scanner.bias, 1 + scanner.bias, (3,) * image.ndim)
    field = ndimage.zoom(
        coarse, [n / 3 for n in image.shape], order=1, grid_mode=True, mode="nearest"
    )
    x = ndimage.gaussian_filter(x * field, random.uniform(*scanner.blur))
    x = x + random.normal(0, scanner.noise, x.shape)
    return (x * (high - low) + low).astype(np.float32)


# Phantom: an organ with a lesion, drawn by two scanners of our own making


def phantom(data: Path, out: Path) -> Path:
    """60 images for training, 15 for validation and 20 for the test of each scanner."""

    def cases() -> Iterator[Made]:
        for split, count in (("train", 60), ("val", 15), ("test", 20)):
            for number in range(count):
                yield Made(f"one_{split}_{number:02}", "one", split, _drawn(split, number, False))
        for number in range(20):
            yield Made(f"two_{number:02}", "two", "test", _drawn("two", number, True))

    return write_dataset(out, cases(), ["organ", "lesion"], "MRI", ".png")


def _drawn(split: str, number: int, other: bool) -> Callable[[Path, Path], None]:
    seed = [{"train": 1, "val": 2, "test": 3, "two": 4}[split], number]

    def write(to_image: Path, to_mask: Path) -> None:
        random = np.random.default_rng(seed)
        image, mask = _anatomy(random)
        if other:
            image = another_scanner(image, random)
        image = image + random.normal(0, 0.03, image.shape)
        Image.fromarray((np.clip(image, 0, 1.2) / 1.2 * 255).astype(np.uint8)).save(to_image)
        Image.fromarray(mask).save(to_mask)

    return write


def _anatomy(random: np.random.Generator, side: int = 96) -> tuple[Array, NDArray[np.uint8]]:
    """Return an image from 0 to 1 and its mask: texture, an organ, a lesion, and a decoy."""
    y, x = np.mgrid[:side, :side] / side
    image = 0.35 + 0.1 * ndimage.gaussian_filter(random.normal(0, 1, (side, side)), 4) * 8
    mask = np.zeros((side, side), np.uint8)
    cy, cx = random.uniform(0.35, 0.65, 2)
    a, b = random.uniform(0.18, 0.28, 2)
    organ = ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 < 1
    ly, lx = cy + random.uniform(-0.4, 0.4) * a, cx + random.uniform(-0.4, 0.4) * b
    lesion = organ & ((y - ly) ** 2 + (x - lx) ** 2 < random.uniform(0.05, 0.09) ** 2)
    # As bright as the lesion, but outside of the organ: only its place tells them apart.
    angle = random.uniform(0, 2 * np.pi)
    dy, dx = cy + 0.42 * np.sin(angle), cx + 0.42 * np.cos(angle)
    decoy = ~organ & ((y - dy) ** 2 + (x - dx) ** 2 < 0.07**2)
    image[organ] += 0.25
    image[lesion | decoy] = 0.85
    mask[organ], mask[lesion] = 1, 2
    return ndimage.gaussian_filter(image, 0.7), mask


if __name__ == "__main__":
    sys.exit("Run run.py, which writes the datasets that it needs.")
