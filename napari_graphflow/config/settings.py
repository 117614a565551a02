"""Frozen settings, read from JSON files with readable error messages."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
)

from napari_graphflow.errors import UserError
from napari_graphflow.system.regular_file import read_regular

T = TypeVar("T", bound=BaseModel)


def read_config(kind: type[T], path: Path) -> T:
    """Read settings from a JSON file.

    Raises
    ------
    UserError
        If the file is missing or its content is invalid; names the first problem.
    """
    try:
        return kind.model_validate_json(read_regular(path).decode("utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.", "Check the path.") from None
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read: {first_problem(error)}.",
            "Correct the file, or create it again with this version.",
        ) from None
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {(error.strerror or 'system error').lower()}.",
            "Check the file and the disk.",
        ) from None


def first_problem(error: Exception) -> str:
    """Describe the first problem of a validation error briefly."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        # Without pydantic's names of validators and union members.
        where = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
        if first["type"] == "missing":
            return f"{where} is missing"
        return f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}"
    return str(error)


class Frozen(BaseModel):
    """Immutable settings that reject unknown names; the validator is built at the first use."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


F = TypeVar("F", bound=Frozen)


def with_paths(config: F, change: Callable[[Path], Path]) -> F:
    """Return settings in which every path is changed, those of nested settings, too."""

    def changed(value: Any) -> Any:
        if isinstance(value, Path):
            return change(value)
        return with_paths(value, change) if isinstance(value, Frozen) else value

    return config.model_copy(update={name: changed(value) for name, value in config})


def with_changes(config: F, changes: Mapping[str, Any]) -> F:
    """Return settings in which some values are others; nested settings change in part.

    Raises
    ------
    pydantic.ValidationError
        If a value is not allowed.
    """
    values = dict(config)
    for name, value in changes.items():
        inner = values[name]
        nested = isinstance(inner, Frozen) and isinstance(value, Mapping)
        values[name] = with_changes(inner, value) if nested else value
    return type(config).model_validate(values)


def paths_in(config: Frozen) -> list[Path]:
    """Return every path in settings, those of nested settings, too."""
    found: list[Path] = []

    def note(path: Path) -> Path:
        found.append(path)
        return path

    with_paths(config, note)
    return found
