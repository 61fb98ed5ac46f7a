"""Training of a model by SGD, gradient descent, or with injected noise, charges recorded.

Many runs advance together, along the leading axis of theta.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field
from scipy.sparse.linalg import LinearOperator, eigsh

from dmft.errors import InputError
from dmft.symmetry.exponential import Symmetries
from dmft.symmetry.models.base import Model
from dmft.symmetry.tracker import ChargeRecord, ChargeTracker
from dmft.validation import Settings

Method = Literal["sgd", "gd", "injected-noise"]
_DIVERGED = 1e6  # times the loss at the start, the labels squared, and one
_LOOK = 50  # steps between looks whether it has


def _known_optimizer(given: object) -> str:
    if given != "sgd":
        raise InputError(
            f"given {given!r}, must be 'sgd' (with momentum or without): steps that are rescaled "
            "per parameter, as of Adam, keep no charge and have no such equilibrium"
        )
    return "sgd"


class Training(Settings):
    """theta <- (1 - eta lambda) theta - eta g, and noise if it is injected.

    With momentum, m <- beta m + g + lambda theta and theta <- theta - eta m, or of Nesterov's
    theta <- theta - eta (g + lambda theta + beta m), as in PyTorch's SGD.

    method : "sgd" takes g on random batches, "gd" on all samples, "injected-noise" adds Gaussian
        noise of variance 2 eta temperature to gradient descent.
    step_size : eta.
    batch_size : samples of a batch, drawn with replacement.
    momentum : beta.
    nesterov : Nesterov's form of it.
    optimizer : "sgd"; others have no law for their charges and are refused.
    weight_decay : lambda; the loss is L + gamma |theta|^2 with gamma = lambda / 2.
    label_noise_std : standard deviation of noise drawn afresh for every label of every batch.
    temperature : of injected noise.
    steps : number of steps.
    warmup_steps : during these the step size grows linearly up to eta.
    runs : independent runs, from starts of their own.
    points : recorded steps, the first and the last among them.
    seed : starts, batches and noise derive from it.

    Units: one step takes the time step_size of the flow; loss that of the model.
    """

    method: Method = "sgd"
    step_size: float = Field(0.01, gt=0)
    batch_size: int = Field(1, ge=1)
    momentum: float = Field(0.0, ge=0, lt=1)
    nesterov: bool = False
    optimizer: Annotated[str, BeforeValidator(_known_optimizer)] = "sgd"
    weight_decay: float = Field(0.0, ge=0)
    label_noise_std: float = Field(0.0, ge=0)
    temperature: float = Field(0.01, ge=0)
    steps: int = Field(10_000, ge=1, le=100_000_000)
    warmup_steps: int = Field(0, ge=0)
    runs: int = Field(1, ge=1, le=10_000)
    points: int = Field(60, ge=2, le=10_000)
    seed: int = Field(0, ge=0)

    @property
    def noise_strength(self) -> float:
        """sigma^2 = step_size / (batch_size (1 - momentum)).

        It belongs to the time step_size / (1 - momentum) times the number of steps.
        """
        return self.step_size / (self.batch_size * (1.0 - self.momentum))

    @property
    def penalty(self) -> float:
        """gamma = weight_decay / 2."""
        return self.weight_decay / 2.0

    def step_size_at(self, step: int) -> float:
        """eta of a step, smaller during the warm-up."""
        if step >= self.warmup_steps:
            return self.step_size
        return self.step_size * (step + 1) / self.warmup_steps

    def recorded_steps(self) -> np.ndarray:
        """0, `steps`, and about `points` - 2 steps evenly between."""
        return np.unique(np.linspace(0, self.steps, self.points).round().astype(int))


@dataclass(frozen=True, eq=False)
class Run:
    """Several runs of one method, at T recorded steps.

    step : shape (T,).
    theta : parameters, shape (T, runs, P).
    charges : their charges and the exact prediction, (T, runs, K).
    loss, sharpness : on all samples, and the trace of its Hessian, shape (T, runs).
    training : the settings.
    status, reason : "done", or "not-converged" if a run diverged; records end before.

    Units: step in steps of the optimiser, loss that of the model, charges in squared
    parameters.
    """

    step: np.ndarray
    theta: np.ndarray
    charges: ChargeRecord
    loss: np.ndarray
    sharpness: np.ndarray
    training: Training
    status: str = "done"
    reason: str = ""


def starts_of(model: Model, training: Training) -> np.ndarray:
    """Random starts, shape (runs, P), the same for every method."""
    seeds = np.random.SeedSequence([training.seed, 2]).spawn(training.runs)
    return np.stack([model.start(np.random.default_rng(seed)) for seed in seeds])


def train(
    model: Model,
    x: np.ndarray,
    y: np.ndarray,
    training: Training,
    starts: np.ndarray | None = None,
    *,
    refuse_unstable: bool = True,
    progress: Callable[[float, str], None] | None = None,
) -> Run:
    """Train from random or given starts.

    Units: one step takes the time step_size of the flow; loss that of the model.

    Parameters
    ----------
    model : what is trained, see `dmft.symmetry.models`.
    training : method, step size, steps and the like.
    x, y : data, shapes (samples, inputs) and (samples, outputs).
    starts : shape (runs, P); random by default.
    refuse_unstable : check that the first step is stable at the start.
    progress : called with the fraction done and a text.

    Raises
    ------
    InputError : data or starts of the wrong shape, a batch larger than the data, a step size
        above the stability limit of the start.
    """
    starts = starts_of(model, training) if starts is None else np.asarray(starts, dtype=float)
    _check(model, x, y, training, starts)
    if refuse_unstable:
        _check_stability(model, x, y, training, starts)
    rng = np.random.default_rng(np.random.SeedSequence([training.seed, 3]))
    tracker = ChargeTracker(
        Symmetries(model.symmetries()), training.step_size, training.weight_decay,
        training.momentum, nesterov=training.nesterov,
    )  # fmt: skip
    buffer = np.zeros_like(starts)
    theta, kept, losses, sharpness = starts.copy(), [], [], []
    recorded = set(training.recorded_steps().tolist())
    status, reason = "done", ""
    with np.errstate(over="ignore", invalid="ignore"):
        for step in range(training.steps + 1):
            if step in recorded or step % _LOOK == 0:
                loss = model.losses(theta, x, y).mean(axis=-1)
                if step == 0:
                    # A start may be an exact fit that noise leaves again.
                    ceiling = _DIVERGED * (loss + (y**2).mean() + 1.0)
                if not (loss <= ceiling).all():
                    status, reason = "not-converged", f"diverged before step {step}"
                    break
                if progress is not None:
                    progress(step / training.steps, f"step {step}")
            if step in recorded:
                tracker.record(step, theta)
                kept.append(theta)
                losses.append(loss)
                sharpness.append(model.sharpness(theta, x, y))
            if step < training.steps:
                theta = _stepped(model, x, y, training, theta, step, rng, tracker, buffer)
    record = tracker.result()
    return Run(
        record.step, np.array(kept), record, np.array(losses), np.array(sharpness), training,
        status, reason,
    )  # fmt: skip


def _stepped(
    model: Model,
    x: np.ndarray,
    y: np.ndarray,
    training: Training,
    theta: np.ndarray,
    step: int,
    rng: np.random.Generator,
    tracker: ChargeTracker,
    buffer: np.ndarray,
) -> np.ndarray:
    """The parameters after one step; the momentum buffer is changed in place."""
    eta = training.step_size_at(step)
    if training.method == "sgd":
        chosen = rng.integers(len(x), size=(len(theta), training.batch_size))
        x, y = x[chosen], y[chosen]
    if training.label_noise_std:
        shape = (len(theta), x.shape[-2], y.shape[-1])
        y = y + training.label_noise_std * rng.standard_normal(shape)
    gradient = model.gradient(theta, x, y)
    if training.momentum:
        pull = gradient + training.weight_decay * theta
        buffer *= training.momentum
        buffer += pull
        tracker.step(gradient, eta, theta=theta, buffer=buffer)
        return theta - eta * (pull + training.momentum * buffer if training.nesterov else buffer)
    tracker.step(gradient, eta)
    theta = (1.0 - eta * training.weight_decay) * theta - eta * gradient
    if training.method == "injected-noise":
        theta += np.sqrt(2.0 * eta * training.temperature) * rng.standard_normal(theta.shape)
    return theta


def largest_curvature(model: Model, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Largest eigenvalue of the Hessian of the mean loss at theta (P,), to about 1 %."""

    def product(vector: np.ndarray) -> np.ndarray:
        size, length = float(np.linalg.norm(theta)), float(np.linalg.norm(vector))
        width = 1e-5 * max(size, 1e-8) / max(length, 1e-300)
        moved = np.stack([theta + width * vector.ravel(), theta - width * vector.ravel()])
        ahead, behind = model.gradient(moved, x, y)
        return np.asarray((ahead - behind) / (2.0 * width))

    if len(theta) < 3:
        matrix = np.stack([product(column) for column in np.eye(len(theta))])
        return float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[-1])
    operator = LinearOperator((len(theta),) * 2, matvec=product, dtype=float)
    first = np.random.default_rng(0).standard_normal(len(theta))
    return float(eigsh(operator, k=1, which="LA", tol=1e-3, v0=first, return_eigenvectors=False)[0])


