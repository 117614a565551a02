"""Headers that state what is not so: too few files, impossible voxels, values that are none."""

from pathlib import Path

import numpy as np
import pytest
from cases import refused
from dicom_cases import write_series
from labelling_cases import make_dataset

from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_volume

SLICES = [np.full((4, 5), number, np.uint8) for number in range(1, 4)]


def header(path: Path, slices: int, data: str, spacing: str = "1 1 1") -> Path:
    for number, one in enumerate(SLICES, 1):
        (path.parent / f"s{number}.raw").write_bytes(one.tobytes())
    path.write_text(
        f"ObjectType = Image\nNDims = 3\nDimSize = 5 4 {slices}\nElementType = MET_UCHAR\n"
        f"ElementSpacing = {spacing}\nElementDataFile = {data}\n"
    )
    return path


LIST = "LIST\ns1.raw\ns2.raw\ns3.raw"


@pytest.mark.parametrize("data", [LIST, LIST.replace("LIST", "LIST 2D"), "s%d.raw 1 3 1"])
def test_a_metaimage_of_several_files_is_read_if_there_are_enough(
    tmp_path: Path, data: str
) -> None:
    np.testing.assert_array_equal(
        read_volume(header(tmp_path / "a.mhd", 3, data)).array, np.stack(SLICES)
    )
    refused(header(tmp_path / "b.mhd", 6, data), "names 3 files of voxels, but needs 6")
    header(tmp_path / "c.mhd", 3, data)
    (tmp_path / "s2.raw").unlink()
    refused(tmp_path / "c.mhd", "s2.raw, which is missing")


@pytest.mark.parametrize("spacing", ["1e-30", "1e300"])
def test_a_voxel_spacing_that_no_device_has_is_refused(tmp_path: Path, spacing: str) -> None:
    path = header(tmp_path / "a.mhd", 3, LIST, f"{spacing} 1 1")
    refused(path, f"a voxel spacing of {float(spacing):.6g} mm")


def test_a_dicom_file_that_starts_as_a_tiff_is_read_as_dicom(tmp_path: Path) -> None:
    expected = read_volume(write_series(tmp_path / "plain")[0]).array
    path = write_series(tmp_path / "dual")[0]
    path.write_bytes(b"II*\0\x08\0\0\0" + path.read_bytes()[8:])
    np.testing.assert_array_equal(read_volume(path).array, expected)


@pytest.mark.parametrize("value", [1.5, True, -1, 0])
def test_class_values_that_are_not_whole_are_negative_or_doubled_are_refused(
    tmp_path: Path, value: object
) -> None:
    folder = make_dataset(tmp_path / "data", labels={"background": 0, "liver": value})
    with pytest.raises(UserError):
        Dataset.open(folder)
