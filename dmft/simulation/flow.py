"""Gradient flow of one finite-dimensional data set, by an L-stable Rosenbrock method.

The accumulated force stays in the row space of X, so the unknown has at most as many components as
there are samples or coordinates; `rates.py` has the forms for each loss. In it the Jacobian is that
of a loss that falls, and every stage solves a positive system by one Cholesky factorisation per
step, of a matrix never larger than min(n, d).

The flow is slow where weights are of the order of the initial scale and stiff where they have
grown. Stability limits an explicit method to steps of about 3/|H|, so its cost is proportional to
t, while here it grows like log t and does not depend on the start. Measured at d = 2000,
sampling ratio 0.5, one core: RK45 takes 0.7 s until t = 24, 3 s until 100 and 30 s per 1000; this
method 3.5, 4.8 and 8 s. One method is kept, the one that also reaches t = 1e4 and beyond.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dmft.errors import DmftError, InputError
from dmft.problem.losses import Hinge, Loss, Squared
from dmft.simulation.coordinates import Coordinates
from dmft.simulation.rates import rate_of
from dmft.simulation.rosenbrock import (
    COUPLING,
    GAMMA,
    ORDER,
    SLOPE,
    STAGES,
    STATE,
    TIME,
    dense_weights,
    end_weights,
)

_SQUARED = Squared()
_SAFETY, _SLOWEST, _FASTEST = 0.9, 0.2, 5.0
_SMALLEST_STEP = 1e-14
_MOST_STEPS = 1_000_000
# Below this fraction of its scale an error of the weights is no longer resolved relatively.
_FLOOR = 1e-6
# The error estimate of a step is rounding up to about this many units in the last place.
_ROUNDING = 1000.0 * float(np.finfo(np.float64).eps)


class IntegrationError(DmftError):
    """The flow could not be integrated to the requested accuracy; nothing is returned."""

    exit_code = 3


@dataclass(frozen=True)
class Trajectory:
    """Weights at the recorded times, shape (time, d), and the steps taken and refused."""

    weights: np.ndarray
    steps: int
    refused: int


def integrate(
    features: np.ndarray,
    labels: np.ndarray,
    start: Coordinates,
    times: np.ndarray,
    *,
    teacher: np.ndarray,
    variance: np.ndarray,
    rtol: float,
    loss: Loss = _SQUARED,
    progress: Callable[[float, float], None] | None = None,
) -> Trajectory:
    """Integrate the flow of sum_i l(h_i, y_i) + (weight_decay/2) |parameters|^2, h = Xw.

    Parameters
    ----------
    features, labels : X of shape (n, d) and y of shape (n,).
    start : the network at t = 0.
    times : recorded times, increasing, nonnegative, in units of the flow.
    teacher, variance : w* and s, shape (d,), the scales of the error.
    rtol : bound on the error of one step in w relative to |sqrt(s)(w - w*)|, in the slopes l'
        relative to their norm (until that is 1e-6 of its size at w = 0, 1e-9 for other losses than
        the squared), and in each a, b relative to its size.
    loss : l(h, y); the slopes are Xw - y for the squared loss.
    progress : called with the fraction of recorded times that are done, and the time.

    Raises
    ------
    InputError : the hinge loss, whose slope jumps.
    IntegrationError : the step size vanished or the weights overflowed.
    """
    require_slopes(loss)
    march = _March(features, labels, start, teacher, variance, rtol, loss)
    recorded = np.empty((len(times), features.shape[1]))
    done = int(np.searchsorted(times, 0.0, side="right"))
    recorded[:done] = march.weights
    while done < len(times):
        march.step()
        while done < len(times) and times[done] <= march.time:
            recorded[done] = march.weights_at(times[done])
            done += 1
        if progress is not None:
            progress(done / len(times), float(march.time))
    if not np.isfinite(recorded).all():
        raise IntegrationError("the gradient flow overflowed: its weights are not finite")
    return Trajectory(recorded, march.steps, march.refused)


def require_slopes(loss: Loss) -> None:
    """Refuse a loss along which no flow can be followed.

    Raises
    ------
    InputError : the hinge loss, whose slope jumps.
    """
    if isinstance(loss, Hinge):
        raise InputError(
            "given 'hinge', whose slope jumps: a flow needs squared, logistic, huber or poisson; "
            "'gradient-descent' takes any loss",
            "problem.loss.kind",
        )


class _March:
    """State of one integration, at `time`, with what interpolates the last step."""

    def __init__(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        start: Coordinates,
        teacher: np.ndarray,
        variance: np.ndarray,
        rtol: float,
        loss: Loss = _SQUARED,
    ) -> None:
        self.flow = rate_of(loss, features, labels)
        self.teacher, self.scale, self.rtol = teacher, np.sqrt(variance), rtol
        self.time, self.steps, self.refused = 0.0, 0, 0
        self.size_weights = float(np.linalg.norm(self.scale * teacher))
        self.here = start
        self.unknown = np.zeros(self.flow.unknowns)
        self.weights = start.weights(self.flow.force(self.unknown), 0.0)
        self.flow.linearise(self.weights, start.steepness())
        rate = self.flow.mean_rate() + start.damping + start.decay
        push = np.abs(start.sensitivity() * self._initial_force())
        self.next_step = 0.1 * rtol ** (1.0 / ORDER) / (rate + push.max() + 1e-300)

    def step(self) -> None:
        """Advance by one step whose error is within the tolerance."""
        while True:
            size = self.next_step
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                error = self._attempt(size)
            accepted = error <= 1.0
            if np.isfinite(error):
                factor = _SAFETY * max(error, 1e-10) ** (-1.0 / ORDER)
            else:
                factor = _SLOWEST
            self.next_step = size * min(max(factor, _SLOWEST), _FASTEST)
            if accepted:
                self.steps += 1
                return
            self.refused += 1
            if self.steps + self.refused > _MOST_STEPS:
                raise IntegrationError(
                    f"the gradient flow took {_MOST_STEPS} steps to reach t = {self.time:.6g}: "
                    f"raise rtol = {self.rtol:g} or record shorter times"
                )
            # Written so that a step size of NaN is refused as well.
            if not self.next_step > max(_SMALLEST_STEP * self.time, 1e-300):
                raise IntegrationError(
                    f"the gradient flow cannot proceed beyond t = {self.time:.6g}: "
                    f"no step, however small, meets rtol = {self.rtol:g}"
                )

    def weights_at(self, time: float) -> np.ndarray:
        """w at a time within the last step."""
        elapsed = time - self.last_time
        fraction = elapsed / self.last_size
        unknown = self.last_unknown + dense_weights(fraction) @ self.stages
        return self.before.weights(self.flow.force(unknown), elapsed)

    def _initial_force(self) -> np.ndarray:
        """G' at the start."""
        return self.flow.force(self.flow.at(self.weights))

    def _attempt(self, size: float) -> float:
        """Try one step; return its error in units of the tolerance and keep it if at most 1."""
        here, step = self.here, GAMMA * size
        if not self.flow.factorise(step, here.damping):
            return np.inf
        slope = self._explicit_slope()
        stages = np.zeros((STAGES, len(self.unknown)))
        for i in range(STAGES):
            rate = self._rate(self.unknown + STATE[i] @ stages, TIME[i] * size)
            right = rate + (COUPLING[i] @ stages) / size + size * SLOPE[i] * slope
            if not np.isfinite(right).all():
                return np.inf
            stages[i] = self.flow.solve(step * right)
        unknown = self.unknown + end_weights() @ stages
        force = self.flow.force(unknown)
        weights = here.weights(force, size)
        there = here.advanced(force, size)
        error = self._error(self.flow.force(stages[-1]), weights, there)
        if error <= 1.0:
            self.before, self.last_time, self.last_size = here, self.time, size
            self.last_unknown, self.stages = self.unknown, stages
            self.here, self.weights, self.time = there, weights, self.time + size
            self.unknown = np.zeros_like(unknown) if here.restarts else unknown
            self.flow.linearise(weights, there.steepness())
        return error

    def _error(self, miss: np.ndarray, weights: np.ndarray, there: Coordinates) -> float:
        """Error of a step, the largest of its three relative measures, over the tolerance."""
        change = there.steepness() * miss
        misfit = np.linalg.norm(self.scale * (weights - self.teacher))
        residual, size = self.flow.residual_norm(weights), self.flow.size
        rounding = np.linalg.norm(self.scale * (np.abs(weights) + there.magnitude()))
        bound_weights = self.rtol * (misfit + _FLOOR * self.size_weights)
        bound_residual = self.rtol * (residual + self.flow.floor * size)
        moved = self.flow.residual_change(weights, change)
        parts = (
            (self.scale * change, bound_weights + _ROUNDING * rounding),
            (moved, bound_residual + _ROUNDING * (rounding + size)),
            (there.sensitivity() * miss, self.rtol * len(miss) ** 0.5),
        )
        # A zero error is fine even on a zero scale (no teacher, no noise).
        ratios = [np.linalg.norm(error) / scale if error.any() else 0.0 for error, scale in parts]
        return float(np.max(np.array(ratios)))

    def _rate(self, unknown: np.ndarray, elapsed: float) -> np.ndarray:
        here = self.here
        rate = self.flow.at(here.weights(self.flow.force(unknown), elapsed))
        return np.exp(-here.growth * elapsed) * rate - here.damping * unknown

    def _explicit_slope(self) -> np.ndarray:
        """Partial time derivative of the rate at the start of the step."""
        here = self.here
        if not (here.decay or here.growth):
            return np.zeros_like(self.unknown)
        drift = self.flow.along(self.weights, -here.decay * self.weights)
        return drift - here.growth * self.flow.at(self.weights)
