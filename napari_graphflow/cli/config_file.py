"""``--config FILE``: the settings of a command from a YAML or JSON file, or from a job."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from cyclopts import Parameter
from cyclopts.config import Dict

from napari_graphflow.config.methods import METHODS
from napari_graphflow.config.run import TrainingConfig
from napari_graphflow.errors import UserError
from napari_graphflow.jobs.folder import Kind
from napari_graphflow.jobs.paths import JobPaths
from napari_graphflow.system.files import parse_json
from napari_graphflow.system.regular_file import read_regular

OPTION = "--config"
#: Commands that take it, and the kind of job whose settings are theirs; `plan` prepares a `train`.
COMMANDS: dict[tuple[str, ...], Kind | None] = {
    ("train",): "train",
    ("distill",): "distill",
    ("evaluate",): None,
    ("segment",): None,
    ("plan",): "train",
    ("compare",): "compare",
    ("propose",): "propose",
    ("rounds", "start"): "round",
    ("export",): None,
    ("demo",): None,
    ("volumes", "convert"): None,
    ("datasets", "import"): None,
    ("datasets", "folds"): None,
    ("datasets", "export-mask"): None,
    ("models", "import"): None,
    ("models", "check"): None,
    ("models", "ensemble"): None,
}

ConfigFile = Annotated[
    Path | None,
    Parameter(
        name=OPTION,
        help="YAML or JSON file with settings of this command, named as in Python (batch_size), "
        "or the job.json or folder of a job. Options given beside it take precedence. Paths are "
        "relative to the working directory.",
    ),
]


def config_of(arguments: Sequence[str]) -> list[Dict]:
    """Return the settings that the arguments of a command name by ``--config``, if any.

    Raises
    ------
    UserError
        If the file is missing, or holds no settings of this command.
    """
    command = next((one for one in COMMANDS if tuple(arguments[: len(one)]) == one), None)
    if command is None:
        return []
    for place, argument in enumerate(arguments):
        if argument == OPTION and place + 1 < len(arguments):
            path = Path(arguments[place + 1])
        elif argument.startswith(f"{OPTION}="):
            path = Path(argument.partition("=")[2])
        else:
            continue
        options = as_options(read_settings(path, *command))
        for word in reversed(command):
            options = {word: options}
        return [Dict(options, source=str(path))]
    return []


def read_settings(path: Path, *command: str) -> dict[str, Any]:
    """Read the settings of a command from a file or a job's folder.

    Raises
    ------
    UserError
        If the file is missing, or holds no settings of this command.
    """
    if path.is_dir():
        path = JobPaths(path).spec_file
    try:
        text = read_regular(path).decode("utf-8")
        found = parse_json(text) if path.suffix == ".json" else yaml.safe_load(text)
    except FileNotFoundError:
        raise UserError(f"There is no file {path}.", "Check the path.") from None
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        why = str(error).splitlines()[0]
        raise UserError(f"{path} cannot be read: {why}.", "Write YAML or JSON.") from None
    if not isinstance(found, dict):
        raise UserError(f"{path} holds no settings.", "Write lines such as “steps: 1000”.")
    if "kind" in found and "config" in found:  # of a job
        kind: Kind = found["kind"]
        if kind != COMMANDS[command]:
            own = next(" ".join(words) for words, known in COMMANDS.items() if known == kind)
            raise UserError(
                f"{path} is the job of a {kind}, and the command is {' '.join(command)}.",
                f"Run: napari-graphflow {own} --config {path}",
            )
        found = _OF_JOBS.get(kind, dict)(found["config"])
    return dict(found)


def _of_comparison(config: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in config.items() if name not in ("maps", "threads")}
    kept["title"] = kept.pop("name", "")
    return kept


def _of_proposals(config: dict[str, Any]) -> dict[str, Any]:
    kept = {name: config.get(name) for name in ("model", "cases", "again", "device")}
    return {**kept, "folder": config["dataset"]}


def _of_round(config: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a round: those of its network, and of its teacher by their names."""
    options, teacher = dict(config["network"]), config.get("teacher")
    distilled = "teacher" in options
    method = options.pop("method", None)
    if method is not None:
        options["method"] = method["name"]
    if teacher is not None:
        options.pop("teacher", None)
        options |= {f"teacher_{name}": teacher.get(name) for name in ("network", "steps", "width")}
    kept = {name for name in TrainingConfig.model_fields if name != "role"}
    kept |= {"method", "teacher", "teacher_min_dice", "teacher_network", "teacher_steps",
             "teacher_width"}  # fmt: skip
    options = {name: value for name, value in options.items() if name in kept}
    return {**options, "alone": config.get("alone", True), "masks_only": not distilled}


_OF_JOBS: dict[Kind, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "compare": _of_comparison,
    "propose": _of_proposals,
    "round": _of_round,
}


def as_options(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings as the command line names them: a method's options in a group of its own."""
    options = {name: value for name, value in settings.items() if value is not None}
    method = options.get("method")
    if isinstance(method, dict):
        name = method.get("name", "graph_flow")
        if name not in METHODS:
            raise UserError(f"{name!r} is not a method.", f"Choose {', '.join(METHODS)}.")
        group = {key: value for key, value in method.items() if key != "name"}
        options["method"] = name
        options[name] = {key: value for key, value in group.items() if value is not None}
    if "teacher" in options or isinstance(method, dict):
        # The command line has neither for a distillation.
        options.pop("role", None)
        options.pop("self_training", None)
    return _without_none(options)


def _without_none(value: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(one) if isinstance(one, dict) else one
        for key, one in value.items()
        if one is not None and one != {}
    }
