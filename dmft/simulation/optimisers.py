"""Updates of finite networks: how parameters move along a gradient, one step at a time.

Formulas and defaults are those of torch.optim, with which the tests compare them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dmft.problem.dynamics import SGD, GradientDescent
from dmft.problem.optimisers import Adagrad, Adam, AdamW, RMSprop
from dmft.problem.schedules import step_factors
from dmft.problem.user_optimiser import UserOptimiser

Optimised = GradientDescent | SGD | Adam | AdamW | RMSprop | Adagrad | UserOptimiser


class Update(Protocol):
    """The map of one step, with whatever it remembers of earlier ones."""

    def step(self, parameters: np.ndarray, slopes: np.ndarray, force: np.ndarray) -> np.ndarray:
        """The next parameters (k, d) from dw/dparameter (k, d) and the force X^T l' (d,)."""


@dataclass
class Descent:
    """parameters <- parameters - step gradient, with momentum if there is any."""

    dynamics: GradientDescent | SGD
    steps: np.ndarray
    done: int = 0
    memory: np.ndarray | float = 0.0

    def step(self, parameters: np.ndarray, slopes: np.ndarray, force: np.ndarray) -> np.ndarray:
        step, decay = float(self.steps[self.done]), self.dynamics.weight_decay
        self.done += 1
        beta = self.dynamics.momentum
        if beta == 0.0:
            return (1.0 - step * decay) * parameters - step * slopes * force
        gradient = slopes * force + decay * parameters
        self.memory = beta * self.memory + gradient
        if self.dynamics.nesterov:
            return parameters - step * (gradient + beta * self.memory)
        return parameters - step * self.memory


@dataclass
class MovingAverages:
    """Adam and AdamW."""

    dynamics: Adam | AdamW
    steps: np.ndarray
    done: int = 0
    mean: np.ndarray | float = 0.0
    square: np.ndarray | float = 0.0

    def step(self, parameters: np.ndarray, slopes: np.ndarray, force: np.ndarray) -> np.ndarray:
        of, step = self.dynamics, float(self.steps[self.done])
        self.done += 1
        gradient = slopes * force
        if isinstance(of, AdamW):
            parameters = (1.0 - step * of.weight_decay) * parameters
        else:
            gradient = gradient + of.weight_decay * parameters
        self.mean = of.beta1 * self.mean + (1.0 - of.beta1) * gradient
        self.square = of.beta2 * self.square + (1.0 - of.beta2) * gradient**2
        mean = np.asarray(self.mean) / (1.0 - of.beta1**self.done)
        square = np.asarray(self.square) / (1.0 - of.beta2**self.done)
        return parameters - step * _scaled(mean, square, of.epsilon)


@dataclass
class SquaredGradients:
    """RMSprop and Adagrad: a running average or a sum of squared gradients."""

    dynamics: RMSprop | Adagrad
    steps: np.ndarray
    done: int = 0
    square: np.ndarray | float = 0.0
    memory: np.ndarray | float = 0.0

    def step(self, parameters: np.ndarray, slopes: np.ndarray, force: np.ndarray) -> np.ndarray:
        of, step = self.dynamics, float(self.steps[self.done])
        self.done += 1
        gradient = slopes * force + of.weight_decay * parameters
        beta = 0.0
        if isinstance(of, RMSprop):
            beta = of.momentum
            self.square = of.beta2 * self.square + (1.0 - of.beta2) * gradient**2
        else:
            self.square = self.square + gradient**2
        self.memory = beta * self.memory + _scaled(gradient, np.asarray(self.square), of.epsilon)
        return parameters - step * self.memory


class UsersOwn:
    """A rule of the user's own, parameter by parameter."""

    def __init__(self, dynamics: UserOptimiser, steps: np.ndarray) -> None:
        self._rule = dynamics.compiled()
        self._slots, self._steps = dynamics.memory, steps
        self._done = 0
        self._memory = np.zeros((0, 0))

    def step(self, parameters: np.ndarray, slopes: np.ndarray, force: np.ndarray) -> np.ndarray:
        if self._done == 0:
            self._memory = np.zeros((parameters.size, self._slots))
        moved = parameters.flatten()
        step = float(self._steps[self._done])
        self._rule.move(moved, (slopes * force).ravel(), self._memory, self._done, step)
        self._done += 1
        return moved.reshape(parameters.shape)


def update_of(dynamics: Optimised, steps: int) -> Update:
    """The update of a dynamics over at most `steps` steps, its step sizes scheduled."""
    sizes = dynamics.step_size * step_factors(dynamics.schedule, steps)
    if isinstance(dynamics, GradientDescent | SGD):
        return Descent(dynamics, sizes)
    if isinstance(dynamics, Adam | AdamW):
        return MovingAverages(dynamics, sizes)
    if isinstance(dynamics, UserOptimiser):
        return UsersOwn(dynamics, sizes)
    return SquaredGradients(dynamics, sizes)


def coordinatewise(dynamics: Optimised) -> bool:
    """Whether every parameter has a step size of its own, unlike descent along the gradient."""
    return not isinstance(dynamics, GradientDescent | SGD)


def _scaled(gradient: np.ndarray, square: np.ndarray, epsilon: float) -> np.ndarray:
    """gradient / (sqrt(square) + epsilon); 0 where no gradient was ever seen, at any epsilon."""
    size = np.sqrt(square) + epsilon
    return np.divide(gradient, size, out=np.zeros_like(gradient), where=size > 0.0)
