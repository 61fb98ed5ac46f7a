"""How finite networks approach the mean field as their dimension d grows.

A single run fluctuates around the mean field: the root mean square over runs of the relative gap
of each kernel (`dmft.results.comparison.relative_gap`) closes like d^(-1/2). The mean over runs is
biased by an amount of order 1/d; measured is the relative difference of the curves, averaged over
a few times spaced alike in log t. Both exponents are fitted, with their uncertainties. As small
networks also show the next order, the gap is fitted with the correction (1 + b/d)^(1/2) to the
power too.

    python benchmarks/convergence.py -o convergence            # half an hour
    python benchmarks/convergence.py --quick -o convergence    # one minute

writes convergence.json and convergence.png. Dimensions that convergence.json already holds with as
many runs are not simulated again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import curve_fit

import dmft
from dmft.results.comparison import KERNELS, relative_gap
from dmft.results.interpolation import curve_at
from dmft.results.observables import PRINCIPAL

T_MAX = 30.0
RUNS = {125: 3000, 250: 1500, 500: 600, 1000: 200, 2000: 40, 4000: 10}
QUICK_RUNS = {125: 200, 250: 100, 500: 40, 1000: 12}
BIAS_TIMES = np.geomspace(1.0, T_MAX, 6)
_RESAMPLINGS = 400


def main() -> None:
    """Run the study that the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("convergence"))
    parser.add_argument("--quick", action="store_true", help="fewer runs, small dimensions")
    arguments = parser.parse_args()
    result = study(
        QUICK_RUNS if arguments.quick else RUNS,
        n_paths=2048 if arguments.quick else 8192,
        replicates=4 if arguments.quick else 12,
        path=arguments.output.with_suffix(".json"),
    )
    draw(result, arguments.output.with_suffix(".png"))
    for kind, fits in result["fits"].items():
        for name, fit in fits.items():
            print(f"{kind.replace('_', ' '):<14}{name.replace('_', ' '):<22}{_words(fit)}")


def study(runs: dict[int, int], *, n_paths: int, replicates: int, path: Path) -> dict[str, Any]:
    """Simulate `runs[d]` independent runs of every dimension d; tables and fits, kept at `path`."""
    problem = dmft.Problem()
    solution = dmft.solve(problem, t_max=T_MAX, n_paths=n_paths, replicates=replicates, seed=1)
    result: dict[str, Any] = {
        "problem": problem.model_dump(mode="json"),
        "t_max": T_MAX,
        "n_paths": n_paths,
        "replicates": replicates,
    }
    known = json.loads(path.read_text()) if path.exists() else {}
    same = all(known.get(key) == value for key, value in result.items())
    done = {row["dimension"]: row for row in known["dimensions"]} if same else {}
    rows = result["dimensions"] = []
    for dimension, count in runs.items():
        began = time.perf_counter()
        row = done.get(dimension, {})
        if row.get("runs") != count:
            row = _simulated(solution, dimension, count)
        rows.append(row)
        path.write_text(json.dumps(result, indent=1) + "\n")
        spent = time.perf_counter() - began
        print(f"d = {dimension}: {count} runs, {spent:.0f} s", file=sys.stderr, flush=True)
    result["fits"] = {
        "gap": {name: fit_power(rows, "gap", name, -0.5) for name in KERNELS},
        "gap_corrected": {
            name: fit_power(rows, "gap", name, -0.5, corrected=True) for name in KERNELS
        },
        "bias": {name: fit_power(rows, "bias", name, -1.0) for name in PRINCIPAL},
    }
    path.write_text(json.dumps(result, indent=1) + "\n")
    return result


