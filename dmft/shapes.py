"""What settings there are: fields, and tables whose `kind` chooses among several models.

Read off the models; nothing is listed by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from dmft.validation import Settings, Shorthand

KIND = "kind"


@dataclass(frozen=True)
class Table:
    """A field that is a table of keys.

    members : models by their `kind`; one that has no kinds is under "".
    kind : the one that is meant when none is given, "" if one must be.
    shorthand : what may stand for the table.
    listed : several such tables may be given in a list.
    """

    members: dict[str, type[Settings]]
    kind: str
    shorthand: Shorthand
    listed: bool

    @property
    def has_kinds(self) -> bool:
        return "" not in self.members


@cache
def tables(model: type[Settings]) -> dict[str, Table]:
    """The fields of a model that are tables."""
    found = {name: _table(field) for name, field in model.model_fields.items()}
    return {name: table for name, table in found.items() if table is not None}


def setting_names(model: type[Settings]) -> list[str]:
    """Dotted names, as files have them, of all settings of all kinds."""
    return list(dict.fromkeys(shown_name(model, path) for path in _paths(model)))


def _paths(model: type[Settings]) -> Iterator[tuple[str, ...]]:
    for name in model.model_fields:
        if name not in tables(model):
            yield (name,)
            continue
        for member in tables(model)[name].members.values():
            yield from ((name, *path) for path in _paths(member))


def shown_name(model: type[Settings], path: tuple[str, ...]) -> str:
    """The dotted name that files and messages have for a setting."""
    for alias, meant in model.aliases.items():
        if path[: len(meant)] == meant:
            path = alias + path[len(meant) :]
    return ".".join(path)


def kind_of(model: type[Settings]) -> str:
    """The `kind` of a model, "" if it has none."""
    field = model.model_fields.get(KIND)
    if field is None or get_origin(field.annotation) is not Literal:
        return ""
    return str(get_args(field.annotation)[0])


def _table(field: FieldInfo) -> Table | None:
    found: list[Any] = []
    _collect(field.annotation, found)
    for entry in field.metadata:
        _collect_metadata(entry, found)
    members = [entry for entry in found if isinstance(entry, type)]
    if not members:
        return None
    shorthands = [entry for entry in found if isinstance(entry, Shorthand)]
    usual = field.default
    return Table(
        {kind_of(member): member for member in members},
        kind_of(type(usual)) if isinstance(usual, Settings) else "",
        next(iter(shorthands), Shorthand()),
        tuple in _origins(field.annotation),
    )


def _origins(annotation: Any) -> set[Any]:
    """Generic types that an annotation is made of."""
    parts = {get_origin(annotation)}
    for part in get_args(annotation):
        parts |= _origins(part)
    return parts


def _collect(annotation: Any, found: list[Any]) -> None:
    """Models and shorthands in an annotation, from the outside in."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        found.append(annotation)
    if get_origin(annotation) is Annotated:
        annotation, *metadata = get_args(annotation)
        for entry in metadata:
            _collect_metadata(entry, found)
        _collect(annotation, found)
        return
    for part in get_args(annotation):
        _collect(part, found)


def _collect_metadata(entry: Any, found: list[Any]) -> None:
    if isinstance(entry, BeforeValidator) and isinstance(entry.func, Shorthand):
        found.append(entry.func)
