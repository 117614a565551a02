"""Class names of masks and DICOM segmentations are imported into a dataset."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from dicom_cases import write_series, write_structures

from napari_graphflow.cli import main
from napari_graphflow.dataset.cases import Dataset, read_case, read_case_labels
from napari_graphflow.dataset.checks import check_record
from napari_graphflow.dataset.importing import import_dataset
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.class_names import read_class_names
from napari_graphflow.imaging.dicom_seg import write_segments
from napari_graphflow.imaging.files import read_volume, write_labels, write_volume
from napari_graphflow.imaging.volume import Volume

SHAPE = (4, 9, 11)


def scan(folder: Path, name: str) -> Volume:
    array = np.random.default_rng(len(name)).integers(-1000, 400, SHAPE).astype(np.int16)
    volume = Volume(array, (5.0, 0.8, 1.2), (1.0, 2.0, 3.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
    folder.mkdir(exist_ok=True)
    write_volume(folder / f"{name}.nii.gz", volume)
    return volume


def case(tmp_path: Path, name: str, values: list[int], names: dict[str, int] | None) -> None:
    """Write an image, and a mask with one row of voxels per value."""
    volume = scan(tmp_path / "images", name)
    array = np.zeros(SHAPE, np.uint8)
    for row, value in enumerate(values):
        array[1:3, row, 2:5] = value
    (tmp_path / "masks").mkdir(exist_ok=True)
    write_labels(tmp_path / "masks" / f"{name}.nii.gz", array, volume, classes=names)


def imported(tmp_path: Path, **keywords: object) -> Dataset:
    return import_dataset(tmp_path / "images", tmp_path / "masks", tmp_path / "out", **keywords)


def test_class_names_next_to_the_masks_become_classes(tmp_path: Path) -> None:
    case(tmp_path, "a", [7], {"background": 0, "Leber": 7})
    case(tmp_path, "b", [7, 9, 3], {"lesion": 9, "spleen": 20})
    dataset = imported(tmp_path)
    # 3 has no name, 20 does not occur.
    assert dataset.classes == {"background": 0, "class_3": 1, "Leber": 2, "lesion": 3, "spleen": 4}
    again = read_class_names(next((tmp_path / "out").glob("labels*/a.nii.gz")))
    assert again == dataset.classes


def test_class_names_of_a_dataset_are_imported_with_its_masks(tmp_path: Path) -> None:
    case(tmp_path, "a", [1, 2], {"organ": 1, "lesion": 2})
    case(tmp_path, "b", [1, 2], None)
    imported(tmp_path, splits={"train": ["a", "b"]})
    out = tmp_path / "out"
    second = import_dataset(out / "imagesTr", out / "labelsTr", tmp_path / "second")
    assert list(second.classes) == ["background", "organ", "lesion"]


def test_binary_masks_get_the_class_name_of_their_name_file(tmp_path: Path) -> None:
    case(tmp_path, "a", [255], {"liver": 1})
    case(tmp_path, "b", [1], None)
    dataset = imported(tmp_path)
    assert list(dataset.classes) == ["background", "liver"]
    for one in dataset.cases:
        assert np.unique(read_case_labels(dataset, one).array).tolist() == [0, 1]


def rows(dataset: Dataset, name: str) -> list[int]:
    """Class index in the first rows of a mask."""
    (one,) = (case for case in dataset.cases if case.name == name)
    return read_case_labels(dataset, one).array[1, :2, 2].tolist()  # type: ignore[no-any-return]


def test_given_classes_are_matched_by_the_names_beside_each_mask(tmp_path: Path) -> None:
    case(tmp_path, "a", [2, 1], {"Liver": 2, "spleen": 1})
    case(tmp_path, "b", [1, 2], {"liver": 1, "spleen": 2, "kidney": 3})
    case(tmp_path, "c", [1, 2], None)
    dataset = imported(tmp_path, classes={"liver": 1, "spleen": 2})
    assert [rows(dataset, name) for name in "abc"] == [[1, 2]] * 3
    (finding,) = (one for one in check_record(dataset) if "no class names" in one.text)
    assert "c.nii.gz" in finding.text


@pytest.mark.parametrize("names", [{"liver": 2}, {"liver": 2, "kidney": 1}])
def test_names_that_cannot_be_brought_to_the_given_values_are_refused(
    tmp_path: Path, names: dict[str, int]
) -> None:
    case(tmp_path, "a", [1, 2], names)
    with pytest.raises(UserError, match=r"value 1 is (unnamed|kidney)"):
        imported(tmp_path, classes={"liver": 1, "spleen": 2})


def test_given_classes_may_translate_the_names_beside_all_masks(tmp_path: Path) -> None:
    for name in "ab":
        case(tmp_path, name, [1, 2], {"Leber": 1, "Milz": 2})
    dataset = imported(tmp_path, classes={"liver": 1, "spleen": 2})
    assert rows(dataset, "a") == [1, 2] and list(dataset.classes)[1:] == ["liver", "spleen"]


def test_contradicting_class_names_are_refused(
    tmp_path: Path,
) -> None:
    case(tmp_path, "a", [1, 2], {"liver": 1})
    case(tmp_path, "b", [1, 2], {"spleen": 1})
    with pytest.raises(UserError, match="value 1 is spleen, but another mask"):
        imported(tmp_path)
    with pytest.raises(UserError, match="value 1 is spleen"):
        imported(tmp_path, classes={"liver": 1, "lesion": 2})


@pytest.fixture
def segments(tmp_path: Path) -> Path:
    """Two series whose segmentations number the same organs differently."""
    pytest.importorskip("highdicom", reason="the extra dicom-seg is not installed")
    masks = tmp_path / "masks"
    for name, numbers in (("a", {"Liver": 1, "Spleen": 2}), ("b", {"spleen": 1, "Liver": 2})):
        folder = tmp_path / "images" / name
        write_series(folder, uid=f"1.2.3.{ord(name)}")
        image = read_volume(folder)
        array = np.zeros(image.shape, np.uint8)
        for title, number in numbers.items():
            array[2:4, 3 if title == "Liver" else 6, 2:8] = number
        # One is a file, the other in a folder of its case.
        target = masks / "a.dcm" if name == "a" else masks / "b" / "any name"
        target.parent.mkdir(parents=True, exist_ok=True)
        write_segments(target, image.with_array(array), folder, numbers)
    return tmp_path


def test_dicom_segments_are_matched_by_name(segments: Path) -> None:
    dataset = imported(segments)
    assert dataset.classes == {"background": 0, "Liver": 1, "Spleen": 2}
    assert dataset.channel_names == ("CT",)
    for one in dataset.cases:
        image = read_case(one)
        labels = read_case_labels(dataset, one, image).array
        assert (labels[2:4, 3, 2:8] == 1).all() and (labels[2:4, 6, 2:8] == 2).all()
        assert np.count_nonzero(labels) == 24


def test_structures_of_structure_sets_are_matched_by_name(tmp_path: Path) -> None:
    square = np.array([[0.9, 0.9, 0.0], [2.1, 0.9, 0.0], [2.1, 3.3, 0.0], [0.9, 3.3, 0.0]])
    at = [square + np.array([-20.0, 30.0, -100.0 + 5 * index]) for index in range(1, 4)]
    (tmp_path / "masks").mkdir()
    for name, structures in (("a", {"Liver": at, "spleen": []}), ("b", {"x": [], "liver": at})):
        write_series(tmp_path / "images" / name)
        write_structures(tmp_path / "masks" / f"{name}.dcm", structures)
    dataset = imported(tmp_path)
    assert dataset.classes == {"background": 0, "Liver": 1}
    for one in dataset.cases:
        labels = read_case_labels(dataset, one, read_case(one)).array
        assert (labels[1:4, 2:5, 2:5] == 1).all() and np.count_nonzero(labels) == 27


def test_structures_that_are_not_asked_for_may_overlap(tmp_path: Path) -> None:
    square = np.array([[0.9, 0.9, 0.0], [2.1, 0.9, 0.0], [2.1, 3.3, 0.0], [0.9, 3.3, 0.0]])
    at = [square + np.array([-20.0, 30.0, -100.0 + 5 * index]) for index in range(1, 4)]
    (tmp_path / "masks").mkdir()
    write_series(tmp_path / "images" / "a")
    write_structures(tmp_path / "masks" / "a.dcm", {"BODY": at, "Liver": at})
    dataset = imported(tmp_path, classes={"liver": 1})
    (one,) = dataset.cases
    assert np.count_nonzero(read_case_labels(dataset, one).array) == 27
    assert any("left out: BODY" in finding.text for finding in check_record(dataset))
    with pytest.raises(UserError, match="overlap"):
        import_dataset(tmp_path / "images", tmp_path / "masks", tmp_path / "all")


def test_the_user_may_assign_values_to_segments(
    segments: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--images", segments / "images", "--masks", segments / "masks", "--out"]

    def call(out: str, *classes: str) -> int:
        command = ["datasets", "import", *folders, segments / out, "--classes", *classes, "--json"]
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, command)))
        return int(ended.value.code or 0)

    assert call("one", "spleen=1", "liver=5") == 0
    assert json.loads(capsys.readouterr().out)["classes"] == {
        "background": 0, "spleen": 1, "liver": 2,
    }  # fmt: skip
    assert call("two", "liver=5") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["classes"] == {"background": 0, "liver": 1}
    assert any("left out: Spleen" in one["text"] for one in said["findings"])
    assert call("three", "kidney=1") == 2
    error = capsys.readouterr().err
    assert "“Liver”" in error and "Traceback" not in error
    assert not (segments / "three").exists()


def test_image_and_segmentation_may_be_in_one_folder_per_case(segments: Path) -> None:
    (segments / "masks/a.dcm").rename(segments / "images/a/mask")
    (segments / "masks/b/any name").rename(segments / "images/b/mask.dcm")
    both = segments / "images"
    dataset = import_dataset(both, both, segments / "out")
    assert sum(one.label is not None for one in dataset.cases) == 2
    (both / "b/mask.dcm").rename(both / "a/mask.dcm")
    with pytest.raises(UserError, match="contains 2 DICOM segmentations"):
        import_dataset(both, both, segments / "again")


def test_a_missing_highdicom_is_named_in_the_error(
    segments: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(UserError, match=r"need the package highdicom.*\[dicom-seg\]"):
        imported(segments)


def test_overlapping_segments_are_not_imported(shared_data: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom", reason="the extra dicom-seg is not installed")
    source = shared_data / "dcmqi_dicom_seg"
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    (tmp_path / "images" / "ct").symlink_to(source / "ct-3slice")
    (tmp_path / "masks" / "ct.dcm").symlink_to(source / "partial_overlaps.dcm")
    with pytest.raises(UserError, match="overlap"):
        imported(tmp_path)


def test_dicom_slices_without_a_folder_per_case_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "images")
    with pytest.raises(UserError, match="one folder per case"):
        import_dataset(tmp_path / "images", None, tmp_path / "out")
