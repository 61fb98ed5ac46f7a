"""The TOML form of a run: sections [problem], [dynamics], [solver], [simulation]."""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from shlex import quote
from typing import Any, ClassVar

from pydantic import model_validator

from dmft.errors import InputError
from dmft.explanation import commented_toml
from dmft.problem import Problem
from dmft.problem.dynamics import step_count
from dmft.resolution import Source, resolve
from dmft.settings import SimulationSettings, SolverSettings
from dmft.shapes import setting_names
from dmft.texts import LONGEST_TOML, parse_toml, read_text
from dmft.validation import Settings, echo


class Config(Settings):
    """Everything a run needs; `problem` includes the dynamics.

    problem : what is solved.
    solver : how accurately the mean-field equations are solved, and up to what time.
    simulation : the finite networks that the mean field is compared with.
    """

    # TOML keeps [dynamics] beside [problem]; the object keeps it inside.
    aliases: ClassVar[dict[tuple[str, ...], tuple[str, ...]]] = {
        ("dynamics",): ("problem", "dynamics")
    }

    problem: Problem = Problem()
    solver: SolverSettings = SolverSettings()
    simulation: SimulationSettings = SimulationSettings()

    @model_validator(mode="after")
    def _whole_steps(self) -> Config:
        if self.problem.dynamics.discrete:
            step_count(self.solver.t_max)
            for time in filter(None, self.solver.times or ()):
                step_count(time, "solver.times")
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

    def to_toml(self) -> str:
        """A complete file of these settings with comments, which `load_config` reads back."""
        return commented_toml(self)


def load_config(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a TOML file (or the defaults), then `section.key=value` overrides; see `resolve`.

    Raises
    ------
    InputError : missing or unreadable file, invalid TOML, unknown key, bad value.
    """
    sources = sources_of(Config, path, overrides)
    config = config_of(*sources)
    if path is not None:
        warn_if_empty(path, sources[0])
    return config


def parse_config(table: Mapping[str, Any], where: str = "") -> Config:
    """Validate a table of sections."""
    return config_of(Source(table, where))


def config_of(*sources: Source) -> Config:
    """The configuration that sources give together, the last one winning.

    Raises
    ------
    InputError : a key that is unknown to the final kind of its table, a bad value.
    """
    try:
        return Config(**resolve(Config, sources))
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
            # The defaults of another kind are not those of this one.
            alike = isinstance(other, dict) and value.get("kind") == other.get("kind")
            yield from _changed(value, other if alike and other else {}, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested tables."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


# Sections of files for other commands, and what such a file is.
_OTHERS = {
    "axes": "is a grid of problems, see `dmft sweep plan`",
    "model": "is of a model, see `dmft symmetry`",
    "symmetry": "is of symmetries, see `dmft symmetry`",
}


def read_toml(path: Path) -> dict[str, Any]:
    """Tables of a TOML file.

    Raises
    ------
    InputError : missing or unreadable file, invalid TOML.
    """
    try:
        return parse_toml(read_text(path, LONGEST_TOML))
    except InputError as error:
        raise InputError(error.message, str(path)) from None
    except FileNotFoundError:
        hint = f", did you mean --set {quote(str(path))}?" if "=" in path.name else ""
        raise InputError(f"no such file{hint}", str(path)) from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", str(path)) from None
    except UnicodeDecodeError:
        raise InputError("is not a text file, must be TOML in UTF-8", str(path)) from None
    except ValueError as error:
        raise InputError(f"is not valid TOML: {error}", str(path)) from None


def sources_of(
    model: type[Settings],
    path: str | Path | None,
    overrides: Sequence[str],
) -> list[Source]:
    """A file and overrides of a command, as sources in order of precedence.

    Raises
    ------
    InputError : missing or unreadable file, invalid TOML, an override that is no
        `section.key=value`.
    """
    changes = [read_override(model, text) for text in overrides]
    if path is None:
        return changes
    table = read_toml(Path(path))
    check_subject(model, table, path)
    return [Source(table, f"in {path}"), *changes]


def check_subject(model: type[Settings], table: Mapping[str, Any], path: str | Path) -> None:
    """Refuse a file for other commands, by a section that no other has.

    Raises
    ------
    InputError : it says which command.
    """
    for section, what in _OTHERS.items():
        if section in table and section not in model.model_fields:
            raise InputError(what, str(path))


def warn_if_empty(path: str | Path, given: Source) -> None:
    """Warn of a file without any settings, as a redirection of the shell leaves it."""
    if not given.settings:
        warnings.warn(f"{path}: holds no settings, all have their defaults", stacklevel=2)


def read_override(model: type[Settings], override: str) -> Source:
    """One setting, given as `section.key=value` with the value in TOML.

    Raises
    ------
    InputError : another form; says which setting was meant, if it can be known.
    """
    key, separator, text = override.partition("=")
    key, value = key.strip(), _value(text)
    sections = [*model.model_fields, *(alias[0] for alias in model.aliases)]
    table = isinstance(value, dict | str | list) and key in sections
    if not separator or not ("." in key or table) or not all(key.split(".")):
        names = {name: name.rpartition(".")[-1] for name in setting_names(model)}
        near = difflib.get_close_matches(key, names.values(), n=1)
        meant = [name for name, last in names.items() if last in (key, *near)]
        hint = f", did you mean {' or '.join(meant[:3])}?" if meant else ""
        raise InputError(f"given {override!r}, must be section.key=value{hint}", "--set")
    return Source({key: value}, f"by --set {key}={text.strip()}")


# As people write numbers and TOML does not: .3 and 3.
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def _value(text: str) -> Any:
    """The value in TOML; a bare word is a string."""
    text = text.strip()
    try:
        table = parse_toml(f"value = {text}")
    except ValueError as error:
        if text[:1] in ("[", "{", '"', "'"):
            raise InputError(
                f"given {echo(text)}, which is not valid TOML: {error}", "--set"
            ) from None
        return float(text) if _NUMBER.fullmatch(text) else text
    return table["value"] if len(table) == 1 else text  # text with a line break holds more
