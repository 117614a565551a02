"""Masks drawn in some slices only are found, and their empty slices ignored on request."""

import json

import numpy as np
import pytest
from import_cases import names, texts
from nnunet_cases import V1, V2, nnunet

from napari_graphflow.cli import main
from napari_graphflow.dataset.cases import Dataset, read_case_labels
from napari_graphflow.dataset.checks import check
from napari_graphflow.dataset.importing import import_dataset
from napari_graphflow.dataset.sparse import find_sparse, find_sparse_classes, ignore_empty_slices
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.files import read_volume, write_labels, write_volume
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.imaging.volume import Volume

SHAPE = (24, 20, 22)
IDENTITY = (1, 0, 0, 0, 1, 0, 0, 0, 1)


def volume(array, spacing=(2.0, 1.0, 1.0)):
    return Volume(array.astype(np.uint8), spacing, (0, 0, 0), IDENTITY)


def ball(centre=(12, 10, 11), radius=8):
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"))
    return (((grid - np.reshape(centre, (3, 1, 1, 1))) ** 2).sum(0) < radius**2).astype(np.uint8)


def kept(array, slices, axis=0):
    """The mask drawn in these slices alone."""
    result = np.zeros_like(array)
    np.moveaxis(result, axis, 0)[list(slices)] = np.moveaxis(array, axis, 0)[list(slices)]
    return result


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("step", [2, 3, 4])
def test_every_nth_slice_is_found_across_any_axis(axis, step):
    slices = range(2, SHAPE[axis], step)
    found = find_sparse(volume(kept(ball(), slices, axis)))
    assert found is not None and found.axis == axis
    assert set(found.annotated) <= set(slices)
    assert not set(found.empty) & set(slices)


def test_empty_slices_beyond_the_ends_are_ignored_as_far_as_the_drawn_ones_are_apart():
    found = find_sparse(volume(kept(ball(), (4, 8, 12, 16, 20))))
    # The ball is in 5 to 19; slices 4 and 20 were looked at.
    assert found.annotated == (8, 12, 16)
    assert found.empty == (5, 6, 7, 9, 10, 11, 13, 14, 15, 17, 18, 19)


@pytest.mark.parametrize("slices", [(6, 9, 13, 18), (6, 8, 9, 13, 18), (10, 14), (12,)])
def test_irregular_and_few_slices_are_found(slices):
    found = find_sparse(volume(kept(ball(), slices)))
    assert found is not None and found.annotated == slices


def spheres(*centres, radius=2):
    return np.maximum.reduce([ball(centre, radius) for centre in centres])


@pytest.mark.parametrize(
    "array",
    [
        np.zeros(SHAPE),
        ball(),
        kept(ball(), (11, 12, 13)),  # a lesion in three neighbouring slices
        spheres((4, 5, 5), (10, 14, 14), (20, 5, 14), radius=1),  # lesions of one voxel
        spheres((4, 5, 5), (10, 14, 14), (20, 5, 14), radius=4),
        kept(ball(radius=9), [*range(3, 8), *range(9, 14), *range(15, 20)]),  # vertebrae
        spheres((4, 10, 4), (4, 10, 18), radius=3),  # kidneys, across x
        kept(spheres((12, 5, 5), radius=3), (12,)),  # a lesion in one thick slice
        kept(ball((0, 10, 11)), (0,)),  # cut off by the end of the scan
    ],
)
def test_structures_that_end_between_slices_are_not_sparse(array):
    assert find_sparse(volume(array)) is None


def test_thin_structures_with_small_gaps_are_not_sparse():
    plates = kept(ball(radius=9), [z for z in range(24) if z % 5 < 2])
    assert find_sparse(volume(plates)) is None
    pairs = kept(ball(radius=10), [z for z in range(24) if z % 7 < 2])
    assert find_sparse(volume(pairs)) is not None


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_class_in_every_fourth_slice_of_a_dense_one_is_found(axis):
    organ, vessel = ball(radius=9), kept(ball(radius=7), range(1, SHAPE[axis], 3), axis)
    labels = volume(np.where(vessel, 2, organ))
    assert find_sparse(labels) is None
    found = find_sparse_classes(labels)
    assert list(found) == [2] and found[2].axis == axis
    assert find_sparse_classes(volume(organ)) == {}
    lesions = spheres((6, 6, 11), (12, 10, 11), (18, 14, 11), radius=2)
    assert find_sparse_classes(volume(np.where(lesions, 2, organ))) == {}


def test_the_check_names_a_class_that_is_drawn_in_some_slices_only(folders, tmp_path):
    array = np.where(kept(ball(radius=7), range(1, 24, 3)), 2, ball(radius=9))
    write_volume(folders[0] / "a.nii.gz", volume(ball()))
    write_volume(folders[1] / "a.nii.gz", volume(array))
    dataset = import_dataset(*folders, tmp_path / "out")
    (finding,) = (one for one in check(dataset) if "annotated" in one.text)
    assert finding.text.startswith("class_2: Only every 3rd axial slice is annotated")
    assert "only slices that are empty of all classes" in finding.remedy


def test_slices_that_are_ignored_already_are_not_found():
    array = np.where(kept(np.ones(SHAPE), (4, 8, 12, 16, 20)), kept(ball(), range(24)), IGNORE)
    assert find_sparse(volume(array)) is None


def test_2d_masks_are_not_sparse():
    mask = np.zeros((20, 22), np.uint8)
    mask[::4] = 1
    assert find_sparse(Volume(mask, (1.0, 1.0), (0, 0), (1, 0, 0, 1))) is None


