"""Where optimisers end, from starts of every size: as which flow, kernel or rich.

A flow from the start alpha ends in the rich regime for small alpha and in the kernel regime, the
minimum l2 norm, for large. Gradient descent with a moderate step ends nearly there. Heavy ball ends
like a flow from a start two to four times larger, though its overshoots make |charge| smaller:
where it ends is no matter of the typical charge. Adam forgets its start: it makes charges of its
own, ends at nearly the same excess risk from every alpha, and that is above the kernel limit, where
no flow from equal starts ends.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, Outcome, new_figure, run_alone

import dmft
from dmft.theory.tradeoff import trade_off

SMALL: dict[str, Any] = {
    "init_scale": [0.03, 0.1, 0.3, 1.0, 2.0], "level": 1e-3, "steps": 600, "n_paths": 1024,
    "replicates": 3, "dimension": 500, "seeds": 4, "checked": [0.1, 1.0],
}  # fmt: skip
FULL = {**SMALL, "init_scale": [0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.5, 1.0, 1.4, 2.0],
        "n_paths": 4096, "replicates": 4, "dimension": 2000, "seeds": 8}  # fmt: skip
NAMES = ("gradient descent", "heavy ball", "Adam")


def run(full: bool, figure_path: Path) -> Outcome:
    """Train from every start up to the same training error."""
    config = FULL if full else SMALL
    outcome = Outcome("Where optimisers end", __doc__ or "", config, figure_path)
    figure, axes = new_figure(2, "Sparse teacher of density 0.1, sampling ratio 0.5, noise 0.1")
    limits = trade_off(dmft.Problem(), np.geomspace(1e-3, 1e2, 60))
    starts = np.array(config["init_scale"])
    found = {name: _ends(name, config) for name in NAMES}
    for (name, ends), colour in zip(found.items(), COLOURS, strict=False):
        risk, error, alpha = ends.T
        axes[0].errorbar(starts, risk, 2 * error, fmt="o-", color=colour, label=name, capsize=2)
        axes[1].loglog(starts, alpha, "o-", color=colour, label=f"{name}: effective $\\alpha$")
    axes[0].plot(limits.init_scale, limits.excess_risk, color=COLOURS[6], label="limits of flows")
    axes[0].axhline(limits.l2, color=COLOURS[6], linestyle=":", label="minimum $\\ell_2$ norm")
    axes[0].set(xscale="log", yscale="log", xlabel="start $\\alpha$", xlim=(0.02, 3),
                ylabel=f"excess risk at training error {config['level']:g}")  # fmt: skip
    same = np.interp(found["heavy ball"][:, 0], limits.excess_risk, limits.init_scale)
    small = found["heavy ball"][:, 0] < 0.9 * limits.l2
    axes[1].plot(starts[small], same[small], "s--", color=COLOURS[1], markerfacecolor="white",
                 label="heavy ball: start of a flow that ends there")  # fmt: skip
    axes[1].plot(starts, starts, color=COLOURS[6], linestyle=":", label="the start itself")
    axes[1].set(xlabel="start $\\alpha$", ylabel="$\\alpha$")
    for each in axes[:2]:
        each.legend(fontsize=8)
    figure.savefig(figure_path)
    _check(outcome, config, found, same[small] / starts[small])
    return outcome


def _problem(name: str, start: float) -> dmft.Problem:
    momentum = 0.9 if name == "heavy ball" else 0.0
    # Curvature at a large start is 2 alpha^2 times that of the data.
    step = min(0.1, 0.05 / start**2) * (0.2 if momentum else 1.0)
    dynamics: dict[str, Any] = {
        "kind": "gradient-descent", "step_size": step, "momentum": momentum
    }  # fmt: skip
    if name == "Adam":
        dynamics = {"kind": "adam", "step_size": 0.01}
    return dmft.Problem(network={"init_scale": start}, dynamics=dynamics)


def _ends(name: str, config: dict[str, Any]) -> np.ndarray:
    """Excess risk, its error and effective alpha where training has reached the level."""
    rows = []
    for start in config["init_scale"]:
        solved = dmft.solve(
            _problem(name, start), t_max=config["steps"], n_paths=config["n_paths"],
            replicates=config["replicates"],
        )  # fmt: skip
        at = int(np.argmax(solved.train_mse < config["level"]))
        assert at > 0, "trained to the level"
        rows.append(
            [solved.excess_risk[at], solved.excess_risk_stderr[at], solved.effective_alpha[at]]
        )
    return np.array(rows)


def _check(
    outcome: Outcome, config: dict[str, Any], found: dict[str, np.ndarray], larger: np.ndarray
) -> None:
    adam = found["Adam"][:, 0]
    outcome.check("Adam: largest over smallest excess risk, of all starts",
                  adam.max() / adam.min(), 1.0, 1.2)  # fmt: skip
    outcome.check("Adam: smallest excess risk", adam.min(), 0.9, 1.4)
    descent = found["gradient descent"][:, 0]
    outcome.check("gradient descent: the same ratio", descent.max() / descent.min(), 8, 40)
    for number, ratio in zip(("least", "largest"), (larger.min(), larger.max()), strict=True):
        outcome.check(f"heavy ball: {number} ratio of the start of the flow that ends there",
                      ratio, 1.4, 8)  # fmt: skip
    outcome.check("heavy ball: largest effective alpha over the start",
                  np.max(found["heavy ball"][:, 2] / config["init_scale"]), 0.5, 1.0)  # fmt: skip
    worst = 0.0
    for name in NAMES:
        for start in config["checked"]:
            index = config["init_scale"].index(start)
            networks = dmft.simulate(
                _problem(name, start), t_max=config["steps"], dimension=config["dimension"],
                seeds=config["seeds"], points=60,
            )  # fmt: skip
            at = int(np.argmax(networks.train_mse < config["level"]))
            risk, error = found[name][index, :2]
            allowed = np.hypot(np.hypot(networks.excess_risk_stderr[at], error), 0.05 * risk)
            worst = max(worst, abs(networks.excess_risk[at] - risk) / allowed)
    outcome.check("largest |network - mean field| of the risk, in errors and 5 %", worst, 0, 3.5)


if __name__ == "__main__":
    run_alone(run, "optimiser_ends", __doc__)
