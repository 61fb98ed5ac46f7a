"""The edge of stability of each optimiser, and where the mean field diverges.

Near an interpolator a step is stable while the largest curvature is below 2/step for gradient
descent, 2 (1 + momentum)/step for heavy ball and 2 (1 + momentum)/(1 + 2 momentum)/step for
Nesterov. The mean field of the linear network diverges there, to within the sampling error. On the
diagonal network curvature follows from the weights, and optimisers differ. Gradient descent does
not diverge beyond its edge: steps that overshoot shrink the charges until the curvature is 2/step
(the edge of stability of Cohen et al., ICLR 2021), and the training error stops falling. Nesterov
diverges near its edge. Heavy ball diverges long before, in the overshoot of its first ten steps; a
warm-up of a hundred steps takes networks past them, to larger steps, and to less excess risk at the
same step. (The extreme coordinates decide: the mean field, whose paths are drawn wider, runs away
before networks of hundreds do.) Adam's curvature, in units of the root of its squared gradients,
rises up to 38/step while gradients vanish (Cohen et al. 2022); there it falls back and rises again.
"""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, Outcome, new_figure, run_alone

import dmft

SMALL: dict[str, Any] = {
    "steps": 200, "momentum": 0.9, "n_paths": 1024, "replicates": 2, "dimension": 300,
    "of_edge": [0.85, 0.93, 1.05, 1.15],
    "step_sizes": {
        "gradient descent": [0.1, 0.2, 0.3, 0.35, 0.45, 0.5],
        "Nesterov": [0.035, 0.07, 0.1, 0.14, 0.25],
        "heavy ball": [0.05, 0.1, 0.15, 0.2, 0.4],
    },
    "warmup_steps": 100, "warm": [0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6], "adam": [0.01, 0.003],
    "adam_steps": 600,
}  # fmt: skip
FULL = {**SMALL, "n_paths": 4096, "replicates": 4, "dimension": 800,
        "of_edge": [0.8, 0.85, 0.9, 0.93, 0.96, 1.03, 1.06, 1.1, 1.15],
        "step_sizes": {
            "gradient descent": [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6],
            "Nesterov": [0.035, 0.05, 0.07, 0.085, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.25],
            "heavy ball": [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4],
        }, "warm": [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7]}  # fmt: skip
RATIO, START, NOISE = 0.5, 0.3, 0.1
NAMES = ("gradient descent", "Nesterov", "heavy ball")
BETAS = (0.9, 0.999)


def run(full: bool, figure_path: Path) -> Outcome:
    """Edges of the linear and of the diagonal network, warm-up, and Adam."""
    config = FULL if full else SMALL
    outcome = Outcome("Edges of stability", __doc__ or "", config, figure_path)
    figure, axes = new_figure(2, "Sampling ratio 0.5, noise 0.1", rows=2)
    _linear(config, outcome, axes[0])
    _diagonal(config, outcome, axes[1])
    _warm_up(config, outcome, axes[2])
    _adam(config, outcome, axes[3])
    figure.savefig(figure_path)
    return outcome


def dynamics_of(name: str, config: dict[str, Any], step: float, **more: Any) -> dict[str, Any]:
    """Settings of one of NAMES."""
    momentum = 0.0 if name == "gradient descent" else config["momentum"]
    return {
        "kind": "gradient-descent", "step_size": step, "momentum": momentum,
        "nesterov": name == "Nesterov", **more,
    }  # fmt: skip


def edge(name: str, momentum: float, curvature: float) -> float:
    """The largest stable step."""
    if name == "gradient descent":
        return 2.0 / curvature
    slower = 1.0 + 2.0 * momentum if name == "Nesterov" else 1.0
    return 2.0 * (1.0 + momentum) / (slower * curvature)


def solved(config: dict[str, Any], dynamics: dict[str, Any], **problem: Any) -> dmft.Solution:
    """The mean field of a teacher of signs."""
    return dmft.solve(
        dmft.Problem(teacher="rademacher", dynamics=dynamics, **problem), t_max=config["steps"],
        n_paths=config["n_paths"], replicates=config["replicates"],
    )  # fmt: skip


def networks_train(config: dict[str, Any], dynamics: dict[str, Any]) -> bool:
    """Whether no network of four diverges."""
    problem = dmft.Problem(teacher="rademacher", dynamics=dynamics)
    try:
        dmft.simulate(problem, t_max=config["steps"], dimension=config["dimension"], seeds=4)
    except dmft.DmftError:
        return False
    return True


