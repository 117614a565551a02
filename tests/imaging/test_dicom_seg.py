"""DICOM SEG: named segments are read on the grid of their image, and written."""

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_cases import AXIAL, OBLIQUE, write_series

from napari_graphflow.cli import main
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.dicom_seg import write_segments
from napari_graphflow.imaging.files import read_labels, read_volume
from napari_graphflow.imaging.segments import is_segmentation, read_segments

highdicom = pytest.importorskip("highdicom", reason="the extra dicom-seg is not installed")


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "dcmqi_dicom_seg"


def test_a_segment_has_the_voxels_and_geometry_of_the_same_mask_in_nrrd(folder: Path) -> None:
    image = read_volume(folder / "ct-3slice")
    assert is_segmentation(folder / "liver.dcm") and not is_segmentation(folder / "liver_seg.nrrd")
    ((mask, names),) = read_segments(folder / "liver.dcm", image)
    expected = read_labels(folder / "liver_seg.nrrd", image)
    assert names == {"Liver": 1} and mask.array.dtype == np.uint8
    np.testing.assert_array_equal(mask.array, expected.array)
    assert mask.same_grid(expected)
    ((alone, _),) = read_segments(folder / "liver.dcm")
    assert alone.same_grid(mask) and alone.array.sum() == mask.array.sum()


def test_overlapping_segments_become_several_masks(folder: Path) -> None:
    image = read_volume(folder / "ct-3slice")
    masks = read_segments(folder / "partial_overlaps.dcm", image)
    assert len(masks) == 3
    for index, (mask, names) in enumerate(masks, start=1):
        expected = read_labels(folder / f"partial_overlaps-{index}.nrrd", image)
        np.testing.assert_array_equal(mask.array, expected.array)
        assert set(names.values()) == set(np.unique(mask.array)) - {0}
    assert masks[0][1] == {"GREEN": 1, "LIGHT_BLUE": 4, "DARK_BLUE": 5}


@pytest.mark.parametrize("name", ["noppv", "ppv5"])
def test_a_labelmap_segmentation_covers_only_slices_with_segments(folder: Path, name: str) -> None:
    ((mask, names),) = read_segments(folder / f"sparse-labelmap-{name}.dcm")
    expected = read_labels(folder / f"sparse_labelmap_{name}_seg.nrrd")
    assert names == {"Liver": 1}
    # The NRRD has the padding value 5 where the object has no frame; it is not a segment.
    np.testing.assert_array_equal(mask.array, expected.array * (expected.array != 5))
    np.testing.assert_allclose(mask.origin, expected.origin, atol=1e-5)


def test_a_segmentation_of_another_image_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="belongs to another image"):
        read_segments(folder / "liver.dcm", read_volume(folder / "23x38x3/image"))


@pytest.mark.parametrize("axes", [AXIAL, OBLIQUE])
def test_a_mask_is_written_and_read_back_with_class_names_of_any_alphabet(
    tmp_path: Path, axes: tuple[float, ...]
) -> None:
    write_series(tmp_path / "ct", axes=axes)
    image = read_volume(tmp_path / "ct")
    array = np.zeros(image.shape, np.uint8)
    array[2, 3:6, 4:8], array[5, 1, 1], array[3:5, 8:, :2] = 7, 250, 9
    out = tmp_path / "mask.dcm"
    names = {"background": 0, "Größe 图": 7, "lesion": 250}
    write_segments(out, image.with_array(array), tmp_path / "ct", names)
    ((mask, found),) = read_segments(out, image)
    assert found == {"Größe 图": 7, "label 9": 9, "lesion": 250}
    np.testing.assert_array_equal(mask.array, array)
    written = pydicom.dcmread(out)
    assert written.Modality == "SEG" and written.StudyInstanceUID == "1.2.3.4"
    assert [one.SegmentNumber for one in written.SegmentSequence] == [1, 2, 3]
    by_itk = sitk.ReadImage(str(out))
    assert by_itk.GetSize()[:2] == (image.shape[2], image.shape[1])
    with pytest.raises(UserError, match="already exists"):
        write_segments(out, mask, tmp_path / "ct", overwrite=False)


