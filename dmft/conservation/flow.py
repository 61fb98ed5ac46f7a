"""Gradient flow of a network in float64, by integrators that keep quadratic laws to rounding.

Collocation at Gauss points with s stages has order 2s; s = 1 is the implicit midpoint rule. All of
them conserve every linear and quadratic first integral of the flow exactly (Cooper 1987; Hairer,
Lubich, Wanner, "Geometric Numerical Integration", theorem IV.2.1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmft.conservation.architectures.base import Architecture
from dmft.conservation.draws import Draws
from dmft.conservation.dynamics import velocity
from dmft.conservation.fields import Fields
from dmft.conservation.rings import Reals
from dmft.conservation.tensor import Tensor, backward
from dmft.errors import NotConverged

_SWEEPS = 100
_HALVINGS = 30
_CONTRACTION = 0.5  # slower fixed-point iterations halve the step
_START = 0.02  # first step, as the fraction of its size that theta moves


@dataclass(frozen=True)
class Flow:
    """A solution of the gradient flow.

    points : (steps + 1, D) parameters. times : (steps + 1,). losses : (steps + 1,).
    """

    points: np.ndarray
    times: np.ndarray
    losses: np.ndarray


class RandomLoss:
    """A loss on random data: outputs z against targets y in every sample.

    For 'mse', the sum of (z - y)^2/2 + (z - y)^4/4, which is no quadratic function of the outputs;
    for 'cross-entropy', -log softmax(z)[class].
    """

    def __init__(self, architecture: Architecture, samples: int, seed: int) -> None:
        self._fields = Fields(architecture, Reals(), seed)
        self._draws = Draws(Reals(), np.random.default_rng([seed, 1]), samples, seed)
        self._targets = np.random.default_rng([seed, 2])
        self._y: np.ndarray | None = None
        self.architecture = architecture
        self.start = self._fields.point[0, 0]
        self.split = self._fields.split

    def gradient(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss, and its gradient (D,), both averaged over samples."""
        state = self.split(theta[None, None])
        tensors = {
            name: Tensor(Reals(), state[name], tracked=True)
            for name in self.architecture.parameters()
        }
        output = self.architecture.forward(tensors, self._draws.restart())
        loss, cotangent = self._loss(output.data[0])
        gradients = backward(output, cotangent[None], list(tensors.values()))
        samples = len(cotangent)
        parts = [
            np.broadcast_to(g[0], (samples, *g.shape[2:])).reshape(samples, -1) for g in gradients
        ]
        gradient = np.concatenate(parts, axis=1).mean(0)
        return loss, gradient

    def velocity(self, theta: np.ndarray) -> np.ndarray:
        """Velocity of a state of the flow of the architecture."""
        force = -self.gradient(theta)[1][None, None]
        rate = self._draws.rate()
        return velocity(self.architecture.flow, Reals(), force, theta[None, None], rate)[0, 0]

    def _loss(self, z: np.ndarray) -> tuple[float, np.ndarray]:
        if self.architecture.loss == "mse":
            if self._y is None:
                self._y = self._targets.standard_normal(z.shape)
            r = z - self._y
            return float((r**2 / 2 + r**4 / 4).sum() / len(z)), r + r**3
        if self._y is None:
            self._y = np.eye(z.shape[-1])[self._targets.integers(0, z.shape[-1], z.shape[:-1])]
        z = z - z.max(-1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
        return float(-(self._y * log_p).sum() / len(z)), np.exp(log_p) - self._y


def integrate(loss: RandomLoss, steps: int, *, stages: int = 1) -> Flow:
    """Follow the flow from `loss.start` over `steps` steps of collocation.

    A step moves theta by about 2 % at the start; it is halved where the stage equations do not
    contract well.

    Raises
    ------
    NotConverged : the stage equations have no solution near by, for any step.
    """
    a, b = gauss(stages)
    theta = loss.start
    speed = loss.velocity(theta)
    step = _START * float(np.linalg.norm(theta)) / (float(np.linalg.norm(speed)) or 1.0)
    points, times, losses = [theta], [0.0], [loss.gradient(theta)[0]]
    for _ in range(steps):
        slopes, step = _solve_stages(loss, theta, speed, step, a)
        theta = theta + step * (b @ slopes)
        speed = loss.velocity(theta)
        points.append(theta)
        times.append(times[-1] + step)
        losses.append(loss.gradient(theta)[0])
    return Flow(np.array(points), np.array(times), np.array(losses))


def gauss(stages: int) -> tuple[np.ndarray, np.ndarray]:
    """Matrix a and weights b of the Gauss collocation method."""
    nodes, weights = np.polynomial.legendre.leggauss(stages)
    c, b = (nodes + 1) / 2, weights / 2
    powers = np.arange(1, stages + 1)
    # a integrates the polynomials of degree < stages through the nodes exactly.
    a = np.linalg.solve((c[:, None] ** (powers - 1)).T, (c[:, None] ** powers / powers).T).T
    return a, b


def _solve_stages(
    loss: RandomLoss, theta: np.ndarray, speed: np.ndarray, step: float, a: np.ndarray
) -> tuple[np.ndarray, float]:
    """Slopes at the stages by fixed-point iteration, and the step with which it converges."""
    for _ in range(_HALVINGS):
        slopes = np.tile(speed, (len(a), 1))
        before = np.inf
        for _ in range(_SWEEPS):
            new = np.array([loss.velocity(theta + step * row) for row in a @ slopes])
            change = float(np.abs(new - slopes).max())
            slopes = new
            if change <= 1e-15 * np.abs(slopes).max():
                return slopes, step
            stalled = change > _CONTRACTION * before
            if stalled and change < 1e-13 * np.abs(slopes).max():
                return slopes, step  # at rounding level
            if stalled:
                break
            before = change
        step /= 2
    raise NotConverged("the stage equations of the flow did not converge for any step")
