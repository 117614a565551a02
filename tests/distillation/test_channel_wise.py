"""The channel-wise loss against numbers computed by hand and a slow loop, and its properties."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_graphflow.config.methods import ChannelWiseOptions
from napari_graphflow.config.model_card import OutputShapes, PairShapes
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.distillation.channel_wise import ChannelWise, channel_wise_loss
from napari_graphflow.errors import UserError
from napari_graphflow.networks.taps import Output

SIZES = [pytest.param((3, 4), id="2d"), pytest.param((2, 3, 4), id="3d")]


def maps(size, seed, batch=2, channels=3):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(batch, channels, *size, generator=generator, dtype=torch.float64)


def slow_loss(student, teacher, temperature, mask):
    def softmax(values):
        powers = [math.exp(v / temperature) for v in values]
        return [power / sum(powers) for power in powers]

    each = []
    for b, c in product(range(len(student)), range(student.shape[1])):
        p, q = (softmax(values[b, c][mask[b]].tolist()) for values in (teacher, student))
        each.append(sum(t * math.log(t / s) for t, s in zip(p, q, strict=True)))
    return temperature**2 * sum(each) / len(each)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_channel_wise_loss_agrees_with_a_slow_loop(size, temperature):
    student, teacher = maps(size, 0), maps(size, 1)
    expected = slow_loss(student, teacher, temperature, torch.ones(2, *size, dtype=torch.bool))
    found = channel_wise_loss(student, teacher, temperature)
    assert found.item() == pytest.approx(expected, rel=1e-10)
    part = torch.rand(2, *size, generator=torch.Generator().manual_seed(2)) < 0.5
    assert 0 < part.sum() < part.numel()
    expected = slow_loss(student, teacher, temperature, part)
    found = channel_wise_loss(student, teacher, temperature, part)
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_channel_wise_loss_of_two_pixels_is_that_computed_by_hand():
    # At tau = 2: softmax (3/4, 1/4) of the teacher, (1/2, 1/2) of the student, in one of two
    # channels; the other channel is equal.
    teacher = torch.tensor([[2 * math.log(3), 0.0], [5.0, 7.0]], dtype=torch.float64)
    student = torch.tensor([[1.0, 1.0], [5.0, 7.0]], dtype=torch.float64)
    expected = 2**2 / 2 * (3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2))
    found = channel_wise_loss(student[None, :, None], teacher[None, :, None], 2.0)
    assert found.item() == pytest.approx(expected, rel=1e-12)
    assert channel_wise_loss(student[None, :, None], teacher[None, :, None]).item() == (
        pytest.approx(slow_loss(student[None], teacher[None], 4.0, torch.ones(1, 2) > 0))
    )


@given(
    seed=st.integers(0, 1000),
    dims=st.integers(2, 3),
    channels=st.integers(1, 14),
    batch=st.integers(1, 3),
    temperature=st.floats(0.5, 10),
)
def test_channel_wise_loss_is_zero_iff_maps_are_equal_up_to_a_constant_per_channel(
    seed, dims, channels, batch, temperature
):
    teacher = maps((3, 4, 2)[:dims], seed, batch, channels) / 3
    constant = 10 * maps((1,) * dims, seed + 1, batch, channels)
    assert abs(channel_wise_loss(teacher + constant, teacher, temperature).item()) < 1e-9
    changed = teacher.clone()
    changed[(0, 0, *[0] * dims)] += 1
    assert channel_wise_loss(changed, teacher, temperature).item() > 1e-7


@pytest.mark.parametrize("side", [0, 1])
def test_a_constant_per_channel_changes_nothing_on_either_side(side):
    pair = [maps((3, 4), 3), maps((3, 4), 4)]
    before = channel_wise_loss(*pair).item()
    pair[side] = pair[side] + maps((1, 1), 5)
    assert channel_wise_loss(*pair).item() == pytest.approx(before, rel=1e-9)


def test_masked_pixels_and_the_teacher_receive_no_gradient():
    student, teacher = maps((4, 4), 6), maps((4, 4), 7).requires_grad_()
    mask = torch.zeros(2, 4, 4, dtype=torch.bool)
    mask[:, :2] = True
    student[:, :, 3] = math.nan
    student.requires_grad_()
    channel_wise_loss(student, teacher, mask=mask).backward()
    assert teacher.grad is None
    assert not student.grad[:, :, 2:].any()
    assert student.grad[:, :, :2].all()


def test_an_image_without_unmasked_pixels_counts_as_matched():
    student, teacher = maps((4, 4), 8).requires_grad_(), maps((4, 4), 9)
    mask = torch.ones(2, 4, 4, dtype=torch.bool)
    mask[1] = False
    loss = channel_wise_loss(student, teacher, mask=mask)
    loss.backward()
    first = channel_wise_loss(student[:1], teacher[:1]).item()
    assert loss.item() == pytest.approx(first / 2, rel=1e-12)
    assert not student.grad[1].any()
    assert student.grad.isfinite().all()


def test_larger_maps_are_averaged_down():
    small = maps((4, 6), 10)
    large = small.repeat_interleave(2, 2).repeat_interleave(3, 3)
    for student, teacher in ((small, large), (large, small)):
        assert abs(channel_wise_loss(student, teacher).item()) < 1e-12


@pytest.mark.parametrize("size", SIZES)
def test_channel_wise_loss_gradients_agree_with_finite_differences(size):
    teacher, mask = maps(size, 11, 1), torch.rand(1, *size) < 0.8
    assert torch.autograd.gradcheck(
        lambda student: channel_wise_loss(student, teacher, 2.0, mask),
        maps(size, 12, 1).requires_grad_(),
    )


@pytest.mark.parametrize("channels", range(2, 15))
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1e6])
def test_gradients_are_finite_in_single_precision_for_extreme_logits(channels, scale):
    student = (scale * maps((4, 4), 13, 1, channels)).float().requires_grad_()
    for mask in (None, torch.eye(4)[None] > 0, torch.zeros(1, 4, 4) > 0):
        loss = channel_wise_loss(student, (scale * maps((4, 4), 14, 1, channels)).float(), 4, mask)
        loss.backward()
        assert loss.isfinite()
        assert loss.item() > -1e-5
        assert student.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_channel_wise_loss_of_half_precision_is_computed_in_float32(dtype):
    student, teacher = (10 * maps((4, 4), seed).to(dtype) for seed in (15, 16))
    with torch.autocast("cpu", dtype=dtype):
        loss = channel_wise_loss(student, teacher)
    assert loss.dtype == torch.float32
    expected = channel_wise_loss(student.double(), teacher.double())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_incompatible_maps_are_refused():
    with pytest.raises(UserError, match="2 channels, the teacher 3"):
        channel_wise_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 3, 4, 4))
    with pytest.raises(UserError, match="shape"):
        channel_wise_loss(torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4, 4))


def method(tap, student_width=4):
    config = DistillationConfig(
        dataset="data", teacher="teacher", dims=2, method=ChannelWiseOptions(tap=tap)
    )
    shapes = PairShapes(
        student=OutputShapes(logits=(1, 3, 8, 8), taps={"hi": (1, student_width, 2, 2)}),
        teacher=OutputShapes(logits=(1, 3, 8, 8), taps={"hi": (1, 6, 2, 2)}),
    )
    return ChannelWise(config, shapes)


def test_a_tap_of_another_width_is_mapped_to_the_teachers_channels():
    student = Output(maps((8, 8), 17).float(), {"hi": maps((2, 2), 18, channels=4).float()})
    teacher = Output(maps((8, 8), 19).float(), {"hi": maps((2, 2), 20, channels=6).float()})
    weight = torch.ones(2, 8, 8)
    chosen = method("hi")
    assert chosen.adapters["hi"].weight.shape == (6, 4, 1, 1)
    terms = chosen.terms(student, teacher, weight)
    expected = channel_wise_loss(chosen.adapters["hi"](student.taps["hi"]), teacher.taps["hi"])
    assert terms["tap"].item() == expected.item()
    assert terms["channels"].item() == channel_wise_loss(student.logits, teacher.logits).item()
    assert not method("hi", student_width=6).adapters
    assert method("none").terms(student, teacher, weight).keys() == {"channels"}
    with pytest.raises(UserError, match="no tap decoder"):
        method("decoder")
