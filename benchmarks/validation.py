"""The solver against everything that is known: closed forms, fixed points, finite networks.

    python benchmarks/validation.py                      # 1-2 hours, most of it simulation
    python benchmarks/validation.py --quick              # small sizes, some minutes
    python benchmarks/validation.py --json validation.json --only linear --only "weight decay"

A finite network of d coordinates is biased by an amount of order 1/d (about +4 % in excess_risk
at d = 2000, late times, default problem). Ensembles at d/2 and d give 2 f(d) - f(d/2), which
takes this order out; both their errors are propagated. z is the difference over the root of the
sum of the squared standard errors of both sides and of the relative time error allowed (rtol).

Simulations are kept in validation-cache/ beside this script, one HDF5 file per ensemble, and
read back by the next run. The table is printed; the exit status is 1 if a case fails.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import dmft
from dmft.results.interpolation import curve_at, curve_error_at
from dmft.settings import SimulationSettings
from dmft.simulation.sampling import method_of
from dmft.theory.linear import learning_curves

HERE = Path(__file__).parent
CACHE = HERE / "validation-cache"
REFERENCE = HERE / "reference" / "gradient_flow.json"
CURVES = ("train_mse", "excess_risk")
RTOL = 1e-3
# |z| at eight times of two curves: about five independent numbers, so 4 is rarely passed.
LARGEST_Z = 4.0
# What an extrapolation in 1/d, or a reference at one d, leaves; relative.
REFERENCE_BIAS = 0.04


@dataclass
class Row:
    """One line of the table; `difference` and `z` are the largest in size over times."""

    case: str
    quantity: str
    difference: float
    allowed: float
    z: float
    error: float
    passed: bool
    solve_seconds: float
    simulate_seconds: float = 0.0
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Size:
    """How much work a run of the table may do."""

    n_paths: int
    replicates: int
    late_paths: int
    dimension: int
    seeds: tuple[int, int]
    small_start_end: float


FULL = Size(4096, 4, 8192, 2000, (32, 24), 1e4)
QUICK = Size(1024, 4, 2048, 400, (48, 40), 1e2)

# Finite networks: settings of the problem and the last time; the first is a thousandth of it.
NETWORKS: dict[str, tuple[dict[str, Any], float]] = {
    "default": ({}, 30.0),
    "depth 3": ({"network": {"depth": 3, "init_scale": 0.6}}, 30.0),
    "unbalanced start": (
        {"sampling_ratio": 1.5, "network": {"init_u": 0.5, "init_v": 0.2}},
        30.0,
    ),
    "weight decay": ({"dynamics": {"weight_decay": 0.1}}, 60.0),
    "discrete features": (
        {"features": {"kind": "discrete", "values": [0.25, 4.0], "weights": [0.8, 0.2]}},
        30.0,
    ),
    "power-law features": (
        {"features": {"kind": "power-law", "exponent": 1.0, "cutoff": 0.05}},
        30.0,
    ),
    "rademacher teacher": ({"teacher": {"kind": "rademacher"}, "sampling_ratio": 0.8}, 30.0),
    "gaussian teacher": ({"teacher": {"kind": "gaussian"}}, 30.0),
}

# Limits of theory/long-time.md: settings, a time late enough, the values.
LIMITS: dict[str, tuple[dict[str, Any], float, dict[str, float]]] = {
    "alpha = 0.3": ({}, 200.0, {"excess_risk": 0.1026926}),
    "alpha = 1": ({"network": {"init_scale": 1.0}}, 40.0, {"excess_risk": 0.3454571}),
    "alpha = 10": ({"network": {"init_scale": 10.0}}, 0.5, {"excess_risk": 0.5099438}),
    "LASSO": (
        {"dynamics": {"weight_decay": 0.1}},
        400.0,
        {"excess_risk": 0.01932852, "train_mse": 0.009274010},
    ),
}


def main() -> None:
    """Run the cases that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table as JSON")
    parser.add_argument(
        "--only", action="append", metavar="CASE", help="cases with this in the name"
    )
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else FULL
    rows: list[Row] = []
    print(_HEAD)
    for name, case in cases(size):
        if arguments.only and not any(part in name for part in arguments.only):
            continue
        for row in case():
            rows.append(row)
            print(line(row), flush=True)
            if arguments.json:
                text = json.dumps({"size": asdict(size), "rows": [asdict(row) for row in rows]})
                arguments.json.write_text(text + "\n")
    failed = [row for row in rows if not row.passed]
    print(f"{len(rows) - len(failed)} of {len(rows)} lines within their bounds")
    sys.exit(1 if failed else 0)


