"""Whether SGD sharpens or flattens is decided by the covariance of the data.

A rank-one factorisation U W of a linear map starts balanced, |U| = |W|, at the optimum of its
product, so that training moves along the fibre of equal losses only. The noise equilibrium is the
flattest point of that fibre exactly if the label noise is isotropic. With isotropic inputs the
start is the flattest point, and every anisotropy of the label noise, along the signal or away from
it, sharpens. With isotropic label noise and anisotropic inputs the start is not the flattest point,
and SGD flattens. The curves are the trace of the Hessian at the equilibrium of infinite data, the
crosses that of the samples, which differ from it in their fourth moments.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, Outcome, new_figure, run_alone

from dmft.symmetry import Training, train
from dmft.symmetry.balance import (
    balanced_parameters,
    flattest_trace,
    noise_matrices,
    population_matrices,
)
from dmft.symmetry.models import TwoLayerLinear

SMALL: dict[str, Any] = {
    "samples": 1000, "noise_std": 0.7, "signal": 1.5, "step_size": 0.012, "batch_size": 8,
    "steps": 40_000, "runs": 6, "noise_shares": [0.12, 0.25, 0.5, 0.75, 0.92],
    "input_shares": [0.06, 0.12, 0.25, 0.5, 0.85],
}  # fmt: skip
FULL = {
    **SMALL, "runs": 16, "steps": 200_000,
    "noise_shares": [0.06, 0.08, 0.15, 0.25, 0.35, 0.5, 0.65, 0.75, 0.85, 0.92],
    "input_shares": [0.05, 0.08, 0.12, 0.18, 0.25, 0.35, 0.5, 0.7, 0.85, 0.92],
}  # fmt: skip
WIDTH = 4
ISOTROPIC = 1.0 / WIDTH
MODEL = TwoLayerLinear(inputs=WIDTH, outputs=WIDTH, hidden=1)


def run(full: bool, figure_path: Path) -> Outcome:
    """Vary the anisotropy of the label noise, then that of the inputs."""
    config = FULL if full else SMALL
    outcome = Outcome("Progressive sharpening and flattening", __doc__ or "", config, figure_path)
    figure, axes = new_figure(3, "Rank-one factorisation, SGD from a balanced start")
    studies = (
        ("noise_shares", "label noise along the signal", lambda s: (ISOTROPIC, s)),
        ("input_shares", "input variance along the signal", lambda s: (s, ISOTROPIC)),
    )
    changes = {}
    for place, (name, label, shares) in zip(axes, studies, strict=False):
        rows = np.array([_study(*shares(share), config) for share in config[name]])
        start, mean, error, predicted = rows.T
        changes[name] = mean / start
        place.errorbar(
            config[name], mean / start, 2 * error / start, fmt="o", color=COLOURS[0], capsize=3,
            label="SGD, ±2 standard errors",
        )  # fmt: skip
        fine = np.geomspace(0.04, 0.95, 80)
        curve = np.array([_predicted(*shares(share), config) for share in fine])
        place.plot(
            fine,
            curve[:, 1] / curve[:, 0],
            color=COLOURS[1],
            label="noise equilibrium of infinite data",
        )
        place.plot(config[name], predicted / start, "x", color="black", label="of the samples")
        place.axhline(1.0, color=COLOURS[6], linewidth=0.8)
        place.axvline(ISOTROPIC, color=COLOURS[6], linewidth=0.8, linestyle=":", label="isotropic")
        place.set(xscale="log", xlabel=f"share of {label}", ylabel="trace of the Hessian / start")
        place.legend(fontsize=8)
        outcome.check(
            f"{label}: largest difference to the prediction", np.abs(mean / predicted - 1).max(),
            0, 0.03,
        )  # fmt: skip
    skewed = np.array(config["noise_shares"]) != ISOTROPIC
    outcome.check(
        "anisotropic label noise sharpens at least to, times the start",
        changes["noise_shares"][skewed].min(), 1.03, np.inf,
    )  # fmt: skip
    skewed = np.array(config["input_shares"]) != ISOTROPIC
    outcome.check(
        "anisotropic inputs flatten at most to, times the start",
        changes["input_shares"][skewed].max(), -np.inf, 0.97,
    )  # fmt: skip
    outcome.check(
        "isotropic noise: equilibrium over the flattest point, minus one", _excess(config), 0, 1e-10
    )
    _draw_curves(axes[2], config)
    figure.savefig(figure_path)
    return outcome


def _excess(config: dict[str, Any]) -> float:
    """How much sharper than the flattest point isotropic noise is, over all input shares."""
    found = []
    for share in config["input_shares"]:
        product, inputs, _ = _population(share, ISOTROPIC, config)
        found.append(_predicted(share, ISOTROPIC, config)[1] / flattest_trace(product, inputs) - 1)
    return float(np.abs(found).max())


def _population(
    input_share: float, noise_share: float, config: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Product, input and noise covariance; signal along the first input and the first output."""
    inputs, noise = (
        np.diag(WIDTH * np.r_[share, np.full(WIDTH - 1, (1 - share) / (WIDTH - 1))])
        for share in (input_share, noise_share)
    )
    product = np.zeros((WIDTH, WIDTH))
    product[0, 0] = config["signal"] / np.sqrt(inputs[0, 0])
    return product, inputs, config["noise_std"] ** 2 * noise


