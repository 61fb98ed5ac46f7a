"""Compiled optimisers: one step of one parameter, and of every coordinate of a network.

A rule moves one parameter p of one coordinate by its gradient gp, which is all it knows:
    p_new = rule(k, step, settings, p, gp, memory)
with k the number of steps made before, `step` the step size of this one and `memory` the numbers
that it keeps between steps, zeros at first, changed in place. `settings` are those of
`rule_of`. Rules are those of torch.optim (problem/dynamics.py, problem/optimisers.py).

The parameters of a coordinate are w itself on the linear network (depth 1), (u, v) with w = uv at
depth 2, (a, b) with w = (a^L - b^L)/L at depth L >= 3. Their gradients for a force g on w are
(g), (v g, u g) and (a^(L-1) g, -b^(L-1) g).
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from dmft.problem import Problem
from dmft.problem.dynamics import SGD, GradientDescent
from dmft.problem.networks import DEEP, DEPTH_TWO, LINEAR
from dmft.problem.optimisers import Adagrad, Adam, AdamW, RMSprop
from dmft.problem.user_optimiser import UserOptimiser
from dmft.solver.compiled import compiled

PLAIN, MOMENTUM, ADAM, ADAMW, RMSPROP, ADAGRAD = range(6)
# Numbers that a rule keeps for one parameter.
MEMORY = {PLAIN: 0, MOMENTUM: 1, ADAM: 2, ADAMW: 2, RMSPROP: 2, ADAGRAD: 1}


def rule_of(dynamics: Any) -> tuple[int, np.ndarray]:
    """Code and settings of the rule of some discrete dynamics.

    Raises
    ------
    ValueError : dynamics that no rule is known for.
    """
    decay = getattr(dynamics, "weight_decay", 0.0)
    if isinstance(dynamics, GradientDescent | SGD):
        code = MOMENTUM if dynamics.momentum else PLAIN
        return code, np.array([decay, dynamics.momentum, float(dynamics.nesterov)])
    if isinstance(dynamics, Adam | AdamW):
        code = ADAM if isinstance(dynamics, Adam) else ADAMW
        return code, np.array([decay, dynamics.beta1, dynamics.beta2, dynamics.epsilon])
    if isinstance(dynamics, RMSprop):
        return RMSPROP, np.array([decay, dynamics.momentum, dynamics.beta2, dynamics.epsilon])
    if isinstance(dynamics, Adagrad):
        return ADAGRAD, np.array([decay, dynamics.epsilon])
    raise ValueError(f"no rule for {dynamics!r}")


@compiled
def _plain(k, step, settings, p, gp, memory):
    return p - step * (gp + settings[0] * p)


@compiled
def _momentum(k, step, settings, p, gp, memory):
    gp += settings[0] * p
    memory[0] = settings[1] * memory[0] + gp
    return p - step * (gp + settings[1] * memory[0] if settings[2] != 0.0 else memory[0])


@compiled
def _ratio(m, root):
    """m / root, and 0 where nothing has been felt yet: there a parameter stays."""
    return m / root if root > 0.0 else 0.0


@compiled
def _adam(k, step, settings, p, gp, memory):
    beta1, beta2 = settings[1], settings[2]
    gp += settings[0] * p
    memory[0] = beta1 * memory[0] + (1.0 - beta1) * gp
    memory[1] = beta2 * memory[1] + (1.0 - beta2) * gp * gp
    root = math.sqrt(memory[1] / (1.0 - beta2 ** (k + 1))) + settings[3]
    return p - step / (1.0 - beta1 ** (k + 1)) * _ratio(memory[0], root)


@compiled
def _adamw(k, step, settings, p, gp, memory):
    beta1, beta2 = settings[1], settings[2]
    memory[0] = beta1 * memory[0] + (1.0 - beta1) * gp
    memory[1] = beta2 * memory[1] + (1.0 - beta2) * gp * gp
    root = math.sqrt(memory[1] / (1.0 - beta2 ** (k + 1))) + settings[3]
    kept = (1.0 - step * settings[0]) * p
    return kept - step / (1.0 - beta1 ** (k + 1)) * _ratio(memory[0], root)


@compiled
def _rmsprop(k, step, settings, p, gp, memory):
    gp += settings[0] * p
    memory[0] = settings[2] * memory[0] + (1.0 - settings[2]) * gp * gp
    memory[1] = settings[1] * memory[1] + _ratio(gp, math.sqrt(memory[0]) + settings[3])
    return p - step * memory[1]


@compiled
def _adagrad(k, step, settings, p, gp, memory):
    gp += settings[0] * p
    memory[0] += gp * gp
    return p - step * _ratio(gp, math.sqrt(memory[0]) + settings[1])


@compiled
def moved(code, k, step, settings, p, gp, memory):
    """The parameter after one step of the rule with this code; `memory` (slots,) is updated."""
    if code == 0:
        return _plain(k, step, settings, p, gp, memory)
    if code == 1:
        return _momentum(k, step, settings, p, gp, memory)
    if code == 2:
        return _adam(k, step, settings, p, gp, memory)
    if code == 3:
        return _adamw(k, step, settings, p, gp, memory)
    if code == 4:
        return _rmsprop(k, step, settings, p, gp, memory)
    if code == 5:
        return _adagrad(k, step, settings, p, gp, memory)
    raise ValueError("unknown optimiser")


@compiled
def power(x, n):
    """x^n for whole n >= 0, by multiplication: signs and zeros are those of the power."""
    result = 1.0
    for _ in range(n):
        result *= x
    return result


@compiled
def gradients(depth, first, second, g):
    """Gradients of the two parameters of a coordinate under a force g on w."""
    if depth == 1:
        return g, 0.0
    if depth == 2:
        return second * g, first * g
    return power(first, depth - 1) * g, -power(second, depth - 1) * g


@compiled
def weights(depth, first, second, w):
    """Fill w (n,) from the parameters (n,) of every coordinate."""
    for m in range(len(first)):
        if depth == 1:
            w[m] = first[m]
        elif depth == 2:
            w[m] = first[m] * second[m]
        else:
            w[m] = (power(first[m], depth) - power(second[m], depth)) / depth


@compiled
def advance(code, depth, k, step, settings, force, first, second, memory_first, memory_second):
    """One step of all coordinates in place.

    force : on w, shape (n,). memory_first, memory_second : of each parameter, shape (n, slots).
    """
    for m in range(len(first)):
        of_first, of_second = gradients(depth, first[m], second[m], force[m])
        first[m] = moved(code, k, step, settings, first[m], of_first, memory_first[m])
        if depth > 1:
            second[m] = moved(code, k, step, settings, second[m], of_second, memory_second[m])


@compiled
def all_gradients(depth, force, first, second, of_first, of_second):
    """Fill the gradients (n,) of both parameters of every coordinate."""
    for m in range(len(first)):
        of_first[m], of_second[m] = gradients(depth, first[m], second[m], force[m])


class Optimiser(Protocol):
    """What moves the parameters of all coordinates."""

    slots: int  # numbers that it keeps for one parameter

    def advance(
        self, k: int, step: float, force: np.ndarray, parameters: Any, memory: np.ndarray
    ) -> None:
        """One step in place.

        force : on w, shape (n,). parameters : two arrays (n,). memory : shape (2, n, slots).
        """
        ...


class Known:
    """An optimiser of this module."""

    def __init__(self, problem: Problem) -> None:
        self._depth = depth_of(problem)
        self._code, self._settings = rule_of(problem.dynamics)
        self.slots = MEMORY[self._code]

    def advance(
        self, k: int, step: float, force: np.ndarray, parameters: Any, memory: np.ndarray
    ) -> None:
        """See `Optimiser`."""
        advance(self._code, self._depth, k, step, self._settings, force, *parameters, *memory)


class UsersOwn:
    """An optimiser whose rule is the user's."""

    def __init__(self, problem: Problem, dynamics: UserOptimiser) -> None:
        self._depth = depth_of(problem)
        self._rule = dynamics.compiled()
        self.slots = dynamics.memory

    def advance(
        self, k: int, step: float, force: np.ndarray, parameters: Any, memory: np.ndarray
    ) -> None:
        """See `Optimiser`."""
        found = np.empty((2, len(force)))
        all_gradients(self._depth, force, *parameters, *found)
        for index in range(min(self._depth, 2)):
            self._rule.move(parameters[index], found[index], memory[index], k, step)


def optimiser_of(problem: Problem) -> Optimiser:
    """The optimiser of a problem in discrete dynamics."""
    if isinstance(problem.dynamics, UserOptimiser):
        return UsersOwn(problem, problem.dynamics)
    return Known(problem)


def depth_of(problem: Problem) -> int:
    """The depth L of the parameters that steps move, 1 if the network is linear.

    Raises
    ------
    ValueError : a network that is neither linear nor made of powers or products.
    """
    code = problem.network.code
    if code not in (LINEAR, DEPTH_TWO, DEEP):
        raise ValueError(f"unknown network {code}")
    return 1 if code == LINEAR else problem.network.depth
