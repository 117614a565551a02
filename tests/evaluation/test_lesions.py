"""Lesion-wise scores by hand, and with organs in the evaluation of a dataset."""

import csv
import json
import math

import numpy as np
import pytest
import SimpleITK as sitk

from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.errors import UserError
from napari_graphflow.evaluation.lesions import lesion_scores, summarise_lesions
from napari_graphflow.evaluation.scores import write_scores
from napari_graphflow.imaging.labels import IGNORE
from napari_graphflow.inference.evaluate import evaluate_split


def masks() -> tuple[np.ndarray, np.ndarray]:
    """Return three lesions: one half covered, one covered by two components, one missed."""
    reference, prediction = np.zeros((2, 12, 12), np.uint8)
    reference[1:3, 1:3] = 2
    prediction[1:3, 2:4] = 2
    reference[6, 1:4] = 2
    prediction[6, 1] = prediction[6:8, 3] = 2
    reference[10, 10] = 2
    prediction[1, 9:11] = 2
    prediction[9, 1], reference[9, 3] = 1, 1  # another class
    return prediction, reference


def test_lesion_is_compared_with_all_overlapping_components():
    found = lesion_scores(*masks(), 2, (1.0, 2.0))
    assert found["false_positives"] == 1
    first, second, third = found["lesions"]
    assert first == pytest.approx(
        {
            "dice_score": 2 * 2 / 8, "volume_overlap_error": 1 - 2 / 6,
            "relative_volume_error": 0, "reference_mm2": 8,
        }
    )  # fmt: skip
    assert second == pytest.approx(
        {
            "dice_score": 2 * 2 / 6, "volume_overlap_error": 1 - 2 / 4,
            "relative_volume_error": 0, "reference_mm2": 6,
        }
    )  # fmt: skip
    assert third == pytest.approx(
        {
            "dice_score": 0, "volume_overlap_error": 1,
            "relative_volume_error": -1, "reference_mm2": 2,
        }
    )  # fmt: skip


def test_pixels_connected_at_a_corner_are_one_lesion():
    diagonal = np.eye(4, dtype=np.uint8)
    found = lesion_scores(np.zeros_like(diagonal), diagonal, 1, (1, 1))
    assert len(found["lesions"]) == 1
    volume = np.zeros((3, 3, 3), np.uint8)
    volume[0, 0, 0] = volume[1, 1, 1] = 1
    (lesion,) = lesion_scores(volume, volume, 1, (10, 10, 10))["lesions"]
    assert lesion["reference_ml"] == 2
    assert lesion["dice_score"] == 1


def test_one_large_component_counts_for_every_lesion_it_overlaps():
    reference = np.zeros((3, 9), np.uint8)
    reference[1, [1, 4, 7]] = 1
    found = lesion_scores(np.ones_like(reference), reference, 1, (1, 1))
    assert [row["dice_score"] for row in found["lesions"]] == pytest.approx([2 / 28] * 3)
    assert found["false_positives"] == 0


def test_unannotated_voxels_are_neither_lesions_nor_false_positives():
    prediction, reference = masks()
    reference[:5, 8:] = IGNORE
    assert lesion_scores(prediction, reference, 2, (1, 1))["false_positives"] == 0


def test_lesion_means_are_over_lesions_and_not_over_cases():
    prediction, reference = masks()
    empty = np.zeros_like(reference)
    cases = {
        "many": lesion_scores(prediction, reference, 2, (1, 1)),
        "none": lesion_scores(prediction, empty, 2, (1, 1)),
    }
    summary = summarise_lesions(cases)
    assert summary["dice_score"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert summary["absolute_volume_error"] == pytest.approx(1 / 3)
    assert (summary["lesions"], summary["detected"], summary["false_positives"]) == (3, 2, 1 + 4)
    assert math.isnan(summarise_lesions({"none": cases["none"]})["dice_score"])
    with pytest.raises(ValueError, match="spacing"):
        lesion_scores(prediction, reference, 2, (1, 1, 1))


def test_split_is_scored_by_class_organ_and_lesion(blobs, tmp_path):
    """In masks without lesions, the lesions are missed and the whole organ has a hole."""
    for case in Dataset.open(blobs).labelled("test"):
        mask = sitk.ReadImage(str(blobs / "labelsTs" / f"{case.name}.nii.gz"))
        sitk.WriteImage(
            mask * sitk.Cast(mask == 1, mask.GetPixelID()), str(tmp_path / f"{case.name}.nii.gz")
        )
    scores = evaluate_split(
        blobs, predictions=tmp_path, organs={"whole": ["organ", "lesion"]}, lesions=["lesion"]
    )
    summary = scores["summary"]
    assert list(summary) == ["organ", "lesion", "whole", "mean"]
    assert summary["organ"]["dice_score"]["mean"] == 1
    assert summary["lesion"]["dice_score"]["mean"] == 0
    assert summary["mean"]["dice_score"]["mean"] == 0.5
    for case in scores["cases"].values():
        sizes = case["organ"]["reference_ml"], case["lesion"]["reference_ml"]
        assert case["whole"]["relative_volume_error"] == pytest.approx(-sizes[1] / sum(sizes))
        assert case["whole"]["volume_overlap_error"] == pytest.approx(sizes[1] / sum(sizes))
    assert scores["lesions"]["lesion"]["summary"]["lesions"] == 2
    assert scores["lesions"]["lesion"]["summary"]["detected"] == 0
    written = write_scores(scores, tmp_path / "scores")
    rows = list(csv.DictReader(written[2].read_text().splitlines()))
    assert [row["relative_volume_error"] for row in rows] == ["-1.0", "-1.0"]
    assert json.loads(written[0].read_text())["lesions"]["lesion"]["summary"]["lesions"] == 2


@pytest.mark.parametrize(
    ("requested", "problem"),
    [
        ({"lesions": ["tumour"]}, "'tumour' is not a class"),
        ({"organs": {"whole": ["organ", "background"]}}, "'background' is not a class"),
        ({"organs": {"organ": ["organ", "lesion"]}}, "already has a class 'organ'"),
    ],
)
def test_unknown_classes_of_organs_and_lesions_are_refused(blobs, requested, problem):
    with pytest.raises(UserError, match=problem):
        evaluate_split(blobs, predictions=blobs / "labelsTs", **requested)
