"""What settings mean: their docstrings and constraints as comments of TOML and as a page."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import textwrap
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from dmft.shapes import KIND, Table, shown_name, tables
from dmft.validation import Settings

_MARKS = re.compile(
    r"(?P<start><!-- settings: (?P<module>[\w.]+) (?P<model>\w+) -->)\n.*?"
    r"(?P<end><!-- end of settings -->)",
    re.DOTALL,
)
_WIDTH = 96
_BOUNDS = (("gt", "greater than"), ("ge", "at least"), ("lt", "less than"), ("le", "at most"))


def explanations(model: type) -> dict[str, str]:
    """Meaning of every setting of a model: the entries `name : text` of its docstrings.

    Those of a class come before those of its bases.
    """
    texts: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if issubclass(owner, Settings) and owner is not Settings:
            texts.update(_entries(owner.__doc__ or ""))
    return {name: text.rstrip(".") for name, text in texts.items()}


def summary(model: type) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join(inspect.cleandoc(model.__doc__ or "").partition("\n\n")[0].split())


def allowed_values(field: FieldInfo) -> str:
    """The values that a setting may take, in words."""
    return _words(field.annotation, field.metadata)


def commented_toml(settings: Settings) -> str:
    """A complete TOML file of settings, each with its meaning and allowed values as comments."""
    return "\n".join(_section(settings, (), type(settings), None)).strip() + "\n"


def settings_page(page: str) -> str:
    """A page with the tables of settings renewed between its marks, comments that name a model."""

    def renewed(found: re.Match[str]) -> str:
        model = getattr(importlib.import_module(found["module"]), found["model"])
        return f"{found['start']}\n\n{settings_tables(model)}\n{found['end']}"

    return _MARKS.sub(renewed, page)


def settings_tables(model: type[Settings]) -> str:
    """Tables in Markdown of all settings, one for each section and each kind of it."""
    lines: list[str] = []
    described: dict[tuple[type[Settings], ...], str] = {}
    for path, table in dict(_all_tables(model)).items():
        name, members = shown_name(model, path), tuple(table.members.values())
        lines += [f"### `[{name}]`", ""]
        before = described.setdefault(members, name)
        if before != name:
            lines += [f"A table like `[{before}]`.", ""]
            continue
        for kind, member in table.members.items():
            lines += _kind_rows(kind, kind == table.kind, member)
    return "\n".join(lines)


# ------------------------------------------------------------------------------------- TOML


def _section(
    settings: Settings, path: tuple[str, ...], root: type[Settings], table: Table | None
) -> Iterator[str]:
    model, inner = type(settings), tables(type(settings))
    texts = explanations(model)
    if path:
        yield f"[{shown_name(root, path)}]"
    for key, field in sorted(model.model_fields.items(), key=lambda item: item[0] != KIND):
        value = getattr(settings, key)
        if key in inner and value is not None:
            continue
        if key == KIND and table is not None and table.has_kinds:
            yield from _comment(f"{summary(model)} Kinds: {', '.join(table.members)}.")
        else:
            yield from _comment(_meaning(texts[key], field, inner.get(key)))
        if value is None or field.exclude:
            yield f"# {key} = (not given)" if value is None else f"# {key} = (not in files)"
        else:
            yield f"{key} = {toml_value(value)}"
    for key, inner_table in inner.items():
        value = getattr(settings, key)
        listed = isinstance(value, tuple)
        for entry in value if listed else (value,):
            if entry is None:
                continue
            header, *lines = _section(entry, (*path, key), root, inner_table)
            yield ""
            yield from _comment(f"{texts[key]}.")
            yield f"[{header}]" if listed else header
            yield from lines


def _meaning(text: str, field: FieldInfo, table: Table | None) -> str:
    if table is not None:
        return f"{text}. A table, kinds: {', '.join(table.members)}."
    return f"{text}. Allowed: {allowed_values(field)}."


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH, break_on_hyphens=False)]


def toml_value(value: Any) -> str:
    """A setting as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


# ------------------------------------------------------------------------------------- page


def _all_tables(model: type[Settings]) -> Iterator[tuple[tuple[str, ...], Table]]:
    """Paths of tables, of all kinds, each after the table that it is in."""
    for key, table in tables(model).items():
        yield (key,), table
        for member in table.members.values():
            yield from (((key, *path), inner) for path, inner in _all_tables(member))


def _kind_rows(kind: str, is_default: bool, model: type[Settings]) -> list[str]:
    texts, inner = explanations(model), tables(model)
    title = f'`kind = "{kind}"`{", the default" if is_default else ""}: ' if kind else ""
    lines = [f"{title}{_cell(summary(model))}".strip(), ""]
    names = [name for name in model.model_fields if name != KIND]
    if not names:
        return lines
    lines += ["| setting | default | allowed | meaning |", "| --- | --- | --- | --- |"]
    for name in names:
        field = model.model_fields[name]
        words = "a table, see below" if name in inner else allowed_values(field)
        cells = (f"`{name}`", _default(field), words, texts[name])
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return [*lines, ""]


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if field.default is None:
        return "not given"
    if isinstance(field.default, Settings):
        return getattr(field.default, KIND, "its defaults")
    return f"`{toml_value(field.default)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


# ------------------------------------------------------------------------------------ words


def _words(annotation: Any, metadata: Sequence[Any] = ()) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        annotation, *inner = parts
        return _words(annotation, [*inner, *metadata])
    if origin in (Union, types.UnionType):
        return " or ".join(_words(part, metadata) for part in parts if part is not type(None))
    if origin is Literal:
        return ", ".join(map(str, parts))
    if origin is tuple:
        return f"a list, each {_words(parts[0])}"
    if origin is Callable:
        return "a Python function, not from files"
    bounds = [
        f"{words} {getattr(entry, name)}"
        for entry in _flattened(metadata)
        for name, words in _BOUNDS
        if getattr(entry, name, None) is not None
    ]
    names = {float: "a number", int: "an integer", bool: "true or false", str: "a name",
             Path: "a file"}  # fmt: skip
    return " ".join([names[annotation], ", ".join(bounds)]).rstrip()


def _flattened(metadata: Sequence[Any]) -> Iterator[Any]:
    """Constraints, those inside of fields among them."""
    for entry in metadata:
        if isinstance(entry, FieldInfo):
            yield from entry.metadata
        else:
            yield entry


def _entries(docstring: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc(docstring).splitlines()[1:]:
        head, colon, text = line.partition(" : ")
        heads = [word.strip() for word in head.split(",")]
        if colon and all(word.isidentifier() for word in heads):
            names = heads
            texts.update(dict.fromkeys(names, text))
        elif names and line.startswith("    "):
            texts.update({name: f"{texts[name]} {line.strip()}" for name in names})
        else:
            names = []
    return texts
