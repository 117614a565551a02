"""Segmentations of 3D Slicer: names, layers and cropped files."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_graphflow.cli import main
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.class_names import read_class_names
from napari_graphflow.imaging.files import read_labels
from napari_graphflow.imaging.segments import is_segmentation, read_segments, segment_names
from napari_graphflow.imaging.volume import Volume

ORIGIN, SPACING = (-15.0, 20.0, 5.0), (2.5, 0.8, 1.0)
Named = list[tuple[str, int, int]]


def organs() -> NDArray[np.uint8]:
    labels = np.zeros((6, 10, 12), np.uint8)
    labels[2:5, 3:8, 4:10], labels[3, 4:6, 5:8] = 1, 2
    return labels


def image() -> Volume:
    return Volume(np.zeros((6, 10, 12)), SPACING, ORIGIN, tuple(np.eye(3).ravel()))


def write(path: Path, array: NDArray[np.uint8], named: Named, first: tuple[int, ...] = ()) -> Path:
    """Write (z, y, x) or (layer, z, y, x) as 3D Slicer does, from a first voxel (z, y, x)."""
    first = first or (0, 0, 0)
    origin = [at + step * index for at, step, index in zip(
        ORIGIN, SPACING[::-1], first[::-1], strict=True)]  # fmt: skip
    layers = array.ndim == 4
    stored = np.moveaxis(array, 0, -1) if layers else array
    lines = [
        "NRRD0004", "type: unsigned char", f"dimension: {array.ndim}",
        "space: left-posterior-superior",
        "sizes: " + " ".join(map(str, stored.shape[::-1])),
        "space directions: " + "none " * layers + "(1,0,0) (0,0.8,0) (0,0,2.5)",
        "kinds: " + "list " * layers + "domain domain domain", "encoding: gzip",
        f"space origin: ({','.join(map(str, origin))})",
    ]  # fmt: skip
    for index, (name, value, layer) in enumerate(named):
        one = f"Segment{index}_"
        lines += [f"{one}ID:=Segment_{index + 1}", f"{one}Name:={name}"]
        lines += [f"{one}LabelValue:={value}", f"{one}Layer:={layer}"]
    text = "\n".join(lines) + "\n\n"
    path.write_bytes(text.encode() + gzip.compress(np.ascontiguousarray(stored).tobytes()))
    return path


def test_names_of_segments_are_class_names(tmp_path: Path) -> None:
    named = [("Leber: rechts", 1, 0), ("肿瘤", 2, 0)]
    path = write(tmp_path / "mask.seg.nrrd", organs(), named)
    assert is_segmentation(path) and segment_names(path) == {"Leber: rechts": 1, "肿瘤": 2}
    assert read_class_names(path) == {"background": 0, "Leber: rechts": 1, "肿瘤": 2}
    np.testing.assert_array_equal(read_labels(path, image()).array, organs())


def test_a_cropped_segmentation_is_laid_onto_its_image(tmp_path: Path) -> None:
    box = organs()[2:5, 3:8, 4:10]
    path = write(tmp_path / "m.seg.nrrd", box, [("liver", 1, 0), ("core", 2, 0)], (2, 3, 4))
    ((mask, names),) = read_segments(path, image())
    np.testing.assert_array_equal(mask.array, organs())
    assert names == {"liver": 1, "core": 2}
    np.testing.assert_array_equal(read_labels(path, image()).array, organs())


def test_layers_without_overlap_are_joined_and_repeated_values_renumbered(tmp_path: Path) -> None:
    spleen = np.zeros_like(organs())
    spleen[0, 1:3, 1:3] = 1
    named = [("liver", 1, 0), ("core", 2, 0), ("spleen", 1, 1)]
    path = write(tmp_path / "m.seg.nrrd", np.stack([organs(), spleen]), named)
    expected = organs() + 3 * spleen
    np.testing.assert_array_equal(read_labels(path, image()).array, expected)
    assert read_class_names(path)["spleen"] == 3


def test_two_layers_that_fill_the_image_keep_both_segments(tmp_path: Path) -> None:
    body = (organs() > 0).astype(np.uint8)
    named = [("body", 1, 0), ("air", 1, 1)]
    path = write(tmp_path / "m.seg.nrrd", np.stack([body, 1 - body]), named)
    np.testing.assert_array_equal(read_labels(path).array, 2 - body)


def test_overlapping_segments_are_two_masks_and_refused_as_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = np.stack([organs() > 0, organs() == 2]).astype(np.uint8)
    path = write(tmp_path / "m.seg.nrrd", both, [("liver", 1, 0), ("core", 1, 1)])
    with pytest.raises(UserError, match="overlap, so a voxel may belong"):
        read_labels(path)
    (liver, _), (core, names) = read_segments(path, image())
    assert names == {"core": 2}
    np.testing.assert_array_equal(liver.array, both[0])
    np.testing.assert_array_equal(core.array, 2 * both[1])
    with pytest.raises(SystemExit) as ended:
        main(["volumes", "info", str(path), "--labels"])
    assert not ended.value.code and "read as 2 masks" in capsys.readouterr().out


def test_segments_in_layers_that_do_not_exist_are_refused(tmp_path: Path) -> None:
    layers = np.stack([organs(), organs()])
    path = write(tmp_path / "m.seg.nrrd", layers, [("liver", 1, 0), ("core", 1, 2)])
    with pytest.raises(UserError, match="layers that the file does not have"):
        read_segments(path)


def test_voxels_of_no_segment_are_counted_and_left_out(tmp_path: Path) -> None:
    layers = np.stack([organs(), np.zeros_like(organs())])
    path = write(tmp_path / "m.seg.nrrd", layers, [("liver", 1, 0), ("spleen", 1, 1)])
    mask = read_labels(path)
    np.testing.assert_array_equal(mask.array, organs() == 1)
    assert "6 voxels have a value that no segment has; they are left out." in mask.warnings


def test_an_image_in_nrrd_is_no_segmentation(tmp_path: Path) -> None:
    assert not is_segmentation(write(tmp_path / "image.nrrd", organs(), []))
