"""Random settings through every door: what is resolved is what the reference says, or refused."""

from __future__ import annotations

import contextlib
import io
import json
import random
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dmft.cli.main import main
from dmft.config import Config, parse_config
from dmft.errors import InputError
from dmft.problem import Problem
from dmft.sweep.grid import parse_grid
from dmft.symmetry.settings import SymmetryConfig
from tests.settings.reference import Keys, Reference, Refused

RUN, SYMMETRY, PROBLEM = Reference(Config), Reference(SymmetryConfig), Reference(Problem)


# Where commands hand over what they were given.
_WORK = (
    "dmft.cli.marching.march", "dmft.simulation.simulate", "dmft.theory.predict",
    "dmft.theory.limit", "dmft.symmetry.checking.check_model",
)  # fmt: skip


def toml(value: Any) -> str:
    text = json.dumps(value)
    return text[1:] if text.startswith("0.") and len(text) % 2 else text


def spelled(key: str, rng: random.Random) -> str:
    alias = key.replace("problem.dynamics", "dynamics", 1)
    return rng.choice([key, alias])


def draw(reference: Reference, rng: random.Random) -> Keys:
    """Settings in random order: of one set of kinds, with some strays of another now and then."""
    chance = rng.choice([0.05, 0.2, 0.6])
    found = list(reference.settings(rng, chance))
    if rng.random() < 0.4:
        found += rng.sample(other := list(reference.settings(rng, 0.3)), min(3, len(other)))
    rng.shuffle(found)
    return found


def dealt(keys: Keys, rng: random.Random, single: int) -> tuple[Keys, list[Keys]]:
    """The keys between a file, where each is once, and overrides one by one."""
    first: Keys = []
    later: list[Keys] = []
    for key, value in keys:
        if rng.random() < 0.5 and key not in dict(first):
            first.append((key, value))
        else:
            later.append([(key, value)])
    return first, later[: single or None]


def command(words: list[str]) -> tuple[Any, str]:
    """What a command was about to work on, or printed; and its error."""
    errors, output = io.StringIO(), io.StringIO()
    seen: list[Any] = []

    def stop(*positional: Any, **named: Any) -> Any:
        seen.append((positional, named))
        raise InputError("seen")

    with (
        contextlib.redirect_stderr(errors),
        contextlib.redirect_stdout(output),
        pytest.MonkeyPatch.context() as patch,
    ):
        for target in _WORK:
            patch.setattr(target, stop)
        status = main(words)
    if seen:
        return seen[0], ""
    return (output.getvalue() if status == 0 else None), errors.getvalue()


def run_command(name: str, rng: random.Random, folder: Path) -> tuple[list[Keys], Any, str]:
    reference = SYMMETRY if name == "symmetry" else RUN
    keys = draw(reference, rng)
    if name == "symmetry":
        keys = [("model.kind", rng.choice(["diagonal", "scale-invariant"])), *keys]
    first, later = dealt(keys, rng, 0)
    first = [(spelled(key, rng), value) for key, value in first]
    later = [[(spelled(key, rng), value)] for [(key, value)] in later]
    path = folder / "given.toml"
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in first))
    words = ["symmetry", "check", str(path)] if name == "symmetry" else [name, str(path)]
    if name in ("solve", "simulate"):
        words += ["-o", str(folder / "out.h5"), "--quiet"]
    for [(key, value)] in later:
        text = value if isinstance(value, str) else toml(value)
        words += ["--set", f"{key}={text}"]
    found, said = command(words)
    return [first, *later], found, said


def check_command(name: str, rng: random.Random, folder: Path) -> bool:
    sources, found, said = run_command(name, rng, folder)
    reference = SYMMETRY if name == "symmetry" else RUN
    try:
        expected = reference.resolve(sources)
    except Refused as refused:
        assert found is None, (sources, found)
        check_words(said, refused)
        return False
    assert found is not None, (sources, said)
    if name == "config":
        assert parse_config(tomllib.loads(found)) == expected, sources
        return True
    positional, named = found
    if name == "solve":
        assert positional[2] == expected, sources
    elif name == "symmetry":
        assert positional[0] == expected, sources
    else:
        assert positional[0] == expected.problem, sources
    if name == "simulate":
        given = {**expected.simulation.model_dump(), "t_max": expected.solver.t_max}
        assert given.items() <= named.items(), sources
    return True


def check_words(said: str, refused: Refused) -> None:
    assert said.count("\n") <= 1 and "Traceback" not in said
    if refused.keys:
        assert any(key.split(".")[-1] in said for key in refused.keys), (said, refused.keys)


def check_grid(rng: random.Random, _folder: Path) -> bool:
    base, later = dealt(draw(RUN, rng), rng, 4)
    base = [(spelled(key, rng), value) for key, value in base]
    axes = {key: [value] for [(key, value)] in later} or {"solver.seed": [1]}
    axes["problem.dynamics.kind"] = rng.sample(["sgd", "gradient-flow", "adam"], rng.choice([1, 2]))
    points = [{}]
    for key, values in axes.items():
        points = [{**point, key: value} for point in points for value in values]
    text = "tasks = ['compare']\n[base]\n"
    text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in base)
    text += "[axes]\n" + "".join(f'"{key}" = {json.dumps(v)}\n' for key, v in axes.items())
    try:
        expected = [RUN.resolve([base, list(point.items())]) for point in points]
    except Refused as refused:
        with pytest.raises(InputError) as error:
            parse_grid(tomllib.loads(text)).points  # noqa: B018
        check_words(str(error.value), refused)
        return False
    grid = parse_grid(tomllib.loads(text))
    assert [point.items[0].config for point in grid.points] == expected, text
    return True


def check_replace(rng: random.Random, _folder: Path) -> bool:
    first, later = dealt(draw(PROBLEM, rng), rng, 0)
    changes = list({key: value for [(key, value)] in later}.items())
    try:
        before = PROBLEM.resolve([first])
    except Refused:
        first, before = [], Problem()
    try:
        expected = PROBLEM.resolve([first, changes])
    except Refused as refused:
        with pytest.raises(InputError) as error:
            before.replace(**dict(changes))
        check_words(str(error.value), refused)
        return False
    assert before.replace(**dict(changes)) == expected, (first, changes)
    return True


DOORS: dict[str, Callable[[random.Random, Path], bool]] = {
    "grid": check_grid,
    "replace": check_replace,
    **{
        name: lambda rng, folder, name=name: check_command(name, rng, folder)  # type: ignore[misc]
        for name in ("solve", "simulate", "theory", "config", "symmetry")
    },
}
QUICK = 20  # parts of 50 cases each


@pytest.mark.parametrize(
    "part", [*range(QUICK), *(pytest.param(n, marks=pytest.mark.slow) for n in range(QUICK, 200))]
)
def test_every_setting_counts(part, tmp_path):
    rng = random.Random(part)
    doors = [*DOORS, *rng.choices(["grid", "replace", "config"], k=50 - len(DOORS))]
    resolved = sum(DOORS[door](rng, tmp_path) for door in doors)
    assert len(doors) == 50
    assert 10 <= resolved <= 49  # both happen: settings that go together, and some that do not
