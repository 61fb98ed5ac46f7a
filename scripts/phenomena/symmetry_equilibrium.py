"""SGD forgets its start: the charges of a two-layer linear network go to one noise equilibrium.

Gradient descent keeps the charge matrix W W^T - U^T U of its start for ever. Mini-batch noise moves
it until W Gamma_W W^T = U^T Gamma_U U, which has one solution among all factors of the same product
U W, up to rotations of the hidden units. Five starts, far from it and from each other, reach the
solution known in closed form; so do the roots of the Noether flow. The balance is that of the
average over time: at any moment the factors fluctuate about it by some percent, and at finite
steps the hidden units rotate slowly and steadily, which leaves an imbalance of one or two percent
that falls with the step size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, Outcome, new_figure, run_alone

from dmft.symmetry import (
    ExponentialSymmetry,
    Run,
    Training,
    noise_equilibrium,
    orbit_through,
    train,
)
from dmft.symmetry.balance import (
    NoiseMatrices,
    balanced_parameters,
    least_squares,
    noise_matrices,
)
from dmft.symmetry.models import TwoLayerLinear

SMALL: dict[str, Any] = {
    "samples": 400, "noise_std": 0.5, "input_variances": [1.6, 1.2, 0.8, 0.6],
    "noise_variances": [1.5, 1.0, 0.6], "step_size": 0.01, "batch_size": 2, "steps": 60_000,
    "runs": 5, "seed": 1,
}  # fmt: skip
FULL = {**SMALL, "step_size": 0.005, "batch_size": 1, "steps": 240_000}
MODEL = TwoLayerLinear(inputs=4, outputs=3, hidden=2)
_POINTS = 1001


def run(full: bool, figure_path: Path) -> Outcome:
    """Train from five starts by SGD and by gradient descent, compare with the closed form."""
    config = FULL if full else SMALL
    outcome = Outcome(
        "Charge equilibrium of a two-layer network", __doc__ or "", config, figure_path
    )
    x, y = _data(config)
    training = Training(
        step_size=config["step_size"], batch_size=config["batch_size"], steps=config["steps"],
        runs=config["runs"], seed=config["seed"], points=_POINTS,
    )  # fmt: skip
    sgd = train(MODEL, x, y, training)
    gd = train(MODEL, x, y, training.model_copy(update={"method": "gd", "steps": 5000}))
    closed, matrices = _closed_form(x, y)
    outcome.check("closed form: imbalance", matrices.imbalance(MODEL, closed), 0, 1e-12)
    outcome.check("roots of 5 random symmetries there, |lambda|", _roots(closed, x, y), 0, 1e-10)
    late = slice(_POINTS // 2, None)
    sides = _sides(sgd, x, y)  # (T, runs, 2, hidden, hidden)
    residual = _mismatch(sides[late].mean(axis=0))
    for number, value in enumerate(residual):
        outcome.check(f"SGD from start {number + 1}: imbalance of the average", value, 0, 0.03)
    start = matrices.imbalance(MODEL, sgd.theta[0])
    outcome.check("smallest imbalance of a start", start.min(), 0.5, np.inf)
    spectra = {"sgd": _spectra(sgd.theta), "gd": _spectra(gd.theta)}
    known = _spectra(closed)
    gap = np.abs(spectra["sgd"][late].mean(axis=(0, 1)) - known).max() / np.ptp(known)
    outcome.check("SGD: charge eigenvalues against the closed form, of their gap", gap, 0, 0.05)
    kept = np.abs(spectra["gd"][-1] - spectra["gd"][0]).max() / np.ptp(spectra["gd"][0])
    outcome.check("gradient descent: change of charge eigenvalues, of their range", kept, 0, 0.03)
    still = matrices.imbalance(MODEL, gd.theta[-1]).min()
    outcome.check("gradient descent: smallest imbalance at the end", still, 0.05, np.inf)
    exact = np.abs(np.concatenate([sgd.charges.residual, gd.charges.residual])).max()
    outcome.check("charges minus the exact recursion, of their scale", exact, 0, 1e-12)
    _draw(figure_path, sgd, gd, sides, spectra, known, matrices)
    return outcome


def _data(config: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(12)
    left, _, right = np.linalg.svd(rng.standard_normal((3, 4)))
    teacher = (left[:, :2] * [1.5, 1.0]) @ right[:2]
    x = rng.standard_normal((config["samples"], 4)) * np.sqrt(config["input_variances"])
    noise = rng.standard_normal((config["samples"], 3)) * np.sqrt(config["noise_variances"])
    return x, x @ teacher.T + config["noise_std"] * noise


def _closed_form(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, NoiseMatrices]:
    """The equilibrium at the best product of rank two, and its noise matrices."""
    product = least_squares(x, y, MODEL.hidden)
    anywhere = balanced_parameters(MODEL, product, NoiseMatrices(np.eye(4), np.eye(3)))
    matrices = noise_matrices(MODEL, anywhere, x, y)
    return balanced_parameters(MODEL, product, matrices), matrices


def _roots(closed: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Largest lambda* of random symmetries W -> exp(lambda B) W at the closed form."""
    rng = np.random.default_rng(0)
    rows = MODEL.per_sample(closed, x, y)
    found = []
    for _ in range(5):
        matrix = sum(rng.standard_normal() * each.matrix() for each in MODEL.symmetries())
        orbit = orbit_through(ExponentialSymmetry.of(matrix), closed, rows, noise_strength=0.01)
        found.append(abs(noise_equilibrium(orbit).lam[0]))
    return float(max(found))


