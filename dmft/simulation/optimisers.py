"""Updates of finite networks: how parameters move along a gradient, one step at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from dmft.problem.dynamics import SGD, GradientDescent
from dmft.problem.optimisers import Adaptive, Optimiser
from dmft.problem.schedules import step_factors
from dmft.problem.user_optimiser import UserOptimiser

Optimised = GradientDescent | SGD | Optimiser | UserOptimiser


class Update(Protocol):
    """The map of one step, with whatever it remembers of earlier ones.

    coordinatewise : whether every parameter has a step size of its own, so that it matters which
        they are; descent along the gradient has one for all.
    """

    @property
    def coordinatewise(self) -> bool: ...

    def step(self, parameters: np.ndarray, slopes: np.ndarray, force: np.ndarray) -> np.ndarray:
        """The next parameters (k, d) from dw/dparameter (k, d) and the force X^T l' (d,)."""


@dataclass
class Descent:
    """parameters <- parameters - step gradient, with momentum if there is any."""

    dynamics: GradientDescent | SGD
    steps: np.ndarray
    done: int = 0
    memory: np.ndarray | float = 0.0
    coordinatewise = False

    def step(self, parameters: np.ndarray, slopes: np.ndarray, force: np.ndarray) -> np.ndarray:
        """See `Update`; momentum as in torch.optim.SGD."""
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
class Adapted:
    """An adaptive optimiser, whose rule is its own (problem/optimisers.py)."""

    dynamics: Adaptive
    steps: np.ndarray
    done: int = 0
    memory: dict[str, Any] = field(default_factory=dict)
    coordinatewise = True

    def step(self, parameters: np.ndarray, slopes: np.ndarray, force: np.ndarray) -> np.ndarray:
        """See `Update`."""
        k, self.done = self.done, self.done + 1
        return self.dynamics.moved(parameters, slopes * force, k, float(self.steps[k]), self.memory)


def update_of(dynamics: Optimised, steps: int) -> Update:
    """The update of a dynamics over at most `steps` steps, its step sizes scheduled."""
    sizes = dynamics.step_size * step_factors(dynamics.schedule, steps)
    if dynamics.coordinatewise:
        return Adapted(dynamics, sizes)
    return Descent(dynamics, sizes)
