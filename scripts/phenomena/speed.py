"""What generalises better is learnt more slowly: lambda_min against excess_risk.

Each start has its own speed at the end of training, lambda_min, and its own excess risk. For a
sparse teacher both fall together from the l2 to the l1 end. The price is mild: lambda_min falls
like loglog(1/alpha) / log(1/alpha)^2, not like a power of alpha (`dmft.theory.small_start`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import COLOURS, Outcome, colours, new_figure, run_alone

import dmft
from dmft.theory import predict
from dmft.theory.measurement import measured_rate
from dmft.theory.small_start import small_start_rate
from dmft.theory.tradeoff import trade_off

SMALL = {
    "points": 24,
    "noise": [0.0, 0.1, 0.5],
    "solved": [0.5, 2.0],
    "n_paths": 512,
    "replicates": 3,
}
FULL = {
    "points": 50,
    "noise": [0.0, 0.1, 0.3, 0.5],
    "solved": [0.1, 0.3, 1.0, 3.0],
    "n_paths": 2048,
    "replicates": 4,
}


def run(full: bool, figure_path: Path) -> Outcome:
    """Draw the curve, measure some of its points on solved curves."""
    config = FULL if full else SMALL
    outcome = Outcome("Speed against generalisation", __doc__ or "", config, figure_path)
    figure, axes = new_figure(2, "Interpolators of a sparse teacher, sampling ratio 0.5")
    for noise, shade in zip(config["noise"], colours(len(config["noise"])), strict=True):
        curve = trade_off(dmft.Problem(noise_std=noise), np.geomspace(1e-5, 1e2, config["points"]))
        axes[0].plot(
            curve.relaxation_rate, curve.excess_risk, color=shade, label=f"noise {noise:g}"
        )
        if noise == 0.1:
            axes[0].axhline(curve.l1.excess_risk, color=COLOURS[6], linestyle="--", linewidth=1)
            axes[0].axhline(curve.l2, color=COLOURS[6], linestyle=":", linewidth=1)
            rises = np.all(np.diff(curve.relaxation_rate) > 0) and np.all(
                np.diff(curve.excess_risk) > 0
            )
            outcome.check("rate and risk rise together along the curve", rises, 1, 1)
    rates, risks = [], []
    for start in config["solved"]:
        problem = dmft.Problem(network={"init_scale": start})
        found = predict(problem)
        solution = dmft.solve(
            problem, t_max=22.0 / found.train_rate, n_paths=config["n_paths"],
            replicates=config["replicates"],
        )  # fmt: skip
        measured = measured_rate(solution)
        rates.append((measured.rate / 2, measured.stderr / 2))
        risks.append((solution.excess_risk[-1], solution.excess_risk_stderr[-1]))
        outcome.check(
            f"start {start:g}: measured rate / predicted",
            measured.rate / found.train_rate,
            0.95,
            1.05,
        )
        outcome.check(
            f"start {start:g}: risk at the end / predicted",
            risks[-1][0] / found.excess_risk,
            0.95,
            1.05,
        )
    (rate, rate_error), (risk, risk_error) = np.array(rates).T, np.array(risks).T
    axes[0].errorbar(rate, risk, 2 * risk_error, 2 * rate_error, fmt="s", color=COLOURS[1],
                     markerfacecolor="white", label="measured on solved curves")  # fmt: skip
    axes[0].set(xscale="log", yscale="log", xlabel="$\\lambda_{min}$ (1 / units of the flow)",
                ylabel="excess risk at the end")  # fmt: skip
    axes[0].set_title("dashed, dotted: minimum $\\ell_1$, $\\ell_2$ norm at noise 0.1", fontsize=9)
    axes[0].legend(fontsize=8)

    tiny = np.geomspace(1e-30, 1e-2, 9)
    problems = [dmft.Problem(network={"init_scale": float(a)}) for a in tiny]
    exact = np.array([predict(problem).relaxation_rate for problem in problems])
    law = np.array([small_start_rate(problem) for problem in problems])
    outcome.check("law of small starts / exact at 1e-30", law[0] / exact[0], 0.95, 1.05)
    outcome.check("its error shrinks: error at 1e-30 / error at 1e-2",
                  (1 - law[0] / exact[0]) / (1 - law[-1] / exact[-1]), 0, 0.2)  # fmt: skip
    axes[1].plot(tiny, exact, color=COLOURS[0], label="exact")
    axes[1].plot(tiny, law, "--", color=COLOURS[1], label="law for $\\alpha \\to 0$")
    axes[1].set(xscale="log", yscale="log", xlabel="start $\\alpha$", ylabel="$\\lambda_{min}$")
    axes[1].set_title("28 decades of the start, noise 0.1", fontsize=9)
    axes[1].legend(fontsize=8)
    figure.savefig(figure_path)
    return outcome


if __name__ == "__main__":
    run_alone(run, "speed", __doc__)
