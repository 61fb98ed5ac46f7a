"""Large starts under small weight decay fit first and generalise much later.

The training error falls within the lazy time 1 / (2 alpha^2). From then on the network drifts
through the interpolators: at time t it is the one that a start alpha e^(-lambda t) would have
reached without decay. So excess_risk(t) = R(alpha e^(-lambda t)), without a free parameter;
generalisation comes at t = log(alpha / alpha_r) / lambda, and in the time lambda t - log(alpha)
all starts share one curve.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import COLOURS, Outcome, colours, new_figure, run_alone

import dmft
from dmft.theory.measurement import detect_phases, spread_of_rescaled
from dmft.theory.timescales import drifting_risk, grokking

SMALL = {
    "weight_decay": 3e-3,
    "dimension": 100,
    "seeds": 3,
    "points": 26,
    "starts": [1e1, 1e2, 1e3, 1e4, 1e5, 1e6],
    "solved": 10.0,
    "n_paths": 512,
    "replicates": 2,
}
FULL = {
    **SMALL,
    "weight_decay": 1e-3,
    "points": 51,
    "dimension": 400,
    "seeds": 8,
    "n_paths": 2048,
    "replicates": 4,
}


def run(full: bool, figure_path: Path) -> Outcome:
    """Solve one start, simulate five decades of them, compare with the prediction."""
    config = FULL if full else SMALL
    outcome = Outcome(
        "Grokking: a delay of log(alpha) / lambda", __doc__ or "", config, figure_path
    )
    decay = config["weight_decay"]
    drift = np.linspace(-2.0, 3.0, config["points"])  # lambda t - log(alpha)

    problem = _problem(config["solved"], decay)
    predicted = grokking(problem)
    end = (3.0 + np.log(config["solved"])) / decay
    solution = dmft.solve(
        problem, t_max=end, n_paths=config["n_paths"], replicates=config["replicates"]
    )
    inside = drift > 0.2 - np.log(config["solved"])
    times = (drift[inside] + np.log(config["solved"])) / decay
    theory = drifting_risk(problem, times)
    gap = np.abs(solution.curve_at("excess_risk", times) / theory - 1)
    outcome.check(
        "mean field against R(alpha e^(-lambda t)), largest relative gap", gap.max(), 0, 0.1
    )
    phases = detect_phases(solution)
    ratio = phases.risk_time / predicted.risk_time
    outcome.check("time of generalisation, measured / predicted", ratio, 0.9, 1.1)
    outcome.check("delay, in learning times", phases.delay / phases.learning_time, 100, np.inf)

    runs, delays = [], []
    for start in config["starts"]:
        points = np.concatenate(
            [np.geomspace(0.1, 50.0, 40) / start**2, (drift + np.log(start)) / decay]
        )
        runs.append(
            dmft.simulate(
                _problem(start, decay), dimension=config["dimension"], seeds=config["seeds"],
                times=np.unique(points),
            )
        )  # fmt: skip
        delays.append(detect_phases(runs[-1]).delay)
    spread = spread_of_rescaled(
        [decay * r.time - np.log(a) for r, a in zip(runs, config["starts"], strict=True)],
        [r.excess_risk for r in runs], [1.0] * len(runs), drift[drift > -1.9],
    )  # fmt: skip
    outcome.check(
        "largest spread of five decades of starts in lambda t - log(alpha)", spread.max(), 0, 0.05
    )
    slope = np.polyfit(np.log(config["starts"]), delays, 1)[0]
    outcome.check("slope of the delay in log(alpha), times lambda", slope * decay, 0.98, 1.02)

    figure, axes = new_figure(3, f"Weight decay {decay:g}, sampling ratio 0.5, noise 0.1")
    later = solution.time > 0
    axes[0].plot(
        solution.time[later], solution.train_mse[later], color=COLOURS[0], label="training error"
    )
    axes[0].plot(
        solution.time[later], solution.excess_risk[later], color=COLOURS[1], label="excess risk"
    )
    axes[0].plot(times, theory, "--", color=COLOURS[7], label="$R(\\alpha e^{-\\lambda t})$")
    axes[0].axvline(predicted.risk_time, color=COLOURS[6], linestyle=":", label="predicted")
    axes[0].set(xscale="log", yscale="log", xlabel="time (units of the flow)", ylim=(1e-8, 3),
                title=f"mean field, start {config['solved']:g}")  # fmt: skip
    axes[0].legend(fontsize=8, loc="lower left")
    for result, start, shade in zip(runs, config["starts"], colours(len(runs)), strict=True):
        axes[1].plot(result.time[1:], result.excess_risk[1:], color=shade, label=f"{start:g}")
        axes[2].plot(decay * result.time - np.log(start), result.excess_risk, color=shade)
    axes[1].set(xscale="log", xlabel="time (units of the flow)", ylabel="excess risk",
                title=f"networks, d = {config['dimension']}")  # fmt: skip
    axes[1].legend(fontsize=8, title="start $\\alpha$")
    axes[2].plot(
        drift[inside], theory, "--", color=COLOURS[1], label="mean field, no free parameter"
    )
    axes[2].set(xlim=(-2, 3), xlabel="$\\lambda t - \\log\\alpha$", title="the same, collapsed")
    axes[2].legend(fontsize=8)
    figure.savefig(figure_path)
    return outcome


def _problem(start: float, decay: float) -> dmft.Problem:
    return dmft.Problem(network={"init_scale": start}, dynamics={"weight_decay": decay})


if __name__ == "__main__":
    run_alone(run, "grokking", __doc__)
