"""The presenter of *Distil*."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from napari_graphflow.config.methods import METHODS
from napari_graphflow.config.model_card import ModelCard, Preprocessing, Purpose
from napari_graphflow.config.networks import students, teachers
from napari_graphflow.config.recommended import REACHED
from napari_graphflow.config.run import PRESETS, DistillationConfig, TrainingConfig
from napari_graphflow.dataset.cases import Dataset
from napari_graphflow.dataset.findings import Finding
from napari_graphflow.dataset.sites import with_sites
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.estimate import Estimate
from napari_graphflow.jobs.memory import Setting
from napari_graphflow.plugin.distil.dataset_check import MOST_SHOWN, CheckedDataset
from napari_graphflow.plugin.distil.presenter import (
    CHOOSE_DATASET,
    Choices,
    command,
    config,
    efforts,
    estimated,
    present,
)
from napari_graphflow.system.failures import Failure

TEACHER = ModelCard(
    name="large", role="teacher", network="unet", dims=2, in_channels=1,
    classes={"background": 0, "organ": 1, "lesion": 2}, patch_size=(16, 16), parameters=1,
    preprocessing=Preprocessing(intensity="zscore"),
)  # fmt: skip


def findings(**numbers: int) -> str:
    """Return the output of a check with the given number of findings per severity."""
    found = [
        {"severity": level, "case": f"case {n}", "text": f"{level} {n}.", "remedy": "Mend it."}
        for level, number in numbers.items()
        for n in range(number)
    ]
    return json.dumps({"findings": found})


@pytest.fixture
def dataset(tiny_dataset: Path) -> CheckedDataset:
    return CheckedDataset(Dataset.open(tiny_dataset))


def test_a_site_without_masks_cannot_be_learnt_from_alone(choices: Choices) -> None:
    assert choices.dataset is not None
    sites = with_sites(
        choices.dataset.dataset.cases,
        {case.name: "north" if case.label else "south" for case in choices.dataset.dataset.cases},
    )
    opened = replace(choices.dataset, dataset=replace(choices.dataset.dataset, cases=sites))
    only = present(replace(choices, dataset=opened, sources=("south",)))
    assert not only.start and only.message.text.startswith("south has no labelled training case")
    assert present(replace(choices, dataset=opened, sources=("north",))).start


@pytest.fixture
def choices(dataset: CheckedDataset) -> Choices:
    """Choices with an open dataset and no teacher."""
    return Choices(folder=dataset.dataset.folder, dataset=dataset, network="unet")


@pytest.fixture
def with_teacher(choices: Choices) -> Choices:
    return replace(choices, teacher=Path("/models/large"), card=TEACHER, network="enet")


def test_without_a_dataset_the_user_is_asked_to_choose_one() -> None:
    shown = present(Choices())
    assert shown.message == CHOOSE_DATASET
    assert not shown.start


def test_start_is_disabled_while_the_dataset_is_opening(choices: Choices) -> None:
    shown = present(replace(choices, dataset=None))
    assert (shown.start, shown.message.text) == (False, "")


def test_without_a_teacher_the_form_trains_one(choices: Choices) -> None:
    shown = present(choices)
    assert (shown.start, shown.start_text) == (True, "Start training the teacher")
    assert shown.network_label == "Network"
    assert [name for _, name in shown.networks] == teachers()
    assert not shown.shows_method


def test_with_a_teacher_the_form_distils_a_student(with_teacher: Choices) -> None:
    shown = present(with_teacher)
    assert (shown.start, shown.start_text) == (True, "Start distillation")
    assert shown.network_label == "Student"
    assert [name for _, name in shown.networks] == students()
    assert shown.shows_method


def test_network_sizes_depend_on_the_dimensions_of_the_teacher(
    with_teacher: Choices,
) -> None:
    volumes = replace(with_teacher, card=TEACHER.model_copy(update={"dims": 3}))
    assert present(with_teacher).networks != present(volumes).networks


@pytest.mark.parametrize("method", METHODS)
def test_each_method_is_described(with_teacher: Choices, method: str) -> None:
    shown = present(replace(with_teacher, method=method))
    assert (shown.method_text, shown.method_tip) == (METHODS[method].text, METHODS[method].tip)


def test_start_and_estimate_are_disabled_while_running(choices: Choices) -> None:
    assert not present(replace(choices, starting=True)).start
    assert not present(replace(choices, measuring=True)).measure
    assert present(choices).measure


def test_a_data_error_disables_start_and_is_shown(choices: Choices) -> None:
    assert choices.dataset is not None
    checked = choices.dataset.checked(findings(warning=1, error=2))
    shown = present(replace(choices, dataset=checked))
    assert not shown.start
    assert shown.message.text == "case 0: error 0. Mend it."
    assert checked.counts == "2 labelled · 3 unlabelled · 2 errors"


def test_a_dataset_without_labelled_cases_disables_start(choices: Choices) -> None:
    assert choices.dataset is not None
    dataset = choices.dataset.dataset
    cases = tuple(case for case in dataset.cases if case not in dataset.labelled("train"))
    without = CheckedDataset(replace(dataset, cases=cases))
    shown = present(replace(choices, dataset=without))
    assert not shown.start
    assert "blobs has no labelled training case" in shown.message.text


def test_the_failure_of_a_check_is_a_finding(choices: Choices) -> None:
    assert choices.dataset is not None
    for exit_code, severity in ((2, "error"), (4, "warning")):
        failure = {"code": "x", "text": "It failed.", "remedy": "Repair it."}
        output = json.dumps({"failure": failure | {"exit_code": exit_code}})
        checked = choices.dataset.checked(output)
        assert checked.findings == (Finding(severity, "", "It failed.", "Repair it."),)


CHECKS = {
    "checking …": None,
    "OK ✓": findings(info=1),
    "1 warning": findings(warning=1),
    "1 error": findings(error=1, warning=3),
}


@pytest.mark.parametrize("state", CHECKS)
def test_the_counts_show_the_result_of_the_data_check(state: str, dataset: CheckedDataset) -> None:
    output = CHECKS[state]
    checked = dataset if output is None else dataset.checked(output)
    assert checked.counts == f"2 labelled · 3 unlabelled · {state}"


@pytest.mark.parametrize(("exit_code", "ready"), [(2, False), (1, True)])
def test_a_failed_check_is_an_error_only_if_the_data_cause_it(
    dataset: CheckedDataset, exit_code: int, ready: bool
) -> None:
    failure = Failure(code="any", text="It broke.", remedy="Mend it.", exit_code=exit_code)
    checked = dataset.checked(json.dumps({"failure": failure.model_dump()}))
    assert checked.report[1].endswith("It broke. Mend it.")
    assert checked.ready == ready
    assert dataset.checked("").report[1].endswith("The data check could not be run.")


def test_the_report_lists_errors_first_and_is_truncated(dataset: CheckedDataset) -> None:
    title, text = dataset.checked(findings(warning=MOST_SHOWN, error=1)).report
    lines = text.splitlines()
    assert title == f"Data check ({MOST_SHOWN + 1})"
    assert lines[0].startswith("✕ case 0: error 0.")
    assert lines[1].startswith("⚠")
    assert lines[-1] == "… and 1 more"


def test_a_training_is_named_after_its_network_and_dataset(choices: Choices) -> None:
    asked = config(choices, TrainingConfig(dataset=Path(), steps=7))
    assert asked == TrainingConfig(
        dataset=choices.folder, network="unet", dims=3, steps=7, name="U-Net on blobs"
    )


def test_a_distillation_uses_the_dimensions_of_its_teacher(with_teacher: Choices) -> None:
    entered = DistillationConfig(dataset=Path(), teacher=Path(), name="mine")
    asked = config(with_teacher, entered)
    assert isinstance(asked, DistillationConfig)
    assert (asked.teacher, asked.dims, asked.name) == (Path("/models/large"), 2, "mine")
    assert config(with_teacher, entered.model_copy(update={"name": ""})).name == "ENet from large"


def test_a_run_without_a_dataset_is_refused() -> None:
    with pytest.raises(UserError, match="No dataset is chosen"):
        config(Choices(network="unet"), TrainingConfig(dataset=Path()))


def test_an_invalid_value_is_refused(choices: Choices) -> None:
    entered = TrainingConfig(dataset=Path()).model_copy(update={"steps": 0})
    with pytest.raises(UserError, match="steps"):
        config(choices, entered)


@pytest.mark.parametrize(
    ("runner", "options", "shows_workers"),
    [("local", "", False), ("slurm", "--runner slurm", False),
     ("ray", "--runner ray --workers 3", True)],
)  # fmt: skip
def test_the_command_line_includes_runner_and_workers(
    choices: Choices, runner: str, options: str, shows_workers: bool
) -> None:
    asked = replace(choices, runner=runner, workers=3)
    words = shlex.split(command(asked, TrainingConfig(dataset=Path())))
    assert words[:2] == ["napari-graphflow", "train"]
    assert " ".join(words).partition("--runner")[1:] == options.partition("--runner")[1:]
    assert present(asked).shows_workers == shows_workers


def test_every_effort_is_listed_with_its_steps() -> None:
    assert list(efforts()) == list(PRESETS)
    assert efforts()["overnight"].text == "Overnight: 10,000 steps"
    assert efforts()["quick"].entries == PRESETS["quick"]


def test_what_an_effort_reached_is_said_where_it_was_measured(with_teacher: Choices) -> None:
    organs = replace(with_teacher, task="organs", effort="quick")
    assert present(organs).effort_text == f"Quick: 300 steps. {REACHED['quick']}"
    for other in (
        replace(organs, task="lesions"), replace(organs, task=None),
        replace(organs, teacher=None, card=None),
    ):  # fmt: skip
        assert present(other).effort_text == "Quick: 300 steps"
    assert present(replace(organs, effort="best")).effort_text == "Best: 50,000 steps"


def test_an_estimate_that_exceeds_memory_changes_the_form() -> None:
    found = Estimate(12_000.0, 6 * 2**30, 24 * 2**30, "cuda:0", Setting(2, (32, 32)), True)
    assert estimated(found) == ("about 3 h 20 min, 6.0 of 24.0 GB free on cuda:0", {})
    text, entries = estimated(replace(found, fits=False))
    assert "reduced to batch size 2" in text
    assert entries == {"batch_size": 2, "patch_size": (32, 32)}


@pytest.mark.parametrize(
    ("network", "text"),
    [("unet", "Start training the teacher"), ("enet", "Start training the student alone")],
)
def test_the_button_says_what_the_trained_network_will_be(network: str, text: str) -> None:
    assert present(Choices(network=network)).start_text == text


@pytest.mark.parametrize(
    ("teacher", "network", "reason"),
    [
        ({"classes": {"background": 0, "vein": 1}}, "enet", "it has the classes background, vein"),
        ({"in_channels": 2}, "enet", "it needs 2 channels, and blobs has 1"),
        ({"purpose": Purpose(modality="CT")}, "enet", "it is for CT, and blobs is MR"),
        ({}, "resnet18", "Graph Flow needs a decoder, and ResNet-18 has none"),
    ],
)
def test_a_teacher_that_does_not_fit_cannot_be_started_and_the_reason_is_shown(
    with_teacher: Choices, teacher: dict[str, Any], network: str, reason: str
) -> None:
    assert present(with_teacher).start
    card = TEACHER.model_copy(update=teacher)
    shown = present(replace(with_teacher, card=card, network=network))
    assert not shown.start
    assert reason in shown.message.text
    assert shown.message.level == "warn"
