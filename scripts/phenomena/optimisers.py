"""Momentum, Nesterov and Adam at equal training loss: speed, generalisation, effective start.

The flow keeps the charge u^2 - v^2 of every coordinate, and ends at the limit of its start. The
overshoots of momentum change charges and even their sign, unevenly over the coordinates: the mean
of |charge| says that training ends as from a smaller start, the excess risk says the opposite. Adam
moves all coordinates alike and ends beyond the kernel limit. Momentum at fixed step/(1 - momentum)
makes the path longer and its checkpoints less alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, Outcome, colours, new_figure, run_alone

import dmft
from dmft.theory import predict
from dmft.theory.tradeoff import trade_off

SMALL: dict[str, Any] = {
    "steps": 300, "level": 1e-3, "n_paths": 1024, "replicates": 4, "dimension": 400, "seeds": 8,
    "optimisers": {
        "gradient descent": {"kind": "gradient-descent", "step_size": 0.1},
        "heavy ball": {"kind": "gradient-descent", "step_size": 0.02, "momentum": 0.9},
        "Nesterov": {
            "kind": "gradient-descent", "step_size": 0.02, "momentum": 0.9, "nesterov": True,
        },
        "Adam": {"kind": "adam", "step_size": 0.01},
    },
    "momenta": [0.0, 0.5, 0.8, 0.9, 0.95],
    "flow_step": 0.1, "map_steps": 200,
}  # fmt: skip
FULL = {**SMALL, "n_paths": 4096, "dimension": 1600, "seeds": 16,
        "momenta": [0.0, 0.3, 0.5, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97]}  # fmt: skip


def run(full: bool, figure_path: Path) -> Outcome:
    """Compare the optimisers where their training error has fallen to the same level."""
    config = FULL if full else SMALL
    outcome = Outcome("What optimisers trade", __doc__ or "", config, figure_path)
    figure, axes = new_figure(3, "Sparse teacher of density 0.1, sampling ratio 0.5, noise 0.1")
    steps = _compare(config, outcome, axes)
    outcome.check(
        "steps of heavy ball over those of gradient descent",
        steps["heavy ball"] / steps["gradient descent"], 0.3, 0.95,
    )  # fmt: skip
    _maps(config, axes[2], outcome)
    figure.savefig(figure_path)
    return outcome


def _compare(config: dict[str, Any], outcome: Outcome, axes: list[Any]) -> dict[str, float]:
    """Steps to the level of every optimiser; their risks and effective starts."""
    steps = {}
    worst, allowed_bias = 0.0, np.hypot(10 / config["dimension"], 10 / config["n_paths"])
    for (name, dynamics), colour in zip(config["optimisers"].items(), COLOURS, strict=False):
        problem = dmft.Problem(dynamics=dynamics)
        solved = dmft.solve(
            problem, t_max=config["steps"], n_paths=config["n_paths"],
            replicates=config["replicates"],
        )  # fmt: skip
        networks = dmft.simulate(
            problem, t_max=config["steps"], dimension=config["dimension"], seeds=config["seeds"]
        )
        place = int(np.argmax(solved.train_mse < config["level"]))
        steps[name] = float(solved.time[place])
        axes[0].loglog(solved.train_mse, solved.excess_risk, color=colour, label=name)
        axes[0].plot(networks.train_mse, networks.excess_risk, "o", color=colour, markersize=3,
                     markerfacecolor="white")  # fmt: skip
        alpha, risk = solved.effective_alpha[place], solved.excess_risk[place]
        axes[1].errorbar(alpha, risk, 2 * solved.excess_risk_stderr[place],
                         xerr=2 * solved.effective_alpha_stderr[place], fmt="s", color=colour,
                         capsize=2, label=f"{name}, {steps[name]:g} steps")  # fmt: skip
        same = predict(dmft.Problem(network={"init_scale": float(alpha)})).excess_risk
        low, high = RANGES[name]
        outcome.check(f"{name}: effective alpha", alpha, *ALPHAS[name])
        outcome.check(
            f"{name}: excess risk over the limit of a flow from it", risk / same, low, high
        )
        at = np.searchsorted(networks.time, steps[name])
        there = solved.curve_at("excess_risk", networks.time[at])
        error = np.hypot(networks.excess_risk_stderr[at], allowed_bias * there)
        worst = max(worst, abs(networks.excess_risk[at] - there) / error)
    outcome.check("largest |network - mean field| of the risk, in errors", worst, 0, 3.5)
    curve = trade_off(dmft.Problem(), np.geomspace(1e-3, 1e1, 40))
    outcome.check("Adam: excess risk over that of the l2 norm", risk / curve.l2, 1.5, 4)
    axes[0].axvline(config["level"], color=COLOURS[6], linestyle=":")
    axes[0].set(xlim=(2, config["level"] / 5), xlabel="training error (falls to the right)",
                ylabel="excess risk")  # fmt: skip
    axes[0].legend(fontsize=8, title="lines: mean field, points: networks", title_fontsize=8)
    axes[1].loglog(curve.init_scale, curve.excess_risk, color=COLOURS[6], label="limits of flows")
    axes[1].axhline(curve.l2, color=COLOURS[6], linestyle=":", label="minimum $\\ell_2$ norm")
    axes[1].set(xlabel="start, or effective $\\alpha$", ylabel="excess risk")
    axes[1].legend(fontsize=8)
    return steps


ALPHAS = {
    "gradient descent": (0.28, 0.30), "heavy ball": (0.20, 0.25), "Nesterov": (0.20, 0.25),
    "Adam": (0.45, 0.70),
}  # fmt: skip
RANGES = {
    "gradient descent": (1.0, 1.25), "heavy ball": (1.8, 3.5), "Nesterov": (1.5, 3.0),
    "Adam": (4.0, 10.0),
}  # fmt: skip


def _maps(config: dict[str, Any], axes: Any, outcome: Outcome) -> None:
    """Similarity and straightness of the path against momentum, at fixed step/(1 - momentum)."""
    rows = []
    for momentum in config["momenta"]:
        problem = dmft.Problem(
            dynamics={
                "kind": "gradient-descent", "momentum": momentum,
                "step_size": config["flow_step"] * (1 - momentum),
            }
        )  # fmt: skip
        solved = dmft.solve(
            problem, t_max=config["map_steps"], n_paths=config["n_paths"],
            replicates=config["replicates"],
        )  # fmt: skip
        scalars = solved.trajectory_map().scalars
        rows.append([
            scalars[name] for name in ("mean_directional_similarity", "straightness", "length")
        ])  # fmt: skip
    table = np.array(rows)  # momentum, quantity, (value, error)
    labels = ("$\\omega$", "straightness", "length")
    for column, (label, colour) in enumerate(zip(labels, colours(3), strict=True)):
        axes.errorbar(config["momenta"], table[:, column, 0], 2 * table[:, column, 1], fmt="o-",
                      color=colour, capsize=3, label=label)  # fmt: skip
    axes.set(xlabel="momentum, at step/(1 - momentum) = 0.1", ylim=(0, None))
    axes.legend(fontsize=8)
    for column, name, sign in ((0, "omega", -1), (1, "straightness", -1), (2, "length", 1)):
        change = table[-1, column, 0] - table[0, column, 0]
        score = sign * change / np.hypot(table[-1, column, 1], table[0, column, 1])
        outcome.check(
            f"momentum: {'fall' if sign < 0 else 'rise'} of the {name}, in errors", score, 3, np.inf
        )


if __name__ == "__main__":
    run_alone(run, "optimisers", __doc__)
