"""What the page shows, as something to paste: a file, a script, a command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from dmft.config import Config, changed_settings
from dmft.explanation import toml_value


def copies(config: Config) -> dict[str, str]:
    """The settings that are not the defaults as TOML, Python and a command line."""
    table = config.to_table()
    changed = changed_settings(table)
    return {"toml": _toml(changed), "python": _python(changed), "command": _command(changed)}


def _toml(changed: Mapping[str, Any]) -> str:
    lines: list[str] = []
    for section, keys in _sections(changed):
        lines += [f"[{section}]", *(f"{key} = {toml_value(value)}" for key, value in keys), ""]
    return "\n".join(lines) or "# all settings are the defaults\n"


def _sections(changed: Mapping[str, Any]) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """Names of tables with their keys, tables above others first."""
    found: dict[str, list[tuple[str, Any]]] = {}
    for name, value in changed.items():
        section, _, key = name.rpartition(".")
        found.setdefault(section, []).append((key, value))
    yield from sorted(found.items(), key=lambda item: item[0].split("."))


def _python(changed: Mapping[str, Any]) -> str:
    problem: dict[str, Any] = {}
    solver: list[str] = []
    for name, value in changed.items():
        section, *parts = name.split(".")
        if section == "solver":
            solver += [f"{parts[0]}={value!r}"]
        elif section in ("problem", "dynamics"):
            path = parts if section == "problem" else [section, *parts]
            place = problem
            for part in path[:-1]:
                place = place.setdefault(part, {})
            place[path[-1]] = value
    inside = "".join(f"    {key}={value!r},\n" for key, value in problem.items())
    made = f"dmft.Problem(\n{inside})" if inside else "dmft.Problem()"
    given = ", ".join(["problem", *solver])
    return (
        f"import dmft\n\nproblem = {made}\nsolution = dmft.solve({given})\n"
        'solution.plot().figure.savefig("curves.png")\n'
    )


def _command(changed: Mapping[str, Any]) -> str:
    words = ["dmft", "solve", "-o", "out.h5"]
    for name, value in changed.items():
        bare = isinstance(value, str) and value.replace("-", "").isalpha()
        words += ["--set", f"{name}={value if bare else toml_value(value)}"]
    return shlex.join(words)
