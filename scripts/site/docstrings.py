"""Docstrings and signatures of the package as reStructuredText, for Sphinx's autodoc.

Docstrings are plain text with backquoted names; their sections are those of numpydoc, with
`name : meaning` on one line. All else that reStructuredText takes for markup is escaped.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from typing import Any

from dmft.explanation import allowed_values, explanations
from dmft.validation import Settings

_NAMES = r"[\w.*`]+(?:, [\w.*`]+)*"
_ENTRY = re.compile(rf"^({_NAMES}) : (.*)$")
_MARKUP = re.compile(r"([\\*|`]|_(?=\W|$))")
_PAGE = re.compile(r"\bdocs/([\w-]+)\.md")


def setup(app: Any) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _process_docstring)
    app.connect("autodoc-process-signature", _process_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _process_docstring(
    _app: Any, _what: str, _name: str, thing: Any, _options: Any, lines: list[str]
) -> None:
    if inspect.isclass(thing) and issubclass(thing, Settings):
        lines[:] = [*restructured(_without_entries(lines)), *_table_of_settings(thing)]
    else:
        lines[:] = restructured(lines)


def restructured(lines: Sequence[str]) -> Iterator[str]:
    """The lines of a docstring as reStructuredText."""
    rest = list(lines)
    block = ""  # what the line before belongs to: text, list, entry, code or doctest
    while rest:
        line = rest.pop(0)
        if line and rest and re.fullmatch("-{4,}", rest[0]):
            rest.pop(0)
            yield from ("", f".. rubric:: {line}", "")
            block = ""
        elif not line.strip():
            block = block if block == "code" else ""
            yield ""
        else:
            kind = _kind(line, block)
            if kind == "entry" or (kind != block and kind != "meaning"):
                yield ""
            if kind in ("code", "doctest") and kind != block:
                yield from (f".. code-block:: {'pycon' if kind == 'doctest' else 'none'}", "")
            yield from _written(line, kind)
            block = "entry" if kind == "meaning" else kind
    yield ""


def _kind(line: str, block: str) -> str:
    """What a line is, given what the line before belongs to."""
    if line.startswith(">>>") or block == "doctest":
        return "doctest"
    if _ENTRY.match(line):
        return "entry"
    if line.startswith("    ") and block == "entry":
        return "meaning"
    if line.startswith("    ") or (line.startswith("  ") and block != "list"):
        return "code"
    if line.startswith("- ") or (block == "list" and line.startswith("  ")):
        return "list"
    return "text"


def _written(line: str, kind: str) -> Iterator[str]:
    entry = _ENTRY.match(line)
    if kind == "entry" and entry:
        names = ", ".join(f"``{name}``" for name in entry[1].replace("`", "").split(", "))
        yield from (names, f"    {escaped(entry[2])}")
    elif kind == "doctest":
        yield f"    {line}"
    elif kind == "code":
        yield f"  {line}"
    elif kind == "meaning":
        yield f"    {escaped(line.strip())}"
    else:
        yield escaped(line)


def escaped(line: str) -> str:
    """A line of text whose only markup are backquotes, which become literals, and pages' names."""
    parts = line.split("`")
    if len(parts) % 2 == 0:  # one that is closed on another line, or never
        return _plain(line)
    for i in range(0, len(parts), 2):
        parts[i] = _plain(parts[i])
    for i in range(1, len(parts), 2):
        parts[i] = f"``{parts[i]}``"
        if parts[i - 1][-1:].isalnum():
            parts[i - 1] += "\\ "
        if parts[i + 1][:1].isalnum():
            parts[i + 1] = f"\\ {parts[i + 1]}"
    return "".join(parts)


def _plain(text: str) -> str:
    return _PAGE.sub(r":doc:`/\1`", _MARKUP.sub(r"\\\1", text))


def _without_entries(lines: Sequence[str]) -> Iterator[str]:
    """What remains of a class of settings beside the table: no `name : meaning`, no title of it."""
    inside = False
    for line in lines:
        inside = bool(_ENTRY.match(line)) or (inside and line.startswith("    "))
        if not inside and line != "Parameters" and line != "----------":
            yield line


def _table_of_settings(model: type[Settings]) -> Iterator[str]:
    texts = explanations(model)
    names = [name for name in model.model_fields if name != "kind"]
    if not names:
        return
    yield from ("", ".. rubric:: Settings", "", ".. list-table::", "   :header-rows: 1")
    yield from ("   :widths: auto", "", "   * - name", "     - default", "     - allowed")
    yield "     - meaning"
    for name in names:
        field = model.model_fields[name]
        yield f"   * - ``{name}``"
        yield f"     - {'required' if field.is_required() else f'``{_short(field.default)}``'}"
        yield f"     - {escaped(_allowed(field))}"
        yield f"     - {escaped(texts.get(name, ''))}"
    yield ""


def _allowed(field: Any) -> str:
    try:
        return allowed_values(field)
    except KeyError:  # a table of its own
        return "a table, or the name of a kind"


def _short(value: Any) -> str:
    if isinstance(value, Settings):
        return f"{type(value).__name__}()"
    return repr(value)


def _process_signature(
    _app: Any, what: str, _name: str, thing: Any, _options: Any, signature: str, _returns: str
) -> tuple[str, str] | None:
    """Settings take their fields by name; the table has what their types allow."""
    if what != "class" or not (inspect.isclass(thing) and issubclass(thing, Settings)):
        return None
    words = [
        name if field.is_required() else f"{name}={_short(field.default)}"
        for name, field in thing.model_fields.items()
        if name != "kind"
    ]
    return (f"(*, {', '.join(words)})" if words else "()"), ""