@pytest.fixture
def folders_of_every_fourth(folders):
    """Two sparse cases and a dense one."""
    for number, name in enumerate(("a", "b", "dense")):
        image = np.random.default_rng(number).normal(0, 10, SHAPE).astype(np.float32)
        array = ball() if name == "dense" else kept(ball(), range(0, 24, 4))
        write_volume(folders[0] / f"{name}.nii.gz", Volume(image, (2, 1, 1), (0, 0, 0), IDENTITY))
        write_volume(folders[1] / f"{name}.nii.gz", volume(array))
    return folders


def test_the_check_says_which_slices_are_annotated_and_how_to_ignore_the_others(
    folders_of_every_fourth, tmp_path
):
    out = tmp_path / "out"
    dataset = import_dataset(*folders_of_every_fourth, out)
    (finding,) = (one for one in check(dataset) if "slice" in one.text)
    assert finding.severity == "warning"
    assert finding.text.endswith(
        "(2 cases): only every 4th axial slice is annotated; the slices between count as "
        "background."
    )
    assert f"datasets ignore-empty-slices {out}" in finding.remedy
    (out / "labelsTr" / "b.nii.gz").unlink(missing_ok=True)
    (out / "labelsTs" / "b.nii.gz").unlink(missing_ok=True)
    (finding,) = (one for one in check(Dataset.open(out)) if "annotated" in one.text)
    assert (finding.case, finding.text[:29]) == ("a", "Only every 4th axial slice is")


def indices_of(dataset, name):
    case = next(case for case in dataset.cases if case.name == name)
    return read_case_labels(dataset, case).array


def assert_ignored(dataset):
    """Slices 8, 12 and 16 are drawn, the others of 5 to 19 are ignored; "dense" is as it was."""
    assert not any("annotated" in text for text in texts(check(dataset)))
    np.testing.assert_array_equal(indices_of(dataset, "dense"), ball())
    found = indices_of(dataset, "a")
    for number in range(24):
        if 5 <= number <= 19 and number % 4:
            assert (found[number] == IGNORE).all()
        else:
            drawn = ball()[number] if number % 4 == 0 else 0
            np.testing.assert_array_equal(found[number], np.broadcast_to(drawn, SHAPE[1:]))


def test_empty_slices_are_ignored_at_import(folders_of_every_fourth, tmp_path):
    out = tmp_path / "out"
    images, masks = folders_of_every_fourth
    dataset = import_dataset(images, masks, out, empty_slices="ignore")
    labels = json.loads((out / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, "foreground": 1, "ignore": 2}
    assert_ignored(dataset)


def test_empty_slices_of_a_dataset_are_ignored_by_a_command(
    folders_of_every_fourth, tmp_path, capsys
):
    out = tmp_path / "out"
    import_dataset(*folders_of_every_fourth, out)
    with pytest.raises(SystemExit):
        main(["datasets", "ignore-empty-slices", str(out), "--json"])
    assert json.loads(capsys.readouterr().out) == {"a": 12, "b": 12}
    assert_ignored(Dataset.open(out))
    with pytest.raises(SystemExit):
        main(["datasets", "ignore-empty-slices", str(out)])
    assert "nothing was changed" in capsys.readouterr().out


def test_one_named_case_is_changed_and_a_dense_one_refused(folders_of_every_fourth, tmp_path):
    out = tmp_path / "out"
    import_dataset(*folders_of_every_fourth, out)
    assert ignore_empty_slices(out, ["a"]) == {"a": 12}
    assert IGNORE not in indices_of(Dataset.open(out), "b")
    for case, sentence in (("dense", "is not drawn in some"), ("c", "c is not a labelled case")):
        with pytest.raises(UserError, match=sentence):
            ignore_empty_slices(out, [case])


@pytest.mark.parametrize("version", ["v1", "v2", "with ignore"])
def test_the_ignore_label_is_added_to_the_labels_of_every_layout(tmp_path, version):
    """With values 0, 1 and 4; a mask that is a link leaves its target as it was."""
    description = V2 | {"labels": {"background": 0, "organ": 1, "core": 4}}
    if version == "with ignore":
        description["labels"]["ignore"] = 5
    if version == "v1":
        training = {"image": "imagesTr/a_0000.nii.gz", "label": "labelsTr/a.nii.gz"}
        labels = {"0": "background", "1": "organ", "4": "core"}
        description = V1 | {"labels": labels, "training": [training]}
    folder = nnunet(tmp_path / "data", description, names=["a"], values=(1,))
    array = kept(ball(), range(0, 24, 4)) * 4
    write_volume(folder / "imagesTr" / "a_0000.nii.gz", volume(ball()))
    store = tmp_path / "store.nii.gz"
    write_labels(store, array, volume(ball()))
    (folder / "labelsTr" / "a.nii.gz").unlink()
    (folder / "labelsTr" / "a.nii.gz").symlink_to(store)
    assert list(ignore_empty_slices(folder)) == [names(Dataset.open(folder).cases)[0]]
    dataset = Dataset.open(folder)
    assert dataset.ignore == 5 and list(dataset.classes) == ["background", "organ", "core"]
    found = read_volume(folder / "labelsTr" / "a.nii.gz").array
    assert np.unique(found).tolist() == [0, 4, 5]
    np.testing.assert_array_equal(read_volume(store).array, array)
