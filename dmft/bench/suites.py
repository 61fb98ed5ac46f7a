"""What `dmft bench` runs: suites by name, their estimated duration, their results."""

from __future__ import annotations

from collections.abc import Sequence

from dmft.bench.cases import CASES, quick
from dmft.bench.ceiling import ceiling
from dmft.bench.clock import machine, product_rate
from dmft.bench.growth import growth
from dmft.bench.ledger import Ledger
from dmft.bench.race import RIVAL_SECONDS, time_to_accuracy
from dmft.bench.trajectory import checkpoints
from dmft.errors import InputError

RACES = ("time-to-accuracy", "classification")
SUITES = (*RACES, "growth", "ceiling", "checkpoints")
# CPU seconds where a matrix product runs at the rate below.
_SECONDS = {
    "P0": 550.0, "P1": 1200.0, "P2": 760.0, "P3": 560.0, "C0": 260.0, "C1": 310.0,
    "C2": 360.0, "C3": 460.0, **dict.fromkeys(("C0-loss", "C1-loss", "C2-loss", "C3-loss"), 20.0),
    "growth": 100.0, "ceiling": 20.0, "checkpoints": 30.0,
}  # fmt: skip
_QUICK_SECONDS = {**dict.fromkeys(CASES, 15.0), "growth": 10.0, "ceiling": 2.0, "checkpoints": 1.0}
_RATE = 40e9


def estimate(suites: Sequence[str], problems: Sequence[str], small: bool, ledger: Ledger) -> float:
    """CPU seconds that a run will take, less what the ledger holds already."""
    table = _QUICK_SECONDS if small else _SECONDS
    names = [name for name in suites if name not in RACES]
    names += [name for name in problems if CASES[name].suite in suites]
    speed = _RATE / product_rate()
    total = 0.0
    for name in names:
        done = sum(record.get("seconds") or 0.0 for _, record in ledger.under(name))
        total += max(0.0, table[name] * speed - done)
    return total


def run(
    suites: Sequence[str],
    problems: Sequence[str],
    small: bool,
    ledger: Ledger,
    rival_seconds: float = RIVAL_SECONDS,
) -> None:
    """Run suites; results and records are in the ledger, which is saved after each of them.

    Raises
    ------
    InputError : the ledger holds measurements of the other size.
    """
    import dmft
    from dmft.solver.classical import classical_solve

    size = "quick" if small else "full"
    if ledger.head.setdefault("size", size) != size:
        raise InputError(
            f"holds measurements of size '{ledger.head['size']}', given '{size}'", "-o"
        )
    # Compiled kernels are loaded before anything is timed.
    for problem in (CASES["P0"].problem, CASES["C0"].problem):
        dmft.solve(problem, t_max=0.1, n_paths=64, replicates=1, threads=1)
        classical_solve(problem, t_max=0.1, step=0.05, n_paths=16)
    ledger.head["machine"] = machine()
    for name in problems:
        case = quick(CASES[name]) if small else CASES[name]
        if case.suite in suites:
            found = ledger.results.setdefault(case.suite, {})
            found[name] = time_to_accuracy(case, ledger, small, rival_seconds)
            ledger.save()
    for name, suite in (("growth", growth), ("ceiling", ceiling), ("checkpoints", checkpoints)):
        if name in suites:
            ledger.results[name] = suite(ledger, small)
            ledger.save()
