"""The sample data is reproduced by its generator and has the documented properties."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from napari_graphflow.dataset.cases import Dataset, read_case, read_case_labels
from napari_graphflow.dataset.checks import check
from napari_graphflow.dataset.fingerprint import fingerprint
from napari_graphflow.imaging.files import read_volume

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data"
DATASETS = ("abdomen", "cell_pictures")


def generate(out, *cases):
    only = ["--only", *cases] if cases else []
    subprocess.run(
        [sys.executable, str(SAMPLES / "generate.py"), "--out", str(out), *only],
        check=True,
        capture_output=True,
        timeout=600,
    )


def files_of(folder):
    return sorted(
        path.relative_to(folder) for name in DATASETS for path in (folder / name).rglob("*.*")
    )


def assert_same_content(fresh, committed):
    if fresh.suffix == ".json":
        assert fresh.read_bytes() == committed.read_bytes()
        return
    one, other = read_volume(fresh), read_volume(committed)
    assert one.array.dtype == other.array.dtype
    np.testing.assert_array_equal(one.array, other.array)
    assert one.same_grid(other, tolerance=1e-4)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A scan with its mask, an unlabelled flipped one, the oblique one, and two 2D images."""
    folder = tmp_path_factory.mktemp("samples")
    generate(folder, "abdomen_001", "abdomen_012", "abdomen_023", "cell_002", "cell_020")
    return folder


def test_the_generator_reproduces_the_committed_cases(fresh):
    assert len(files_of(fresh)) == 4 + (2 + 1 + 2) + (2 + 2)
    for path in files_of(fresh):
        assert_same_content(fresh / path, SAMPLES / path)


def test_the_generator_is_deterministic_to_the_byte(fresh, tmp_path):
    generate(tmp_path, "abdomen_023", "cell_020")
    assert len(files_of(tmp_path)) == 4 + 2 + 2
    for path in files_of(tmp_path):
        assert (tmp_path / path).read_bytes() == (fresh / path).read_bytes()


@pytest.mark.slow
def test_the_generator_reproduces_all_committed_files(tmp_path):
    generate(tmp_path)
    assert files_of(tmp_path) == files_of(SAMPLES)
    for path in files_of(tmp_path):
        assert_same_content(tmp_path / path, SAMPLES / path)


def test_the_sample_data_is_smaller_than_8_mb():
    total = sum(path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file())
    assert total < 8e6


@pytest.mark.parametrize("name", DATASETS)
def test_the_sample_datasets_pass_the_dataset_check(name):
    dataset = Dataset.open(SAMPLES / name)
    assert dataset.name == name
    serious = [one for one in check(dataset) if one.severity != "info"]
    assert serious == []
    assert len(dataset.labelled("train")) == 6
    assert len(dataset.unlabelled("train")) > len(dataset.labelled("train"))
    assert len(dataset.labelled("val")) == 4
    assert len(dataset.labelled("test")) == 6


def test_the_abdomen_is_ct_with_thick_slices_of_several_spacings():
    facts = fingerprint(Dataset.open(SAMPLES / "abdomen"))
    assert (facts["modality"], facts["ndim"], facts["channels"]) == ("CT", 3, 1)
    z, y, x = facts["median_spacing"]
    assert y == x
    assert z > 1.5 * x
    assert facts["spacing_max"][0] > facts["spacing_min"][0]


def test_the_cell_images_are_rgb():
    facts = fingerprint(Dataset.open(SAMPLES / "cell_pictures"))
    assert (facts["modality"], facts["ndim"], facts["channels"]) == ("RGB", 2, 3)
    assert facts["median_shape"] == [128, 128]


@pytest.fixture(scope="module")
def scans():
    dataset = Dataset.open(SAMPLES / "abdomen")
    result = {}
    for case in dataset.cases:
        if case.label is not None:
            image = read_case(case)
            result[case.name] = (image, read_case_labels(dataset, case, image))
    return dataset, result


def test_one_scan_is_oblique_and_some_are_flipped(scans):
    _, cases = scans
    oblique = [
        name
        for name, (image, _) in cases.items()
        if not np.isin(np.abs(image.matrix), (0, 1)).all()
    ]
    assert oblique == ["abdomen_023"]
    assert {image.orientation for image, _ in cases.values()} == {"LPS", "RAS"}


def test_organs_are_at_their_anatomical_positions(scans):
    """The liver is right, spleen and left kidney are left, in every stored orientation."""
    dataset, cases = scans
    for name, (image, labels) in cases.items():
        body = labels.with_array((image.array > -300).astype(np.uint8))
        middle = world_centre(body, 1)
        liver, spleen, kidney = (
            world_centre(labels, dataset.classes[organ])
            for organ in ("liver", "spleen", "left_kidney")
        )
        assert liver[0] < middle[0] - 25, name
        assert spleen[0] > middle[0] + 40, name
        assert kidney[0] > middle[0] + 25, name
        assert spleen[2] > kidney[2], name


def test_organ_volumes_and_intensities_are_plausible(scans):
    dataset, cases = scans
    lesions = 0
    for name, (image, labels) in cases.items():
        voxel_ml = np.prod(image.spacing) / 1000
        volume = {
            organ: (labels.array == index).sum() * voxel_ml
            for organ, index in dataset.classes.items()
        }
        assert 400 < volume["liver"] < 2000, name
        assert 30 < volume["spleen"] < 400, name
        assert 50 < volume["left_kidney"] < 350, name
        liver = np.median(image.array[labels.array == dataset.classes["liver"]])
        assert 0 < liver < 140, name
        assert -1024 <= image.array.min() < -990, name
        if volume["lesion"]:
            lesions += 1
            inside = image.array[labels.array == dataset.classes["lesion"]]
            assert 5 < liver - np.median(inside) < 80, name
    assert 0.6 * len(cases) <= lesions < len(cases)


def test_lesions_are_in_the_liver(scans):
    dataset, cases = scans
    for name, (_, labels) in cases.items():
        lesion = labels.array == dataset.classes["lesion"]
        if lesion.any():
            ring = ndimage.binary_dilation(lesion) & ~lesion
            around = labels.array[ring] == dataset.classes["liver"]
            assert around.mean() > 0.5, name


def test_organs_cannot_be_segmented_by_a_threshold(scans):
    """A threshold chosen with the mask of an organ has a mean Dice below 0.6."""
    dataset, cases = scans
    for organ in ("liver", "spleen", "left_kidney"):
        best = []
        for image, labels in cases.values():
            mask = labels.array == dataset.classes[organ]
            low, high = np.percentile(image.array[mask], (10, 90))
            guess = (image.array >= low) & (image.array <= high)
            best.append(2 * (guess & mask).sum() / (guess.sum() + mask.sum()))
        assert np.mean(best) < 0.6, organ


def world_centre(labels, index):
    voxels = np.argwhere(labels.array == index).mean(0)[::-1]
    return labels.matrix @ (voxels * labels.spacing[::-1]) + labels.origin
