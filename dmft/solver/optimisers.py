"""Compiled optimisers: one step of one parameter by its gradient, whatever the network.

A rule moves one parameter p of one coordinate by its gradient gp, which is all it knows:
    p_new = rule(step, settings, p, gp, memory)
with `step` the step size of this one and `memory` the numbers that it keeps between steps, zeros
at first, changed in place. `settings` are those of `rule_of`; how far averages have come, the same
for all parameters, Adam is told before them. Rules are those of torch.optim
(problem/dynamics.py, problem/optimisers.py).
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

from dmft.solver.compiled import compiled

PLAIN, MOMENTUM, ADAM, ADAMW, RMSPROP, ADAGRAD, SIGN = range(7)
# Numbers that a rule keeps for one parameter.
MEMORY = {PLAIN: 0, MOMENTUM: 1, ADAM: 2, ADAMW: 2, RMSPROP: 2, ADAGRAD: 1, SIGN: 1}


# The rule of each kind of dynamics, and the settings that it knows beside the weight decay.
_RULES: dict[str, tuple[int, tuple[str, ...]]] = {
    "gradient-descent": (MOMENTUM, ("momentum", "nesterov")),
    "sgd": (MOMENTUM, ("momentum", "nesterov")),
    "adam": (ADAM, ("beta1", "beta2", "epsilon")),
    "adamw": (ADAMW, ("beta1", "beta2", "epsilon")),
    "rmsprop": (RMSPROP, ("momentum", "beta2", "epsilon")),
    "adagrad": (ADAGRAD, ("epsilon",)),
    "sign": (SIGN, ("momentum",)),
}


def rule_of(dynamics: Any) -> tuple[int, np.ndarray]:
    """Code and settings of the rule of some discrete dynamics.

    Raises
    ------
    ValueError : dynamics that no rule is known for.
    """
    if dynamics.kind not in _RULES:
        raise ValueError(f"no rule for {dynamics!r}")
    code, names = _RULES[dynamics.kind]
    if code == MOMENTUM and dynamics.momentum == 0.0:
        code = PLAIN
    return code, np.array([float(getattr(dynamics, name)) for name in ("weight_decay", *names)])


@compiled
def _plain(step, settings, p, gp, memory):
    return p - step * (gp + settings[0] * p)


@compiled
def _momentum(step, settings, p, gp, memory):
    gp += settings[0] * p
    memory[0] = settings[1] * memory[0] + gp
    return p - step * (gp + settings[1] * memory[0] if settings[2] != 0.0 else memory[0])


@compiled
def _ratio(m, root):
    """m / root, and 0 where nothing has been felt yet: there a parameter stays."""
    return m / root if root > 0.0 else 0.0


@compiled
def _corrections(k, settings):
    """What the averages of gradients and of their squares are of those without their start."""
    return 1.0 - settings[1] ** (k + 1), 1.0 - settings[2] ** (k + 1)


@compiled
def _adam(first, second, step, settings, p, gp, memory):
    beta1, beta2 = settings[1], settings[2]
    gp += settings[0] * p
    memory[0] = beta1 * memory[0] + (1.0 - beta1) * gp
    memory[1] = beta2 * memory[1] + (1.0 - beta2) * gp * gp
    root = math.sqrt(memory[1] / second) + settings[3]
    return p - step / first * _ratio(memory[0], root)


@compiled
def _adamw(first, second, step, settings, p, gp, memory):
    beta1, beta2 = settings[1], settings[2]
    memory[0] = beta1 * memory[0] + (1.0 - beta1) * gp
    memory[1] = beta2 * memory[1] + (1.0 - beta2) * gp * gp
    root = math.sqrt(memory[1] / second) + settings[3]
    kept = (1.0 - step * settings[0]) * p
    return kept - step / first * _ratio(memory[0], root)


@compiled
def _rmsprop(step, settings, p, gp, memory):
    gp += settings[0] * p
    memory[0] = settings[2] * memory[0] + (1.0 - settings[2]) * gp * gp
    memory[1] = settings[1] * memory[1] + _ratio(gp, math.sqrt(memory[0]) + settings[3])
    return p - step * memory[1]


@compiled
def _adagrad(step, settings, p, gp, memory):
    gp += settings[0] * p
    memory[0] += gp * gp
    return p - step * _ratio(gp, math.sqrt(memory[0]) + settings[1])


@compiled
def _sign(step, settings, p, gp, memory):
    memory[0] = settings[1] * memory[0] + (1.0 - settings[1]) * gp
    return (1.0 - step * settings[0]) * p - step * np.sign(memory[0])


@compiled
def _move(code, settings, parameters, gradients, memory, k, step):
    """One step of parameters (n,) in place, each with its gradient and memory (n, slots).

    A loop for each rule, so that what is the same for all parameters is computed once.
    """
    p, gp = parameters, gradients
    if code == 0:
        for m in range(len(p)):
            p[m] = _plain(step, settings, p[m], gp[m], memory[m])
    elif code == 1:
        for m in range(len(p)):
            p[m] = _momentum(step, settings, p[m], gp[m], memory[m])
    elif code == 2:
        first, second = _corrections(k, settings)
        for m in range(len(p)):
            p[m] = _adam(first, second, step, settings, p[m], gp[m], memory[m])
    elif code == 3:
        first, second = _corrections(k, settings)
        for m in range(len(p)):
            p[m] = _adamw(first, second, step, settings, p[m], gp[m], memory[m])
    elif code == 4:
        for m in range(len(p)):
            p[m] = _rmsprop(step, settings, p[m], gp[m], memory[m])
    elif code == 5:
        for m in range(len(p)):
            p[m] = _adagrad(step, settings, p[m], gp[m], memory[m])
    elif code == 6:
        for m in range(len(p)):
            p[m] = _sign(step, settings, p[m], gp[m], memory[m])
    else:
        raise ValueError("unknown optimiser")


class Optimiser(Protocol):
    """What moves parameters."""

    def move(
        self,
        parameters: np.ndarray,
        gradients: np.ndarray,
        memory: np.ndarray,
        step: int,
        step_size: float,
    ) -> None:
        """One step of parameters (n,) in place, each with its gradient and memory (n, slots)."""
        ...


class Known:
    """An optimiser of this module."""

    def __init__(self, code: int, settings: np.ndarray) -> None:
        self._code, self._settings = code, settings

    def move(
        self,
        parameters: np.ndarray,
        gradients: np.ndarray,
        memory: np.ndarray,
        step: int,
        step_size: float,
    ) -> None:
        """See `Optimiser`."""
        _move(self._code, self._settings, parameters, gradients, memory, step, step_size)


def optimiser_of(dynamics: Any) -> tuple[Optimiser, int]:
    """The optimiser of some discrete dynamics, and how many numbers it keeps for a parameter.

    A dynamics that has no rule here brings its own, as `UserOptimiser` does.
    """
    if dynamics.kind not in _RULES:
        return dynamics.compiled(), dynamics.memory
    code, settings = rule_of(dynamics)
    return Known(code, settings), MEMORY[code]