def _simulated(solution: dmft.Solution, dimension: int, count: int) -> dict[str, Any]:
    """Gaps and biases of one dimension; the bias's error includes the mean field's own."""
    mean_field = {name: _curve(solution, name) for name in PRINCIPAL}
    gaps: dict[str, list[float]] = {name: [] for name in KERNELS}
    biases: dict[str, list[float]] = {name: [] for name in PRINCIPAL}
    starts = []
    for run in range(count):
        simulation = dmft.simulate(
            solution.problem,
            dimension=dimension,
            seeds=1,
            seed=1_000_000 * dimension + run,
            times=np.unique(np.concatenate([np.geomspace(0.03, T_MAX, 13), BIAS_TIMES])),
        )
        for name, gap in relative_gap(solution, simulation).items():
            gaps[name].append(gap)
        starts.append(float(simulation.train_mse[0] - solution.train_mse[0]))
        for name in PRINCIPAL:
            values = getattr(simulation, name)[np.isin(simulation.time, BIAS_TIMES)]
            biases[name].append(float(np.mean(values / mean_field[name] - 1.0)))
    biases = {name: _controlled(values, starts) for name, values in biases.items()}
    own_error = {
        name: _stderr(
            [_curve(solution, name, i) for i in range(len(solution.replicate_excess_risk))]
            / mean_field[name]
        )
        for name in PRINCIPAL
    }
    squares = {name: np.square(values) for name, values in gaps.items()}
    draws = np.random.default_rng(dimension).integers(0, count, (_RESAMPLINGS, count))
    return {
        "dimension": dimension,
        "runs": count,
        "gap": {name: float(np.sqrt(np.mean(each))) for name, each in squares.items()},
        "gap_stderr": {
            name: float(np.std(np.sqrt(each[draws].mean(axis=1)))) for name, each in squares.items()
        },
        "bias": {name: float(np.mean(values)) for name, values in biases.items()},
        "bias_stderr": {
            name: float(np.hypot(np.std(values, ddof=1) / np.sqrt(count), own_error[name]))
            for name, values in biases.items()
        },
    }


def fit_power(
    rows: list[dict[str, Any]], kind: str, name: str, expected: float, *, corrected: bool = False
) -> dict[str, Any]:
    """Weighted least squares of c d^p, and of c d^expected alone; errors of one sigma.

    Both are multiplied by (1 + b/d)^(1/2), b fitted, if `corrected`.
    """
    d = np.array([row["dimension"] for row in rows], dtype=float)
    value = np.array([row[kind][name] for row in rows])
    error = np.array([row[f"{kind}_stderr"][name] for row in rows])
    # In units of the middle dimension, where coefficient and exponent are hardly correlated.
    middle = float(np.exp(np.mean(np.log(d))))

    def power(x: np.ndarray, coefficient: float, exponent: float, *b: float) -> np.ndarray:
        correction = np.sqrt(np.maximum(1.0 + b[0] / x, 1e-12)) if b else 1.0
        return coefficient * (x / middle) ** exponent * correction

    def given(x: np.ndarray, coefficient: float, *b: float) -> np.ndarray:
        return power(x, coefficient, expected, *b)

    def fit(function: Callable[..., np.ndarray], start: list[float]) -> dict[str, Any]:
        start = start + [0.0] * corrected
        best, covariance = curve_fit(
            function, d, value, p0=start, sigma=error, absolute_sigma=True, maxfev=10_000
        )
        deviation = (value - function(d, *best)) / error
        return {
            "best": best.tolist(),
            "stderr": np.sqrt(np.diag(covariance)).tolist(),
            "chi2": float(np.sum(deviation**2)),
            "freedom": len(d) - len(best),
        }

    size = float(np.median(value))
    free, fixed = fit(power, [size, expected]), fit(given, [size])
    scale = middle**-expected
    return {
        "coefficient": free["best"][0] * middle ** -free["best"][1],
        "exponent": free["best"][1],
        "exponent_stderr": free["stderr"][1],
        "chi2": free["chi2"],
        "freedom": free["freedom"],
        "correction": free["best"][2] if corrected else None,
        "expected": {
            "exponent": expected,
            "coefficient": fixed["best"][0] * scale,
            "coefficient_stderr": fixed["stderr"][0] * scale,
            "chi2": fixed["chi2"],
            "freedom": fixed["freedom"],
            "correction": fixed["best"][1] if corrected else None,
        },
    }


