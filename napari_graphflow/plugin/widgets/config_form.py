"""A form generated from a configuration class, so that options are defined only once.

Each field becomes a magicgui widget with the field's description as its tooltip. Floats
are entered as text, because a spin box shows 3e-4 as 0.0.
"""

import inspect
import types
from collections.abc import Collection, Mapping
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin

import docstring_parser
from magicgui.widgets import CheckBox, ComboBox, LineEdit, SpinBox
from magicgui.widgets.bases import ValueWidget
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from qtpy.QtCore import Signal
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import QLabel, QWidget

from napari_graphflow.config.preprocessing import HIDDEN
from napari_graphflow.config.settings import first_problem
from napari_graphflow.errors import UserError
from napari_graphflow.plugin.widgets.hints import set_hint
from napari_graphflow.plugin.widgets.layout import Rows, note, shrinkable
from napari_graphflow.plugin.widgets.words import CHOICES, setting_title

T = TypeVar("T", bound=BaseModel)
LARGEST = 2**31 - 1
#: The same for all labels, so that nested forms are aligned; longer ones take two lines.
LABEL_WIDTH = 148
#: Entered for an empty tuple, where an empty field means automatic.
NOTHING = "none"
#: Of a field that may be left out.
AUTOMATIC = "automatic"


class ConfigForm(QWidget, Generic[T]):
    """A form for the named fields of a configuration; the other fields keep their values.

    Its fields are made when they are first shown, since most stay folded away.

    Parameters
    ----------
    config
        The initial values.
    fields
        Names of the shown fields, in this order. A field that is itself a configuration becomes a
        nested form under its summary; if it is optional, a check box shows that form.
    heading
        Text above the fields.

    Attributes
    ----------
    entered
        Emitted when a value has changed.
    """

    entered = Signal()

    def __init__(self, config: T, fields: Collection[str], heading: str = "") -> None:
        super().__init__()
        self._config = config
        self._shown_fields, self._heading = tuple(fields), heading
        self._made = False
        #: What was put into fields, and offered in combo boxes, that are not made yet.
        self._put: dict[str, Any] = {}
        self._offered: dict[str, Mapping[str, str]] = {}
        self._forms: dict[str, ConfigForm[Any]] = {}
        self._fields: dict[str, ValueWidget] = {}
        self._ticks: dict[str, ValueWidget] = {}
        self._rows: dict[str, tuple[QWidget, QWidget]] = {}

    def showEvent(self, event: QShowEvent) -> None:
        """Make the fields."""
        self.make()
        super().showEvent(event)

    def make(self) -> None:
        """Make the fields, unless there are already some."""
        if self._made:
            return
        self._made = True
        config = self._config
        descriptions = field_descriptions(type(config))
        rows = Rows()
        self.setLayout(rows)
        if self._heading:
            rows.add_wide(note(self._heading))
        for name in self._shown_fields:
            value, annotation = getattr(config, name), type(config).model_fields[name].annotation
            if part := _part(annotation):
                form = ConfigForm(value or part(), _shown_fields(part), _summary(part))
                self._forms[name] = form
                form.entered.connect(self.entered)
                if not _optional(annotation):
                    rows.add_wide(form)
                    continue
                field: ValueWidget = CheckBox(value=value is not None, name=name)
                field.native.setText("set manually")
                self._ticks[name] = field
                form.setVisible(bool(field.value))
                field.changed.connect(form.setVisible, check_nargs=False)
            else:
                field = _field_widget(name, type(config).model_fields[name], value)
                self._fields[name] = field
            if isinstance(field, ComboBox):
                shrinkable(field.native, entry_as_tip=False)
                field.native.setMinimumContentsLength(6)
            field.changed.connect(self._changed)
            field.tooltip = descriptions.get(name, "")
            label = QLabel(setting_title(name))
            label.setToolTip(field.tooltip)
            label.setMinimumWidth(LABEL_WIDTH)
            label.setWordWrap(True)
            rows.add(label, field.native)
            self._rows[name] = label, field.native
            if name in self._ticks:
                rows.add_wide(self._forms[name])
        for name, choices in self._offered.items():
            self.offer(name, choices)
        self.put_fields(**self._put)

    def put(self, config: T) -> None:
        """Show the values of a configuration."""
        self._config, self._put = config, {}
        for name, part in self._forms.items():
            value = getattr(config, name)
            if value is not None:
                part.put(value)
            if name in self._ticks:
                self._ticks[name].value = value is not None
        for name, field in self._fields.items():
            field.value = self._text(name, getattr(config, name))

    def config(self) -> T:
        """Return the configuration with the entered values.

        Raises
        ------
        UserError
            If an entry is not valid.
        """
        changes: dict[str, Any] = {
            name: None if name in self._ticks and not self._ticks[name].value else part.config()
            for name, part in self._forms.items()
        }
        fields = {name: field.value for name, field in self._fields.items()}
        for name, value in (fields if self._made else self._put).items():
            annotation = type(self._config).model_fields[name].annotation
            changes[name] = _entered(name, annotation, value)
        try:
            return type(self._config).model_validate(dict(self._config) | changes)
        except ValidationError as error:
            raise UserError(f"{first_problem(error)}.", "Change it under Advanced.") from None

    def put_fields(self, **values: Any) -> None:
        """Set the values of some fields."""
        if not self._made:
            self._put |= values
            return
        for name, value in values.items():
            self._fields[name].value = self._text(name, value)

    def offer(self, name: str, choices: Mapping[str, str]) -> None:
        """Replace the choices of a combo box; `choices` maps titles to values."""
        if not self._made:
            self._offered[name] = choices
            return
        field = self._fields[name]
        assert isinstance(field, ComboBox)
        chosen = field.value
        field.choices = list(choices.items())
        if chosen in choices.values():
            field.value = chosen

    def part(self, name: str) -> "ConfigForm[Any]":
        """Return the nested form of a field."""
        self.make()
        return self._forms[name]

    def _changed(self) -> None:
        self.entered.emit()

    def _text(self, name: str, value: Any) -> Any:
        return _shown(value, type(self._config).model_fields[name].annotation, self._fields[name])


