"""Features whose variances fall like a power give scaling laws in time and in data.

With s ~ rank^(-p) and a teacher that is the same in all directions, features are learnt in the
order of their variance. After time t those with s t > 1 are known, the rest is the risk:
excess_risk ~ t^(-(p-1)/p). At the end of training with few samples about the first n are known:
excess_risk ~ n^(-(p-1)).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import COLOURS, Outcome, colours, new_figure, run_alone

import dmft
from dmft.theory import predict

# Paths are spread evenly over ranks, so a solved curve resolves ranks down to 1 / n_paths.
SMALL = {"exponents": [2.0, 3.0], "cutoff": 3e-3, "data_cutoff": 1e-5, "n_paths": 1024}
FULL = {"exponents": [1.75, 2.0, 2.5, 3.0], "cutoff": 1e-3, "data_cutoff": 1e-5, "n_paths": 4096}
MANY_SAMPLES = 30.0


def run(full: bool, figure_path: Path) -> Outcome:
    """Exponents in time from solved curves, in data from fixed points."""
    config = FULL if full else SMALL
    outcome = Outcome("Power-law features: scaling laws", __doc__ or "", config, figure_path)
    figure, axes = new_figure(2, "Feature variances like rank$^{-p}$, Gaussian teacher, no noise")
    ratios = np.geomspace(1e-3, 0.5, 25)
    for p, shade in zip(config["exponents"], colours(len(config["exponents"])), strict=True):
        problem = _problem(p, config["cutoff"], MANY_SAMPLES)
        largest, smallest = _extreme_variances(problem)
        # Features with s t delta > 1 are known; the law holds between the two ends.
        first, last = 1 / (MANY_SAMPLES * largest), 1 / (MANY_SAMPLES * smallest)
        solution = dmft.solve(problem, t_max=3 * last, n_paths=config["n_paths"], replicates=2)
        window = np.geomspace(30 * first, 1e-2 * last, 20)
        risk = solution.curve_at("excess_risk", window)
        # The part of the features beyond the last rank is missing from a pure power.
        slope = -np.polyfit(np.log(window), np.log(risk + _beyond(problem)), 1)[0]
        expected = (p - 1) / p
        outcome.check(f"p = {p:g}: power of time / ((p-1)/p)", slope / expected, 0.9, 1.1)
        later = solution.time > first
        axes[0].plot(
            solution.time[later] / first,
            solution.excess_risk[later],
            color=shade,
            label=f"p = {p:g}",
        )
        guide = (risk + _beyond(problem))[0] * (window / window[0]) ** -expected - _beyond(problem)
        axes[0].plot(window / first, guide, "--", color=COLOURS[1])

        limits = np.array(
            [predict(_problem(p, config["data_cutoff"], r)).excess_risk for r in ratios]
        )
        middle = (ratios > 3e-3) & (ratios < 0.1)
        rest = _beyond(_problem(p, config["data_cutoff"], 1.0))
        total = limits[middle] + rest
        slope = -np.polyfit(np.log(ratios[middle]), np.log(total), 1)[0]
        outcome.check(f"p = {p:g}: power of data / (p-1)", slope / (p - 1), 0.85, 1.15)
        axes[1].plot(ratios, limits, color=shade, label=f"p = {p:g}")
        guide = total[0] * (ratios[middle] / ratios[middle][0]) ** (1 - p) - rest
        axes[1].plot(ratios[middle], guide, "--", color=COLOURS[1])
    axes[0].set(xscale="log", yscale="log", ylabel="excess risk", xlim=(0.5, 1e6), ylim=(1e-4, 2))
    axes[0].set_xlabel("time × largest variance × sampling ratio")
    axes[0].set_title(f"sampling ratio {MANY_SAMPLES:g}")
    axes[1].set(xscale="log", yscale="log", xlabel="sampling ratio", title="end of training")
    for each in axes:
        each.plot([], [], "--", color=COLOURS[1], label="predicted power")
        each.legend(fontsize=8)
    figure.savefig(figure_path)
    return outcome


def _problem(exponent: float, cutoff: float, ratio: float) -> dmft.Problem:
    return dmft.Problem(
        sampling_ratio=float(ratio), noise_std=0.0, teacher={"kind": "gaussian"},
        network={"kind": "linear"},
        features={"kind": "power-law", "exponent": exponent, "cutoff": cutoff},
    )  # fmt: skip


def _extreme_variances(problem: dmft.Problem) -> tuple[float, float]:
    (law,) = problem.features.components()
    high, low = law.quantile(np.array([1 - 1e-15, 1e-15]))
    return float(high), float(low)


def _beyond(problem: dmft.Problem) -> float:
    """Integral of c x^(-p) over ranks x beyond the last, 1 + cutoff: what the law leaves out."""
    _, smallest = _extreme_variances(problem)
    p = problem.features.exponent
    return smallest * (1 + problem.features.cutoff) / (p - 1)


if __name__ == "__main__":
    run_alone(run, "power_law", __doc__)