def _linear(config: dict[str, Any], outcome: Outcome, axes: Any) -> None:
    curvature = (1.0 + RATIO**0.5) ** 2
    for name, colour in zip(NAMES, COLOURS, strict=False):
        limit, last = edge(name, config["momentum"], curvature), []
        for share in config["of_edge"]:
            found = solved(config, dynamics_of(name, config, share * limit), network="linear")
            last.append(found.train_mse[-1] / found.train_mse[0])
        axes.semilogy(config["of_edge"], last, "o-", color=colour, label=name)
        grown = np.array(config["of_edge"])[np.array(last) > 1.0]
        outcome.check(f"linear network, {name}: first step that diverges, of the edge",
                      grown.min(initial=np.inf), 0.95, 1.1)  # fmt: skip
    axes.axvline(1.0, color=COLOURS[6], linestyle=":")
    axes.set(xlabel="step / edge", ylabel="training error at the end / at the start",
             title="linear network, mean field")  # fmt: skip
    axes.legend(fontsize=8)


def network(
    dynamics: dict[str, Any], d: int, steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One finite network: training error, curvature and Adam's, on every twentieth step.

    Plain NumPy. The curvature is the largest eigenvalue of J^T J in (u, v), with J the Jacobian of
    the predictions; Adam's has every parameter in units of the root of its squared gradients.
    """
    rng = np.random.default_rng(0)
    n = round(RATIO * d)
    x = rng.standard_normal((n, d)) / np.sqrt(d)
    teacher = rng.choice([-1.0, 1.0], d)
    y = x @ teacher + NOISE * rng.standard_normal(n)
    p = np.array([np.full(d, 2**0.5 * START), np.zeros(d)])
    m, s, rows = np.zeros_like(p), np.zeros_like(p), []
    for k in range(steps + 1):
        residual = x @ (p[0] * p[1]) - y
        g = p[::-1] * (x.T @ residual)
        if dynamics["kind"] == "adam":
            m = BETAS[0] * m + (1 - BETAS[0]) * g
            s = BETAS[1] * s + (1 - BETAS[1]) * g**2
            scale = np.sqrt(s / (1 - BETAS[1] ** (k + 1))) + 1e-8
            change = m / (1 - BETAS[0] ** (k + 1)) / scale
        else:
            m, scale = dynamics["momentum"] * m + g, np.ones_like(p)
            change = g + dynamics["momentum"] * m if dynamics["nesterov"] else m
        if k % 20 == 0:
            plain = np.linalg.norm(x * np.sqrt(np.sum(p**2, axis=0)), 2) ** 2
            own = np.linalg.norm(x * np.sqrt(np.sum(p[::-1] ** 2 / scale, axis=0)), 2) ** 2
            rows.append([np.mean(residual**2), plain, own])
        p = p - dynamics["step_size"] * change
        if not np.abs(p).max() < 1e6:
            return tuple(np.full((3, 1), np.inf))  # type: ignore[return-value]
    return tuple(np.array(rows).T)  # type: ignore[return-value]


def _diagonal(config: dict[str, Any], outcome: Outcome, axes: Any) -> None:
    ends: dict[str, np.ndarray] = {}
    errors: dict[str, np.ndarray] = {}
    for name, colour in zip(NAMES, COLOURS, strict=False):
        momentum, ratio, left, reached = config["momentum"], [], [], []
        for step in config["step_sizes"][name]:
            dynamics = dynamics_of(name, config, step)
            curvature = network(dynamics, config["dimension"], config["steps"])[1][-1]
            ratio.append(step / edge(name, momentum, curvature) if curvature < np.inf else np.inf)
            found = solved(config, dynamics)
            left.append(found.train_mse[-1] / found.train_mse[0])
            reached.append(found.time[-1] == config["steps"])
        ends[name], errors[name] = np.array(ratio), np.array(left)
        sizes, good = np.array(config["step_sizes"][name]), np.array(reached)
        speed = sizes / (1.0 if name == "gradient descent" else 1.0 - momentum)
        shown = np.isfinite(ends[name])
        axes.plot(speed[shown], ends[name][shown], "o-", color=colour, label=name)
        if not good.all():
            first = speed[~good].min()
            axes.axvline(first, color=colour, linestyle=":")
            last = ends[name][good][-1]
            # Of gradient descent, single replicates beyond the edge, where networks go on.
            low, high = {"Nesterov": (0.6, 1.1), "heavy ball": (0.15, 0.6)}.get(name, (0.97, 1.04))
            outcome.check(f"{name}: curvature over its edge at the last step that trains",
                          last, low, high)  # fmt: skip
        errors[name] = errors[name][good]
    axes.axhline(1.0, color=COLOURS[6], linestyle=":")
    axes.set(xscale="log", xlabel="step / (1 - momentum)", ylabel="curvature at the end / edge",
             title="networks; dotted: the mean field diverges", ylim=(0, 1.3))  # fmt: skip
    axes.legend(fontsize=8)
    outcome.check("gradient descent: curvature over its edge at the largest step",
                  ends["gradient descent"][-1], 0.97, 1.04)  # fmt: skip
    outcome.check("the same: least training error of the mean field at smaller steps",
                  errors["gradient descent"][:-1].min(), 0, 1e-5)  # fmt: skip
    outcome.check("and at the largest", errors["gradient descent"][-1], 1e-4, 1)


def _warm_up(config: dict[str, Any], outcome: Outcome, axes: Any) -> None:
    largest, risks = [], []
    for warmup, colour in ((0, COLOURS[2]), (config["warmup_steps"], COLOURS[1])):
        schedule = {"kind": "constant", "warmup_steps": warmup}
        tried = [
            dynamics_of("heavy ball", config, step, schedule=schedule) for step in config["warm"]
        ]
        found = [solved(config, dynamics) for dynamics in tried]
        trained = np.array([each.time[-1] == config["steps"] for each in found])
        steps = np.array(config["warm"])[trained]
        risk = np.array([each.excess_risk[-1] for each in found])[trained]
        error = np.array([each.excess_risk_stderr[-1] for each in found])[trained]
        axes.errorbar(steps, risk, 2 * error, fmt="o-", color=colour, capsize=3,
                      label=f"warm-up of {warmup} steps")  # fmt: skip
        good = takewhile(lambda dynamics: networks_train(config, dynamics), tried)
        largest.append(max(dynamics["step_size"] for dynamics in good))
        axes.axvline(largest[-1], color=colour, linestyle=":")
        risks.append(dict(zip(steps, risk, strict=True)))
    common = max(set(risks[0]) & set(risks[1]))
    outcome.check("heavy ball: largest step that trains networks, with a warm-up over that without",
                  largest[1] / largest[0], 1.4, 4)  # fmt: skip
    outcome.check("its excess risk with a warm-up over that without, at the same step",
                  risks[1][common] / risks[0][common], 0.6, 0.95)  # fmt: skip
    axes.set(xlabel="step", ylabel="excess risk at the end",
             title="heavy ball; dotted: the last step that trains networks")  # fmt: skip
    axes.legend(fontsize=8)


def _adam(config: dict[str, Any], outcome: Outcome, axes: Any) -> None:
    last = config["adam_steps"]
    twin, highest = axes.twinx(), []
    for step, colour in zip(config["adam"], COLOURS, strict=False):
        dynamics = {"kind": "adam", "step_size": step}
        error, _, own = network(dynamics, config["dimension"], last)
        bound = (2 + 2 * BETAS[0]) / ((1 - BETAS[0]) * step)
        time = np.arange(len(own)) * 20
        axes.plot(time, own / bound, color=colour, label=f"step {step:g}")
        twin.semilogy(time, error, "--", color=colour)
        highest.append(np.max(own / bound))
        found = solved({**config, "steps": last}, dynamics)
        twin.plot(found.time, found.train_mse, ":", color=colour)
    axes.axhline(1.0, color=COLOURS[6], linestyle=":")
    axes.set(xlabel="steps", ylabel="its curvature / edge", ylim=(0, 1.3),
             title="Adam (dashed: error of the network, dotted: mean field)")  # fmt: skip
    twin.set(ylabel="training error", ylim=(1e-9, 10))
    axes.legend(fontsize=8, loc="lower right")
    for step, value in zip(config["adam"], highest, strict=True):
        outcome.check(f"Adam, step {step:g}: largest curvature over 38/step", value, 0.9, 1.3)


if __name__ == "__main__":
    run_alone(run, "optimiser_edges", __doc__)
