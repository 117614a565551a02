"""Methods and settings by what is segmented."""

from pathlib import Path

import pytest

from napari_graphflow.cli.train import DistillOptions, distillation
from napari_graphflow.config.methods import GraphFlowOptions, LogitsOptions
from napari_graphflow.config.model_card import ModelCard
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.config.recommended import RECOMMENDED, recommended_for, usual_task, warmup_for

TEACHER = ModelCard(
    name="large", role="teacher", network="nnunet:PlainConvUNet", dims=3, in_channels=1,
    classes={"background": 0, "organ": 1}, patch_size=(16, 16, 16), parameters=1,
    preprocessing=Preprocessing(),
)  # fmt: skip
TAPS = ("encoder", "decoder", "encoder_2", "decoder_2", "encoder_3", "decoder_3")


def with_taps(*names: str) -> ModelCard:
    return TEACHER.model_copy(update={"taps": dict.fromkeys(names, "layer")})


def test_class_probabilities_alone_are_compared_for_vessels() -> None:
    assert recommended_for("vessels") == LogitsOptions(weight=10)


@pytest.mark.parametrize("task", ["organs", "lesions"])
def test_graph_flow_is_recommended_with_the_settings_of_the_benchmarks(task) -> None:
    found = recommended_for(task)
    assert isinstance(found, GraphFlowOptions)
    assert (found.tap_pairs, found.paraphraser_steps, found.logits.weight) == (3, 0, 10)
    assert found.vertex_weight == found.edge_weight == (1 if task == "lesions" else 0.1)
    assert "logits distillation" in RECOMMENDED[task].text


def test_only_tap_pairs_that_the_teacher_has_are_compared() -> None:
    for names, pairs in ((TAPS, 3), (TAPS[:4], 2), (TAPS[:3], 1), ((), 3)):
        found = recommended_for("organs", with_taps(*names))
        assert isinstance(found, GraphFlowOptions)
        assert found.tap_pairs == pairs


def test_a_teacher_without_feature_maps_is_distilled_by_its_probabilities(tmp_path) -> None:
    answers = TEACHER.model_copy(update={"network": "predictions"})
    assert not answers.gives_features
    assert recommended_for("organs", answers) == LogitsOptions(weight=10)


def test_volumes_are_taken_for_organs_and_images_for_lesions() -> None:
    assert (usual_task(3), usual_task(2)) == ("organs", "lesions")


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
    own = DistillOptions(dataset=Path("data"), teacher=tmp_path, task="lesions", warmup=0)
    assert distillation(own).warmup == 0


def test_the_teacher_counts_fully_after_half_of_a_short_run() -> None:
    assert [warmup_for(steps) for steps in (1, 300, 1600, 10_000)] == [0, 150, 800, 1000]