def draw(result: dict[str, Any], path: Path) -> None:
    """Gap and bias against the dimension, with the fitted powers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.4), layout="constrained")
    rows = result["dimensions"]
    d = np.array([row["dimension"] for row in rows], dtype=float)
    x = np.geomspace(d[0], d[-1], 100)
    fitted = {"gap": "gap_corrected", "bias": "bias"}
    titles = {"gap": "kernels of a single run", "bias": "mean over runs"}
    labels = {
        "gap": "relative distance to the mean field (rms)",
        "bias": "relative difference to the mean field",
    }
    styles = {"gap": zip(("#0072B2", "#D55E00", "#009E73"), "os^", strict=True),
              "bias": zip(("#0072B2", "#D55E00"), "os", strict=True)}  # fmt: skip
    for axes, kind in zip(figure.subplots(1, 2), ("gap", "bias"), strict=True):
        for (name, fit), (colour, marker) in zip(
            result["fits"][fitted[kind]].items(), styles[kind], strict=True
        ):
            value = np.array([row[kind][name] for row in rows])
            error = np.array([row[f"{kind}_stderr"][name] for row in rows])
            label = (
                f"{name.replace('_', ' ')}: "
                f"$d^{{{fit['exponent']:.2f} \\pm {fit['exponent_stderr']:.2f}}}$"
            )
            axes.errorbar(d, value, 2 * error, fmt=marker, color=colour, label=label, capsize=3)
            line = fit["coefficient"] * x ** fit["exponent"]
            line = line * np.sqrt(1.0 + (fit["correction"] or 0.0) / x)
            axes.plot(x, line, color=colour, linewidth=1)
        axes.set_xscale("log")
        if kind == "gap":
            axes.set_yscale("log")
        else:  # it may come out with either sign
            axes.axhline(0.0, color="#555555", linewidth=0.8)
        axes.set_xticks(d, [f"{value:.0f}" for value in d], minor=False)
        axes.set_xticks([], minor=True)
        axes.set(xlabel="dimension d", ylabel=labels[kind], title=titles[kind])
        axes.grid(alpha=0.3)
        axes.legend(title="bars: ±2 standard errors")
    figure.savefig(path, dpi=120)


def _words(fit: dict[str, Any]) -> str:
    """A fit as a line: the free power, then the one with the expected exponent."""
    free = f"{fit['coefficient']:.3g} d^({fit['exponent']:.3f} ± {fit['exponent_stderr']:.3f})"
    given = fit["expected"]
    size = f"{given['coefficient']:.3g} ± {given['coefficient_stderr']:.2g}"
    return (
        f"{free}, chi2 {fit['chi2']:.1f} of {fit['freedom']}; "
        f"({size}) d^({given['exponent']:g}), chi2 {given['chi2']:.1f} of {given['freedom']}"
    )


def _controlled(values: list[float], control: list[float]) -> list[float]:
    """Values less what they share with a control variate of known mean 0: the same mean.

    The control is the training error at the start, whose mean at any d is the mean field's, as
    the simulation makes the second moments of teacher and noise exact. It explains half of the
    variance of the excess risk.
    """
    slope = np.cov(values, control)[0, 1] / np.var(control, ddof=1)
    return [float(each) for each in np.subtract(values, slope * np.array(control))]


def _curve(solution: dmft.Solution, name: str, replicate: int | None = None) -> np.ndarray:
    """A curve at BIAS_TIMES, of one replicate or the mean."""
    values = getattr(solution, name if replicate is None else f"replicate_{name}")
    values = values if replicate is None else values[replicate]
    return curve_at(solution.time, solution.panel, values, BIAS_TIMES, positive=True)


def _stderr(ratios: np.ndarray) -> float:
    """Standard error of the mean over rows of each row's average."""
    return float(np.std(ratios.mean(axis=1), ddof=1) / np.sqrt(len(ratios)))


if __name__ == "__main__":
    main()