def cases(size: Size) -> Iterator[tuple[str, Callable[[], list[Row]]]]:
    """Names of the cases and functions that run them, cheap ones first."""
    for ratio in (0.5, 1.0, 2.0):
        yield f"linear, delta = {ratio:g}", partial(linear, ratio)
    yield "reference, d = 2000", partial(reference, size)
    for name, given in LIMITS.items():
        yield f"limit, {name}", partial(limit, name, *given, size)
    yield "excess risk at t = 120", partial(late_risk, size)
    for name, (settings, end) in NETWORKS.items():
        yield name, partial(networks, name, settings, end, size)
    small = {"network": {"init_scale": 0.01}}
    yield "alpha = 0.01", partial(networks, "alpha = 0.01", small, size.small_start_end, size)


def linear(ratio: float) -> list[Row]:
    """Closed Marchenko-Pastur integral at every node from t = 0.1 to 1000."""
    problem = dmft.Problem(sampling_ratio=ratio, noise_std=0.3, network={"kind": "linear"})
    solution, seconds = solve(problem, t_max=1000.0, n_paths=1024, replicates=2, rtol=1e-4)
    exact = learning_curves(problem, solution.time)
    rows = []
    for name in CURVES:
        truth, value = getattr(exact, name), getattr(solution, name)
        visible = truth > 1e-6 * truth[0]
        difference = float(np.abs(value / truth - 1.0)[visible].max())
        quantity = f"{name}, {solution.time[1]:.0e} < t < {solution.time[visible][-1]:.0f}"
        rows.append(
            Row(f"linear, delta = {ratio:g}", quantity, difference, 1e-3, np.nan, 0.0,
                difference < 1e-3, seconds)
        )  # fmt: skip
    return rows


def reference(size: Size) -> list[Row]:
    """The shared finite-d curves, which carry the bias of d = 2000."""
    (run,) = json.loads(REFERENCE.read_text())["runs"]
    times = np.array(run["time"])
    solution, seconds = solve(
        dmft.Problem(), t_max=times[-1], n_paths=size.n_paths, replicates=size.replicates
    )
    simulated = {name: (np.array(run[name]), np.array(run[f"{name}_stderr"])) for name in CURVES}
    return compare("reference, d = 2000", solution, times, simulated, seconds, 0.0, REFERENCE_BIAS)


def limit(
    name: str, settings: dict[str, Any], end: float, values: dict[str, float], size: Size
) -> list[Row]:
    """Fixed points: the last node against the value at infinite time."""
    solution, seconds = solve(
        dmft.Problem(**settings), t_max=end, n_paths=size.n_paths, replicates=size.replicates
    )
    rows = []
    for curve, truth in values.items():
        value = getattr(solution, curve)[-1]
        error = float(np.hypot(getattr(solution, f"{curve}_stderr")[-1], RTOL * truth))
        z, difference = (value - truth) / error, abs(value / truth - 1.0)
        bound = LARGEST_Z * error / truth
        rows.append(
            Row(f"limit, {name}", f"{curve}, t = {end:g}", float(difference), float(bound),
                float(z), error / truth, bool(difference < bound) and bound < 0.2, seconds)
        )  # fmt: skip
    return rows


def late_risk(size: Size) -> list[Row]:
    """The default problem at t = 120: within 1 % of its limit."""
    solution, seconds = solve(
        dmft.Problem(), t_max=120.0, n_paths=size.late_paths, replicates=size.replicates
    )
    truth = LIMITS["alpha = 0.3"][2]["excess_risk"]
    difference = float(abs(solution.excess_risk[-1] / truth - 1.0))
    assert solution.excess_risk_stderr is not None
    error = float(solution.excess_risk_stderr[-1])
    z = float((solution.excess_risk[-1] - truth) / error)
    allowed = 0.01 if size is FULL else 0.03
    return [
        Row("excess risk at t = 120", f"{size.late_paths} paths", difference, allowed, z,
            error / truth, difference < allowed, seconds)
    ]  # fmt: skip


