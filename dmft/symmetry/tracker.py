"""Records charges along a run, what the symmetry predicts for them, and the difference.

Two predictions are kept apart. `ChargeTracker` is told every step: C <- (1 - eta lambda)^2 C +
eta^2 g^T A g with the gradient that was applied holds to rounding, so its residual tests a training
program. `expected_drift` needs per-sample gradients at a few points only, and is what the noise
does on average.

With momentum the charge is one of two numbers that move together. With the buffer m' = beta m + g +
lambda theta, the direction d = m' (heavy ball) or g + lambda theta + beta m' (Nesterov) and
theta' = theta - eta d, the cross charge D = theta^T A m and theta^T A g = 0 give

    theta^T A m' = beta D + lambda C =: E,       D' = E - eta d^T A m',
    C' = C - 2 eta theta^T A d + eta^2 d^T A d,  theta^T A d = E, or lambda C + beta E (Nesterov).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dmft.errors import InputError
from dmft.symmetry.exponential import ExponentialSymmetry, Symmetries
from dmft.symmetry.gradients import Gradients, noise_power, per_sample_array


@dataclass(frozen=True, eq=False)
class ChargeRecord:
    """Charges along a run, or along several at once.

    step : recorded steps, shape (T,).
    charge : C_k, shape (T, ..., K).
    predicted : what the recursion makes of the first charge, same shape.
    size : sum_i |mu_i| (n_i . theta)^2 of each, the scale of a charge and of its rounding.
    names : of the symmetries.

    Units: charges are in squared parameters, time in steps.
    """

    step: np.ndarray
    charge: np.ndarray
    predicted: np.ndarray
    size: np.ndarray
    names: tuple[str, ...]

    @property
    def residual(self) -> np.ndarray:
        """(charge - predicted) / size: rounding if the run is (S)GD of a loss with the symmetry."""
        return np.asarray((self.charge - self.predicted) / np.where(self.size > 0, self.size, 1.0))


class ChargeTracker:
    """Follows the charges of theta <- (1 - eta lambda) theta - eta g, step by step.

    Call `record(step, theta)` wherever the charge is wanted, the first time before any step, and
    `step(gradient)` for every gradient that is applied. With `momentum` the buffers are those of
    PyTorch's SGD (dampening 0), made from the gradients; a run that has buffers of its own gives
    them to `step`.

    Example
    -------
    >>> import numpy as np
    >>> from dmft.symmetry import ChargeTracker, ExponentialSymmetry
    >>> theta = np.array([1.0, 0.5])  # u and v of the loss (u v - 1)^2 / 2
    >>> tracker = ChargeTracker([ExponentialSymmetry.diagonal([1.0, -1.0])], step_size=0.1)
    >>> for step in range(100):
    ...     tracker.record(step, theta)
    ...     gradient = (theta[0] * theta[1] - 1.0) * theta[::-1]
    ...     tracker.step(gradient)
    ...     theta = theta - 0.1 * gradient
    >>> bool(np.abs(tracker.result().residual).max() < 1e-14)
    True

    Units: charges are in squared parameters, step sizes in those over gradients; time in steps.
    """

    def __init__(
        self,
        symmetries: Sequence[ExponentialSymmetry] | Symmetries,
        step_size: float,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        *,
        nesterov: bool = False,
    ) -> None:
        self.symmetries = (
            symmetries if isinstance(symmetries, Symmetries) else Symmetries(symmetries)
        )
        self.step_size, self.weight_decay = step_size, weight_decay
        self.momentum, self.nesterov = momentum, nesterov
        self._buffer: np.ndarray | None = None
        self._cross: np.ndarray | float = 0.0
        self._predicted: np.ndarray | None = None
        self._rows: list[tuple[float, np.ndarray, np.ndarray, np.ndarray]] = []

    def record(self, step: float, theta: np.ndarray) -> None:
        """Note the charges of theta, shape (..., P).

        Raises
        ------
        InputError : parameters of another number.
        """
        if theta.shape[-1] != self.symmetries.parameters:
            raise InputError(
                f"given parameters of shape {theta.shape}, must be (..., "
                f"{self.symmetries.parameters})"
            )
        charge = self.symmetries.charges(theta)
        if self._predicted is None:
            self._predicted = charge
        self._rows.append((step, charge, self._predicted, self.symmetries.sizes(theta)))

    def step(
        self,
        gradient: np.ndarray,
        step_size: float | None = None,
        *,
        theta: np.ndarray | None = None,
        buffer: np.ndarray | None = None,
    ) -> None:
        """Account for one step with this gradient, at another step size if the run changes it.

        Parameters
        ----------
        gradient : of the batch, without weight decay, shape (..., P).
        theta : parameters before the step, needed for momentum with weight decay.
        buffer : the momentum buffer after the step; made from the gradients by default.

        Raises
        ------
        InputError : the start was not recorded, or `theta` is missing.
        """
        if self._predicted is None:
            raise InputError("given a step before the start was recorded, call `record` first")
        eta = self.step_size if step_size is None else step_size
        if self.momentum == 0.0:
            kept = (1.0 - eta * self.weight_decay) ** 2
            self._predicted = kept * self._predicted + eta**2 * self.symmetries.charges(gradient)
        else:
            self._with_momentum(np.asarray(gradient), eta, theta, buffer)

    def _with_momentum(
        self,
        gradient: np.ndarray,
        eta: float,
        theta: np.ndarray | None,
        buffer: np.ndarray | None,
    ) -> None:
        charges, beta, decay = self.symmetries, self.momentum, self.weight_decay
        pull = gradient
        if decay:
            if theta is None:
                raise InputError("not given, needed for momentum with weight decay", "theta")
            pull = gradient + decay * theta
        if buffer is None:
            buffer = pull if self._buffer is None else beta * self._buffer + pull
        direction = pull + beta * buffer if self.nesterov else buffer
        assert self._predicted is not None
        along = beta * self._cross + decay * self._predicted  # theta^T A m'
        met = decay * self._predicted + beta * along if self.nesterov else along
        self._cross = along - eta * charges.bilinear(direction, buffer)
        self._predicted = self._predicted - 2.0 * eta * met + eta**2 * charges.charges(direction)
        self._buffer = np.array(buffer)

    def result(self) -> ChargeRecord:
        """What was recorded so far."""
        if not self._rows:
            raise InputError("given no records, call `record` at least once")
        step, charge, predicted, size = map(np.array, zip(*self._rows, strict=True))
        return ChargeRecord(step, charge, predicted, size, self.symmetries.names)


def expected_drift(
    symmetries: Symmetries,
    theta: np.ndarray,
    gradients: Gradients,
    *,
    step_size: float,
    batch_size: int,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    nesterov: bool = False,
) -> np.ndarray:
    """Mean change of each charge in one step of SGD on these samples, drawn with replacement.

    E[dC] = ((1 - eta lambda)^2 - 1) C + eta^2 (g^T A g + Tr[A Sigma] / batch_size) with the mean g
    and the covariance Sigma of the per-sample gradients (samples, P). Shape (K,).

    With momentum beta, where gradients change little over 1 / (1 - beta) steps, eta becomes
    eta / (1 - beta), and the term of the mean gradient is larger by (1 + beta) / (1 - beta), or
    (1 - beta + 2 beta^2) / (1 - beta) of Nesterov's: the stationary solution of the law in
    `ChargeTracker`.

    Units: squared parameters per step.

    Parameters
    ----------
    symmetries : K of them, whose charges are followed.
    theta : parameters, shape (P,).
    gradients : per-sample gradients at theta, shape (samples, P), or a function that yields
        them.
    step_size : eta.
    batch_size : samples drawn for a step.
    weight_decay : lambda.
    momentum, nesterov : beta, and Nesterov's form of it.

    Raises
    ------
    InputError : gradients of the wrong shape.
    """
    rows = per_sample_array(gradients, np.asarray(theta))
    eta = step_size / (1.0 - momentum)
    odd = 1.0 - momentum + 2.0 * momentum**2 if nesterov else 1.0 + momentum
    memory = odd / (1.0 - momentum)
    noise = noise_power(rows, symmetries.directions) @ symmetries.values / batch_size
    charge = symmetries.charges(theta)
    # The decay pulls along theta, which no gradient meets.
    smooth = symmetries.charges(rows.mean(axis=0)) + weight_decay**2 * charge
    return np.asarray(-2.0 * eta * weight_decay * charge + eta**2 * (memory * smooth + noise))


def integrated(step: np.ndarray, drift: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The charges that a drift per step (T, K), known at some steps, makes of the first ones.

    Trapezoidal rule between the steps.
    """
    pieces = np.diff(step)[:, None] * (drift[1:] + drift[:-1]) / 2.0
    return np.asarray(np.vstack([first, first + np.cumsum(pieces, axis=0)]))
