"""The forms under *Advanced* of *Distil*: settings of a run, and options of each method."""

from pathlib import Path
from typing import Any

from napari_graphflow.config.methods import METHODS, taps_of
from napari_graphflow.config.run import DistillationConfig
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.widgets.config_form import ConfigForm

#: Fields with their own widgets above the form, or that follow from them.
ASKED = {"dataset", "teacher", "network", "method", "dims", "role", "also_alone", "sources"}
#: Settings that a distillation has from its teacher, or only a training has.
DISTILLED = {"preprocessing", "self_training"}

NO_TAPS = ("none", "none")


def run_form(kind: type[Any]) -> ConfigForm[Any]:
    """Return the form of a training or a distillation."""
    # The paths have their own widgets, but the form needs a complete configuration. Defaults are
    # valid, and pydantic prepares a validation in milliseconds for each class.
    teacher = {"teacher": Path()} if kind is DistillationConfig else {}
    # A student uses the preprocessing of its teacher.
    given = ASKED | (DISTILLED if kind is DistillationConfig else set())
    fields = [name for name in kind.model_fields if name not in given]
    return ConfigForm(kind.model_construct(dataset=Path(), **teacher), fields)


def method_form(name: str) -> ConfigForm[Any]:
    """Return the form of a method's options."""
    options = METHODS[name].options.model_construct()
    fields = [field for field in type(options).model_fields if field != "name"]
    return ConfigForm(options, fields, f"Options of {METHODS[name].title}")


def named_taps(method: str, form: ConfigForm[Any]) -> tuple[str, str]:
    """Return the feature maps of teacher and student that a method's form names, or ``none``."""
    if not METHODS[method].options.model_fields.keys() & {"tap", "teacher_tap"}:
        return NO_TAPS  # without a validation, which would delay the dock
    try:
        return taps_of(form.config())
    except UserError:  # another entry is not valid, which is said at the start
        return NO_TAPS
