"""DICOM structure sets (RTSTRUCT): contours are filled on the grid of their image."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_cases import AXIAL, COLUMNS, FRAME, OBLIQUE, ROWS, write_series, write_structures
from numpy.typing import NDArray

from napari_graphflow.cli import main
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.class_names import read_class_names
from napari_graphflow.imaging.contents import inspect_path
from napari_graphflow.imaging.dicom.headers import hashed
from napari_graphflow.imaging.files import read_labels, read_volume, write_volume
from napari_graphflow.imaging.segments import is_segmentation, read_segments
from napari_graphflow.imaging.volume import Volume

Points = NDArray[np.float64]


def image(direction: tuple[float, ...] = (1, 0, 0, 0, 1, 0, 0, 0, 1)) -> Volume:
    array = np.zeros((24, 90, 100), np.int16)
    return Volume(
        array, (2.5, 0.8, 0.7), (-33.0, 21.0, 45.0), direction, frame_of_reference=hashed(FRAME)
    )


def circle(radius: float, centre: tuple[float, float], corners: int = 180) -> Points:
    """Return points (column, row) in mm."""
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.column_stack([np.cos(angle), np.sin(angle)]) * radius + centre


def on_slice(points: Points, index: float, like: Volume) -> Points:
    """Place points (column, row) in mm, from the corner of the image, onto one of its slices."""
    flat = np.column_stack([points, np.full(len(points), index * like.spacing[0])])
    placed: Points = flat @ like.matrix.T + like.origin
    return placed


def tube(radius: float, like: Volume, slices: range = range(4, 20)) -> list[Points]:
    return [on_slice(circle(radius, (34.3, 36.7)), index, like) for index in slices]


def size(mask: NDArray[np.generic], like: Volume) -> float:
    return float(np.count_nonzero(mask) * np.prod(like.spacing))


@pytest.mark.parametrize("axes", [AXIAL, OBLIQUE])
def test_a_cylinder_and_a_ball_have_their_volume_and_place(
    tmp_path: Path, axes: tuple[float, ...]
) -> None:
    x, y = np.array(axes[:3]), np.array(axes[3:])
    like = image(tuple(np.column_stack([x, y, np.cross(x, y)]).ravel()))
    heights = (np.arange(24) - 11.5) * 2.5
    ball = [
        on_slice(circle(np.sqrt(20**2 - height**2), (30.0, 30.0)), index, like)
        for index, height in enumerate(heights)
        if abs(height) < 20
    ]
    path = write_structures(tmp_path / "rt.dcm", {"tube": tube(20.0, like)})
    ((mask, names),) = read_segments(path, like)
    assert names == {"tube": 1} and mask.array.dtype == np.uint8 and mask.same_grid(like)
    assert size(mask.array, like) == pytest.approx(np.pi * 20**2 * 16 * 2.5, rel=5e-3)
    centre = np.argwhere(mask.array).mean(axis=0) * like.spacing
    np.testing.assert_allclose(centre, (11.5 * 2.5, 36.7, 34.3), atol=0.05)
    ball_mask = read_labels(write_structures(tmp_path / "ball.dcm", {"ball": ball}), like)
    assert size(ball_mask.array, like) == pytest.approx(4 / 3 * np.pi * 20**3, rel=1e-2)


def test_a_contour_through_the_centres_of_voxels_has_its_exact_area(tmp_path: Path) -> None:
    like = image()
    corners = np.array([[7.0, 8.0], [14.0, 8.0], [14.0, 24.0], [7.0, 24.0]])
    path = write_structures(tmp_path / "rt.dcm", {"box": [on_slice(corners, 5, like)]})
    mask = read_labels(path, like).array
    assert np.count_nonzero(mask) == 10 * 20 and np.count_nonzero(mask[5]) == 10 * 20


def test_a_contour_inside_another_is_a_hole_and_a_repeated_one_is_not(tmp_path: Path) -> None:
    like = image()
    path = write_structures(tmp_path / "rt.dcm", {"wall": tube(20.0, like) + tube(12.0, like)})
    expected = np.pi * (20**2 - 12**2) * 16 * 2.5
    assert size(read_labels(path, like).array, like) == pytest.approx(expected, rel=1e-2)
    path = write_structures(tmp_path / "twice.dcm", {"tube": tube(20.0, like) * 2})
    expected = np.pi * 20**2 * 16 * 2.5
    assert size(read_labels(path, like).array, like) == pytest.approx(expected, rel=1e-2)


def test_overlapping_structures_become_several_masks(tmp_path: Path) -> None:
    like = image()
    path = write_structures(
        tmp_path / "rt.dcm", {"Körper": tube(25.0, like), "liver": tube(10.0, like)}
    )
    (body, names), (liver, others) = read_segments(path, like)
    assert names == {"Körper": 1} and others == {"liver": 2}
    assert np.unique(liver.array).tolist() == [0, 2]
    assert size(body.array, like) == pytest.approx(np.pi * 25**2 * 16 * 2.5, rel=1e-2)
    assert read_class_names(path) == {"background": 0, "Körper": 1, "liver": 2}
    with pytest.raises(UserError, match="overlap"):
        read_labels(path, like)


@pytest.mark.parametrize("code", ["RAS", "PIR", "SLA"])
def test_the_image_may_be_stored_in_another_orientation(tmp_path: Path, code: str) -> None:
    like = image()
    path = write_structures(tmp_path / "rt.dcm", {"tube": tube(20.0, like)})
    write_volume(tmp_path / "image.nii.gz", like.oriented(code))
    mask = read_labels(path, read_volume(tmp_path / "image.nii.gz"))
    np.testing.assert_array_equal(mask.oriented("LPS").array, read_labels(path, like).array)


def test_contours_of_another_image_are_refused(tmp_path: Path) -> None:
    like = image()
    path = write_structures(tmp_path / "rt.dcm", {"tube": tube(20.0, like)})
    for other, words in (
        (replace(like, frame_of_reference=hashed("1.2.3")), "frames of reference differ"),
        (replace(like, origin=(-33.0, 21.0, 46.25)), "between the slices"),
        (replace(like, origin=(-33.0, 21.0, 1045.0)), "outside the image"),
        (image((1, 0, 0, 0, 0.8, -0.6, 0, 0.6, 0.8)), "not parallel to the slices"),
    ):
        with pytest.raises(UserError, match=words):
            read_segments(path, other)


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    like = image()
    path = write_structures(
        tmp_path / "rt.dcm",
        {"tube": tube(20.0, like, range(20, 27)), "every third": tube(4.0, like, range(0, 9, 3)),
         "empty": []},
    )  # fmt: skip
    warnings = read_segments(path, like)[0][0].warnings
    assert "1 structure without closed contours left out: empty." in warnings
    assert "Contours outside the image are left out: tube." in warnings
    assert "Slices between the contours stay empty: every third." in warnings


def test_points_alone_and_damaged_files_are_refused(tmp_path: Path) -> None:
    path = write_structures(tmp_path / "rt.dcm", {"point": tube(1.0, image())}, kind="POINT")
    with pytest.raises(UserError, match="no closed contours"):
        read_segments(path, image())
    path = write_structures(tmp_path / "cut.dcm", {"tube": tube(20.0, image())})
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError):
        read_segments(path, image())


def test_a_structure_set_is_named_so_and_needs_its_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_series(tmp_path / "ct", change=lambda _, one: setattr(one, "FrameOfReferenceUID", FRAME))
    like = read_volume(tmp_path / "ct")
    corners = np.array([[0.6, 0.9], [3.4, 0.9], [3.4, 5.1], [0.6, 5.1]])
    path = write_structures(tmp_path / "ct/rt.dcm", {"liver": [on_slice(corners, 2, like)]})
    assert is_segmentation(path) and read_volume(tmp_path / "ct").shape == (8, ROWS, COLUMNS)
    with pytest.raises(UserError, match="contours need the image"):
        read_segments(path)
    for more in ([], ["--like", str(tmp_path / "ct")]):
        with pytest.raises(SystemExit) as ended:
            main(["volumes", "info", str(path), *more])
        text = capsys.readouterr().out
        assert not ended.value.code and "liver=1" in text and "Mustermann" not in text
        assert ("structure set" in text) == (not more)
    parts = inspect_path(tmp_path / "ct").parts
    assert [part.segments for part in parts] == [path, None]
    assert parts[0].line() == "plan (RTSTRUCT)"
    np.testing.assert_array_equal(np.argwhere(read_labels(path, like).array)[[0, -1]],
                                  [[2, 2, 2], [2, 6, 6]])  # fmt: skip


@pytest.mark.parametrize("ending", [".nii.gz", ".dcm"])
def test_the_command_line_converts_structures_to_masks(tmp_path: Path, ending: str) -> None:
    if ending == ".dcm":
        pytest.importorskip("highdicom", reason="the extra dicom-seg is not installed")
    write_series(tmp_path / "ct", change=lambda _, one: setattr(one, "FrameOfReferenceUID", FRAME))
    like = read_volume(tmp_path / "ct")
    corners = np.array([[0.6, 0.9], [3.4, 0.9], [3.4, 5.1], [0.6, 5.1]])
    contour = on_slice(corners, 2, like)
    path = write_structures(tmp_path / "rt.dcm", {"body": [contour], "liver": [contour]})
    out, ct = str(tmp_path / f"mask{ending}"), str(tmp_path / "ct")
    with pytest.raises(SystemExit) as ended:
        main(["volumes", "convert", str(path), out, "--like", ct])
    assert not ended.value.code
    for number, name in ((1, "body"), (2, "liver")):
        mask = read_labels(tmp_path / f"mask-{number}{ending}", like)
        assert np.count_nonzero(mask.array) == 25 and mask.array[2, 2:7, 2:7].all()
        assert name in read_class_names(tmp_path / f"mask-{number}{ending}")


def test_contours_beyond_the_edges_of_the_image_are_named(tmp_path: Path) -> None:
    like = image()
    beyond = [on_slice(circle(20.0, (5.0, 36.7)), index, like) for index in range(4, 8)]
    inside = [on_slice(circle(9.0, (40.0, 36.7)), index, like) for index in range(4, 8)]
    path = write_structures(tmp_path / "rt.dcm", {"liver": beyond, "lesion": inside})
    ((mask, _),) = read_segments(path, like)
    assert "Contours that reach beyond the image are cut: liver." in mask.warnings
