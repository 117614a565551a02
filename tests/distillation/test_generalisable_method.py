"""The terms of the generalisable method on real networks: what they train, and what stays."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from napari_graphflow.config.generalisable import GeneralisableOptions
from napari_graphflow.config.model_card import PairShapes
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.distillation.generalisable.method import Generalisable
from napari_graphflow.distillation.generalisable.views import KINDS, view
from napari_graphflow.distillation.method import Material, Pass
from napari_graphflow.networks import build
from napari_graphflow.networks.bottleneck import recording
from napari_graphflow.networks.taps import TapAdapter
from napari_graphflow.training.step import supervised_loss

ENCODER = ("module.stem", "module.encoder")


class Bench:
    """A student, a teacher, the method with its networks aligned at random, and one batch."""

    def __init__(self, dims: int = 2, **options: Any) -> None:
        torch.manual_seed(0)
        self.student: TapAdapter = build("mobile_unet", 1, 3, dims, 8).train()
        self.teacher: TapAdapter = build("unet", 1, 3, dims, 4).eval().requires_grad_(False)
        side = (32,) * dims
        self.images = torch.randn(4, 1, *side)
        self.labels = torch.randint(0, 3, (2, *side))
        config = DistillationConfig(
            dataset=Path("data"),
            teacher=Path("teacher"),
            dims=dims,
            method=GeneralisableOptions(code_length=16, **options),
        )
        with torch.no_grad():
            outputs = [copy.deepcopy(net).eval()(self.images) for net in self.networks]
        shapes = PairShapes(student=outputs[0].shapes(), teacher=outputs[1].shapes())
        self.method = Generalisable(config, shapes)
        self.method.requires_grad_(False).eval()
        empty: Any = ()
        self.method.use(Material(*self.networks, supervised_loss, lambda step: empty, empty, empty))

    @property
    def networks(self) -> tuple[TapAdapter, TapAdapter]:
        return self.student, self.teacher

    def terms(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the student's logits and the terms of a step."""
        with recording(self.student) as of_student:
            logits = self.student(self.images).logits
        with torch.no_grad(), recording(self.teacher) as of_teacher:
            answer = self.teacher(self.images).logits
        recorded = of_student(self.images), of_teacher(self.images)
        return logits, self.method.passes(Pass(3, self.images, self.labels, *recorded, answer))

    def trained(self) -> set[str]:
        """Return which parts have a gradient that is not 0."""
        parts = set()
        for name, weight in self.student.named_parameters():
            if weight.grad is not None and bool(weight.grad.any()):
                parts.add("encoder" if name.startswith(ENCODER) else "decoder")
        others: list[nn.Module] = [self.teacher, self.method]
        if any(weight.grad is not None for other in others for weight in other.parameters()):
            parts.add("frozen")
        return parts


def only(**weights: float) -> dict[str, float]:
    names = ("intra_weight", "inter_weight", "cross_weight", "view_share")
    return dict.fromkeys(names, 0.0) | weights


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("term", ["intra", "inter"])
def test_the_graphs_train_the_students_encoder_only(term: str, dims: int) -> None:
    bench = Bench(dims, **only(**{f"{term}_weight": 1.0}))
    _, terms = bench.terms()
    assert terms.keys() == {term}
    terms[term].backward()
    assert bench.trained() == {"encoder"}


@pytest.mark.parametrize(
    ("detach", "parts"), [(False, {"encoder", "decoder"}), (True, {"encoder", "decoder"})]
)
def test_cross_distillation_trains_encoder_and_decoder(detach: bool, parts: set[str]) -> None:
    bench = Bench(**only(cross_weight=1.0), detach_skips=detach)
    bench.terms()[1]["cross"].backward()
    assert bench.trained() == parts


def test_the_students_code_in_the_teachers_decoder_trains_the_encoder_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(**only(cross_weight=1.0))
    _only_prediction(monkeypatch, 0)
    bench.terms()[1]["cross"].backward()
    assert bench.trained() == {"encoder"}


@pytest.mark.parametrize(
    ("detach", "parts"), [(True, {"decoder"}), (False, {"encoder", "decoder"})]
)
def test_the_teachers_code_in_the_students_decoder_trains_the_encoder_through_skips_only(
    monkeypatch: pytest.MonkeyPatch, detach: bool, parts: set[str]
) -> None:
    bench = Bench(**only(cross_weight=1.0), detach_skips=detach)
    _only_prediction(monkeypatch, 1)
    bench.terms()[1]["cross"].backward()
    assert bench.trained() == parts


