"""Hints name the command that fits the way in which the program was installed."""

import json
from types import SimpleNamespace

import pytest

from napari_graphflow.system import install
from napari_graphflow.system.failures import explain


@pytest.mark.parametrize(
    ("origin", "command"),
    [
        ({"url": "file:///src", "dir_info": {"editable": True}}, 'pip install -e "/src[train]"'),
        (
            {"url": "file:///src", "dir_info": {}},
            'pip install "napari-graphflow[train] @ file:///src"',
        ),
        (
            {"url": "https://host/repo", "vcs_info": {"vcs": "git", "requested_revision": "v1"}},
            'pip install "napari-graphflow[train] @ git+https://host/repo@v1"',
        ),
    ],
)
def test_a_missing_extra_is_installed_from_where_the_program_came_from(
    origin: dict, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = SimpleNamespace(read_text=lambda _: json.dumps(origin))
    monkeypatch.setattr(install, "distribution", lambda _: found)
    assert install.install_hint("train") == f"Run: {command}"
    missing = explain(ModuleNotFoundError("No module named 'torch'", name="torch"))
    assert missing.remedy == f"Run: {command}"


def test_a_checkout_that_was_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        install, "distribution", lambda _: SimpleNamespace(read_text=lambda _: None)
    )
    hint = install.install_hint("ray")
    assert hint.startswith('Run: pip install -e "')
    assert hint.endswith('[ray]"')
