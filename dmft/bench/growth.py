"""How the work of a solve grows with time, paths and accuracy: counters, no seconds.

Time grows on P1, whose time axis is long, paths and accuracy on the same problem from a large
start, where any number of paths supports any tolerance (solver/support.py): elsewhere both grow
together. Counters are those of `Solution.work`; they are the same on every machine. They count the
pilot too, so growth in n_paths is that of the difference to the solve with the fewest paths: 4096,
up to which the number of paths with tangents does not grow.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from dmft.bench.cases import CASES, Case
from dmft.bench.ledger import Ledger, Record
from dmft.bench.outcome import PowerLaw

COUNTERS = ("panels", "sweeps", "path_iterations", "tangent_flops", "tangent_bytes")
LARGE_START = 1.0
LATE = 100.0  # beyond it panels should grow with time


def growth(ledger: Ledger, small: bool = False) -> Record:
    """Counters against t_max, n_paths and rtol, with fitted exponents."""
    from dmft.bench.mean_field import solved

    case = CASES["P1"]
    large = replace(case, problem=case.problem.replace(**{"network.init_scale": LARGE_START}))
    paths = 1024 if not small else 512

    def counted(case: Case, t_max: float, n_paths: int, rtol: float) -> dict[str, float]:
        start = "a large start, " if case is large else ""
        name = f"growth/{start}to {t_max:g}, {n_paths} paths, rtol {rtol:g}"
        shorter = replace(case, t_max=t_max)
        record = ledger.measure(name, lambda: solved(shorter, n_paths, rtol, 1))
        return {"nodes": record["nodes"], **record["work"]}

    ends = (1e1, 1e2, 1e3, 1e4) if not small else (1e1, 1e2, 1e3)
    counts = (4096, 8192, 16384, 32768) if not small else (4096, 8192, 12288)
    tolerances = (1e-2, 3e-3, 1e-3, 3e-4) if not small else (1e-2, 3e-3, 1e-3)
    middle = 1e2
    by_time = [{"t_max": end, **counted(case, end, paths, 1e-3)} for end in ends]
    by_paths = [{"n_paths": count, **counted(large, middle, count, 1e-3)} for count in counts]
    by_tolerance = [{"rtol": rtol, **counted(large, middle, paths, rtol)} for rtol in tolerances]
    late = [row for row in by_time if row["t_max"] >= LATE]
    return {
        "case": case.title,
        "large_start": LARGE_START,
        "n_paths": paths,
        "by_time": by_time,
        "nodes_per_late_decade": [
            after["nodes"] - before["nodes"] for before, after in pairwise(late)
        ],
        "by_paths": by_paths,
        "by_tolerance": by_tolerance,
        "exponents": {
            "n_paths": _exponents(by_paths, "n_paths", less_first=True),
            "rtol": _exponents(by_tolerance, "rtol"),
        },
        "of_time": {name: _per_decade(by_time, name) for name in ("nodes", *COUNTERS)},
    }


def _exponents(rows: list[dict[str, Any]], variable: str, less_first: bool = False) -> Record:
    found = {}
    for name in ("nodes", *COUNTERS):
        x = np.array([row[variable] for row in rows], dtype=float)
        y = np.array([row[name] for row in rows], dtype=float)
        if less_first and name not in ("nodes", "panels", "sweeps"):
            x, y = x[1:] - x[0], y[1:] - y[0]
        if (y > 0.0).all():
            law = PowerLaw.through(x, y)
            found[name] = {"exponent": law.exponent, "stderr": law.exponent_stderr}
    return found


def _per_decade(rows: list[dict[str, Any]], name: str) -> list[float]:
    """Growth of a counter from each t_max to the next, ten times as late."""
    values = [row[name] for row in rows]
    return [after - before for before, after in pairwise(values)]
