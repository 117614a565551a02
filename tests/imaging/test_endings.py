"""The one table of endings, and everybody who reads it."""

from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from npe2 import PluginManifest

from napari_graphflow.imaging.files import write_volume
from napari_graphflow.imaging.formats.endings import (
    FLAT,
    IMAGES,
    READ,
    WRITTEN,
    mask_ending,
    split_ending,
)
from napari_graphflow.imaging.volume import Volume
from napari_graphflow.inference.inputs import find_inputs

MANIFEST = PluginManifest.from_distribution("napari-graphflow").contributions


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.b.nii.gz", ("a.b", ".nii.gz")),
        ("x.NII", ("x", ".nii")),
        ("series", ("series", "")),
        ("p.1.png", ("p.1", ".png")),
        ("a.hdr.gz", ("a", ".hdr.gz")),
    ],
)
def test_a_file_name_is_split_before_its_known_ending(name: str, expected: tuple[str, str]) -> None:
    assert split_ending(name) == expected


@pytest.mark.parametrize("ending", READ)
def test_napari_asks_the_plugin_for_every_ending_that_can_be_read(ending: str) -> None:
    patterns = [one for reader in MANIFEST.readers or [] for one in reader.filename_patterns]
    assert any(fnmatch(f"scan{ending}", pattern) for pattern in patterns if "!" not in pattern)


def test_napari_offers_to_write_only_endings_that_are_written() -> None:
    offered = {one for writer in MANIFEST.writers or [] for one in writer.filename_extensions}
    assert offered - {".dcm"} < set(WRITTEN)  # masks become DICOM segmentations


@pytest.mark.parametrize("ending", WRITTEN)
def test_every_ending_in_the_table_of_the_writer_is_written(tmp_path: Path, ending: str) -> None:
    shape = (4, 5) if ending in FLAT else (3, 4, 5)
    plain = {2: (1.0, 0.0, 0.0, 1.0), 3: tuple(np.eye(3).ravel())}[len(shape)]
    volume = Volume(np.ones(shape, np.uint8), (1.0,) * len(shape), (0.0,) * len(shape), plain)
    write_volume(tmp_path / f"scan{ending}", volume)
    assert (tmp_path / f"scan{ending}").is_file()


def test_a_folder_of_images_has_one_file_for_each(tmp_path: Path) -> None:
    for ending in READ:
        (tmp_path / f"scan{ending}").touch()
    paths = [one.path for one in find_inputs([tmp_path], channels=1)]
    assert {split_ending(path.name)[1] for path in paths} == set(IMAGES)
    assert set(READ) - set(IMAGES) == {".img", ".img.gz", ".dcm", ".dicom", ".ima"}


@pytest.mark.parametrize("ending", IMAGES)
def test_masks_are_written_without_loss(ending: str) -> None:
    assert mask_ending(ending) in WRITTEN