def networks(name: str, settings: dict[str, Any], end: float, size: Size) -> list[Row]:
    """Finite networks, extrapolated to infinite d, at eight log-spaced times."""
    problem = dmft.Problem(**settings)
    times = np.geomspace(end / 1000.0, end, 8)
    times[-1] = end
    solution, seconds = solve(problem, t_max=end, n_paths=size.n_paths, replicates=size.replicates)
    small, large = (
        ensemble(problem, d, seeds, times)
        for d, seeds in zip((size.dimension // 2, size.dimension), size.seeds, strict=True)
    )
    simulated = {}
    for curve in CURVES:
        value = 2.0 * large[curve] - small[curve]
        error = np.hypot(2.0 * large[f"{curve}_stderr"], small[f"{curve}_stderr"])
        simulated[curve] = value, error
    spent = small["seconds"] + large["seconds"]
    return compare(name, solution, times, simulated, seconds, float(spent), 0.0)


def compare(
    case: str,
    solution: dmft.Solution,
    times: np.ndarray,
    simulated: dict[str, tuple[np.ndarray, np.ndarray]],
    solve_seconds: float,
    simulate_seconds: float,
    bias: float,
) -> list[Row]:
    """One row per curve; a relative `bias` of the simulation is taken off the difference for z.

    Where the training error has fallen below 1e-6 of its start nothing is compared.
    """
    rows = []
    for curve, (theirs, theirs_error) in simulated.items():
        nodes = getattr(solution, curve)
        ours = curve_at(solution.time, solution.panel, nodes, times, positive=True)
        ours_error = curve_error_at(solution.time, getattr(solution, f"{curve}_stderr"), times)
        seen = ours > 1e-6 * nodes[0]
        error = np.sqrt(ours_error**2 + theirs_error**2 + (RTOL * ours) ** 2)[seen]
        gap, scale = (ours - theirs)[seen], ours[seen]
        z = np.sign(gap) * np.maximum(np.abs(gap) - bias * scale, 0.0) / error
        worst = int(np.argmax(np.abs(z)))
        detail = {
            "time": times[seen].tolist(),
            "mean_field": scale.tolist(),
            "simulation": theirs[seen].tolist(),
            "error": error.tolist(),
            "z": z.tolist(),
            "status": solution.status,
        }
        rows.append(
            Row(case, curve, float(np.abs(gap / scale).max()),
                float(np.max(LARGEST_Z * error / scale + bias)), float(z[worst]),
                float(np.median(error / scale)), bool(np.abs(z).max() < LARGEST_Z),
                solve_seconds, simulate_seconds, detail)
        )  # fmt: skip
    return rows


def solve(
    problem: dmft.Problem, *, rtol: float = RTOL, **options: Any
) -> tuple[dmft.Solution, float]:
    """A solution and the processor seconds it took."""
    began = time.process_time()
    solution = dmft.solve(problem, rtol=rtol, seed=1, **options)
    if solution.status != "done":
        print(f"  {solution.status}: {solution.reason}", file=sys.stderr)
    return solution, time.process_time() - began


def ensemble(problem: dmft.Problem, d: int, seeds: int, times: np.ndarray) -> dict[str, Any]:
    """Curves of an ensemble at `times`, from the cache if they are there."""
    import h5py

    drawn = method_of(problem, SimulationSettings(dimension=d))
    parts = [problem.model_dump(mode="json"), d, seeds, times.tolist(), drawn]
    key = json.dumps(parts, sort_keys=True)
    path = CACHE / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.h5"
    names = [name + suffix for name in CURVES for suffix in ("", "_stderr")]
    if path.exists():
        with h5py.File(path) as file:
            found = {name: file[name][()] for name in names}
            return {**found, "seconds": float(file.attrs["seconds"])}
    began = time.process_time()
    simulation = dmft.simulate(problem, dimension=d, seeds=seeds, times=times, seed=d)
    seconds = time.process_time() - began
    curves: dict[str, Any] = {name: getattr(simulation, name)[1:] for name in names}
    CACHE.mkdir(exist_ok=True)
    with h5py.File(path.with_suffix(".tmp"), "w") as file:
        file.attrs["seconds"], file.attrs["key"] = seconds, key
        for name, values in curves.items():
            file[name] = values
    path.with_suffix(".tmp").replace(path)
    return {**curves, "seconds": seconds}


_HEAD = (
    f"{'case':<24}{'quantity':<34}{'difference':>11}{'bound':>9}{'z':>7}{'error':>9}"
    f"{'solve s':>9}{'sim. s':>9}"
)


def line(row: Row) -> str:
    """A row of the table."""
    z = "-" if np.isnan(row.z) else f"{row.z:+.1f}"
    simulated = f"{row.simulate_seconds:.0f}" if row.simulate_seconds else "-"
    return (
        f"{row.case:<24}{row.quantity:<34}{row.difference:>11.2%}{row.allowed:>9.2%}{z:>7}"
        f"{row.error:>9.2%}{row.solve_seconds:>9.1f}{simulated:>9}"
        f"{'' if row.passed else '  FAILED'}"
    )


if __name__ == "__main__":
    main()
