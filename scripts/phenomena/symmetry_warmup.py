"""Warm-up takes training from sharp starts to the unique equilibrium; without it they diverge.

A rank-one factorisation starts at the usual scale, variance one over the fan-in, where the output
factor is far too large and the trace of the Hessian is several times that of the noise equilibrium.
The step size that suits the equilibrium is unstable at most starts, and without warm-up the
sharpest of them diverge. With a step size that grows linearly, SGD first relaxes the charge, and
with it the sharpness, and all starts arrive at the one value that the closed form predicts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, Outcome, colours, new_figure, run_alone

from dmft.symmetry import Training, train
from dmft.symmetry.balance import (
    NoiseMatrices,
    balanced_parameters,
    least_squares,
    noise_matrices,
)
from dmft.symmetry.models import TwoLayerLinear
from dmft.symmetry.training import largest_curvature, starts_of

SMALL: dict[str, Any] = {
    "samples": 400, "noise_std": 0.5, "step_size": 0.25, "batch_size": 16, "steps": 12_000,
    "warmup_steps": 4000, "runs": 12, "seed": 0,
}  # fmt: skip
FULL = {**SMALL, "runs": 48, "steps": 40_000}
MODEL = TwoLayerLinear(inputs=20, outputs=5, hidden=1)


def run(full: bool, figure_path: Path) -> Outcome:
    """Train the same starts with and without warm-up."""
    config = FULL if full else SMALL
    outcome = Outcome("Warm-up and the unique sharpness", __doc__ or "", config, figure_path)
    x, y = _data(config)
    warm = Training(
        step_size=config["step_size"], batch_size=config["batch_size"], steps=config["steps"],
        warmup_steps=config["warmup_steps"], runs=config["runs"], seed=config["seed"], points=301,
    )  # fmt: skip
    cold = warm.model_copy(update={"warmup_steps": 0})
    starts = starts_of(MODEL, warm)
    predicted, limit = _equilibrium(x, y)
    outcome.check("step size times curvature at the equilibrium, of 2",
                  config["step_size"] * limit / 2, 0, 0.7)  # fmt: skip
    curvature = np.array([largest_curvature(MODEL, start, x, y) for start in starts])
    unstable = config["step_size"] * curvature > 2.0
    outcome.check("share of starts where the step is unstable", unstable.mean(), 0.3, 1)
    with_it = train(MODEL, x, y, warm, starts)
    # One by one, as one that diverges ends the run of all.
    without = [
        train(
            MODEL, x, y, cold.model_copy(update={"seed": number}), start[None],
            refuse_unstable=False,
        )
        for number, start in enumerate(starts)
    ]  # fmt: skip
    diverged = np.array([found.status != "done" for found in without])
    outcome.check("without warm-up: share that diverges", diverged.mean(), 0.3, 1)
    survivors = curvature[~diverged].max(initial=0.0) / curvature[diverged].min(initial=np.inf)
    outcome.check("sharpest start that survives over flattest that does not", survivors, 0, 1.5)
    outcome.check("with warm-up: diverged", float(with_it.status != "done"), 0, 0)
    late = with_it.step > config["steps"] // 2
    end = with_it.sharpness[late].mean(axis=0)
    gap = np.abs(end.mean() / predicted - 1)
    outcome.check("with warm-up: sharpness against the equilibrium", gap, 0, 0.05)
    spread = {"start": np.std(np.log(with_it.sharpness[0])), "end": np.std(np.log(end))}
    outcome.check("spread of the starts in log sharpness", spread["start"], 0.5, np.inf)
    outcome.check("spread at the end", spread["end"], 0, 0.1)
    _draw(figure_path, with_it, without, predicted, config)
    return outcome


def _data(config: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    left, right = rng.standard_normal(5), rng.standard_normal(20)
    teacher = np.outer(left / np.linalg.norm(left), right / np.linalg.norm(right))
    x = rng.standard_normal((config["samples"], 20))
    noise = rng.standard_normal((config["samples"], 5))
    return x, x @ teacher.T + config["noise_std"] * noise


def _equilibrium(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Trace and largest eigenvalue of the Hessian at the noise equilibrium."""
    product = least_squares(x, y, 1)
    anywhere = balanced_parameters(MODEL, product, NoiseMatrices(np.eye(20), np.eye(5)))
    theta = balanced_parameters(MODEL, product, noise_matrices(MODEL, anywhere, x, y))
    return float(MODEL.sharpness(theta, x, y)), largest_curvature(MODEL, theta, x, y)


def _draw(
    path: Path, with_it: Any, without: list[Any], predicted: float, config: dict[str, Any]
) -> None:
    figure, axes = new_figure(
        2, f"Rank-one factorisation, {len(without)} starts of the usual scale"
    )
    shades = colours(len(without))
    order = np.argsort(with_it.sharpness[0])
    for shade, number in zip(shades, order, strict=True):
        axes[0].plot(with_it.step, with_it.sharpness[:, number], color=shade, linewidth=0.8)
    axes[0].axvline(config["warmup_steps"], color=COLOURS[6], linestyle=":", label="end of warm-up")
    axes[0].set_title("with warm-up", fontsize=10)
    failed = [found for found in without if found.status != "done"]
    for shade, number in zip(shades, order, strict=True):
        if without[number].status == "done":
            axes[1].plot(
                without[number].step, without[number].sharpness, color=shade, linewidth=0.8
            )
    starts = [found.sharpness[0, 0] for found in failed]
    axes[1].plot(
        np.zeros(len(starts)), starts, "x", color=COLOURS[1], label=f"diverged: {len(failed)} runs"
    )
    axes[1].set_title("without", fontsize=10)
    for place in axes:
        place.axhline(predicted, color="black", linestyle="--", label="noise equilibrium")
        place.set(xlabel="step", ylabel="trace of the Hessian", yscale="log", ylim=(20, 600))
        place.locator_params(axis="x", nbins=5)
        place.legend(fontsize=8)
    figure.savefig(path)


if __name__ == "__main__":
    run_alone(run, "symmetry_warmup", __doc__)
