"""Mutated files of each format are read or refused, and never end the process."""

import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_volume

HERE = Path(__file__).parent
MEMORY = 4 << 30
NUMBERS = [b"0", b"-1", b"nan", b"inf", b"1e-30", b"1e300", b"2147483648", b"99999999999999999999"]


def volume(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        image = sitk.GetImageFromArray(np.arange(210, dtype=np.int16).reshape(5, 6, 7))
        image.SetSpacing((0.5, 0.75, 2.0))
        sitk.WriteImage(image, str(folder / name))
        return folder / name

    return write


def photograph(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        pixels = np.random.default_rng(0).integers(0, 255, (12, 10, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / name)
        return folder / name

    return write


def dicom(folder: Path) -> Path:
    pixels = np.arange(120, dtype=np.int16).reshape(10, 12)
    sitk.WriteImage(sitk.GetImageFromArray(pixels), str(folder / "a.dcm"))
    return folder / "a.dcm"


KINDS = {
    "nrrd": volume("a.nrrd"), "mha": volume("a.mha"), "nifti": volume("a.nii"),
    "nifti.gz": volume("a.nii.gz"), "png": photograph("a.png"), "jpeg": photograph("a.jpg"),
    "bmp": photograph("a.bmp"), "tiff": photograph("a.tif"), "dicom": dicom,
    "nhdr": volume("a.nhdr"), "mhd": volume("a.mhd"), "gif": photograph("a.gif"),
    "webp": photograph("a.webp"), "hdr": volume("a.hdr"),
}  # fmt: skip


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Change a file in one to four places, mostly in its header."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = int(len(changed) * chance.random() ** chance.choice((1, 4)))
        match chance.randrange(6):
            case 0:
                changed[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                del changed[place:]
            case 2:
                del changed[place : place + chance.randint(1, 40)]
            case 3:
                filler = bytes([chance.choice(b"a0 (,\\xff")])
                changed[place:place] = filler * chance.choice((1, 100, 995, 1100, 5000))
            case 4:
                number = chance.choice(NUMBERS)
                changed[place : place + chance.randint(0, len(number))] = number
            case 5:
                changed[place : place + 4] = chance.choice((b"\xff\xff\xff\x7f", bytes(4)))
    return bytes(changed)


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def fuzz(write: Callable[[Path], Path], tmp_path: Path, count: int, seed: int) -> None:
    original = write(tmp_path)
    folder = tmp_path / f"mutated{seed}"
    folder.mkdir()
    chance, data = random.Random(seed), original.read_bytes()
    ending = original.name.partition(".")[2]
    for beside in tmp_path.iterdir():  # the voxels of a header
        if beside.is_file() and beside != original:
            shutil.copy(beside, folder)
            if ending == "hdr":  # finds them by its own name
                for number in range(count):
                    shutil.copy(beside, folder / f"{number:05d}{beside.suffix}")
    for number in range(count):
        (folder / f"{number:05d}.{ending}").write_bytes(mutated(data, chance))
    done = subprocess.run(
        [sys.executable, HERE / "fuzzed.py", folder],
        capture_output=True, text=True, timeout=600, preexec_fn=limited, check=False,
    )  # fmt: skip
    last = done.stdout.split()[-1:]
    assert done.returncode == 0, (last, done.returncode, done.stderr[-2000:])


@pytest.mark.parametrize("kind", ["nrrd", "mha"])
def test_mutated_files_never_end_the_process(kind: str, tmp_path: Path) -> None:
    fuzz(KINDS[kind], tmp_path, count=150, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_many_mutated_files_never_end_the_process(kind: str, tmp_path: Path) -> None:
    """Reads files for a minute, or as many as the variable GRAPHFLOW_FUZZ_FILES says."""
    wanted = int(os.environ.get("GRAPHFLOW_FUZZ_FILES", "0"))
    end, seed, count = time.monotonic() + 60, int(time.time()), 0
    while count < wanted if wanted else time.monotonic() < end:
        piece = min(500, wanted - count) if wanted else 500
        fuzz(KINDS[kind], tmp_path, count=piece, seed=seed)
        seed, count = seed + 1, count + piece
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
    sys.stdout.write(f"{count} files of {kind}\n")


@pytest.mark.parametrize("field", ["type", "kinds", "space", "sizes", "data file", "nothing"])
@pytest.mark.parametrize("length", [990, 1100, 2_000_000])
def test_a_header_line_of_nrrd_that_would_overflow_is_refused(
    field: str, length: int, tmp_path: Path
) -> None:

    path = volume("a.nrrd")(tmp_path)
    start, line, rest = path.read_bytes().partition(b"dimension")
    path.write_bytes(start + field.encode() + b": " + b"a" * length + b"\n" + line + rest)
    with pytest.raises(UserError, match="too long"):
        read_volume(path)


@pytest.mark.parametrize("count", ["-1", "99", "2147483648", "0", "3.0", "1 1"])
def test_a_metaimage_with_an_impossible_number_of_axes_is_refused(
    count: str, tmp_path: Path
) -> None:
    path = volume("a.mha")(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"NDims = 3", f"NDims = {count}".encode()))
    with pytest.raises(UserError, match="damaged"):
        read_volume(path)


def test_long_texts_in_a_header_of_nrrd_are_read(tmp_path: Path) -> None:

    path = volume("a.nrrd")(tmp_path)
    start, line, rest = path.read_bytes().partition(b"dimension")
    text = b"# " + b"a" * 5000 + b"\nSegment0_Tags:=" + b"b" * 5000 + b"\n"
    path.write_bytes(start + text + line + rest)
    assert read_volume(path).array.shape == (5, 6, 7)
