"""The TOML form of a run: sections [problem], [dynamics], [solver], [simulation]."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import model_validator

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.dynamics import step_count
from dmft.settings import SimulationSettings, SolverSettings
from dmft.validation import Settings, nearest_key


class Config(Settings):
    """Everything a run needs; `problem` includes the dynamics."""

    problem: Problem = Problem()
    solver: SolverSettings = SolverSettings()
    simulation: SimulationSettings = SimulationSettings()

    @model_validator(mode="before")
    @classmethod
    def _join_dynamics(cls, given: Any) -> Any:
        """TOML keeps [dynamics] beside [problem]; the object keeps it inside."""
        if not isinstance(given, dict) or "dynamics" not in given:
            return given
        joined = {key: value for key, value in given.items() if key != "dynamics"}
        joined["problem"] = {**joined.get("problem", {}), "dynamics": given["dynamics"]}
        return joined

    @model_validator(mode="after")
    def _whole_steps(self) -> Config:
        if self.problem.dynamics.discrete:
            step_count(self.solver.t_max)
        return self

    def to_table(self) -> dict[str, Any]:
        """The resolved configuration as plain tables, the inverse of `load_config`."""
        table = self.model_dump(mode="json", exclude_none=True)
        dynamics = table["problem"].pop("dynamics")
        return {
            "problem": table["problem"],
            "dynamics": dynamics,
            "solver": table["solver"],
            "simulation": table["simulation"],
        }


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a TOML file (or the defaults), then apply `section.key=value` overrides.

    Raises
    ------
    InputError : missing or unreadable file, invalid TOML, unknown key, bad value.
    """
    table: dict[str, Any] = {} if path is None else read_toml(Path(path))
    for override in overrides:
        apply_override(table, override)
    return parse_config(table)


def parse_config(table: dict[str, Any]) -> Config:
    """Validate a table of sections."""
    sections = ["problem", "dynamics", "solver", "simulation"]
    for name, section in table.items():
        if name not in sections:
            raise InputError(nearest_key(name, sections), name)
        if not isinstance(section, dict):
            raise InputError(f"given {section!r}, must be a section of keys", name)
    try:
        return Config(**table)
    except InputError as error:
        # The object keeps the dynamics inside the problem, the file beside it.
        where = error.location.replace("problem.dynamics", "dynamics", 1)
        raise InputError(error.message, where) from None


def changed_settings(table: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a resolved table that differ from the defaults, by dotted name."""
    return dict(_changed(table, _defaults(), ""))


@cache
def _defaults() -> dict[str, Any]:
    return Config().to_table()


def _changed(
    table: Mapping[str, Any], usual: Mapping[str, Any], prefix: str
) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        other = usual.get(key)
        if value == other:
            continue
        if isinstance(value, dict):
            yield from _changed(value, other if isinstance(other, dict) else {}, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested tables."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def read_toml(path: Path) -> dict[str, Any]:
    """Tables of a TOML file.

    Raises
    ------
    InputError : missing or unreadable file, invalid TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file", str(path)) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", str(path)) from None
    except UnicodeDecodeError:
        raise InputError("is not a text file, must be TOML in UTF-8", str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"is not valid TOML: {error}", str(path)) from None


def assign(table: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key of nested tables; a new `kind` clears the keys of the former one.

    Raises
    ------
    InputError : a part of the key is a value, not a table.
    """
    *sections, last = key.split(".")
    for part in sections:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise InputError(f"'{part}' is no section", key)
    if last == "kind" and table.get("kind") != value:
        table.clear()  # the keys of another kind do not carry over
    table[last] = value


def apply_override(table: dict[str, Any], override: str) -> None:
    """Change one setting of nested tables, given as `section.key=value` with the value in TOML.

    Raises
    ------
    InputError : another form, or a part of the key is a value.
    """
    key, separator, text = override.partition("=")
    key = key.strip()
    if not separator or "." not in key or not all(key.split(".")):
        raise InputError(f"given {override!r}, must be section.key=value", "--set")
    try:
        assign(table, key, _value(text))
    except InputError as error:
        raise InputError(f"given {override!r}, but {error.message}", "--set") from None


def _value(text: str) -> Any:
    """The value in TOML; a bare word is a string."""
    text = text.strip()
    try:
        table = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return table["value"] if len(table) == 1 else text  # text with a line break holds more
