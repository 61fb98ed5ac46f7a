"""Frozen, validated settings objects whose errors are one readable line."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from dmft.errors import InputError

_LONGEST_ECHO = 60
_COMPARISONS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


class Settings(BaseModel):
    """Base of every settings object: immutable, no unknown keys, no NaN, one-line errors.

    Raises
    ------
    InputError : when a value is outside its range or a key is unknown.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    def __init__(self, /, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _as_input_error(error, type(self)) from None


def nearest_key(key: str, allowed: list[str]) -> str:
    """Say which of the allowed keys an unknown one most resembles."""
    match = difflib.get_close_matches(key, allowed, n=1, cutoff=0.5)
    hint = f"did you mean '{match[0]}'? " if match else ""
    return f"unknown key, {hint}allowed: {', '.join(sorted(allowed))}"


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


def default_kind(kind: str) -> BeforeValidator:
    """Let a table leave out its `kind` when the default one is meant."""
    return BeforeValidator(
        lambda given: {"kind": kind, **given} if isinstance(given, dict) else given
    )


def _describe(details: ErrorDetails, model: type[BaseModel]) -> str:
    kind = details["type"]
    context = details.get("ctx", {})
    given = _echo(details["input"])
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
        return f"given kind '{context['tag']}', allowed: {context['expected_tags']}"
    if kind == "union_tag_not_found":
        return f"given {given}, must be a table with a key 'kind'"
    if kind == "literal_error":
        return f"given {given}, allowed: {context['expected']}"
    if kind == "value_error":
        return str(context["error"])
    message = details["msg"]
    return f"given {given}, {message[0].lower()}{message[1:]}"


def _echo(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_ECHO else text[: _LONGEST_ECHO - 3] + "..."