def _data(
    input_share: float, noise_share: float, config: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Samples whose covariances are exactly those of the population."""
    product, inputs, noise = _population(input_share, noise_share, config)
    plain = np.random.default_rng(0).standard_normal((config["samples"], 2 * WIDTH))
    plain -= plain.mean(axis=0)
    white = np.linalg.solve(np.linalg.cholesky(np.cov(plain.T, ddof=0)), plain.T).T
    x = white[:, :WIDTH] @ np.sqrt(inputs)
    return x, x @ product.T + white[:, WIDTH:] @ np.sqrt(noise)


def _start(product: np.ndarray) -> np.ndarray:
    root = np.sqrt(product[0, 0])
    return MODEL.join(root * np.eye(1, WIDTH), root * np.eye(WIDTH, 1))


def _predicted(
    input_share: float, noise_share: float, config: dict[str, Any]
) -> tuple[float, float]:
    """Trace of the Hessian at the start and at the equilibrium of infinite data."""
    product, inputs, noise = _population(input_share, noise_share, config)
    balanced = balanced_parameters(MODEL, product, population_matrices(inputs, noise))
    traces = []
    for theta in (_start(product), balanced):
        first, second = MODEL.split(theta)
        size = np.trace(inputs) * (second**2).sum()
        traces.append(2.0 * float(WIDTH * (first @ inputs @ first.T)[0, 0] + size))
    return traces[0], traces[1]


def _trained(input_share: float, noise_share: float, config: dict[str, Any]) -> Any:
    x, y = _data(input_share, noise_share, config)
    start = _start(_population(input_share, noise_share, config)[0])
    training = Training(
        step_size=config["step_size"], batch_size=config["batch_size"], steps=config["steps"],
        points=401,
    )  # fmt: skip
    return train(MODEL, x, y, training, np.tile(start, (config["runs"], 1)))


def _study(
    input_share: float, noise_share: float, config: dict[str, Any]
) -> tuple[float, float, float, float]:
    """Sharpness at the start; mean over the later half of SGD with its error; equilibrium."""
    run = _trained(input_share, noise_share, config)
    x, y = _data(input_share, noise_share, config)
    matrices = noise_matrices(MODEL, run.theta[0, 0], x, y)
    product = _population(input_share, noise_share, config)[0]
    predicted = MODEL.sharpness(balanced_parameters(MODEL, product, matrices), x, y)
    each = run.sharpness[len(run.step) // 2 :].mean(axis=0)
    error = each.std(ddof=1) / np.sqrt(len(each))
    return run.sharpness[0, 0], each.mean(), error, float(predicted)


def _draw_curves(axes: Any, config: dict[str, Any]) -> None:
    cases = (
        ("noise along the signal", (ISOTROPIC, config["noise_shares"][-1])),
        ("isotropic", (ISOTROPIC, ISOTROPIC)),
        ("inputs along the signal", (config["input_shares"][-1], ISOTROPIC)),
    )
    for (label, shares), colour in zip(cases, COLOURS, strict=False):
        run = _trained(*shares, config)
        # The average over runs and ten neighbouring records.
        curve = run.sharpness[:400].mean(axis=1).reshape(-1, 10).mean(axis=1)
        axes.plot(run.step[5:400:10], curve / run.sharpness[0, 0], color=colour, label=label)
        start, end = _predicted(*shares, config)
        axes.axhline(end / start, color=colour, linestyle="--", linewidth=1)
    axes.set(xlabel="step", ylabel="trace of the Hessian / start", ylim=(None, 1.45))
    axes.set_title("over time; dashed: noise equilibrium", fontsize=10)
    axes.locator_params(axis="x", nbins=5)
    axes.legend(fontsize=8)


if __name__ == "__main__":
    run_alone(run, "symmetry_sharpening", __doc__)