def test_known_structures_get_snomed_codes_and_others_are_coded_as_tissue(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    image = read_volume(tmp_path / "ct")
    names = {"Liver": 1, "left kidney": 2, "tumour": 3, "anterior": 4}
    array = np.zeros(image.shape, np.uint8)
    for value in names.values():
        array[2, value, 2:5] = value
    out = tmp_path / "mask.dcm"
    write_segments(out, image.with_array(array), tmp_path / "ct", names)
    segments = pydicom.dcmread(out).SegmentSequence
    kinds = [one.SegmentedPropertyTypeCodeSequence[0] for one in segments]
    categories = [one.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning for one in segments]
    assert [one.SegmentLabel for one in segments] == list(names)
    assert [one.CodeValue for one in kinds] == ["10200004", "64033007", "108369006", "85756007"]
    assert {one.CodingSchemeDesignator for one in kinds} == {"SCT"}
    assert categories == [
        *["Anatomical Structure"] * 2, "Morphologically Abnormal Structure", "Tissue",
    ]  # fmt: skip
    side = kinds[1].SegmentedPropertyTypeModifierCodeSequence[0]
    assert side.CodeMeaning == "Left"
    assert "SegmentedPropertyTypeModifierCodeSequence" not in kinds[0]
    # Label values that equal their segment number need no description.
    assert not any("SegmentDescription" in one for one in segments)


def test_a_mask_on_a_multi_frame_image_keeps_its_slice_order(folder: Path, tmp_path: Path) -> None:
    source = folder / "23x38x3/multiframe/mf.dcm"
    image = read_volume(source)
    array = np.zeros(image.shape, np.uint8)
    array[0, :5, :5] = 1
    write_segments(tmp_path / "mask.dcm", image.with_array(array), source)
    ((mask, _),) = read_segments(tmp_path / "mask.dcm", image)
    np.testing.assert_array_equal(mask.array, array)


def test_a_mask_that_cannot_be_written_is_refused_without_a_file(
    folder: Path, tmp_path: Path
) -> None:
    image = read_volume(folder / "23x38x3/image")
    with pytest.raises(UserError, match="mask is empty"):
        write_segments(tmp_path / "a.dcm", image.with_array(image.array * 0), folder / "ct-3slice")
    one = image.with_array(np.ones(image.shape, np.uint8))
    with pytest.raises(UserError, match="No DICOM series has the grid"):
        write_segments(tmp_path / "a.dcm", one, folder / "ct-3slice")
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_segmentation_is_refused(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "liver.dcm").read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(UserError, match=r"cut\.dcm"):
        read_segments(tmp_path / "cut.dcm")


def test_the_command_line_converts_segmentations_both_ways(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*arguments: object) -> int:
        with pytest.raises(SystemExit) as ended:
            main([str(one) for one in ("volumes", *arguments)])
        return int(ended.value.code or 0)

    ct = folder / "ct-3slice"
    assert call("convert", folder / "partial_overlaps.dcm", tmp_path / "m.nrrd", "--like", ct) == 0
    names = sorted(path.name for path in tmp_path.glob("*.nrrd"))
    assert names == ["m-1.nrrd", "m-2.nrrd", "m-3.nrrd"]
    assert call("convert", tmp_path / "m-1.nrrd", tmp_path / "m.dcm", "--like", ct) == 0
    capsys.readouterr()
    assert call("info", tmp_path / "m.dcm") == 0
    assert "segments:    GREEN=1, LIGHT_BLUE=4, DARK_BLUE=5" in capsys.readouterr().out
    assert call("info", tmp_path / "m.dcm", "--like", ct) == 0
    assert call("info", tmp_path / "m.dcm", "--like", folder / "23x38x3/image") == 2
    capsys.readouterr()
    assert call("convert", tmp_path / "m-1.nrrd", tmp_path / "n.dcm") == 2
    assert "requires the DICOM series of the mask" in capsys.readouterr().err
