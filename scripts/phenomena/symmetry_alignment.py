"""Noise makes the layers of a network agree on a representation; gradient descent does not.

At the noise equilibrium of a two-layer network with isotropic label noise, W S_x W^T and U^T U are
proportional: what a hidden unit takes from the inputs and what it gives to the outputs align. A
network of tanh units has the symmetry behind this only approximately, where tanh is nearly linear,
and yet its layers align under SGD from every start. Gradient descent keeps what the start has put
into them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, Outcome, new_figure, run_alone

from dmft.symmetry import Training, train
from dmft.symmetry.models import TwoLayerTanh

SMALL: dict[str, Any] = {
    "samples": 1000, "noise_std": 0.4, "signals": [0.8, 0.6], "hidden": 4, "init_scale": 0.7,
    "step_size": 0.03, "steps": 20_000, "runs": 6, "seed": 0,
}  # fmt: skip
FULL = {**SMALL, "steps": 60_000, "runs": 24}
INPUTS, OUTPUTS = 6, 4
METHODS = {"sgd": ("SGD", COLOURS[0]), "gd": ("gradient descent", COLOURS[1])}


def run(full: bool, figure_path: Path) -> Outcome:
    """Train by both methods from the same starts, follow the cosine of the two matrices."""
    config = FULL if full else SMALL
    outcome = Outcome("Alignment of representations", __doc__ or "", config, figure_path)
    model = TwoLayerTanh(
        inputs=INPUTS, outputs=OUTPUTS, hidden=config["hidden"], init_scale=config["init_scale"]
    )
    x, y = _data(config)
    covariance = x.T @ x / len(x)
    runs = {}
    for method, steps in (("sgd", config["steps"]), ("gd", 4000)):
        training = Training(
            method=method, step_size=config["step_size"], steps=steps, runs=config["runs"],
            points=201, seed=config["seed"],
        )  # fmt: skip
        runs[method] = train(model, x, y, training)
    cosines = {
        method: _cosine(*_matrices(model, found.theta, covariance))
        for method, found in runs.items()
    }
    late = {method: values[101:].mean(axis=0) for method, values in cosines.items()}
    outcome.check("cosine at the start, mean over runs", cosines["sgd"][0].mean(), 0, 0.7)
    outcome.check("SGD: smallest cosine, later half", late["sgd"].min(), 0.9, 1)
    outcome.check("gradient descent: mean cosine, later half", late["gd"].mean(), 0, 0.85)
    error = np.hypot(*(values.std(ddof=1) / np.sqrt(len(values)) for values in late.values()))
    score = (late["sgd"].mean() - late["gd"].mean()) / error
    outcome.check("difference of the two, in standard errors", score, 4, np.inf)
    figure, axes = new_figure(3, "Two-layer tanh network: what units take and what they give")
    for method, (label, colour) in METHODS.items():
        share = runs[method].step / runs[method].step[-1]
        lines = axes[0].plot(share, cosines[method], color=colour, linewidth=0.8)
        lines[0].set_label(f"{label}, {runs[method].step[-1]} steps")
    axes[0].set(
        xlabel="share of the steps", ylabel="cosine of $W S_x W^\\top$ and $U^\\top U$",
        ylim=(0.0, 1.02),
    )  # fmt: skip
    axes[0].legend(fontsize=8)
    for place, (method, (label, _)) in zip(axes[1:], METHODS.items(), strict=True):
        averaged = [
            matrix[101:, 0].mean(axis=0)
            for matrix in _matrices(model, runs[method].theta, covariance)
        ]
        _draw_pair(place, averaged, label)
    figure.savefig(figure_path)
    return outcome


def _data(config: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    rank = len(config["signals"])
    right = np.linalg.qr(rng.standard_normal((INPUTS, INPUTS)))[0][:rank]
    left = np.linalg.qr(rng.standard_normal((OUTPUTS, OUTPUTS)))[0][:, :rank]
    x = rng.standard_normal((config["samples"], INPUTS))
    noise = rng.standard_normal((config["samples"], OUTPUTS))
    return x, x @ (left * config["signals"] @ right).T + config["noise_std"] * noise


def _matrices(
    model: TwoLayerTanh, theta: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    first, second = model.split(theta)
    return first @ covariance @ np.swapaxes(first, -1, -2), np.swapaxes(second, -1, -2) @ second


def _cosine(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    sizes = np.linalg.norm(left, axis=(-2, -1)) * np.linalg.norm(right, axis=(-2, -1))
    return np.asarray((left * right).sum(axis=(-2, -1)) / sizes)


def _draw_pair(axes: Any, pair: list[np.ndarray], label: str) -> None:
    """Both matrices of the first run side by side, each over its norm."""
    gap = np.full((len(pair[0]), 1), np.nan)
    both = np.hstack([pair[0] / np.linalg.norm(pair[0]), gap, pair[1] / np.linalg.norm(pair[1])])
    image = axes.imshow(both, cmap="RdBu_r", vmin=-0.8, vmax=0.8)
    axes.set_title(f"{label}: $W S_x W^\\top$ and $U^\\top U$, over their norms", fontsize=9)
    axes.grid(visible=False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.figure.colorbar(image, ax=axes, shrink=0.6)


if __name__ == "__main__":
    run_alone(run, "symmetry_alignment", __doc__)
