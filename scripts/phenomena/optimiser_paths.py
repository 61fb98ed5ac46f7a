"""The paths of training at infinite width against step size, weight decay and batch size.

Measured by trajectory maps of the weights, which the mean field knows without any network: mean
directional similarity omega, straightness (displacement over length) and the angle between
successive updates. Larger steps up to half of the edge hardly change the path; weight decay makes
its ends less alike, not its shape. The noise of batches dominates it: updates of all small batches
make obtuse angles with the one before, paths are ten times longer and their checkpoints less alike,
and the weights they lead to generalise better, as the noise shrinks the charges.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, Outcome, new_figure, run_alone

import dmft

SMALL: dict[str, Any] = {
    "t_max": 20.0, "step_size": 0.1, "n_paths": 1024, "replicates": 4,
    "step_sizes": [0.05, 0.1, 0.15], "weight_decay": [0.0, 0.03, 0.1, 0.3],
    "batch_fraction": [1.0, 0.5, 0.2, 0.1],
}  # fmt: skip
FULL = {**SMALL, "n_paths": 4096, "step_sizes": [0.04, 0.05, 0.08, 0.1, 0.125, 0.14],
        "weight_decay": [0.0, 0.01, 0.03, 0.06, 0.1, 0.2, 0.3],
        "batch_fraction": [1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.07, 0.05]}  # fmt: skip
QUANTITIES = {
    "mean_directional_similarity": "mean directional similarity $\\omega$",
    "straightness": "straightness",
    "mean_update_angle": "mean angle of updates / 180°",
}  # fmt: skip


def run(full: bool, figure_path: Path) -> Outcome:
    """Maps of the path against one setting at a time."""
    config = FULL if full else SMALL
    outcome = Outcome("The paths of optimisers", __doc__ or "", config, figure_path)
    figure, axes = new_figure(3, "Sparse teacher, sampling ratio 0.5, time 20 of the flow")
    usual = config["step_size"]
    steps = _table(config, [{"kind": "gradient-descent", "step_size": s}
                            for s in config["step_sizes"]])  # fmt: skip
    decay = _table(config, [{"kind": "gradient-descent", "step_size": usual, "weight_decay": d}
                            for d in config["weight_decay"]])  # fmt: skip
    batch = _table(config, [{"kind": "sgd", "step_size": usual, "batch_fraction": q}
                            for q in config["batch_fraction"]])  # fmt: skip
    _draw(axes[0], config["step_sizes"], steps, "step size")
    _draw(axes[1], config["weight_decay"], decay, "weight decay")
    _draw(axes[2], config["batch_fraction"], batch, "batch size / n")
    axes[2].set(xscale="log")
    axes[0].legend(fontsize=8, loc="center left", bbox_to_anchor=(0.02, 0.42))
    figure.savefig(figure_path)
    outcome.check("largest step over smallest: ratio of straightness",
                  steps[-1, 1, 0] / steps[0, 1, 0], 0.9, 1.05)  # fmt: skip
    change = decay[0, 0, 0] - decay[-1, 0, 0]
    outcome.check("fall of omega by the largest decay, in errors",
                  change / np.hypot(decay[0, 0, 1], decay[-1, 0, 1]), 3, np.inf)  # fmt: skip
    outcome.check("straightness at the smallest batch over that of all samples",
                  batch[-1, 1, 0] / batch[0, 1, 0], 0.02, 0.2)  # fmt: skip
    outcome.check("least angle of updates with batches, in degrees",
                  180 * batch[1:, 2, 0].min(), 90, 120)  # fmt: skip
    fall = batch[0, 0, 0] - batch[-1, 0, 0]
    outcome.check("fall of omega by the smallest batch, in errors",
                  fall / np.hypot(batch[0, 0, 1], batch[-1, 0, 1]), 5, np.inf)  # fmt: skip
    outcome.check("excess risk at the smallest batch over that of all samples",
                  batch[-1, 3, 0] / batch[0, 3, 0], 0.4, 0.9)  # fmt: skip
    return outcome


def _table(config: dict[str, Any], dynamics: list[dict[str, Any]]) -> np.ndarray:
    """Values and errors of QUANTITIES and of the excess risk, shape (runs, 4, 2)."""
    rows = []
    for each in dynamics:
        solved = dmft.solve(
            dmft.Problem(dynamics=each), t_max=round(config["t_max"] / each["step_size"]),
            n_paths=config["n_paths"], replicates=config["replicates"],
        )  # fmt: skip
        scalars = solved.trajectory_map().scalars
        row = [np.array(scalars[name][:2], dtype=float) for name in QUANTITIES]
        row[2] /= 180.0
        rows.append([*row, np.array([solved.excess_risk[-1], solved.excess_risk_stderr[-1]])])
    return np.array(rows)


def _draw(axes: Any, settings: list[float], table: np.ndarray, label: str) -> None:
    names = [*QUANTITIES.values(), "excess risk"]
    for column, (name, colour) in enumerate(zip(names, COLOURS, strict=False)):
        axes.errorbar(settings, table[:, column, 0], 2 * table[:, column, 1], fmt="o-",
                      color=colour, capsize=3, label=name)  # fmt: skip
    axes.set(xlabel=label, ylim=(0, 1.05))
    axes.set_ylabel("$\\omega$, straightness, angle / 180°, excess risk", fontsize=8)


if __name__ == "__main__":
    run_alone(run, "optimiser_paths", __doc__)
