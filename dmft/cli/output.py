"""What commands print: curves as a table or as JSON."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from dmft.results.simulation import Simulation
    from dmft.results.solution import Solution

_ROWS = 10


def print_json(table: Mapping[str, Any]) -> None:
    """One valid JSON object: what is not a finite number becomes null."""
    print(json.dumps(_plain(table), allow_nan=False))


def curves(result: Solution | Simulation) -> dict[str, Any]:
    """Times, all curves and their standard errors; a curve of the table that is absent is null."""
    from dmft.results.observables import OBSERVABLES

    table: dict[str, Any] = {"time": result.time}
    for name in dict.fromkeys((*OBSERVABLES, *result.curves)):
        table[name] = getattr(result, name)
        table[f"{name}_stderr"] = getattr(result, f"{name}_stderr")
    return table


def curve_table(result: Solution | Simulation) -> str:
    """The curves at about ten times, spaced logarithmically, with their standard errors."""
    from dmft.results.observables import main_curves

    names = [name for name in main_curves(result.problem) if name in result.curves]
    unit = "step" if result.problem.dynamics.discrete else "time"
    lines = [f"{unit:>10}" + "".join(f"  {name.replace('_', ' '):<22}" for name in names)]
    for index in _spread(result.time):
        line = f"{result.time[index]:>10.4g}"
        for name in names:
            error = getattr(result, f"{name}_stderr")
            text = f"{getattr(result, name)[index]:.5g}"
            if error is not None:
                text += f" ± {error[index]:.1e}"
            line += f"  {text:<22}"
        lines.append(line)
    return "\n".join(line.rstrip() for line in lines)


def command(*words: str | Path) -> str:
    """A command line that can be pasted into a shell."""
    return " ".join(map(_quoted, words))


def _quoted(word: str | Path) -> str:
    text = str(word)
    if isinstance(word, Path) and text.startswith("-"):
        text = f"./{text}"  # no option
    if text.isprintable():
        return shlex.quote(text)
    inner = (c if c.isprintable() else repr(c)[1:-1] for c in re.sub(r"(['\\\\])", r"\\\1", text))
    return f"$'{''.join(inner)}'"


def _spread(time: np.ndarray) -> list[int]:
    """Indices of the start and of about ten later times at equal distances in log time."""
    import numpy as np

    later = time[time > 0]
    if len(later) == 0:
        return list(range(len(time)))
    wanted = np.geomspace(max(later[0], later[-1] * 1e-4), later[-1], _ROWS)
    nearest = np.abs(np.log(later)[None, :] - np.log(wanted)[:, None]).argmin(axis=1)
    return [0, *np.unique(nearest + len(time) - len(later)).tolist()]


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