def _check(
    model: Model, x: np.ndarray, y: np.ndarray, training: Training, starts: np.ndarray
) -> None:
    inputs, outputs = model.widths
    for name, array, width in (("x", x, inputs), ("y", y, outputs)):
        if np.ndim(array) != 2 or array.shape[1] != width or len(array) != len(x):
            raise InputError(f"given shape {np.shape(array)}, must be (samples, {width})", name)
        if not np.isfinite(array).all():
            raise InputError("holds NaN or infinity", name)
    if starts.ndim != 2 or starts.shape[1] != model.parameters:
        raise InputError(
            f"given shape {starts.shape}, must be (runs, {model.parameters})", "starts"
        )
    if training.momentum and training.method == "injected-noise":
        raise InputError("given with injected noise, must be 0 there", "training.momentum")
    if training.nesterov and not training.momentum:
        raise InputError("given without momentum", "training.nesterov")
    if training.batch_size > len(x):
        raise InputError(
            f"given {training.batch_size}, must be at most the number of samples {len(x)}",
            "training.batch_size",
        )


def _check_stability(
    model: Model, x: np.ndarray, y: np.ndarray, training: Training, starts: np.ndarray
) -> None:
    first = training.step_size_at(0)
    for number, theta in enumerate(starts):
        curvature = largest_curvature(model, theta, x, y) + training.weight_decay
        beta = training.momentum
        # Roots of the quadratic recursion at -1: Polyak's bound, and Nesterov's.
        bound = 2.0 * (1.0 + beta) / (1.0 + 2.0 * beta if training.nesterov else 1.0)
        if first * curvature > bound:
            raise InputError(
                f"given {first:.4g} for the first step, must be below {bound:.4g} / {curvature:.4g}"
                f" = {bound / curvature:.4g}, the stability limit at the start of run {number}",
                "training.step_size",
            )
