"""Frozen, validated settings objects whose errors are one readable line."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from dmft.errors import InputError

_LONGEST_ECHO = 60
_COMPARISONS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_TYPES = dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "an integer") | dict.fromkeys(
    ("float_type", "float_parsing"), "a number"
)
_TYPES |= dict.fromkeys(("tuple_type", "list_type"), "a list")

_FROZEN = "which cannot be changed in place; make new ones, as by replace() or model_copy()"


def _without_coercion(schema: Any, owner: type[BaseModel]) -> Any:
    """The schema of a model with strict numbers and booleans.

    Fields that are models themselves have had their turn.
    """
    if isinstance(schema, list):
        return [_without_coercion(part, owner) for part in schema]
    if not isinstance(schema, dict) or schema.get("cls", owner) is not owner:
        return schema
    kind = schema.get("type")
    if kind in ("int", "float"):
        before = _whole if kind == "int" else _number
        return core_schema.no_info_before_validator_function(before, schema)
    strict = {"strict": True} if kind == "bool" else {}
    kept = {key: part for key, part in schema.items() if key in ("metadata", "default")}
    parts = {key: part for key, part in schema.items() if key not in kept}
    return {
        **{key: _without_coercion(part, owner) for key, part in parts.items()},
        **kept,
        **strict,
    }


def _whole(given: Any) -> Any:
    return _no_lookalike(given, "an integer")


def _number(given: Any) -> Any:
    return _no_lookalike(given, "a number")


def _no_lookalike(given: Any, allowed: str) -> Any:
    """Let pydantic judge all but what it would take for a number although it is none."""
    is_boolean = (
        isinstance(given, bool) or getattr(getattr(given, "dtype", None), "kind", "") == "b"
    )
    if is_boolean or isinstance(given, str | bytes):
        raise InputError(f"given {echo(given)}, must be {allowed}")
    return given


class Settings(BaseModel):
    """Base of every settings object: immutable, no unknown keys, no NaN, one-line errors.

    Numbers are numbers: text and booleans are refused, integers may stand for floats and whole
    floats for integers.

    Raises
    ------
    InputError : when a value is outside its range or of another type, or a key is unknown; when an
        attribute is assigned.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )
    # Settings that are words of a command line say True.
    numbers_from_text: ClassVar[bool] = False
    # Other names that files have for tables, and the paths that they stand for.
    aliases: ClassVar[Mapping[tuple[str, ...], tuple[str, ...]]] = {}

    def __init__(self, /, **values: Any) -> None:
        with _in_one_line(type(self)):
            super().__init__(**values)

    @classmethod
    def model_validate(cls, obj: Any, **how: Any) -> Self:
        """An object of a table of settings, with the errors of `Settings`."""
        with _in_one_line(cls):
            return super().model_validate(obj, **how)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **how: Any) -> Self:
        """An object of settings in JSON, with the errors of `Settings`."""
        with _in_one_line(cls):
            return super().model_validate_json(json_data, **how)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        return schema if cls.numbers_from_text else _without_coercion(schema, cls)

    def __setattr__(self, name: str, value: Any) -> None:
        try:
            super().__setattr__(name, value)
        except (ValidationError, ValueError):
            raise InputError(f"given {echo(value)} to settings, {_FROZEN}", name) from None

    def __delattr__(self, name: str) -> None:
        try:
            super().__delattr__(name)
        except (ValidationError, ValueError):
            raise InputError(f"cannot be deleted from settings, {_FROZEN}", name) from None

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy in which whole fields are replaced, validated like a new object.

        Raises
        ------
        InputError : as for a new object.
        """
        if not update:
            return super().model_copy(deep=deep)
        source = super().model_copy(deep=True) if deep else self
        return type(self)(**{**source.given(), **update})

    def given(self) -> dict[str, Any]:
        """The fields that were given, not left to their defaults."""
        return {str(name): getattr(self, name) for name in sorted(self.model_fields_set)}


def nearest_key(key: str, allowed: list[str]) -> str:
    """Say which of the allowed keys an unknown one most resembles."""
    match = difflib.get_close_matches(key, allowed, n=1, cutoff=0.5)
    hint = f"did you mean '{match[0]}'? " if match else ""
    return f"unknown key, {hint}allowed: {', '.join(sorted(allowed))}"


@contextmanager
def _in_one_line(model: type[BaseModel]) -> Iterator[None]:
    """Raise what pydantic finds wrong with a model as an InputError."""
    try:
        yield
    except ValidationError as error:
        raise _as_input_error(error, model) from None


def _as_input_error(error: ValidationError, model: type[BaseModel]) -> InputError:
    # An unknown key explains a missing one.
    details = min(
        error.errors(include_url=False), key=lambda found: found["type"] != "extra_forbidden"
    )
    path = [str(part) for part in details["loc"]]
    inner = details.get("ctx", {}).get("error")
    if isinstance(inner, InputError):
        path += [inner.location] if inner.location else []
        message = inner.message
    else:
        message = _describe(details, model)
    return InputError(message, ".".join(part for part in path if part not in _KINDS))


_KINDS: set[str] = {"float", "dict"}


def register_kinds(*names: str) -> None:
    """Declare values of `kind`, which pydantic adds to the location of an error."""
    _KINDS.update(names)


@dataclass(frozen=True)
class Shorthand:
    """What may stand for a table with a `kind`; a BeforeValidator.

    kind : the one of a table without `kind`, if there is.
    number : the kind whose only value is a given number, if there is.
    array : the kind whose `values` are a given array, if there is.
    Text stands for a kind in all that the kind leaves to default.
    """

    kind: str | None = None
    number: str | None = None
    array: str | None = None

    def table(self, given: Any) -> Any:
        """What `given` stands for, a table without the default kind; or `given` itself."""
        if isinstance(given, str):
            return {"kind": given}
        is_number = isinstance(given, int | float) and not isinstance(given, bool)
        if self.number and is_number:
            return {"kind": self.number, "values": (given,)}
        if self.array and isinstance(given, np.ndarray):
            return {"kind": self.array, "values": given}
        return given

    def __call__(self, given: Any) -> Any:
        table = self.table(given)
        if self.kind is not None and isinstance(table, dict):
            return {"kind": self.kind, **table}
        return table


def default_kind(kind: str, array: str | None = None) -> BeforeValidator:
    """Let a table leave out its `kind` when the default one is meant, or text stand for one."""
    return BeforeValidator(Shorthand(kind=kind, array=array))


def _describe(details: ErrorDetails, model: type[BaseModel]) -> str:
    kind = details["type"]
    context = details.get("ctx", {})
    given = echo(details["input"])
    if kind == "extra_forbidden":
        return nearest_key(str(details["loc"][-1]), list(model.model_fields))
    if kind == "missing":
        return "required, but not given"
    if kind in _COMPARISONS:
        name, words = _COMPARISONS[kind]
        return f"given {given}, must be {words} {context[name]}"
    if kind == "finite_number":
        return f"given {given}, must be a finite number"
    if kind == "union_tag_invalid":
        return f"given kind {echo(context['tag'])}, allowed: {context['expected_tags']}"
    if kind == "union_tag_not_found":
        return f"given {given}, must be a table with a key 'kind'"
    if kind == "literal_error":
        return f"given {given}, allowed: {context['expected']}"
    if kind == "model_attributes_type":
        return f"given {given}, must be a table of keys"
    if kind == "too_short":
        return f"given {given}, must have {context['min_length']} or more values"
    if kind in _TYPES:
        return f"given {given}, must be {_TYPES[kind]}"
    if kind == "value_error":
        return str(context["error"])
    message = details["msg"]
    return f"given {given}, {message[0].lower()}{message[1:]}"


def is_finite(value: Any) -> bool:
    """Whether a value is a number that a float can be."""
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def echo(value: Any) -> str:
    """A value in a message, cut if it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_ECHO else text[: _LONGEST_ECHO - 3] + "..."
