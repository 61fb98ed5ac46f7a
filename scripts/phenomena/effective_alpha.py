"""Noise and finite steps train a network as if it had started smaller.

Gradient flow conserves the charge u^2 - v^2 of every coordinate, and with it the memory of the
start. Steps of size eta multiply it by 1 - (eta g)^2. In SGD most of g is noise, alike in every
coordinate, so that the charge of all falls by exp(-eta delta int N dt) with N the variance of the
mini-batch noise (Pesme et al. 2021); the steps of gradient descent, without noise, add the gain of
Even et al. (2023). Training then ends where a flow from the smaller start ends.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import COLOURS, Outcome, new_figure, run_alone

import dmft
from dmft.theory import predict

SMALL = {
    "steps": 100,
    "step_size": 0.1,
    "fractions": [0.1, 0.5, 1.0],
    "n_paths": 1024,
    "replicates": 4,
    "dimension": 800,
    "seeds": 16,
    "flow_time": 60.0,
    "flow_ratios": [1.0],
}
FULL = {
    **SMALL,
    "steps": 200,
    "n_paths": 4096,
    "dimension": 2000,
    "seeds": 24,
    "flow_time": 150.0,
    "flow_ratios": [0.25, 0.5, 1.0],
}


def run(full: bool, figure_path: Path) -> Outcome:
    """Effective alpha over steps, and the excess risk where it ends."""
    config = FULL if full else SMALL
    outcome = Outcome("The effective start of SGD", __doc__ or "", config, figure_path)
    figure, axes = new_figure(2, "Sparse teacher of density 0.1, sampling ratio 0.5, noise 0.1")
    for fraction, colour in zip(config["fractions"], COLOURS, strict=False):
        _steps(config, fraction, colour, axes[0], outcome)
    axes[0].set(xlabel="steps", ylabel="effective alpha", xscale="log")
    axes[0].set_title(f"step {config['step_size']:g}: mean field and simulation", fontsize=10)
    axes[0].plot([], [], color=COLOURS[6], linestyle=":", label="law of Pesme et al.")
    axes[0].legend(fontsize=8)
    _limits(config, axes[1], outcome)
    figure.savefig(figure_path)
    return outcome


def _steps(config: dict, fraction: float, colour: str, axes, outcome: Outcome) -> None:
    """One batch fraction: mean field, finite networks and the law of Pesme et al."""
    step = config["step_size"]
    problem = dmft.Problem(dynamics={"kind": "sgd", "step_size": step, "batch_fraction": fraction})
    solution = dmft.solve(
        problem, t_max=config["steps"], n_paths=config["n_paths"], replicates=config["replicates"]
    )
    simulation = dmft.simulate(
        problem, dimension=config["dimension"], seeds=config["seeds"], t_max=config["steps"]
    )
    time, alpha, error = solution.time, solution.effective_alpha, solution.effective_alpha_stderr
    axes.plot(time[1:], alpha[1:], color=colour, label=f"batch fraction {fraction:g}")
    axes.errorbar(
        simulation.time[1:], simulation.effective_alpha[1:],
        yerr=2 * simulation.effective_alpha_stderr[1:], fmt="o", markersize=4,
        markerfacecolor="white", color=colour, capsize=2, linewidth=1,
    )  # fmt: skip
    at = np.isin(time, simulation.time)
    z = (alpha[at] - simulation.effective_alpha)[1:]
    z /= np.hypot(error[at], simulation.effective_alpha_stderr)[1:]
    outcome.check(f"batch fraction {fraction:g}: largest |z|", np.abs(z).max(), 0.0, 4.0)
    noise = problem.dynamics.noise_variance(solution.train_mse)
    exponent = 0.5 * step**2 * problem.sampling_ratio * np.concatenate([[0], np.cumsum(noise)[:-1]])
    if fraction < 1.0:
        axes.plot(time[1:], 0.3 * np.exp(-exponent[1:]), color=colour, linestyle=":")
        share = exponent[-1] / np.log(0.3 / alpha[-1])
        outcome.check(f"batch fraction {fraction:g}: share of the noise", share, 0.3, 1.02)
    else:
        outcome.check("gradient descent: gain", np.log(0.3 / alpha[-1]), 1e-3, 0.1)


def _limits(config: dict, axes, outcome: Outcome) -> None:
    """Stochastic gradient flow ends where gradient flow from the effective alpha does."""
    starts = np.geomspace(0.1, 0.32, 12)
    ends = [predict(dmft.Problem(network={"init_scale": float(a)})).excess_risk for a in starts]
    axes.plot(starts, ends, color=COLOURS[6], label="gradient flow, predicted limit")
    plain = predict(dmft.Problem()).excess_risk
    for ratio, colour in zip(config["flow_ratios"], COLOURS, strict=False):
        dynamics = {
            "kind": "stochastic-gradient-flow", "step_size": 1e-3, "batch_fraction": 1e-3 / ratio,
        }  # fmt: skip
        solution = dmft.solve(
            dmft.Problem(dynamics=dynamics), t_max=config["flow_time"],
            n_paths=config["n_paths"], replicates=config["replicates"], rtol=1e-2,
        )  # fmt: skip
        alpha, risk = solution.effective_alpha[-1], solution.excess_risk[-1]
        error = solution.excess_risk_stderr[-1]
        axes.errorbar(
            alpha, risk, xerr=2 * solution.effective_alpha_stderr[-1], yerr=2 * error, fmt="s",
            color=colour, label=f"SGD, step/batch fraction {ratio:g}", capsize=2,
        )  # fmt: skip
        expected = predict(dmft.Problem(network={"init_scale": float(alpha)})).excess_risk
        outcome.check(
            f"step/batch fraction {ratio:g}: excess risk / that of a flow from its alpha",
            risk / expected, 0.9, 1.1,
        )  # fmt: skip
        outcome.check(
            f"step/batch fraction {ratio:g}: excess risk / that of a flow", risk / plain, 0.0, 0.9
        )
    axes.plot(0.3, plain, "o", color=COLOURS[7], label="gradient flow, start 0.3")
    axes.set(xscale="log", yscale="log", xlabel="start, or effective alpha", ylabel="excess risk")
    axes.set_title("where training ends", fontsize=10)
    axes.legend(fontsize=8)


if __name__ == "__main__":
    run_alone(run, "effective_alpha", __doc__)