def _only_prediction(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Replace the loss by one of q1 (0) or q2 (1) alone."""
    monkeypatch.setattr(
        "napari_graphflow.distillation.generalisable.method.cross_distillation_loss",
        lambda teacher, q1, q2, temperature: (q1, q2)[number].square().mean(),
    )


def test_a_header_that_returns_the_bottleneck_makes_no_cross_loss() -> None:
    bench = Bench(**only(cross_weight=1.0))
    bench.student = bench.teacher  # its own teacher
    method = bench.method
    bottleneck = bench.teacher(bench.images).taps["bottleneck"]
    for aligned in (method.teacher_alignment, method.student_alignment):
        aligned.code = lambda features: features.flatten(1)[:, :16]  # type: ignore[method-assign]
        aligned.header = lambda codes, cells: bottleneck  # type: ignore[method-assign]
    assert bench.terms()[1]["cross"].item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_further_passes_change_neither_statistics_nor_the_networks(share: float) -> None:
    bench, plain = Bench(view_share=share), Bench(view_share=share)
    teacher, modules = (copy.deepcopy(m.state_dict()) for m in (bench.teacher, bench.method))
    plain.student(plain.images)
    _, terms = bench.terms()
    torch.stack(list(terms.values())).sum().backward()
    for before, after in (
        (plain.student.state_dict(), bench.student.state_dict()),
        (teacher, bench.teacher.state_dict()),
        (modules, bench.method.state_dict()),
    ):
        assert all(torch.equal(before[name], after[name]) for name in before)


def test_terms_are_a_function_of_seed_and_step() -> None:
    first, again = Bench().terms()[1], Bench().terms()[1]
    assert {name: term.item() for name, term in first.items()} == {
        name: term.item() for name, term in again.items()
    }


def test_the_faithful_preset_is_cross_entropy_of_the_patch_alone() -> None:
    method = Bench(preset="faithful").method
    logits, labels = torch.randn(2, 3, 8, 8), torch.randint(0, 3, (2, 8, 8))
    assert method.supervised_loss is not None
    expected = nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(method.supervised_loss(logits, labels), expected)
    assert method.weights["augmented"] == 0


def test_without_views_the_supervised_loss_is_that_of_every_run() -> None:
    assert Bench(view_share=0.0).method.supervised_loss is None


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", range(len(KINDS)))
@pytest.mark.parametrize("size", [(24, 20), (8, 12, 10)])
def test_views_change_intensities_by_kind_and_seed_only(
    kind: int, channels: int, size: tuple[int, ...]
) -> None:
    images = torch.rand(2, channels, *size, generator=torch.Generator().manual_seed(0))
    changed = view(images, kind, 5, "views", 7)
    assert changed.shape == images.shape
    assert changed.isfinite().all()
    assert not torch.equal(changed, images)
    assert torch.equal(changed, view(images, kind, 5, "views", 7))
    assert not torch.equal(changed, view(images, kind, 5, "views", 8))
    # The anatomy stays: bright and dark remain where they are.
    both = torch.stack([changed.flatten(), images.flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.5


def test_views_of_random_convolutions_differ_by_place_and_keep_mean_and_spread() -> None:
    images = torch.rand(2, 1, 24, 20, generator=torch.Generator().manual_seed(0))
    first, second = (view(images, kind, 5, "views", 7, kinds="gin") for kind in (0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(first, view(images, 0, 5, "views", 7, kinds="gin"))
    for changed in (*first, *second):
        assert changed.mean() == pytest.approx(0.5, abs=0.1)
    assert first.std().item() == pytest.approx(images.std().item(), rel=0.05)


def test_all_views_of_a_method_are_of_its_kind() -> None:
    typed, gin = Bench(), Bench(view_kinds="gin")
    images = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    seed = gin.method.config.seed
    for place, made in enumerate(gin.method._views(images, "views", 3).split(2)):
        assert torch.equal(made, view(images, place, seed, "views", 3, kinds="gin"))
    assert not torch.equal(gin.method._views(images, 0), typed.method._views(images, 0))


def test_views_do_not_draw_from_the_random_numbers_of_torch() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    view(torch.rand(2, 1, 8, 8, generator=torch.Generator()), 2, 0)
    assert torch.equal(torch.rand(3), expected)
