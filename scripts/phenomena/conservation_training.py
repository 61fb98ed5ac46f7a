"""Conservation laws of networks that learn images and text, under SGD.

A residual network and a vision transformer learn the 8 x 8 digits of scikit-learn, language
models in the style of GPT-2 and Qwen 3, dense and with experts, the characters of the reference
pages that come with Python. Each is trained for the same time (step size times steps) with three
step sizes and several seeds. The laws that the structure of the model gives drift in proportion
to the step size, and by exactly the sum of tau^2 g^T A g; differences of the same kind that are
no laws change by far more, whatever the step size. In the vision transformer a few rare, large
gradients make most of the drift, which then depends on the run more than on the step size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import COLOURS, Outcome, new_figure, run_alone
from conservation_models import MODELS, train

SMALL: dict[str, Any] = {
    "models": MODELS, "step_sizes": [0.1, 0.05, 0.025], "time": 8.0, "seeds": 2, "width": 16,
    "layers": 1, "batch": 16,
}  # fmt: skip
FULL = {**SMALL, "time": 16.0, "seeds": 5, "width": 32, "layers": 2, "batch": 32}
SLOWER = {"ViT": 0.4}  # of step sizes and time: where small steps begin
RARE_LARGE_GRADIENTS = ("ViT",)
CURVES = (
    ("baseline_drift", "no law", COLOURS[6], "s:"),
    ("drift", "quadratic laws", COLOURS[0], "o-"),
    ("explained", "sum of $\\tau^2 g^\\top A g$", COLOURS[1], "x--"),
)


def run(full: bool, figure_path: Path) -> Outcome:
    """Train every model with every step size and seed."""
    torch.set_num_threads(1)
    config = FULL if full else SMALL
    outcome = Outcome(
        "Conservation laws of networks in training", __doc__ or "", config, figure_path
    )
    figure, axes = new_figure(
        3, "Change of conserved quantities after the same time of training", rows=2
    )
    for name, place in zip(config["models"], axes, strict=False):
        tau = SLOWER.get(name, 1.0) * np.array(config["step_sizes"])
        table, numbers = _measure(name, config)
        for i, (_, label, colour, style) in enumerate(CURVES):
            mean, error = _mean(table[..., i])
            place.errorbar(
                tau, mean, 2 * error, fmt=style, color=colour, capsize=3, label=label, ms=5
            )
        mean, error = _mean(table[..., 3])
        place.errorbar(tau, mean, 2 * error, fmt="^-.", color=COLOURS[2], capsize=3, ms=5,
                       label="quadratic laws, relative to $|h(0)|$")  # fmt: skip
        place.set(xscale="log", yscale="log", xlabel="step size $\\tau$", title=name)
        place.set_xticks(tau, [f"{value:g}" for value in tau])
        place.minorticks_off()
        place.set_ylabel("mean change / size")
        _check(outcome, name, tau, table, numbers)
    for place in axes[len(config["models"]) :]:
        place.set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower right", bbox_to_anchor=(0.97, 0.12), fontsize=10)
    figure.savefig(figure_path)
    return outcome


def _measure(name: str, config: dict[str, Any]) -> tuple[np.ndarray, dict[str, float]]:
    """Medians over the quadratic laws, (step size, seed, curve), and the extremes of all runs."""
    table = []
    numbers = {"residual": 0.0, "linear": 0.0, "progress": np.inf, "gap": 0.0}
    slower = SLOWER.get(name, 1.0)
    for size in config["step_sizes"]:
        tau, steps = slower * size, max(2, round(config["time"] / size))
        rows = []
        for seed in range(config["seeds"]):
            found, record, first, last = train(
                name, lambda p, tau=tau: torch.optim.SGD(p, lr=tau), steps=steps, seed=seed,
                every=steps, width=config["width"], layers=config["layers"],
                batch=config["batch"],
            )  # fmt: skip
            quadratic = np.array([law.degree == 2 for law in found])
            curves = [getattr(record, curve)[-1, quadratic] for curve, *_ in CURVES]
            curves.append(record.relative_drift[-1, quadratic])
            rows.append([np.nanmedian(curve) for curve in curves])
            numbers["residual"] = max(numbers["residual"], record.residual.max())
            numbers["progress"] = min(numbers["progress"], first - last)
            drift, explained = record.drift[-1, quadratic], record.explained[-1, quadratic]
            gap = np.median(abs(drift - explained)) / np.median(drift)
            numbers["gap"] = max(numbers["gap"], float(gap))
            if not quadratic.all():
                numbers["linear"] = max(numbers["linear"], record.drift[-1, ~quadratic].max())
        table.append(rows)
    return np.array(table), numbers


def _mean(runs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return runs.mean(axis=1), runs.std(axis=1, ddof=1) / runs.shape[1] ** 0.5


def _check(
    outcome: Outcome, name: str, tau: np.ndarray, table: np.ndarray, numbers: dict[str, float]
) -> None:
    drift = table[..., 1].mean(axis=1)
    slope = np.polyfit(np.log(tau), np.log(drift), 1)[0]
    if name not in RARE_LARGE_GRADIENTS:
        outcome.check(f"{name}: exponent of the drift in the step size", slope, 0.7, 1.3)
    ratio = table[-1, :, 0].mean() / drift[-1]
    outcome.check(f"{name}: change of what is no law over the drift", ratio, 3, np.inf)
    outcome.check(f"{name}: largest unexplained change in a step", numbers["residual"], 0, 1e-5)
    outcome.check(f"{name}: drift over prediction, minus 1", numbers["gap"], 0, 0.02)
    outcome.check(f"{name}: drift of linear laws", numbers["linear"], 0, 1e-4)
    outcome.check(f"{name}: decrease of the loss", numbers["progress"], 0.01, np.inf)


if __name__ == "__main__":
    run_alone(run, "conservation_training", __doc__)
