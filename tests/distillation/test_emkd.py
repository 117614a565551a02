"""The losses of EMKD against published values, worked examples and loops over the formulas."""

import math
from itertools import combinations, product

import pytest
import torch
from torch.nn import functional

from napari_graphflow.distillation.emkd.losses import (
    affinity_matrix,
    focal_dice_loss,
    importance_maps_loss,
    prediction_maps_loss,
    region_affinity_loss,
    region_vectors,
    region_weights,
)
from napari_graphflow.errors import UserError
from napari_graphflow.imaging.labels import IGNORE

SIZES = [pytest.param((4, 6), id="2d"), pytest.param((4, 2, 6), id="3d")]


def random(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def some_labels(*shape, classes=3, seed=0):
    return torch.randint(0, classes, shape, generator=torch.Generator().manual_seed(seed))


# Values of the authors' functions on the fixture G


def fixture(n, c, h, w, q, o):
    """G[n, c, h, w] = ((7n + 5c + 3h + 2w + hw (c + 1) + o) mod q) / 8 - 1/2."""
    values = [
        ((7 * i + 5 * k + 3 * y + 2 * x + y * x * (k + 1) + o) % q) / 8 - 0.5
        for i, k, y, x in product(range(n), range(c), range(h), range(w))
    ]
    return torch.tensor(values, dtype=torch.float64).view(n, c, h, w)


STUDENT, TEACHER = fixture(2, 3, 4, 4, 11, 0), fixture(2, 5, 4, 4, 13, 2)
LOGITS = fixture(2, 2, 4, 4, 13, 0), fixture(2, 2, 4, 4, 17, 3)
MASK = torch.tensor(
    [
        [[int((y // 2 + 2 * (x // 2) + n) % 3 == 0) for x in range(8)] for y in range(8)]
        for n in (0, 1)
    ]
)


@pytest.mark.parametrize(
    ("temperature", "value"), [(4, 0.13962353695709045), (1, 0.11988468593773129)]
)
def test_published_prediction_maps_loss(temperature, value):
    assert prediction_maps_loss(*LOGITS, temperature).item() == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("power", "value"),
    [(4, 0.49603711885028745), (2, 0.2424869582240643), (1, 0.12003525717958519)],
)
def test_published_importance_maps_loss(power, value):
    loss = importance_maps_loss(STUDENT, TEACHER, power)
    assert loss.item() == pytest.approx(value, rel=1e-12)


def test_published_importance_maps_loss_with_a_smaller_teacher():
    loss = importance_maps_loss(STUDENT, fixture(2, 5, 2, 2, 13, 2))
    assert loss.item() == pytest.approx(0.9618949797110425, rel=1e-12)


@pytest.mark.parametrize("masks", ["nearest", "area"])
def test_published_region_affinity_loss(masks):
    assert [int(m.sum()) for m in MASK] == [24, 20]
    weights = region_weights(MASK, 2, (4, 4), masks)
    assert weights[:, 1].flatten(1).sum(1).tolist() == [6, 5]
    expected = {
        "student": (STUDENT, [-0.12230036348311858, 0.9233132592090663]),
        "teacher": (TEACHER, [0.17706345030640713, 0.7462605870508505]),
    }
    for features, contrast in expected.values():
        matrix = affinity_matrix(region_vectors(features, weights.double()))
        assert matrix[:, 0, 1].tolist() == pytest.approx(contrast, rel=1e-12)
    loss = region_affinity_loss(STUDENT, TEACHER, MASK, 2, masks)
    assert loss.item() == pytest.approx(0.06048317086248722, rel=1e-12)


def test_published_segmentation_loss():
    loss = focal_dice_loss(LOGITS[0], MASK[:, ::2, ::2])
    assert loss.item() == pytest.approx(0.42215573661715744, rel=1e-12)


# Examples by hand


def test_region_affinity_of_two_rows_by_hand():
    """Student: (2, 0) and (0, 3) on average. Teacher: (1, 0, 0) and (3, 4, 0), cosine 0.6."""
    student = torch.tensor([[[[1.0, 3], [0, 0]], [[0, 0], [2, 4]]]])
    teacher = torch.tensor([[[[1.0, 1], [3, 3]], [[0, 0], [4, 4]], [[0, 0], [0, 0]]]])
    labels = torch.tensor([[[0, 0], [1, 1]]])
    for masks in ("nearest", "area"):
        loss = region_affinity_loss(student, teacher, labels, 2, masks)
        assert loss.item() == pytest.approx(0.36, rel=1e-6)


def three_regions():
    """One pixel for each of background, organ, tumour; their vectors are the features."""
    student = torch.tensor([[1.0, 0], [3, 4], [0, 1]]).T.reshape(1, 2, 1, 3)
    teacher = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 3, 4]]).T.reshape(1, 3, 1, 3)
    return student, teacher, torch.tensor([[[0, 1, 2]]])


def test_region_affinity_of_three_regions_by_hand():
    pairs = region_affinity_loss(*three_regions(), 3)
    paper = region_affinity_loss(*three_regions(), 3, reduction="paper")
    assert pairs.item() == pytest.approx(0.133333, abs=1e-6)
    assert paper.item() == pytest.approx(0.071111, abs=1e-6)


def test_region_affinity_without_the_tumour_has_one_pair():
    student, teacher, labels = three_regions()
    labels[..., 2] = IGNORE
    loss = region_affinity_loss(student, teacher, labels, 3)
    assert loss.item() == pytest.approx(0.36, rel=1e-6)
    counted = region_affinity_loss(student, teacher, labels, 3, absent="count")
    assert counted.item() == pytest.approx(0.12, rel=1e-6)


def test_prediction_maps_of_one_pixel_by_hand():
    student = torch.tensor([0, 4 * math.log(3)]).view(1, 2, 1, 1)
    loss = prediction_maps_loss(student, torch.zeros(1, 2, 1, 1), 4)
    assert loss.item() == pytest.approx(8 * math.log(4 / 3), rel=1e-6)
    assert loss.item() == pytest.approx(2.3014566, abs=1e-6)


@pytest.mark.parametrize("power", [1, 2, 4])
def test_importance_maps_of_two_pixels_by_hand(power):
    student, teacher = torch.tensor([1.0, 0]), torch.tensor([1.0, 1])
    loss = importance_maps_loss(student.view(1, 1, 1, 2), teacher.view(1, 1, 1, 2), power)
    assert loss.item() == pytest.approx(2 - math.sqrt(2), rel=1e-6)


# Loops written from the formulas


def slow_prediction_maps(student, teacher, temperature):
    total, pixels = 0.0, list(product(*map(range, (len(student), *student.shape[2:]))))
    for b, *at in pixels:
        soft = []
        for logits in (student, teacher):
            values = [math.exp(v / temperature) for v in logits[(b, slice(None), *at)].tolist()]
            soft.append([v / sum(values) for v in values])
        total += sum(q * math.log(q / p) for p, q in zip(*soft, strict=True))
    return temperature**2 * total / len(pixels)


def slow_importance_maps(student, teacher, power):
    total = 0.0
    for b in range(len(student)):
        directions = []
        for features in (student, teacher):
            cells = features[b].flatten(1).T.tolist()
            a = [sum(abs(v) ** power for v in cell) for cell in cells]
            norm = max(math.sqrt(sum(v * v for v in a)), 1e-12)
            directions.append([v / norm for v in a])
        total += sum((s - t) ** 2 for s, t in zip(*directions, strict=True))
    return total / len(student)


def slow_cosines(features, labels, classes, masks):
    """Map (r, s) to a cosine for the regions present in each image."""
    cells = features.shape[2:]
    steps = [n // m for n, m in zip(labels.shape[1:], cells, strict=True)]
    found = []
    for b in range(len(features)):
        vectors = {}
        for region in range(classes):
            vector, mass = [0.0] * features.shape[1], 0.0
            for cell in product(*map(range, cells)):
                inside = [range(i * s, (i + 1) * s) for i, s in zip(cell, steps, strict=True)]
                members = [labels[(b, *p)].item() == region for p in product(*inside)]
                m = float(members[0]) if masks == "nearest" else sum(members) / len(members)
                mass += m
                values = features[(b, slice(None), *cell)].tolist()
                vector = [v + m * x for v, x in zip(vector, values, strict=True)]
            if mass > 0:
                vectors[region] = [v / mass for v in vector]
        found.append(
            {
                (r, s): sum(x * y for x, y in zip(vectors[r], vectors[s], strict=True))
                / math.hypot(*vectors[r])
                / math.hypot(*vectors[s])
                for r, s in combinations(vectors, 2)
            }
        )
    return found


def slow_region_affinity(student, teacher, labels, classes, masks):
    squares = [
        (ours[pair] - theirs[pair]) ** 2
        for ours, theirs in zip(
            slow_cosines(student, labels, classes, masks),
            slow_cosines(teacher, labels, classes, masks),
            strict=True,
        )
        for pair in ours.keys() & theirs.keys()
    ]
    return sum(squares) / len(squares)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("classes", [2, 4])
def test_prediction_maps_agree_with_a_slow_loop(size, classes):
    """With four classes the authors' code has half of this."""
    student, teacher = random(2, classes, *size), random(2, classes, *size, seed=1)
    expected = slow_prediction_maps(student, teacher, 4)
    assert prediction_maps_loss(student, teacher).item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("power", [1, 2, 4])
def test_importance_maps_agree_with_a_slow_loop(size, power):
    student, teacher = random(2, 3, *size), random(2, 7, *size, seed=1)
    expected = slow_importance_maps(student, teacher, power)
    for resize in ("features", "maps"):
        loss = importance_maps_loss(student, teacher, power, resize=resize)
        assert loss.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("masks", ["nearest", "area"])
def test_region_affinity_agrees_with_a_slow_loop(size, masks):
    """The teacher's tap has half the resolution; region 3 is missing, a few voxels are ignored."""
    student, teacher = random(2, 3, *size), random(2, 5, *[n // 2 for n in size], seed=1)
    labels = some_labels(2, *[4 * n for n in size])
    labels[..., :3] = IGNORE
    expected = slow_region_affinity(student, teacher, labels, 4, masks)
    loss = region_affinity_loss(student, teacher, labels, 4, masks)
    assert loss.item() == pytest.approx(expected, rel=1e-10)


# Masks on the grid of a tap


@pytest.mark.parametrize("size", SIZES)
def test_nearest_masks_take_the_first_pixel_and_area_masks_keep_the_mass(size):
    labels = some_labels(2, *[4 * n for n in size])
    one_hot = functional.one_hot(labels, 3).movedim(-1, 1).float()
    nearest = region_weights(labels, 3, size, "nearest")
    area = region_weights(labels, 3, size, "area")
    assert torch.equal(nearest, one_hot[(..., *[slice(None, None, 4)] * len(size))])
    assert torch.equal(nearest, functional.interpolate(one_hot, size))
    torch.testing.assert_close(area.sum() * 4 ** len(size), one_hot.sum())
    torch.testing.assert_close(area.sum(1), torch.ones(2, *size))


@pytest.mark.parametrize("masks", ["nearest", "area"])
def test_region_cells_of_odd_images_align_with_those_of_the_network(masks):
    """Ten cells of stride 4 cover 37 pixels: cell 9 is pixel 36 and padding."""
    labels = torch.zeros(1, 37, 8, dtype=torch.int64)
    labels[:, 36] = 1
    weights = region_weights(labels, 2, (10, 2), masks)
    share = 1.0 if masks == "nearest" else 0.25
    assert weights[0, 1].tolist() == [[0, 0]] * 9 + [[share] * 2]
    assert weights[0, 0, 9].tolist() == [0, 0]
    assert region_weights(labels, 2, (25, 3), masks).shape == (1, 2, 25, 3)


@pytest.mark.parametrize("masks", ["nearest", "area"])
@pytest.mark.parametrize("stride", [2, 4, 8, 16])
@pytest.mark.parametrize("pixels", [17, 20, 25, 33, 41, 49])
def test_each_region_cell_of_an_odd_image_covers_its_own_pixels(pixels, stride, masks):
    """Cells as large as those of a strided layer, although several strides fit their number."""
    labels = torch.zeros(1, pixels, pixels, dtype=torch.int64)
    labels[:, stride : 2 * stride] = 1
    cells = -(-pixels // stride)
    weights = region_weights(labels, 2, (cells, cells), masks)[0, 1]
    full = min(pixels, 2 * stride) - stride if masks == "area" else stride
    assert weights[1, 0].item() == pytest.approx(full / stride)
    assert weights[0].sum() == weights[2:].sum() == 0


def test_a_lesion_smaller_than_a_cell_still_counts_by_its_area():
    """A disc of radius 3 in the middle of an 8 x 8 cell whose first pixel is background."""
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    labels = ((y - 12) ** 2 + (x - 12) ** 2 < 9).long()[None]
    student, teacher = random(1, 3, 4, 4).requires_grad_(), random(1, 5, 4, 4, seed=1)
    assert region_weights(labels, 2, (4, 4), "nearest")[:, 1].sum() == 0
    assert region_affinity_loss(student, teacher, labels, 2, "nearest").item() == 0
    loss = region_affinity_loss(student, teacher, labels, 2, "area")
    loss.backward()
    assert loss.item() > 0.01
    assert student.grad[:, :, 1, 1].any()


# Refusals


@pytest.mark.parametrize(
    ("pair", "problem"),
    [
        ((torch.zeros(2, 3, 4, 4), torch.zeros(1, 3, 4, 4)), "the teacher's"),
        ((torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4, 4)), "the teacher's"),
        ((torch.zeros(3, 3, 4, 4), torch.zeros(3, 3, 4, 4)), "the labels"),
    ],
)
def test_incompatible_taps_and_labels_are_refused(pair, problem):
    with pytest.raises(UserError, match=problem):
        region_affinity_loss(*pair, torch.zeros(2, 8, 8, dtype=torch.int64), 2)
    if problem == "the teacher's":
        with pytest.raises(UserError, match=problem):
            importance_maps_loss(*pair)
