"""Time and memory of reading are bounded by the size of the file, not by what its header states."""

import resource
import struct
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cases import refused

from napari_graphflow.imaging.files import read_volume

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="measures memory by POSIX")


@contextmanager
def bounded(seconds: float = 2.0, megabytes: int = 300) -> Iterator[None]:
    """Fail if the block takes longer, or more memory than ever before in this process."""
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    yield
    assert time.monotonic() - began < seconds
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < megabytes * 1000


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(("depth", "colour"), [(1, 0), (8, 0), (8, 2), (16, 2), (8, 6)])
def test_a_png_of_60000_pixels_along_each_side_is_refused(
    tmp_path: Path, depth: int, colour: int
) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, depth, colour, 0, 0, 0)
    rows = zlib.compress(bytes(50_000_000), 1)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path = tmp_path / "huge.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    with bounded():
        refused(path, "huge.png", "more pixels")


def write_tiff(path: Path, **changes: tuple[int, int, int]) -> None:
    """Write one row of pixels with some tags (type, count, value) replaced."""
    rows = 1
    tags = {
        "width": (256, 4, 1, 100), "length": (257, 4, 1, rows), "bits": (258, 3, 1, 8),
        "compression": (259, 3, 1, 1), "photometric": (262, 3, 1, 1), "offsets": (273, 4, 1, 200),
        "samples": (277, 3, 1, 1), "rows": (278, 4, 1, rows), "counts": (279, 4, 1, 100),
    }  # fmt: skip
    for name, values in changes.items():
        tags[name] = (tags[name][0], *values)
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags.values())
    start = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    path.write_bytes(start.ljust(200, b"\0") + bytes(100))


MANY = 2**31


@pytest.mark.parametrize(
    "changes",
    [
        {"length": (4, 1, MANY)},
        {"length": (4, 1, MANY - 1)},
        {"length": (4, 1, MANY - 1), "rows": (4, 1, MANY - 1)},
        {"length": (4, 1, MANY - 1), "compression": (3, 1, 8)},
        {"length": (4, 1, MANY - 1), "compression": (3, 1, 5), "rows": (4, 1, MANY - 1)},
        {"width": (4, 1, MANY - 1), "bits": (3, 1, 1)},
        {"offsets": (4, MANY, 8)},
        {"offsets": (4, MANY - 1, 8), "counts": (4, MANY - 1, 8), "length": (4, 1, MANY - 1)},
        {"samples": (3, 1, 65535), "length": (4, 1, 1 << 20)},
    ],
    ids=str,
)
def test_a_tiff_with_absurd_tags_is_refused(
    tmp_path: Path, changes: dict[str, tuple[int, int, int]]
) -> None:
    path = tmp_path / "huge.tif"
    write_tiff(path, **changes)
    with bounded():
        refused(path, "huge.tif")


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", ["uint8", "bool", "uint16"])
def test_an_empty_mask_of_normal_size_is_read(
    tmp_path: Path, compression: str | None, dtype: str
) -> None:
    path = tmp_path / "mask.tif"
    tifffile.imwrite(path, np.zeros((40, 512, 512), dtype), compression=compression)
    assert read_volume(path).shape == (40, 512, 512)
