"""Converged curves that errors are measured against."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dmft.bench.cases import Case
from dmft.bench.clock import cpu_seconds
from dmft.bench.ledger import Ledger, Record

_SEED = 20_000  # far from those of the race


@dataclass(frozen=True)
class Reference:
    """excess_risk at the case's times and its relative standard error, root mean square."""

    risk: np.ndarray
    error: float


def reference(case: Case, ledger: Ledger) -> Reference:
    """The reference of a case, solved if it is not in the ledger."""
    settings = ", ".join(f"{name} {value:g}" for name, value in case.reference.items())
    record = ledger.measure(f"{case.name}/reference/{settings}", lambda: _solved(case))
    risk, error = np.array(record["risk"]), np.array(record["stderr"])
    return Reference(risk, float(np.sqrt(np.mean((error / risk) ** 2))))


def _solved(case: Case) -> Record:
    from dmft.solver import solve
    from dmft.theory import predict

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
    limit = float(predict(case.problem).excess_risk)
    last = float(solution.excess_risk[-1])
    return {
        "seconds": seconds,
        "status": solution.status,
        "risk": solution.curve_at("excess_risk", case.times),
        "stderr": solution.curve_at("excess_risk_stderr", case.times),
        "limit": limit,
        "last_to_limit": last / limit if math.isfinite(limit) else None,
    }
