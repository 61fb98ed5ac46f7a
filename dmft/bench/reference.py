"""Converged curves that errors are measured against."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmft.bench.cases import Case
from dmft.bench.clock import cpu_seconds
from dmft.bench.ledger import Ledger, Record

_SEED = 20_000  # far from those of the race


@dataclass(frozen=True)
class Reference:
    """The judged curves (curve, time) and the largest relative standard error, root mean square."""

    values: np.ndarray
    error: float


def reference(case: Case, ledger: Ledger) -> Reference:
    """The curves of a case, solved if they are not in the ledger."""
    settings = ", ".join(f"{name} {value:g}" for name, value in case.reference.items())
    record = ledger.measure(f"{case.label}/reference/{settings}", lambda: _solved(case))
    values, error = case.chosen(record["values"]), case.chosen(record["stderr"])
    return Reference(values, float(np.sqrt(np.mean((error / values) ** 2, axis=1).max())))


def _solved(case: Case) -> Record:
    from dmft.solver import solve

    settings = case.reference
    solution, seconds = cpu_seconds(
        lambda: solve(
            case.problem,
            t_max=case.t_max,
            n_paths=int(settings["n_paths"]),
            replicates=int(settings["replicates"]),
            rtol=settings["rtol"],
            seed=_SEED,
            threads=1,
        )
    )
    return {
        "seconds": seconds,
        "status": solution.status,
        "values": [solution.curve_at(name, case.times) for name in case.curves],
        "stderr": [solution.curve_at(f"{name}_stderr", case.times) for name in case.curves],
    }
