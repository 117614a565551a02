import math

import numpy as np
import pytest

from napari_graphflow.evaluation.metrics import (
    average_surface_distance,
    dice_score,
    evaluate_case,
    hausdorff_distance_95,
    iou_score,
    relative_volume_error,
    summarise,
    surface_dice,
    volume_ml,
    volume_overlap_error,
)


def square(shape, start, side):
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(a, a + s) for a, s in zip(start, side, strict=True))] = 1
    return mask


def blobs(shape, seed):
    """Return a random mask with holes, thin bridges and parts at the image border."""
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).normal(size=shape)
    return (gaussian_filter(noise, 1.5) > 0.08).astype(np.uint8)


def test_dice_iou_and_overlap_error_by_hand():
    prediction = np.array([[1, 1, 0], [1, 0, 0]])
    reference = np.array([[1, 1, 1], [0, 0, 0]])
    assert dice_score(prediction, reference) == pytest.approx(2 * 2 / (3 + 3))
    assert iou_score(prediction, reference) == pytest.approx(2 / 4)
    assert volume_overlap_error(prediction, reference) == pytest.approx(1 - 2 / 4)
    assert relative_volume_error(prediction, reference) == 0


def test_overlap_error_counts_missed_voxels():
    reference = square((8, 8), (2, 2), (4, 4))
    part = square((8, 8), (2, 2), (2, 4))
    assert volume_overlap_error(part, reference) == pytest.approx(0.5)


def test_each_label_is_scored_separately():
    prediction = np.array([1, 1, 2, 2, 0])
    reference = np.array([1, 2, 2, 2, 2])
    assert dice_score(prediction, reference, 1) == pytest.approx(2 / 3)
    assert dice_score(prediction, reference, 2) == pytest.approx(4 / 6)
    assert relative_volume_error(prediction, reference, 1) == 1
    assert relative_volume_error(prediction, reference, 2) == -0.5


def test_surface_distances_use_the_spacing_of_each_axis():
    prediction, reference = np.zeros((2, 8, 8, 8), np.uint8)
    prediction[1, 1, 1] = reference[3, 2, 6] = 1
    spacing = (5.0, 2.0, 0.5)
    expected = math.sqrt((2 * 5.0) ** 2 + (1 * 2.0) ** 2 + (5 * 0.5) ** 2)
    assert hausdorff_distance_95(prediction, reference, spacing=spacing) == pytest.approx(expected)
    assert average_surface_distance(prediction, reference, spacing=spacing) == pytest.approx(
        expected
    )


def test_surface_distances_of_a_shifted_square_by_hand():
    """Two 3 x 3 squares, one column apart, with pixels 1 mm high and 2 mm wide."""
    prediction = square((5, 8), (1, 1), (3, 3))
    reference = square((5, 8), (1, 2), (3, 3))
    # In either direction the outer column (3 of 8 surface pixels) lies one column away, and one
    # pixel falls into the hollow middle of the other square, one row away; the rest coincides.
    distances = [2.0, 2.0, 2.0, 1.0, 0, 0, 0, 0]
    spacing = (1.0, 2.0)
    assert average_surface_distance(prediction, reference, spacing=spacing) == pytest.approx(
        np.mean(distances)
    )
    assert hausdorff_distance_95(prediction, reference, spacing=spacing) == pytest.approx(2.0)


def test_hausdorff_95_ignores_one_outlier_in_forty_voxels():
    reference = square((20, 20), (2, 2), (11, 11))
    prediction = reference.copy()
    prediction[19, 19] = 1
    assert hausdorff_distance_95(prediction, reference, spacing=(1, 1)) == 0
    assert average_surface_distance(prediction, reference, spacing=(1, 1)) == pytest.approx(
        math.hypot(7, 7) / 81
    )


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((40, 33), (1.0, 1.0)), ((40, 33), (0.7, 2.5)), ((12, 25, 31), (1.0, 1.0, 1.0)),
     ((12, 25, 31), (5.0, 0.8, 1.7))],
)  # fmt: skip
@pytest.mark.parametrize("seed", [0, 1])
# MONAI 1.5 and 1.6 call their own deprecated argument.
@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
def test_metrics_agree_with_monai(shape, spacing, seed):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    monai = pytest.importorskip("monai.metrics", reason="MONAI is not installed")
    prediction, reference = blobs(shape, seed), blobs(shape, seed + 100)
    one_hot = [torch.from_numpy(mask)[None, None] for mask in (prediction, reference)]
    hausdorff = monai.compute_hausdorff_distance(
        *one_hot, include_background=True, percentile=95, spacing=list(spacing)
    )
    average = monai.compute_average_surface_distance(
        *one_hot, include_background=True, symmetric=True, spacing=list(spacing)
    )
    dice = monai.compute_dice(*one_hot)
    assert hausdorff_distance_95(prediction, reference, spacing=spacing) == pytest.approx(
        hausdorff.item(), rel=1e-5
    )
    assert average_surface_distance(prediction, reference, spacing=spacing) == pytest.approx(
        average.item(), rel=1e-5
    )
    assert dice_score(prediction, reference) == pytest.approx(dice.item(), rel=1e-5)


def test_missing_structures_follow_the_convention():
    empty, some = np.zeros((4, 4), np.uint8), square((4, 4), (1, 1), (2, 2))
    distances = (hausdorff_distance_95, average_surface_distance)
    for score in (dice_score, iou_score, volume_overlap_error, relative_volume_error):
        assert math.isnan(score(empty, empty))
    for distance in distances:
        assert math.isnan(distance(empty, empty, spacing=(1, 1)))
        assert distance(some, empty, spacing=(1, 1)) == math.inf
        assert distance(empty, some, spacing=(1, 1)) == math.inf
    assert dice_score(some, empty) == dice_score(empty, some) == iou_score(some, empty) == 0
    assert relative_volume_error(some, empty) == math.inf
    assert relative_volume_error(empty, some) == -1


