"""A refused import leaves no files; real data sets are imported."""

from pathlib import Path

import numpy as np
import pytest
from import_cases import assert_no_files_left, mask_of, scan, write_image_2d, write_scans

from napari_graphflow.dataset.cases import read_case, read_case_labels
from napari_graphflow.dataset.fingerprint import fingerprint
from napari_graphflow.dataset.importing import import_dataset
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_volume, write_volume
from napari_graphflow.imaging.volume import Volume

# Refusals


def test_one_invalid_case_leaves_no_files(folders, tmp_path):
    write_scans(folders, count=3, labelled=3)
    smaller = scan(1, shape=(5, 9, 11))
    write_volume(folders[1] / "case_1.nii.gz", mask_of(smaller, 1, 2))
    out = tmp_path / "pilot"
    with pytest.raises(UserError, match=r"case_1 .*5 x 9 x 11.*6 x 9 x 11"):
        import_dataset(*folders, out)
    assert_no_files_left(out)


def test_a_mask_with_another_origin_is_refused(folders, tmp_path):
    write_scans(folders, count=2, labelled=2)
    volume = mask_of(scan(1), 1, 2)
    moved = Volume(volume.array, volume.spacing, (15.0, -20.0, 300.0), volume.direction)
    write_volume(folders[1] / "case_1.nii.gz", moved)
    with pytest.raises(UserError, match="5 mm apart"):
        import_dataset(*folders, tmp_path / "pilot")


def test_a_damaged_image_is_not_imported(folders, tmp_path):
    write_scans(folders, count=2, labelled=2)
    broken = folders[0] / "case_1.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"case_1 cannot be imported: case_1\.nii\.gz"):
        import_dataset(*folders, tmp_path / "pilot")


def test_2d_images_and_volumes_are_not_mixed(folders, tmp_path):
    images, masks = folders
    write_scans(folders, count=1, labelled=1)
    write_image_2d(images / "photo.png", 0, colour=False)
    with pytest.raises(UserError, match=r"photo\.png is a 2D image, but case_0 is a volume"):
        import_dataset(images, masks, tmp_path / "both")


def test_grey_and_colour_images_are_not_mixed(folders, tmp_path):
    images, masks = folders
    write_image_2d(images / "a.png", 0)
    write_image_2d(images / "b.png", 1, colour=False)
    with pytest.raises(
        UserError, match="b cannot be imported: The case has 1 channel, but a has 3"
    ):
        import_dataset(images, None, tmp_path / "both")
    assert masks.is_dir()


def test_a_folder_with_files_is_not_overwritten(folders, tmp_path):
    write_scans(folders, count=1, labelled=1)
    out = tmp_path / "there"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="already exists and is not an empty folder"):
        import_dataset(*folders, out)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    (out / "thesis.txt").unlink()
    assert len(import_dataset(*folders, out).cases) == 1


def test_empty_and_missing_folders_are_named_in_the_error(folders, tmp_path):
    images, masks = folders
    with pytest.raises(UserError, match=f"{images} contains no images"):
        import_dataset(images, masks, tmp_path / "out")
    with pytest.raises(UserError, match="There is no folder"):
        import_dataset(tmp_path / "nowhere", masks, tmp_path / "out")


def test_masks_in_the_folder_of_the_images_are_refused(folders, tmp_path):
    write_scans(folders, count=1, labelled=1)
    with pytest.raises(UserError, match="in the same folder"):
        import_dataset(folders[0], folders[0], tmp_path / "out")


def test_import_reports_progress_to_the_end(folders, tmp_path):
    write_scans(folders, count=3, labelled=2)
    steps = []
    import_dataset(*folders, tmp_path / "pilot", progress=lambda *step: steps.append(step))
    assert steps == [(done, 5) for done in range(1, 6)]


# Real data


@pytest.mark.parametrize(
    ("name", "images", "masks", "counts", "kind"),
    [
        ("hippocampus_msd", "images", "masks", (120, 25, 35), (3, 1, 3, ".nii.gz")),
        pytest.param(
            *("kvasir_seg", "train_256/images", "train_256/masks"),
            *((200, 40, 60), (2, 3, 2, ".png")),
            marks=pytest.mark.slow,
        ),
        ("hrf_quarter", "images", "masks", (21, 3, 6), (2, 3, 2, ".png")),
        ("hrf_quarter", "images", "masks_av", (21, 3, 6), (2, 3, 4, ".png")),
    ],
)
def test_real_data_is_imported_with_one_call(
    shared_data, tmp_path, name, images, masks, counts, kind
):
    source = shared_data / name
    dataset = import_dataset(
        source / images,
        source / masks,
        tmp_path / name,
        splits=f"{shared_data / 'splits.json'}#{name}",
    )
    assert tuple(len(dataset.labelled(split)) for split in ("train", "val", "test")) == counts
    assert len(dataset.cases) == sum(counts)
    ndim, channels, classes, ending = kind
    facts = fingerprint(dataset)
    assert (facts["ndim"], facts["channels"]) == (ndim, channels)
    assert (len(dataset.classes), dataset.file_ending) == (classes, ending)
    case = dataset.labelled("test")[0]
    given = next((source / images).glob(f"{case.name}.*"))
    image = read_case(case)
    np.testing.assert_array_equal(image.array, read_volume(given).array)
    labels = read_case_labels(dataset, case, image)
    assert set(np.unique(labels.array).tolist()) == set(range(classes))


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        ("shape_mismatch_label", r"shape"),
        ("affine_mismatch_label", r"does not align"),
        ("negative_label", r"negative"),
        ("extra_class_label", r"value 9"),
    ],
)
def test_invalid_masks_are_not_imported(shared_data, tmp_path, label, sentence):
    images, masks = crafted_pair(shared_data, tmp_path, label)
    with pytest.raises(UserError, match=sentence):
        import_dataset(images, masks, tmp_path / "out", classes={"anterior": 1, "posterior": 2})
    assert_no_files_left(tmp_path / "out")


@pytest.mark.parametrize(
    ("label", "values"),
    [
        ("float_label", [0, 1, 2]),
        ("noncontiguous_label", [0, 1, 2]),
        ("ignore_255_label", [0, 1, 2, 255]),
        ("empty_label", [0]),
    ],
)
def test_unusual_masks_are_imported(shared_data, tmp_path, label, values):
    dataset = import_dataset(*crafted_pair(shared_data, tmp_path, label), tmp_path / "out")
    labels = read_case_labels(dataset, dataset.cases[0])
    assert np.unique(labels.array).tolist() == values


def crafted_pair(shared_data: Path, tmp_path: Path, label: str) -> tuple[Path, Path]:
    """Create folders with one crafted mask and its image."""
    image = "hippocampus_001.nii.gz"
    for folder, source in (
        ("images", shared_data / "hippocampus_msd" / "images" / image),
        ("masks", shared_data / "bad_input" / "crafted" / "labels" / f"{label}.nii.gz"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / image).symlink_to(source)
    return tmp_path / "images", tmp_path / "masks"
