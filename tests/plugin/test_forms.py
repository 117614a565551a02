"""The generated form, checked against its configuration."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_graphflow.config.methods import METHODS
from napari_graphflow.config.preprocessing import Preprocessing
from napari_graphflow.config.run import DistillationConfig, TrainingConfig
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.distil.forms import ASKED, method_form
from napari_graphflow.plugin.widgets.config_form import ConfigForm, _part, field_descriptions

KINDS: dict[type[Any], dict[str, Any]] = {
    TrainingConfig: {"dataset": Path("/data")},
    DistillationConfig: {"dataset": Path("/data"), "teacher": Path("/teacher")},
}


def make_form(kind: type[Any], **values: Any) -> ConfigForm[Any]:
    config = kind(**(KINDS[kind] | values))
    form: ConfigForm[Any] = ConfigForm(
        config, [name for name in kind.model_fields if name not in ASKED]
    )
    form.make()
    return form


@pytest.mark.usefixtures("qapp")
@pytest.mark.parametrize("kind", KINDS)
def test_an_unchanged_form_returns_the_same_configuration(kind: type[Any]) -> None:
    assert make_form(kind).config() == kind(**KINDS[kind])


@pytest.mark.usefixtures("qapp")
@pytest.mark.parametrize("name", METHODS)
def test_the_options_of_every_method_can_be_shown(name: str) -> None:
    form = method_form(name)
    form.make()
    assert form.config() == METHODS[name].options()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rate=st.floats(1e-12, 10),
    steps=st.integers(1, 10_000_000),
    labelled=st.none() | st.integers(1, 10_000),
    patch=st.just(()) | st.tuples(*[st.integers(1, 512)] * 3),
    mirror=st.none() | st.just(()) | st.just(("y", "x")),
    precision=st.sampled_from(["auto", "32-true", "bf16-mixed"]),
    preprocessing=st.none()
    | st.builds(
        Preprocessing,
        spacing=st.none() | st.tuples(*[st.just(0.0) | st.floats(1e-4, 10)] * 3),
        intensity=st.sampled_from(["ct_window", "percentile", "zscore", "range"]),
        window=st.tuples(st.floats(-1000, 0), st.floats(1, 1000)),
        size=st.none() | st.tuples(*[st.integers(1, 512)] * 2),
    ),
)
def test_any_configuration_round_trips_through_the_form(qapp: Any, **values: Any) -> None:
    values["learning_rate"] = values.pop("rate")
    values["patch_size"] = values.pop("patch")
    config = TrainingConfig(dataset=Path("/data"), **values)
    form = make_form(TrainingConfig)
    form.put(config)
    assert form.config() == config


@pytest.mark.usefixtures("qapp")
@pytest.mark.parametrize("kind", [*KINDS, *(info.options for info in METHODS.values())])
def test_every_field_has_a_description(kind: type[Any]) -> None:
    parts = [kind, *filter(None, (_part(field.annotation) for field in kind.model_fields.values()))]
    for part in parts:
        described = {"name": "has no description", **field_descriptions(part)}
        assert [name for name in part.model_fields if not described.get(name)] == []


@pytest.mark.usefixtures("qapp")
@pytest.mark.parametrize(
    ("field", "entry", "sentence"),
    [
        ("learning_rate", "fast", "'fast' is not a valid learning rate"),
        ("patch_size", "16 x 16", "'x' is not a valid patch size"),
        ("patch_size", "16 16", "patch_size has 2 numbers but dims is 3"),
        ("learning_rate", "-1", "learning_rate"),
        ("labelled", "0", "labelled"),
    ],
)
def test_an_invalid_entry_is_a_user_error(field: str, entry: str, sentence: str) -> None:
    form = make_form(TrainingConfig)
    form.put_fields(**{field: entry})
    with pytest.raises(UserError, match=sentence):
        form.config()
