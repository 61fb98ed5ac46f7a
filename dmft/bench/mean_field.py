"""Contestant (a), this solver: a ladder of n_paths and rtol, several seeds on each rung."""

from __future__ import annotations

from functools import partial
from statistics import median

import numpy as np

from dmft.bench.cases import Case, rms_error
from dmft.bench.clock import cpu_seconds
from dmft.bench.ledger import Ledger, Record
from dmft.bench.outcome import Outcome, PowerLaw, Rung
from dmft.errors import DmftError

TIMINGS = 3
_FIRST_TIMING = 1001  # seeds of their own
_NO_GAIN = 0.8  # of the error when paths are doubled: beyond, the time error rules


def climb(case: Case, reference: np.ndarray, ledger: Ledger, targets: tuple[float, ...]) -> Outcome:
    """Errors and costs of the ladder's rungs, and the cheapest one that meets each target.

    A rung is one replicate: for a given effort that is more accurate than several smaller ones.
    Its seconds include the pilot. Those of a target are the median of three more solves.
    """
    outcome = Outcome(law="a power of the seconds through the last four rungs")
    settings: dict[str, tuple[int, float]] = {}
    for rtol in case.tolerances:
        errors: dict[int, float] = {}
        for n_paths in case.paths:
            rung = _rung(case, n_paths, rtol, reference, ledger)
            settings[rung.label] = n_paths, rtol
            outcome.rungs.append(rung)
            half = [error for paths, error in errors.items() if 2 * paths <= n_paths][1:]
            stalled = bool(half) and rung.error > _NO_GAIN * half[-1]
            errors[n_paths] = rung.error
            if rung.error <= min(targets) or stalled:
                break
    for target in targets:
        enough = [rung for rung in outcome.rungs if rung.error <= target]
        if enough:
            best = min(enough, key=lambda rung: rung.seconds)
            outcome.reached[target] = _timed(case, best, *settings[best.label], ledger)
        else:
            last = [rung for rung in outcome.rungs if np.isfinite(rung.error)][-4:]
            law = PowerLaw.through([r.seconds for r in last], [r.error for r in last])
            outcome.reached[target] = Rung(
                "extrapolated", law.inverse(target), target, float("nan"), measured=False
            )
    return outcome


def solved(case: Case, n_paths: int, rtol: float, seed: int) -> Record:
    """One solve of one replicate: seconds, the curves at the case's times, counters."""
    from dmft.solver import solve

    try:
        solution, seconds = cpu_seconds(
            lambda: solve(
                case.problem, t_max=case.t_max, n_paths=n_paths, replicates=1, rtol=rtol,
                seed=seed, threads=1,
            )
        )  # fmt: skip
        values = [solution.curve_at(name, case.times) for name in case.curves]
    except DmftError as error:  # nothing reached, or a curve that ends early
        return {"seconds": float("nan"), "status": str(error), "values": []}
    return {
        "seconds": seconds,
        "status": solution.status,
        "values": values,
        "nodes": len(solution.time),
        "work": solution.work,
    }


def _rung(case: Case, n_paths: int, rtol: float, reference: np.ndarray, ledger: Ledger) -> Rung:
    label = f"{n_paths} paths, rtol {rtol:g}"
    records = [
        ledger.measure(
            f"{case.label}/mean-field/{label}/seed {seed}",
            partial(solved, case, n_paths, rtol, seed),
        )
        for seed in range(1, case.seeds + 1)
    ]
    if not all(record["values"] for record in records):
        return Rung(label, float("nan"), float("inf"), float("nan"))
    found = np.array([case.chosen(record["values"]) for record in records])
    error, stderr = rms_error(found, reference)
    return Rung(label, median(record["seconds"] for record in records), error, stderr)


def _timed(case: Case, rung: Rung, n_paths: int, rtol: float, ledger: Ledger) -> Rung:
    """The rung with the median of three solves of other seeds as its seconds."""
    records = [
        ledger.measure(
            f"{case.label}/mean-field/{rung.label}/timing {i}",
            partial(solved, case, n_paths, rtol, _FIRST_TIMING + i),
        )
        for i in range(TIMINGS)
    ]
    return Rung(rung.label, median(r["seconds"] for r in records), rung.error, rung.stderr)
