"""With noisy labels the excess risk has a minimum before the end of training.

The network learns the teacher before it learns the noise, so stopping early is a regularisation.
In the linear model the best stopping time does almost as well as the best weight decay. Without
noise there is nothing to gain.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import COLOURS, Outcome, new_figure, run_alone
from scipy.optimize import minimize_scalar

import dmft
from dmft.theory import predict
from dmft.theory.linear import learning_curves

SMALL = {
    "t_max": 150.0,
    "sampling_ratio": 1.2,
    "noise": 0.7,
    "starts": [0.1, 1.0],
    "n_paths": 512,
    "replicates": 3,
}
FULL = {**SMALL, "t_max": 400.0, "starts": [0.1, 0.3, 1.0], "n_paths": 4096, "replicates": 6}


def run(full: bool, figure_path: Path) -> Outcome:
    """Exact curves of the linear model, solved curves of networks."""
    config = FULL if full else SMALL
    outcome = Outcome("Early stopping", __doc__ or "", config, figure_path)
    figure, (axes,) = new_figure(
        1, f"Sampling ratio {config['sampling_ratio']:g}, noise {config['noise']:g}"
    )

    linear = _problem(config, {"kind": "linear"})
    times = np.geomspace(1e-2, 1e3, 400)
    curve = learning_curves(linear, times).excess_risk

    def ridge_risk(log_decay: float) -> float:
        decayed = {"dynamics": {"kind": "gradient-flow", "weight_decay": float(np.exp(log_decay))}}
        return predict(dmft.Problem(**{**dict(linear), **decayed})).excess_risk

    ridge = minimize_scalar(ridge_risk, bounds=(-6, 4), method="bounded").fun
    limit = predict(linear).excess_risk
    outcome.check("linear model: best stopping / best weight decay", curve.min() / ridge, 1.0, 1.1)
    outcome.check("linear model: best stopping / end of training", curve.min() / limit, 0.0, 0.5)
    axes.plot(times, curve, color=COLOURS[6], label="linear model, exact")
    axes.axhline(ridge, color=COLOURS[6], linestyle=":", label="linear model, best weight decay")

    for start, colour in zip(config["starts"], COLOURS, strict=False):
        problem = _problem(config, {"init_scale": start})
        solution = dmft.solve(
            problem,
            t_max=config["t_max"],
            n_paths=config["n_paths"],
            replicates=config["replicates"],
        )
        later = solution.time > 0.01
        risk, error = solution.excess_risk[later], solution.excess_risk_stderr[later]
        best = int(risk.argmin())
        gain = (risk[-1] - risk[best]) / np.hypot(error[-1], error[best])
        outcome.check(f"start {start:g}: gain of stopping, in standard errors", gain, 5, np.inf)
        outcome.check(
            f"start {start:g}: best stopping / limit",
            risk[best] / predict(problem).excess_risk,
            0,
            0.7,
        )
        axes.plot(solution.time[later], risk, color=colour, label=f"network, start {start:g}")
        axes.plot(solution.time[later][best], risk[best], "o", color=colour)
        axes.fill_between(
            solution.time[later], risk - 2 * error, risk + 2 * error, color=colour, alpha=0.25
        )
    still = linear.model_copy(update={"noise_std": 0.0})
    clean = learning_curves(still, times).excess_risk
    outcome.check(
        "without noise: largest rise of the linear model's risk",
        np.diff(clean).max(),
        -np.inf,
        1e-12,
    )
    axes.axhline(
        limit, color=COLOURS[7], linestyle="--", linewidth=1, label="end of training, all networks"
    )
    axes.set(xscale="log", yscale="log", xlabel="time (units of the flow)", ylabel="excess risk")
    axes.legend(fontsize=8)
    figure.savefig(figure_path)
    return outcome


def _problem(config: dict, network: dict) -> dmft.Problem:
    return dmft.Problem(
        sampling_ratio=config["sampling_ratio"], noise_std=config["noise"], network=network
    )


if __name__ == "__main__":
    run_alone(run, "early_stopping", __doc__)
