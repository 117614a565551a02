"""The settings of a job in words; without Qt."""

from collections.abc import Mapping
from typing import Any

from napari_graphflow.jobs.job import Job
from napari_graphflow.plugin.widgets.words import CHOICES, setting_title


def settings_rows(job: Job) -> list[tuple[str, str]]:
    """Return the settings of a job in words, and what it was given."""
    config = job.spec.get("config")
    rows = [("name", job.title), ("created", f"{job.created.astimezone():%d %b %Y %H:%M}")]
    rows += _rows(config) if isinstance(config, dict) else []
    return [*rows, ("folder of the job", str(job.folder))]


def _rows(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in settings.items():
        title = f"{prefix}{setting_title(name)}"
        if isinstance(value, dict):
            if "name" in value:
                rows.append((title, _value(value["name"])))
            rest = {part: one for part, one in value.items() if part != "name"}
            rows += _rows(rest, f"{title}: ")
        elif not (name == "name" and not prefix):
            rows.append((title, _value(value)))
    return rows


def _value(value: Any) -> str:
    if value is None:
        return "automatic"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        numbers = all(isinstance(one, int | float) for one in value)
        return (" x " if numbers else ", ").join(_value(one) for one in value) or "none"
    return CHOICES.get(str(value), f"{value:g}" if isinstance(value, float) else str(value))
