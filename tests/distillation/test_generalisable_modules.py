"""Mask auto-encoder and alignment networks: shapes, parameters, what they can and cannot map."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from napari_graphflow.distillation.generalisable.alignment import (
    AlignmentNetwork,
    alignment_losses,
    grid_of,
    mean_dice,
    r_squared,
    spread,
)
from napari_graphflow.distillation.generalisable.autoencoder import (
    MaskAutoencoder,
    cross_entropy,
    feature_error,
    first_phase_loss,
    one_hot,
    second_phase_loss,
)
from napari_graphflow.distillation.generalisable.gates import measure_reliance
from napari_graphflow.distillation.generalisable.perceptrons import (
    FittedMap,
    PrincipalMap,
    RowPerceptron,
    principal_axes,
    ridge,
)
from napari_graphflow.networks.bottleneck import encode
from napari_graphflow.networks.taps import TapAdapter
from napari_graphflow.system.events import Warned

IGNORE = 255


def autoencoder(
    dims: int = 2, classes: int = 2, length: int = 16, cells: int = 4
) -> MaskAutoencoder:
    torch.manual_seed(0)
    return MaskAutoencoder(classes, dims, length, (cells,) * dims).eval()


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def labels(*shape: int, classes: int = 2, seed: int = 0) -> Tensor:
    return torch.randint(0, classes, shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_the_decoder_of_masks_is_affine() -> None:
    net, a = autoencoder(), 0.3
    one, two = random(2, 16, 4, 4), random(2, 16, 4, 4, seed=1)
    mixed = net.decode(a * one + (1 - a) * two, (32, 32))
    expected = a * net.decode(one, (32, 32)) + (1 - a) * net.decode(two, (32, 32))
    torch.testing.assert_close(mixed, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_cell_of_the_deepest_map_paints_one_block_of_eight_pixels() -> None:
    net, features = autoencoder(), random(1, 16, 4, 4)
    changed = features.clone()
    changed[:, :, 1, 2] += 1
    moved = (net.decode(features, (32, 32)) != net.decode(changed, (32, 32))).any(1)[0]
    assert moved[8:16, 16:24].any()
    moved[8:16, 16:24] = False
    assert not moved.any()


@pytest.mark.parametrize(("side", "parameters"), [(16, 33_281), (8, 8_513), (4, 2_321)])
def test_a_perceptron_has_the_published_number_of_parameters(side: int, parameters: int) -> None:
    count = sum(p.numel() for p in RowPerceptron(side * side).parameters())
    assert count == parameters


def test_an_alignment_network_adds_two_convolutions_of_one_cell() -> None:
    # 2 C d + d + C of the mixers, with the teacher of the paper.
    net = AlignmentNetwork(512, 512, (16, 16))
    assert sum(p.numel() for p in net.parameters()) == 33_281 + 525_312


@torch.no_grad()
def test_without_mixers_permuted_channels_give_the_permuted_code() -> None:
    features, order = random(2, 6, 4, 4), torch.tensor([3, 1, 5, 0, 2, 4])
    plain = AlignmentNetwork(6, 6, (4, 4), mixed=False)
    assert torch.equal(plain.code(features[:, order]), plain.code(features)[:, order])
    mixed = AlignmentNetwork(6, 6, (4, 4))
    assert not torch.allclose(mixed.code(features[:, order]), mixed.code(features)[:, order])


def test_a_code_of_the_whole_map_says_where_a_structure_lies() -> None:
    """One number per channel cannot, if all channels are read alike and show the same."""
    maps = torch.eye(12)[:, None].expand(12, 8, 12)  # one cell of each, in all channels
    errors = {}
    for kind in ("channels", "map"):
        torch.manual_seed(0)
        perceptron = RowPerceptron(12) if kind == "channels" else FittedMap(8, 12, 8)
        optimiser = torch.optim.Adam(perceptron.parameters(), 1e-2)
        for _ in range(150):
            loss = feature_error(perceptron.expand(perceptron.reduce(maps)), maps)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        errors[kind] = float(loss.detach())
    assert errors["map"] < 0.05 < 0.5 < errors["channels"]


@torch.no_grad()
def test_a_fitted_code_begins_as_the_least_squares_solution() -> None:
    torch.manual_seed(0)
    net, rows = FittedMap(5, 6, 3), random(400, 5, 6)
    wanted = rows.flatten(1) @ random(30, 3) + 1
    net.fit_to(rows, wanted)
    codes = net.reduce(rows)
    torch.testing.assert_close(codes, wanted, rtol=1e-2, atol=1e-2)
    # Back: the best linear answer for the maps, by the normal equations.
    ones = torch.cat([codes, torch.ones(400, 1)], 1).double()
    best = ones @ torch.linalg.lstsq(ones, rows.flatten(1).double()).solution
    torch.testing.assert_close(net.expand(codes).flatten(1).double(), best, rtol=1e-2, atol=1e-2)


@torch.no_grad()
def test_a_fitted_code_is_its_formula() -> None:
    torch.manual_seed(0)
    net, rows = FittedMap(5, 6, 3), random(2, 5, 6)
    for weight in net.parameters():
        weight.copy_(random(*weight.shape))
    x = (rows.transpose(1, 2) @ net.mix_in.weight.T + net.mix_in.bias).reshape(2, -1)
    first, _, last = net.more_down
    hidden = functional.gelu(x @ first.weight.T + first.bias)
    wanted = x @ net.down.weight.T + net.down.bias + hidden @ last.weight.T + last.bias
    torch.testing.assert_close(net.reduce(rows), wanted)
    assert net.expand(wanted).shape == (2, 5, 6)


@torch.no_grad()
def test_the_ridge_penalty_is_the_one_of_the_least_error_on_held_out_rows() -> None:
    x, noise = random(40, 30), random(40, 1)
    y = x[:, :1] + noise
    weight, bias = ridge(x, y, (1e-9, 1.0))
    plain, _ = ridge(x, y, (1e-9,))
    shrunk, mean = ridge(x, y, (1.0,))
    torch.testing.assert_close(weight, shrunk)
    torch.testing.assert_close(bias, mean)
    # The plain one is that of the normal equations.
    centred = (x - x.mean(0)).double()
    best = torch.linalg.lstsq(centred, (y - y.mean(0)).double()).solution.T
    torch.testing.assert_close(plain.double(), best, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_a_principal_code_is_its_formula_and_keeps_maps_of_few_components() -> None:
    net = PrincipalMap(5, 6)
    parts = random(3, 5, 6)
    rows = 2 + torch.einsum("nk,kcm->ncm", random(40, 3), parts)
    net.fit(rows)
    codes = net.reduce(rows)
    thin = rows.transpose(1, 2) @ net.mix_in.weight.T + net.mix_in.bias
    torch.testing.assert_close(
        codes, thin.reshape(40, -1) @ net.down.weight.T + net.down.bias, rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(net.expand(codes), rows, rtol=1e-3, atol=1e-3)
    # All variance is kept, and no number of the code has nearly all or nearly none of it.
    kept = codes.var(0, unbiased=False)
    assert kept.sum() == pytest.approx(rows.var(0, unbiased=False).sum().item(), rel=1e-3)
    assert kept.max() < 0.8 * kept.sum() and kept.min() > 1e-3 * kept.sum()


@torch.no_grad()
@pytest.mark.parametrize("count", [3, 50])
def test_principal_axes_are_those_of_a_singular_value_decomposition(count: int) -> None:
    rows = random(count, 8) * torch.arange(1, 9)
    axes, mean = principal_axes(rows, 4)
    torch.testing.assert_close(mean, rows.mean(0))
    _, values, wanted = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    few = min(4, count - 1)  # three rows vary along two axes only
    torch.testing.assert_close(
        (axes[:few] @ wanted[:few].T).abs(), torch.eye(few), atol=1e-4, rtol=0
    )
    assert not axes[few:].any()
    assert values[few - 1] > 0


@torch.no_grad()
def test_a_fitted_auto_encoder_normalises_without_a_change() -> None:
    torch.manual_seed(0)
    auto = MaskAutoencoder(3, 2, 16, (2, 2), "map").eval()
    features = auto.features(one_hot(labels(64, 16, 16, classes=3), 3, IGNORE))
    auto.fit(features)
    expanded = auto.expand(auto.codes(features), (2, 2))
    torch.testing.assert_close(auto.norm(expanded), expanded, rtol=1e-3, atol=1e-4)
    assert feature_error(expanded, features) < 0.9


@pytest.mark.parametrize("kind", ["channels", "map"])
@pytest.mark.parametrize("size", [(4, 4), (2, 3), (9, 7), (1, 1), (3, 4, 5), (16, 16, 16)])
@torch.no_grad()
def test_codes_and_headers_take_bottlenecks_of_any_size(size: tuple[int, ...], kind: str) -> None:
    net = AlignmentNetwork(5, 8, (4,) * len(size), kind)
    codes, expanded = net(random(2, 5, *size))
    assert codes.shape == (2, 8)
    assert expanded.shape == (2, 5, *size)


@pytest.mark.parametrize("size", [(32, 32), (37, 50), (5, 9), (10, 19, 30)])
@torch.no_grad()
def test_masks_of_any_size_are_reconstructed_at_their_size(size: tuple[int, ...]) -> None:
    net = autoencoder(len(size), classes=3)
    found = net(one_hot(labels(2, *size, classes=3), 3, IGNORE))
    assert found.logits.shape == (2, 3, *size)
    assert found.codes.shape == (2, 16)
    assert found.expanded.shape == found.features.shape


def test_masks_are_plus_and_minus_one_and_zero_where_ignored() -> None:
    mask = one_hot(torch.tensor([[[0, 1, IGNORE]]]), 2, IGNORE)
    assert mask.tolist() == [[[[1, -1, 0]], [[-1, 1, 0]]]]


def test_ignored_voxels_do_not_count_in_the_losses_of_masks() -> None:
    net, truth = autoencoder(), labels(2, 16, 16)
    truth[:, :4] = IGNORE
    masks = one_hot(truth, 2, IGNORE)
    logits = random(2, 2, 16, 16)
    other = logits.clone()
    other[:, :, :4] += 5
    assert torch.equal(cross_entropy(logits, truth), cross_entropy(other, truth))
    assert first_phase_loss(net, masks, truth).isfinite()
    assert cross_entropy(logits, torch.full_like(truth, IGNORE)) == 0


def test_the_two_phases_train_different_parts() -> None:
    net, truth = autoencoder(), labels(2, 16, 16)
    masks = one_hot(truth, 2, IGNORE)
    first_phase_loss(net, masks, truth).backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in net.convolutions())
    assert all(p.grad is None for p in net.header())
    second_phase_loss(net, masks, truth).backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None for p in net.header())


def test_feature_errors_are_in_units_of_the_variance() -> None:
    features = random(2, 3, 4, 4)
    assert feature_error(features.mean().expand_as(features), features).item() == pytest.approx(
        1, rel=0.02
    )
    assert feature_error(features, features) == 0


def test_standardised_codes_have_no_mean_and_unit_deviation() -> None:
    net = autoencoder()
    masks = one_hot(labels(20, 16, 16), 2, IGNORE)
    with torch.no_grad():
        codes = net.codes(net.features(masks))
        net.mean.copy_(codes.mean(0))
        net.deviation.copy_(codes.std(0))
        standard = net.standardised(masks)
    torch.testing.assert_close(standard.mean(0), torch.zeros(16), rtol=0, atol=1e-3)
    assert (standard.std(0) <= 1).all()


def test_alignment_terms_have_the_values_computed_by_hand() -> None:
    z, wanted = torch.tensor([[1.0, 2]]), torch.tensor([[0.0, 4]])
    features = torch.tensor([[[[0.0, 2]]]])  # variance 2
    logits, truth = torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]])
    terms = alignment_losses(z, wanted, features + 1, features, logits, truth)
    assert terms["align"].item() == 2.5
    assert terms["reconstruction"].item() == 0.5
    assert terms["prediction"].item() == pytest.approx(0.6931, abs=1e-4)


def test_r_squared_is_one_for_equal_codes_and_zero_for_their_mean() -> None:
    target = random(10, 4)
    assert r_squared(target, target) == 1
    assert r_squared(target.mean(0).expand_as(target), target) == pytest.approx(0)
    assert spread(torch.ones(5, 3)) == 0


def test_dice_of_a_batch_counts_each_structure_over_all_images() -> None:
    logits = torch.zeros(1, 3, 1, 4)
    logits[0, 1, 0, :2], logits[0, 2, 0, 2] = 9, 9
    both, size = mean_dice(logits, torch.tensor([[[1, IGNORE, 2, 2]]]))
    assert (2 * both / size).tolist() == pytest.approx([1, 2 / 3])


def test_the_grid_is_that_of_the_bottleneck_up_to_a_limit() -> None:
    assert grid_of((16, 4)) == (16, 4)
    assert grid_of((64, 20)) == (16, 16)
    assert grid_of((4, 20, 20)) == (4, 8, 8)


class FromSkip(nn.Module):
    """Marks bright pixels; its bottleneck counts in as much as it is weighted."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.deep, self.weight = nn.AvgPool2d(2), weight

    def forward(self, x: Tensor) -> Tensor:
        deep = functional.interpolate(self.deep(x), scale_factor=2.0)
        seen = (1 - self.weight) * x + self.weight * deep
        return torch.cat([0.5 - seen, seen - 0.5], 1)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_network_that_does_not_use_its_bottleneck_is_said(weight: float) -> None:
    # Two images with squares in other places, which lie in the cells of the bottleneck.
    images = torch.zeros(2, 1, 8, 8)
    images[0, :, :4, :4] = images[1, :, 4:, 4:] = 1.0
    labels = images[:, 0].long()
    measured: dict[str, float] = {}
    events = list(
        measure_reliance(
            SimpleNamespace(  # type: ignore[arg-type]
                measured=measured,
                recorded={"teacher": "bottleneck"},
                encode=lambda role, network, images: encode(network, images),
            ),
            SimpleNamespace(held_out=[(images, labels)]),  # type: ignore[arg-type]
            "teacher",
            TapAdapter(FromSkip(weight), {"bottleneck": "deep"}, multiple=2),
        )
    )
    assert measured["teacher_bottleneck_reliance"] == weight
    said = [event.text for event in events if isinstance(event, Warned)]
    assert len(said) == (weight == 0)
    assert all(
        "hardly uses its feature map bottleneck: its Dice of 1.00 changes by 0.000" in one
        for one in said
    )