def field_descriptions(kind: type[BaseModel]) -> dict[str, str]:
    """Read the descriptions of all fields from the numpy docstrings of a class and its bases."""
    found: dict[str, str] = {}
    for parent in kind.__mro__:
        text = inspect.cleandoc(parent.__dict__.get("__doc__") or "")
        for parameter in docstring_parser.parse(
            text, docstring_parser.DocstringStyle.NUMPYDOC
        ).params:
            for name in parameter.arg_name.split(","):
                words = " ".join((parameter.description or "").split()).replace("`", "")
                found.setdefault(name.strip(), words)
    return found


def _part(annotation: Any) -> type[BaseModel] | None:
    """Return the class of a field that is itself a configuration, otherwise None."""
    kind = _without_none(annotation)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _shown_fields(kind: type[BaseModel]) -> list[str]:
    """Return the fields of a nested form; hidden ones keep their values."""
    hidden = {
        name
        for name, field in kind.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get(HIDDEN)
    }
    return [name for name in kind.model_fields if name not in hidden]


def _summary(kind: type[BaseModel]) -> str:
    """Return the first paragraph of a docstring."""
    return " ".join(inspect.cleandoc(kind.__doc__ or "").split("\n\n")[0].split())


def _field_widget(name: str, field: FieldInfo, value: Any) -> ValueWidget:
    annotation = _without_none(field.annotation)
    keywords: dict[str, Any] = {"name": name}
    if get_origin(annotation) is Literal:
        choices = [(CHOICES.get(str(one), str(one)), one) for one in get_args(annotation)]
        if _optional(field.annotation):
            choices.insert(0, (AUTOMATIC, None))
        return ComboBox(choices=choices, value=value, **keywords)
    if name == "device":  # the available ones are detected in the background, see `offer`
        return ComboBox(choices=("auto", "cpu"), value=value, **keywords)
    if annotation is bool:
        check = CheckBox(value=value, **keywords)
        check.native.setText("")
        return check
    if annotation is int and not _optional(field.annotation):
        low, high = _bounds(field)
        return SpinBox(value=value, min=low, max=high, **keywords)
    widget = LineEdit(value="", **keywords)
    widget.value = _shown(value, field.annotation, widget)
    if _optional(field.annotation) or get_origin(annotation) is tuple:
        set_hint(widget.native, AUTOMATIC)
    return widget


def _shown(value: Any, annotation: Any, widget: ValueWidget) -> Any:
    if not isinstance(widget, LineEdit):
        return value
    if value is None:
        return ""
    if isinstance(value, tuple):
        # An empty field means None where that is allowed, so an empty tuple needs a word.
        return " ".join(str(item) for item in value) or (NOTHING if _optional(annotation) else "")
    return str(value)


def _entered(name: str, annotation: Any, value: Any) -> Any:
    wanted = _without_none(annotation)
    if not isinstance(value, str) or get_origin(wanted) is Literal:
        return value
    text = value.strip()
    if not text and _optional(annotation):
        return None
    if get_origin(wanted) is tuple:
        items = [] if text == NOTHING else text.replace(",", " ").split()
        kind = get_args(wanted)[0]
        return tuple(_number(name, item, kind) if kind in (int, float) else item for item in items)
    return _number(name, text, wanted) if wanted in (int, float) else text


def _number(name: str, text: str, kind: type[int] | type[float]) -> float:
    try:
        return kind(text)
    except ValueError:
        what = "an integer" if kind is int else "a number"
        raise UserError(
            f"{text!r} is not a valid {setting_title(name)}.", f"Enter {what} under Advanced."
        ) from None


def _bounds(field: FieldInfo) -> tuple[int, int]:
    low, high = 0, LARGEST
    for constraint in field.metadata:
        low = getattr(constraint, "ge", low)
        high = getattr(constraint, "le", high)
    return low, high


def _optional(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation)


def _without_none(annotation: Any) -> Any:
    if not _optional(annotation):
        return annotation
    inner = next(part for part in get_args(annotation) if part is not type(None))
    # `Annotated[int, Field(ge=1)] | None` keeps its inner annotation.
    return getattr(inner, "__origin__", inner) if hasattr(inner, "__metadata__") else inner