def _sides(run: Run, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """W Gamma_W W^T and U^T Gamma_U U at every record, with the noise matrices of that moment."""
    return np.array([
        [noise_matrices(MODEL, theta, x, y).sides(MODEL, theta) for theta in runs]
        for runs in run.theta
    ])  # fmt: skip


def _mismatch(sides: np.ndarray) -> np.ndarray:
    left, right = sides[..., 0, :, :], sides[..., 1, :, :]
    sizes = [np.linalg.norm(side, axis=(-2, -1)) for side in (left, right)]
    return np.asarray(2.0 * np.linalg.norm(left - right, axis=(-2, -1)) / (sizes[0] + sizes[1]))


def _spectra(theta: np.ndarray) -> np.ndarray:
    first, second = MODEL.split(theta)
    swapped = np.swapaxes
    return np.linalg.eigvalsh(first @ swapped(first, -1, -2) - swapped(second, -1, -2) @ second)


def _draw(
    path: Path,
    sgd: Run,
    gd: Run,
    sides: np.ndarray,
    spectra: dict[str, np.ndarray],
    known: np.ndarray,
    matrices: NoiseMatrices,
) -> None:
    figure, axes = new_figure(3, "Two-layer linear network from five starts")
    smooth = 50
    windows = np.array([sides[i : i + smooth].mean(axis=0) for i in range(len(sides) - smooth)])
    axes[0].plot(
        sgd.step[smooth // 2 : -smooth // 2], _mismatch(windows), color=COLOURS[0], linewidth=1
    )
    end = sgd.step[-1]
    for value in matrices.imbalance(MODEL, gd.theta[-1]):
        axes[0].plot([0, end], [value, value], "--", color=COLOURS[1], linewidth=1)
    axes[0].plot([], [], color=COLOURS[0], label=f"SGD, average over {smooth} records")
    axes[0].plot([], [], "--", color=COLOURS[1], label="gradient descent, at its end")
    axes[0].set(yscale="log", xlabel="step", ylabel="imbalance", ylim=(1e-3, 3))
    axes[0].set_title(r"$|W\Gamma_W W^\top - U^\top\Gamma_U U|$, relative", fontsize=10)
    for place, name, run in ((axes[1], "sgd", sgd), (axes[2], "gd", gd)):
        for number in range(spectra[name].shape[1]):
            place.plot(run.step, spectra[name][:, number], color=COLOURS[number], linewidth=0.9)
        for value in known:
            place.axhline(value, color="black", linestyle="--", linewidth=1.2)
        place.plot([], [], "--", color="black", label="noise equilibrium")
        place.set(xlabel="step", ylabel="eigenvalues of $WW^\\top - U^\\top U$")
    axes[1].set_title("SGD", fontsize=10)
    axes[2].set_title("gradient descent", fontsize=10)
    axes[2].set_ylim(axes[1].get_ylim())
    for place in axes:
        place.legend(fontsize=8)
        place.locator_params(axis="x", nbins=5)
    figure.savefig(path)


if __name__ == "__main__":
    run_alone(run, "symmetry_equilibrium", __doc__)
