"""Frozen settings, and reading them from files with a sentence instead of a validation report."""

import json
from pathlib import Path
from typing import TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
)

from napari_graphflow.errors import UserError

T = TypeVar("T", bound=BaseModel)


def read_config(kind: type[T], path: Path) -> T:
    """Read a configuration from a JSON file, with a sentence instead of a validation report."""
    try:
        return kind.model_validate_json(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.", "Check the path.") from None
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {first_problem(error)}.") from None


def first_problem(error: Exception) -> str:
    """Say the first problem of a validation error in a few words."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where + ': ' if where else ''}{first['msg'].removeprefix('Value error, ')}"
    return str(error)


class Frozen(BaseModel):
    """Settings that cannot change, and that refuse names they do not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")
