"""A problem in words and as a table, for terminals and notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from dmft.problem.problem import Problem

_MOST = 400  # characters of the settings in a text


def problem_words(problem: Problem) -> str:
    """The settings of a problem that are not the defaults, in one line."""
    changed = _changed(problem)
    words = ", ".join(f"{key} = {_short(value)}" for key, value in changed.items())
    words = words if len(words) <= _MOST else words[: _MOST - 3] + "..."
    return f"a problem with {words}" if words else "the default problem"


def problem_html(problem: Problem) -> str:
    """A table of all settings, those that were changed in bold."""
    changed = _changed(problem)
    rows = []
    for key, value in _flat(problem.model_dump(mode="json", exclude_none=True)):
        shown = escape(_short(value))
        shown = f"<b>{shown}</b>" if key in changed else shown
        rows.append(f"<tr><th scope='row'>{escape(key)}</th><td>{shown}</td></tr>")
    return f"<table>{''.join(rows)}</table>"


def _changed(settings: BaseModel, prefix: str = "") -> dict[str, Any]:
    """Kinds that are not the default one, and settings that are not those of their kind."""
    found: dict[str, Any] = {}
    for name, field in type(settings).model_fields.items():
        value, usual = getattr(settings, name), field.default
        if isinstance(value, BaseModel):
            if type(value) is not type(usual):
                found[f"{prefix}{name}.kind"] = getattr(value, "kind", "")
            found |= _changed(value, f"{prefix}{name}.")
        elif name != "kind" and value != usual:
            found[prefix + name] = value
    return found


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _short(value: Any) -> str:
    if isinstance(value, list | tuple) and len(value) > 4:
        return f"{len(value)} values"
    return f"{value:g}" if isinstance(value, float) else str(value)
