"""Optimisers, losses and schedules against PyTorch training the same network."""

import numpy as np
import pytest

from dmft import Problem
from dmft.problem.schedules import step_factors
from dmft.settings import SimulationSettings
from dmft.simulation.data import draw_data
from dmft.simulation.descent import descend

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch
STEPS = 60

OPTIMISERS = {
    "gd": {"kind": "gradient-descent", "step_size": 0.05, "weight_decay": 0.1},
    "heavy ball": {
        "kind": "gradient-descent", "step_size": 0.02, "momentum": 0.9, "weight_decay": 0.1,
    },
    "nesterov": {
        "kind": "gradient-descent", "step_size": 0.02, "momentum": 0.8, "nesterov": True,
        "weight_decay": 0.1,
    },
    "adam": {"kind": "adam", "step_size": 0.02, "weight_decay": 0.1},
    "adamw": {"kind": "adamw", "step_size": 0.02, "beta2": 0.99, "weight_decay": 0.5},
    "rmsprop": {"kind": "rmsprop", "step_size": 0.01, "weight_decay": 0.1, "epsilon": 1e-6},
    "rmsprop with momentum": {"kind": "rmsprop", "step_size": 0.003, "momentum": 0.7},
    "adagrad": {"kind": "adagrad", "step_size": 0.05, "weight_decay": 0.1},
}  # fmt: skip
SCHEDULES = [
    {"kind": "constant", "warmup_steps": 7},
    {"kind": "cosine", "total_steps": 40, "warmup_steps": 5, "final_fraction": 0.1},
    {"kind": "linear", "total_steps": 50},
    {"kind": "exponential", "factor": 0.95},
    {"kind": "piecewise", "steps": [10, 30], "factors": [0.5, 0.1]},
]
LOSSES = {
    "squared": ("linear", lambda h, y: 0.5 * torch.sum((h - y) ** 2)),
    "logistic": ("sign", lambda h, y: torch.nn.functional.softplus(-y * h).sum()),
    "huber": (
        "outliers",
        lambda h, y: torch.nn.functional.huber_loss(h, y, reduction="sum", delta=1.0),
    ),
    "hinge": ("logit", lambda h, y: torch.relu(1.0 - y * h).sum()),
    "poisson": (
        "poisson",
        lambda h, y: torch.nn.functional.poisson_nll_loss(h, y, reduction="sum"),
    ),
}


def torch_optimiser(dynamics, parameters):
    common = {"lr": dynamics.step_size, "weight_decay": dynamics.weight_decay}
    optim = torch.optim
    if dynamics.kind == "gradient-descent":
        momentum = {"momentum": dynamics.momentum, "nesterov": dynamics.nesterov}
        return optim.SGD(parameters, **common, **momentum)
    if dynamics.kind == "rmsprop":
        return optim.RMSprop(
            parameters,
            **common,
            alpha=dynamics.beta2,
            eps=dynamics.epsilon,
            momentum=dynamics.momentum,
        )
    if dynamics.kind == "adagrad":
        return optim.Adagrad(parameters, **common, eps=dynamics.epsilon)
    kind = optim.AdamW if dynamics.kind == "adamw" else optim.Adam
    betas = (dynamics.beta1, dynamics.beta2)
    return kind(parameters, **common, betas=betas, eps=dynamics.epsilon)


def torch_weights(problem, data, loss, schedule):
    """w after every step of torch.optim, and w of its u, v (depth 2), a, b or weights."""
    a0, b0, depth = data.coordinates.a0, data.coordinates.b0, problem.network.depth
    starts = [np.zeros_like(a0)] if depth == 1 else [a0, b0]
    if depth == 2:
        starts = [(a0 + b0) / 2**0.5, (a0 - b0) / 2**0.5]
    p = [torch.tensor(start.copy(), requires_grad=True) for start in starts]
    x, y = torch.tensor(data.features), torch.tensor(data.labels)
    optimiser = torch_optimiser(problem.dynamics, p)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: schedule[min(k, STEPS - 1)])

    def weights():
        if depth == 1:
            return p[0]
        return p[0] * p[1] if depth == 2 else (p[0] ** depth - p[1] ** depth) / depth

    found = [weights().detach().numpy().copy()]
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss(x @ weights(), y).backward()
        optimiser.step()
        scheduler.step()
        found.append(weights().detach().numpy().copy())
    return np.array(found)


def check(dynamics, loss="squared", network=None, schedule=None):
    labels, torch_loss = LOSSES[loss]
    dynamics = {**dynamics, **({} if schedule is None else {"schedule": schedule})}
    problem = Problem(
        sampling_ratio=0.8,
        noise_std=0.3,
        network=network or {"init_u": 0.6, "init_v": 0.1},
        loss={"kind": loss},
        labels={"kind": labels},
        dynamics=dynamics,
    )
    data = draw_data(problem, SimulationSettings(dimension=40), np.random.SeedSequence(2))
    times = np.arange(STEPS + 1.0)
    ours = descend(problem, data, times, np.random.default_rng(0)).weights
    factors = step_factors(problem.dynamics.schedule, STEPS)
    theirs = torch_weights(problem, data, torch_loss, factors)
    assert np.abs(theirs[-1] - theirs[0]).max() > 0.01
    np.testing.assert_allclose(ours, theirs, atol=1e-10, rtol=0)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers_and_losses(name, loss):
    check(OPTIMISERS[name], loss)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s["kind"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_schedules(name, schedule):
    check(OPTIMISERS[name], schedule=schedule)


@pytest.mark.parametrize(
    "network", [{"kind": "linear"}, {"depth": 3, "init_scale": 0.6}], ids=["linear", "depth 3"]
)
@pytest.mark.parametrize("name", OPTIMISERS)
def test_networks(name, network):
    check(OPTIMISERS[name], "logistic", network)
