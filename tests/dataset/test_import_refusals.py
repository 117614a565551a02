"""What is refused leaves nothing behind; real folders, good and bad."""

from pathlib import Path

import numpy as np
import pytest
from import_cases import assert_nothing_left, mask_of, picture, scan, write_scans

from napari_graphflow.dataset.cases import read_case, read_case_labels
from napari_graphflow.dataset.fingerprint import fingerprint
from napari_graphflow.dataset.importing import import_dataset
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_volume, write_volume
from napari_graphflow.imaging.volume import Volume

# Refusals


def test_a_bad_case_among_good_ones_leaves_nothing_behind(folders, tmp_path):
    write_scans(folders, count=3, labelled=3)
    smaller = scan(1, shape=(5, 9, 11))
    write_volume(folders[1] / "case_1.nii.gz", mask_of(smaller, 1, 2))
    out = tmp_path / "pilot"
    with pytest.raises(UserError, match=r"case_1 .*5 x 9 x 11.*6 x 9 x 11"):
        import_dataset(*folders, out)
    assert_nothing_left(out)


def test_a_mask_that_lies_elsewhere_is_refused(folders, tmp_path):
    write_scans(folders, count=2, labelled=2)
    volume = mask_of(scan(1), 1, 2)
    moved = Volume(volume.array, volume.spacing, (15.0, -20.0, 300.0), volume.direction)
    write_volume(folders[1] / "case_1.nii.gz", moved)
    with pytest.raises(UserError, match="5 mm apart"):
        import_dataset(*folders, tmp_path / "pilot")


def test_a_damaged_image_is_refused(folders, tmp_path):
    write_scans(folders, count=2, labelled=2)
    broken = folders[0] / "case_1.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"case_1 cannot be imported: case_1\.nii\.gz"):
        import_dataset(*folders, tmp_path / "pilot")


def test_pictures_and_volumes_do_not_mix(folders, tmp_path):
    images, masks = folders
    write_scans(folders, count=1, labelled=1)
    picture(images / "photo.png", 0, colour=False)
    with pytest.raises(UserError, match=r"photo\.png is a 2D picture, but case_0 is a volume"):
        import_dataset(images, masks, tmp_path / "both")


def test_grey_and_colour_do_not_mix(folders, tmp_path):
    images, masks = folders
    picture(images / "a.png", 0)
    picture(images / "b.png", 1, colour=False)
    with pytest.raises(
        UserError, match="b cannot be imported: The case has 1 channel, but a has 3"
    ):
        import_dataset(images, None, tmp_path / "both")
    assert masks.is_dir()


def test_nothing_is_overwritten(folders, tmp_path):
    write_scans(folders, count=1, labelled=1)
    out = tmp_path / "there"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="already something"):
        import_dataset(*folders, out)
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    (out / "thesis.txt").unlink()
    assert len(import_dataset(*folders, out).cases) == 1


def test_folders_that_hold_nothing_are_named(folders, tmp_path):
    images, masks = folders
    with pytest.raises(UserError, match=f"{images} holds no images"):
        import_dataset(images, masks, tmp_path / "out")
    with pytest.raises(UserError, match="There is no folder"):
        import_dataset(tmp_path / "nowhere", masks, tmp_path / "out")


def test_masks_among_the_images_are_refused(folders, tmp_path):
    write_scans(folders, count=1, labelled=1)
    with pytest.raises(UserError, match="in one folder"):
        import_dataset(folders[0], folders[0], tmp_path / "out")


def test_progress_reaches_its_end(folders, tmp_path):
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
def test_real_data_go_in_with_one_call(shared_data, tmp_path, name, images, masks, counts, kind):
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
def test_bad_masks_are_refused(shared_data, tmp_path, label, sentence):
    images, masks = bad_pair(shared_data, tmp_path, label)
    with pytest.raises(UserError, match=sentence):
        import_dataset(images, masks, tmp_path / "out", classes={"anterior": 1, "posterior": 2})
    assert_nothing_left(tmp_path / "out")


@pytest.mark.parametrize(
    ("label", "values"),
    [
        ("float_label", [0, 1, 2]),
        ("noncontiguous_label", [0, 1, 2]),
        ("ignore_255_label", [0, 1, 2, 255]),
        ("empty_label", [0]),
    ],
)
def test_odd_masks_go_in(shared_data, tmp_path, label, values):
    dataset = import_dataset(*bad_pair(shared_data, tmp_path, label), tmp_path / "out")
    labels = read_case_labels(dataset, dataset.cases[0])
    assert np.unique(labels.array).tolist() == values


def bad_pair(shared_data: Path, tmp_path: Path, label: str) -> tuple[Path, Path]:
    """Folders with the image that the crafted masks belong to and one of those masks."""
    image = "hippocampus_001.nii.gz"
    for folder, source in (
        ("images", shared_data / "hippocampus_msd" / "images" / image),
        ("masks", shared_data / "bad_input" / "crafted" / "labels" / f"{label}.nii.gz"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / image).symlink_to(source)
    return tmp_path / "images", tmp_path / "masks"
