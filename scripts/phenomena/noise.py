"""Label noise limits what a small start can gain; without it there is a phase transition.

Without noise the minimum l1 norm recovers a sparse teacher exactly when the sampling ratio is
above a critical value. A network with a small start feels the transition: above it, its risk
falls like a power of the start, below it stays. Noise turns the transition into a crossover, and
adds a risk like noise^2.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import COLOURS, Outcome, colours, new_figure, run_alone

import dmft
from dmft.theory import basis_pursuit, l1_transition, predict

SMALL = {
    "points": 14,
    "starts": [1e-1, 1e-3, 1e-6],
    "solved": [0.0, 1.0],
    "n_paths": 512,
    "replicates": 3,
}
FULL = {
    "points": 41,
    "starts": [1e-1, 1e-2, 1e-3, 1e-4, 1e-6],
    "solved": [0.0, 0.1, 0.3, 1.0],
    "n_paths": 2048,
    "replicates": 6,
}


def run(full: bool, figure_path: Path) -> Outcome:
    """Transition without noise, growth with it, and solved curves at some noise levels."""
    config = FULL if full else SMALL
    outcome = Outcome("The effect of noise", __doc__ or "", config, figure_path)
    figure, axes = new_figure(2, "Sparse teacher of density 0.1")
    critical = l1_transition(dmft.Problem())
    ratios = np.linspace(0.1, 0.9, config["points"])
    for start, shade in zip(config["starts"], colours(len(config["starts"])), strict=True):
        risk = [_limit(ratio, 0.0, start) for ratio in ratios]
        axes[0].plot(ratios, risk, color=shade, label=f"start {start:g}")
    ends = [
        basis_pursuit(dmft.Problem(sampling_ratio=r, noise_std=0.0)).excess_risk for r in ratios
    ]
    shown = np.array(ends) > 0
    axes[0].plot(
        ratios[shown], np.array(ends)[shown], "--", color=COLOURS[1], label="minimum $\\ell_1$ norm"
    )
    axes[0].axvline(critical, color=COLOURS[6], linestyle=":", label="$\\ell_1$ transition")
    axes[0].set(yscale="log", ylim=(1e-14, 3), xlabel="sampling ratio", title="no noise")
    axes[0].set_ylabel("excess risk at the end")
    axes[0].legend(fontsize=8)
    lost = _limit(0.7 * critical, 0.0, 1e-6) / _limit(0.7 * critical, 0.0, 1e-3)
    outcome.check("below the transition: risk at start 1e-6 / at 1e-3", lost, 0.7, 1.0)
    powers = [
        np.log10(_limit(1.5 * critical, 0.0, a) / _limit(1.5 * critical, 0.0, a / 10))
        for a in (1e-4, 1e-5)
    ]
    outcome.check("above it: power of the start", powers[1], 0.5, 4.0)
    outcome.check(
        "above it: the power is one, change over a decade", abs(powers[1] - powers[0]), 0, 0.1
    )

    levels = np.geomspace(1e-3, 3.0, config["points"])
    starts = [0.3, *config["starts"]]
    for start, shade in zip(starts, [COLOURS[1], *colours(len(starts) - 1)], strict=True):
        axes[1].plot(levels, [_limit(0.5, level, start) for level in levels], color=shade)
    extra = [_limit(0.5, level, 1e-6) - _limit(0.5, 0.0, 1e-6) for level in (1e-2, 2e-2)]
    outcome.check("power of the noise in the risk it adds", np.log2(extra[1] / extra[0]), 1.8, 2.1)
    for level in config["solved"]:
        problem = dmft.Problem(noise_std=level, network={"init_scale": 0.3})
        found = predict(problem)
        solution = dmft.solve(
            problem, t_max=7.0 / found.relaxation_rate, n_paths=config["n_paths"],
            replicates=config["replicates"],
        )  # fmt: skip
        value, error = solution.excess_risk[-1], solution.excess_risk_stderr[-1]
        outcome.check(
            f"noise {level:g}, start 0.3: solved / predicted", value / found.excess_risk, 0.9, 1.1
        )
        axes[1].errorbar(
            max(level, 1e-3), value, 2 * error, fmt="s", color=COLOURS[1], markerfacecolor="white"
        )
    axes[1].plot(
        [],
        [],
        "s",
        color=COLOURS[1],
        markerfacecolor="white",
        label="solved, start 0.3 (left: no noise)",
    )
    axes[1].set(xscale="log", yscale="log", xlabel="noise $\\sigma$", title="sampling ratio 0.5")
    axes[1].legend(fontsize=8)
    figure.savefig(figure_path)
    return outcome


def _limit(ratio: float, level: float, start: float) -> float:
    problem = dmft.Problem(
        sampling_ratio=float(ratio), noise_std=float(level), network={"init_scale": float(start)}
    )
    return predict(problem).excess_risk


if __name__ == "__main__":
    run_alone(run, "noise", __doc__)
