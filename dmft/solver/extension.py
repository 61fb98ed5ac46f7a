"""What a file of a solve may grow in, without computing again what it holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.settings import SolverSettings

# In these a solve may grow: all others make another computation of it.
GROWING = (
    "solver.t_max", "solver.replicates", "solver.max_replicates", "solver.target_error",
)  # fmt: skip
_SHRINKING = ("solver.target_error",)
_LONGEST = 200  # characters of a setting in a state; of longer ones it keeps a digest


def check_growth(
    before: Mapping[str, Any], wanted: Mapping[str, Any], allowed: Iterable[str], status: str
) -> None:
    """Refuse settings, by dotted name, that those of what there is cannot be extended to.

    Parameters
    ----------
    status : of what there is, as in files.

    Raises
    ------
    InputError : a setting that makes another computation of it, or less than there is.
    """
    allowed = tuple(allowed)
    for key in sorted(before.keys() | wanted.keys()):
        old, new = before.get(key), wanted.get(key)
        if old == new:
            continue
        if key not in allowed:
            raise InputError(
                f"given {new}, what there is was computed with {old} and can grow in "
                f"{', '.join(allowed) or 'nothing'} only; solve again into another file",
                key,
            )
        shrinks = old is not None and new is not None and new < old
        if shrinks and key not in _SHRINKING:
            raise InputError(f"given {new}, must be {old} or more: files only grow", key)
        if key == "solver.t_max" and status == "running":
            raise InputError(f"given {new}, finish first what is under way to {old}", key)
        if key == "solver.t_max" and status == "not-converged":
            raise InputError(f"given {new}, the file did not converge up to {old}", key)


def label_of(problem: Problem, settings: SolverSettings) -> str:
    """What a state says it is of: the settings of its solve by dotted name, as JSON."""
    from dmft.config import Config, flat

    table = Config(problem=problem, solver=settings).to_table()
    del table["simulation"]
    return json.dumps({key: _short(value) for key, value in flat(table)}, sort_keys=True)


def check_label(label: str, problem: Problem, settings: SolverSettings) -> None:
    """Refuse to go on from a state of another solve, see `check_growth`.

    Raises
    ------
    InputError : the label, that of the state, says that it is none of this one.
    """
    try:
        table = dict(json.loads(label))
    except (TypeError, ValueError):
        raise InputError("given a state whose 'of' is damaged, cannot resume", "resume") from None
    check_growth(table, json.loads(label_of(problem, settings)), GROWING, "done")


def _short(value: Any) -> Any:
    text = json.dumps(value)
    return value if len(text) <= _LONGEST else hashlib.sha256(text.encode()).hexdigest()


def state_in(path: Path, problem: Problem, settings: SolverSettings) -> dict[str, Any]:
    """The state that a file of `dmft solve` holds, for the same problem and wider settings.

    Raises
    ------
    InputError : no such file, another problem, settings that the file cannot be extended to.
    """
    from dmft.config import Config, flat
    from dmft.store import load_checkpoint, read_header

    header = read_header(path)
    wanted = header.config.model_copy(update={"problem": problem, "solver": settings})
    tables: list[dict[str, Any]] = [
        {key: value for key, value in flat(config.to_table()) if not key.startswith("simulation.")}
        for config in (header.config, Config(**wanted.given()))
    ]
    check_growth(tables[0], tables[1], GROWING, header.status)
    return load_checkpoint(path, finished=True)[1]