def test_volume_in_millilitres():
    assert volume_ml(square((9, 9, 9), (0, 1, 2), (4, 5, 5)), spacing=(5, 2, 1)) == pytest.approx(1)


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 3\) and \(3, 4\)"):
        dice_score(np.zeros((3, 3)), np.zeros((3, 4)))
    with pytest.raises(ValueError, match="spacing"):
        hausdorff_distance_95(np.zeros((3, 3)), np.zeros((3, 3)), spacing=(1, 1, 1))


CLASSES = {"background": 0, "left": 1, "right": 2, "absent": 3}


def test_evaluate_case_agrees_with_the_single_metrics():
    spacing = (3.0, 1.0, 0.5)
    prediction = blobs((10, 20, 20), 3) + blobs((10, 20, 20), 4)
    reference = blobs((10, 20, 20), 5) + blobs((10, 20, 20), 6)
    result = evaluate_case(prediction, reference, CLASSES, spacing)
    assert list(result) == ["left", "right", "absent"]
    for name in ("left", "right"):
        value = CLASSES[name]
        assert result[name] == pytest.approx(
            {
                "dice_score": dice_score(prediction, reference, value),
                "iou_score": iou_score(prediction, reference, value),
                "volume_overlap_error": volume_overlap_error(prediction, reference, value),
                "surface_dice": surface_dice(prediction, reference, value, spacing=spacing),
                "hausdorff_distance_95": hausdorff_distance_95(
                    prediction, reference, value, spacing=spacing
                ),
                "average_surface_distance": average_surface_distance(
                    prediction, reference, value, spacing=spacing
                ),
                "relative_volume_error": relative_volume_error(prediction, reference, value),
                "absolute_volume_error": abs(relative_volume_error(prediction, reference, value)),
                "prediction_ml": volume_ml(prediction, value, spacing=spacing),
                "reference_ml": volume_ml(reference, value, spacing=spacing),
            }
        )
    assert math.isnan(result["absent"]["dice_score"])
    assert result["absent"]["prediction_ml"] == 0


def test_ignored_voxels_are_excluded_from_all_metrics():
    reference = square((8, 8), (2, 2), (3, 3))
    prediction = reference.copy()
    prediction[6:, :] = 1
    flawed = evaluate_case(prediction, reference, {"structure": 1}, (1, 1))["structure"]
    assert flawed["dice_score"] < 1
    reference[6:, :] = 255
    annotated = evaluate_case(prediction, reference, {"structure": 1}, (1, 1))["structure"]
    assert annotated["dice_score"] == 1
    assert annotated["hausdorff_distance_95"] == 0
    assert annotated["prediction_mm2"] == annotated["reference_mm2"] == 9
    counted = evaluate_case(prediction, reference, {"structure": 1}, (1, 1), ignore=None)
    assert counted["structure"] == flawed


def test_means_exclude_and_count_undefined_values():
    empty, some = np.zeros((4, 4, 4), np.uint8), square((4, 4, 4), (1, 1, 1), (2, 2, 2))
    half = square((4, 4, 4), (1, 1, 1), (1, 2, 2))
    pairs = {"good": (some, some), "half": (half, some), "missed": (empty, some),
             "nothing": (empty, empty)}  # fmt: skip
    cases = {
        name: evaluate_case(*pair, {"background": 0, "structure": 1}, (1, 1, 1))
        for name, pair in pairs.items()
    }
    summary = summarise(cases)
    dice = summary["structure"]["dice_score"]
    assert dice["mean"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert dice["median"] == pytest.approx(2 / 3)
    assert dice["std"] == pytest.approx(np.std([1, 2 / 3, 0], ddof=1))
    assert (dice["n"], dice["undefined"], dice["infinite"]) == (3, 1, 0)
    distance = summary["structure"]["hausdorff_distance_95"]
    assert distance["mean"] == pytest.approx(0.5)
    assert (distance["n"], distance["undefined"], distance["infinite"]) == (2, 1, 1)


def test_mean_over_classes_weights_classes_equally():
    cases = {
        "a": {"big": {"dice_score": 1.0}, "rare": {"dice_score": 0.5}},
        "b": {"big": {"dice_score": 0.8}, "rare": {"dice_score": math.nan}},
    }
    assert summarise(cases)["mean"]["dice_score"] == {
        "mean": pytest.approx((0.9 + 0.5) / 2),
        "n": 3,
        "undefined": 1,
        "infinite": 0,
    }
    assert summarise({}) == {}


def test_surface_dice_is_the_share_of_both_surfaces_within_the_tolerance():
    # Lines 2 mm apart; one is 2 voxels longer, at distances of sqrt(5) and sqrt(8).
    reference, prediction = np.zeros((9, 9), np.uint8), np.zeros((9, 9), np.uint8)
    reference[2, 1:5], prediction[4, 1:7] = 1, 1
    spacing = (1.0, 1.0)
    assert surface_dice(prediction, reference, spacing=spacing, tolerance=1.9) == 0
    assert surface_dice(prediction, reference, spacing=spacing, tolerance=2.0) == 8 / 10
    assert surface_dice(prediction, reference, spacing=spacing, tolerance=2.3) == 9 / 10
    assert surface_dice(prediction, reference, spacing=spacing, tolerance=3.0) == 1
    empty = np.zeros_like(reference)
    assert surface_dice(empty, reference, spacing=spacing) == 0
    assert math.isnan(surface_dice(empty, empty, spacing=spacing))
