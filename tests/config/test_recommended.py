"""Methods and settings by what is segmented."""

from pathlib import Path

import pytest

from napari_graphflow.cli.train import DistillOptions, distillation
from napari_graphflow.config.methods import GraphFlowOptions, LogitsOptions
from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.config.recommended import RECOMMENDED, recommended_for, warmup_for
from napari_graphflow.dataset.compatibility import tap_pairs_of

TEACHER = ModelCard(
    name="large", role="teacher", network="nnunet:PlainConvUNet", dims=3, in_channels=1,
    classes={"background": 0, "organ": 1}, patch_size=(16, 16, 16), parameters=1,
    preprocessing=Preprocessing(),
)  # fmt: skip
TAPS = ("encoder", "decoder", "encoder_2", "decoder_2", "encoder_3", "decoder_3")


def with_taps(*names: str, network: str = "nnunet:PlainConvUNet") -> ModelCard:
    changes = {"taps": dict.fromkeys(names, "layer"), "network": network}
    return TEACHER.model_copy(update=changes)


def test_class_probabilities_alone_are_compared_for_vessels() -> None:
    assert recommended_for("vessels") == LogitsOptions(weight=10)


@pytest.mark.parametrize("task", ["organs", "lesions"])
def test_graph_flow_is_recommended_with_the_settings_of_the_benchmarks(task) -> None:
    found = recommended_for(task)
    assert isinstance(found, GraphFlowOptions)
    assert (found.tap_pairs, found.paraphraser_steps, found.logits.weight) == (3, 0, 10)
    assert found.vertex_weight == found.edge_weight == (1 if task == "lesions" else 0.1)
    assert "logits distillation" in RECOMMENDED[task].text


@pytest.mark.parametrize(
    ("card", "student", "pairs"),
    [
        (with_taps(*TAPS), "enet", 3),
        (with_taps(*TAPS[:4]), "enet", 2),
        (with_taps(*TAPS[:3]), "enet", 1),
        (with_taps("lo", "hi"), "enet", 0),
        (with_taps(network="monai:SegResNet"), "enet", 0),
        (with_taps(network="predictions"), "enet", 0),
        (with_taps(network="pspnet"), "enet", 0),
        (with_taps(network="unet"), "enet", 3),
        (with_taps(network="unet"), "mobilenet_v2", 0),
    ],
)
def test_only_tap_pairs_of_both_networks_are_compared(card, student, pairs) -> None:
    assert tap_pairs_of(card, student) == pairs
    found = recommended_for("organs", pairs)
    assert found.name == ("graph_flow" if pairs else "logits")
    assert getattr(found, "tap_pairs", 0) == pairs


def test_options_given_with_a_task_replace_its_own(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(with_taps(*TAPS).model_dump_json())
    given = {"graph_flow": {"edge_weight": 0.5, "logits": {"loss": "dist"}}}
    options = DistillOptions(dataset=Path("data"), teacher=tmp_path, task="lesions", **given)
    method = distillation(options).method
    assert isinstance(method, GraphFlowOptions)
    assert (method.vertex_weight, method.edge_weight, method.tap_pairs) == (1, 0.5, 3)
    assert (method.logits.loss, method.logits.weight) == ("dist", 10)
    plain = DistillOptions(dataset=Path("data"), teacher=tmp_path)
    assert (distillation(plain).method, distillation(plain).warmup) == (GraphFlowOptions(), 0)
    assert distillation(options).warmup == warmup_for(options.steps) > 0
    fold = DistillOptions(dataset=Path("data"), teacher=tmp_path.parent, task="lesions")
    tmp_path.rename(tmp_path.with_name("fold_0"))
    assert distillation(fold).method == recommended_for("lesions")
    tmp_path.with_name("fold_0").rename(tmp_path)
    own = DistillOptions(dataset=Path("data"), teacher=tmp_path, task="lesions", warmup=0)
    assert distillation(own).warmup == 0


def test_the_teacher_counts_fully_after_half_of_a_short_run() -> None:
    assert [warmup_for(steps) for steps in (1, 300, 1600, 10_000)] == [0, 150, 800, 1000]
