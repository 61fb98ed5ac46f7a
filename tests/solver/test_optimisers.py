"""The compiled optimisers: NumPy twins for every kind, networks of every depth."""

from __future__ import annotations

import numpy as np
import pytest

from dmft import Problem
from dmft.solver.networks import parameter_gradients, parameter_weights
from dmft.solver.optimisers import Known, optimiser_of, rule_of

STEPS = 7
KINDS = {
    "descent": {"kind": "gradient-descent", "weight_decay": 0.3},
    "heavy ball": {"kind": "sgd", "momentum": 0.9, "weight_decay": 0.3},
    "nesterov": {"kind": "sgd", "momentum": 0.9, "nesterov": True},
    "adam": {"kind": "adam", "weight_decay": 0.2, "beta2": 0.99, "epsilon": 1e-3},
    "adamw": {"kind": "adamw", "weight_decay": 0.2, "beta1": 0.5},
    "rmsprop": {"kind": "rmsprop", "momentum": 0.7, "weight_decay": 0.1},
    "adagrad": {"kind": "adagrad", "weight_decay": 0.1},
    "sign": {"kind": "sign", "weight_decay": 0.1},
    "signum": {"kind": "sign", "momentum": 0.8},
}


def forces() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((STEPS, 5))


def moved(dynamics, depth: int) -> np.ndarray:
    """Parameters after steps under given forces, compiled; shape (2, 5)."""
    start = np.random.default_rng(4).uniform(0.4, 0.9, (2, 5))
    optimiser, slots = optimiser_of(dynamics)
    memory, gradients = np.zeros((2, 5, slots)), np.empty((2, 5))
    for k, force in enumerate(forces()):
        parameter_gradients(depth, np.inf, force, start, gradients)
        for each in zip(start[:depth], gradients, memory, strict=False):
            optimiser.move(*each, k, 0.05 * (k + 1))
    return start


def twin(dynamics, depth: int) -> np.ndarray:
    """The same in NumPy, from the formulas of the settings' docstrings."""
    p = np.random.default_rng(4).uniform(0.4, 0.9, (2, 5))
    m, s = np.zeros_like(p), np.zeros_like(p)
    kind, decay = dynamics.kind, dynamics.weight_decay
    for k, force in enumerate(forces()):
        eta = 0.05 * (k + 1)
        u, v = p
        slopes = {1: (1.0, 0.0), 2: (v, u)}.get(depth, (u ** (depth - 1), -(v ** (depth - 1))))
        g = np.array([slope * force for slope in slopes])
        g = g if kind in ("adamw", "sign") else g + decay * p
        if kind in ("gradient-descent", "sgd"):
            m = dynamics.momentum * m + g
            p = p - eta * (g + dynamics.momentum * m if dynamics.nesterov else m)
        elif kind in ("adam", "adamw"):
            m = dynamics.beta1 * m + (1 - dynamics.beta1) * g
            s = dynamics.beta2 * s + (1 - dynamics.beta2) * g**2
            direction = m / (1 - dynamics.beta1 ** (k + 1))
            direction = direction / (
                np.sqrt(s / (1 - dynamics.beta2 ** (k + 1))) + dynamics.epsilon
            )
            p = (p * (1 - eta * decay) if kind == "adamw" else p) - eta * direction
        elif kind == "rmsprop":
            s = dynamics.beta2 * s + (1 - dynamics.beta2) * g**2
            m = dynamics.momentum * m + g / (np.sqrt(s) + dynamics.epsilon)
            p = p - eta * m
        elif kind == "sign":
            m = dynamics.momentum * m + (1 - dynamics.momentum) * g
            p = p * (1 - eta * decay) - eta * np.where(m > 0, 1.0, np.where(m < 0, -1.0, 0.0))
        else:
            s = s + g**2
            p = p - eta * g / (np.sqrt(s) + dynamics.epsilon)
    return p


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("dynamics", KINDS.values(), ids=KINDS)
def test_compiled_steps_are_those_of_numpy(dynamics, depth):
    dynamics = Problem(dynamics=dynamics).dynamics
    parameters = 1 if depth == 1 else 2  # a linear network has no second one
    found, expected = moved(dynamics, depth), twin(dynamics, depth)
    np.testing.assert_allclose(found[:parameters], expected[:parameters], rtol=1e-13)


@pytest.mark.torch
@pytest.mark.parametrize("name", [name for name in KINDS if not name.startswith("sign")])
def test_steps_are_those_of_torch(name):
    """One layer of products u v under forces g: the loss g u v has the gradients of depth 2."""
    torch = pytest.importorskip("torch")
    dynamics = Problem(dynamics=KINDS[name]).dynamics
    p = torch.tensor(np.random.default_rng(4).uniform(0.4, 0.9, (2, 5)), requires_grad=True)
    common = {"lr": 1.0, "weight_decay": dynamics.weight_decay}
    if hasattr(dynamics, "nesterov"):
        common |= {"momentum": dynamics.momentum, "nesterov": dynamics.nesterov}
        optimiser = torch.optim.SGD([p], **common)
    elif hasattr(dynamics, "beta1"):
        kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[dynamics.kind]
        betas = (dynamics.beta1, dynamics.beta2)
        optimiser = kind([p], betas=betas, eps=dynamics.epsilon, **common)
    elif dynamics.kind == "rmsprop":
        optimiser = torch.optim.RMSprop(
            [p], alpha=dynamics.beta2, eps=dynamics.epsilon, momentum=dynamics.momentum, **common
        )
    else:
        optimiser = torch.optim.Adagrad([p], eps=dynamics.epsilon, **common)
    for k, force in enumerate(forces()):
        optimiser.param_groups[0]["lr"] = 0.05 * (k + 1)
        optimiser.zero_grad()
        (torch.tensor(force) * p[0] * p[1]).sum().backward()
        optimiser.step()
    np.testing.assert_allclose(moved(dynamics, 2), p.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_gradients_are_those_of_the_weights(depth):
    first, second, h = np.array([0.7, -0.4]), np.array([0.3, 0.8]), 1e-6

    def w(a, b):
        found = np.empty(2)
        parameter_weights(depth, np.inf, np.array([a, b]), found)
        return found

    slopes = ((w(first + h, second) - w(first - h, second)) / (2 * h),
              (w(first, second + h) - w(first, second - h)) / (2 * h))  # fmt: skip
    found = np.zeros((2, 2))
    parameter_gradients(depth, np.inf, np.full(2, 1.5), np.array([first, second]), found)
    np.testing.assert_allclose(found, 1.5 * np.array(slopes), atol=1e-8)


@pytest.mark.parametrize("name", ["adam", "rmsprop", "adagrad", "sign"])
def test_a_parameter_that_has_felt_nothing_stays(name):
    """epsilon = 0 and no gradient: 0/0 is no step."""
    exact = {} if name == "sign" else {"epsilon": 0.0}
    optimiser, slots = optimiser_of(Problem(dynamics={"kind": name, **exact}).dynamics)
    parameter = np.ones(1)
    optimiser.move(parameter, np.zeros(1), np.zeros((1, slots)), 0, 0.1)
    assert parameter[0] == 1.0


def test_unknown_kinds_raise():
    with pytest.raises(ValueError, match="no rule"):
        rule_of(Problem().dynamics)
    with pytest.raises(ValueError, match="unknown optimiser"):
        Known(99, np.zeros(1)).move(np.zeros(1), np.zeros(1), np.zeros((1, 1)), 0, 0.1)
