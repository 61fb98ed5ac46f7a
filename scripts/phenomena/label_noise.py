"""Fresh label noise makes a lazy network recover a sparse teacher.

From a large start gradient descent interpolates like ridgeless regression. Fresh label noise of
every step never vanishes: it damps the charges exponentially, as if the start went to zero, while
the weights drift along the interpolators to the least weighted l1 norm.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import COLOURS, Outcome, new_figure, run_alone
from scipy.optimize import linprog

import dmft
from dmft.settings import SimulationSettings
from dmft.simulation.data import draw_data
from dmft.simulation.descent import descend

SMALL = {
    "dimension": 50, "steps": 100_000, "step_size": 0.02, "label_noise": 0.5,
    "batch_fraction": 0.25, "tolerance": 0.1,
    "field_steps": 100, "field_step_size": 0.1, "field_noise": 0.5, "n_paths": 1024,
    "replicates": 4, "field_dimension": 800, "seeds": 12,
}  # fmt: skip
FULL = {
    **SMALL, "steps": 1_500_000, "step_size": 0.005, "tolerance": 0.02, "field_steps": 300,
    "n_paths": 4096, "field_dimension": 2000,
}  # fmt: skip


def run(full: bool, figure_path: Path) -> Outcome:
    """One small network to its sparse end, and the start of this in the mean field."""
    config = FULL if full else SMALL
    outcome = Outcome("Label noise recovers a sparse teacher", __doc__ or "", config, figure_path)
    figure, axes = new_figure(2, "Sparse teacher without noise, lazy start, fresh label noise")
    _one_network(config, axes[0], outcome)
    _mean_field(config, axes[1], outcome)
    figure.savefig(figure_path)
    return outcome


def _one_network(config: dict, axes, outcome: Outcome) -> None:
    problem = _problem(config["step_size"], config["batch_fraction"], config["label_noise"])
    settings = SimulationSettings(dimension=config["dimension"])
    data = draw_data(problem, settings, np.random.SeedSequence(1))
    times = np.unique(np.geomspace(1, config["steps"], 200).astype(int)).astype(float)
    steps = descend(problem, data, np.append(0.0, times), np.random.default_rng(7))
    weight = np.sum(data.features**2, axis=0)
    best = linprog(
        np.concatenate([weight, weight]),
        A_eq=np.hstack([data.features, -data.features]), b_eq=data.labels,
    ).fun  # fmt: skip
    still = problem.model_copy(
        update={"dynamics": dmft.Problem(dynamics={"kind": "gradient-descent"}).dynamics}
    )
    lazy = descend(still, data, np.array([0.0, 3000.0]), np.random.default_rng(0))
    norm = np.abs(steps.weights) @ weight
    without = float(np.abs(lazy.weights[-1]) @ weight)
    axes.plot(times, norm[1:], color=COLOURS[0], label="SGD with label noise")
    axes.axhline(without, color=COLOURS[1], linestyle="--", label="end of gradient descent")
    axes.axhline(best, color=COLOURS[6], linestyle=":", label="least of all interpolators")
    axes.set(xscale="log", xlabel="steps", ylabel="weighted $\\ell_1$ norm of $w$")
    axes.set_title(f"one network, d = {config['dimension']}", fontsize=10)
    axes.legend(fontsize=8)
    end = float(np.mean(norm[times.searchsorted(0.9 * config["steps"]) :]))
    outcome.check("norm at the end / least norm", end / best, 0.98, 1 + config["tolerance"])
    outcome.check("norm of gradient descent / least norm", without / best, 1.3, np.inf)
    charge = np.abs(steps.a * steps.b)[-1].max()
    outcome.check("largest charge left / start", charge / 0.5, 0.0, 0.1)


def _mean_field(config: dict, axes, outcome: Outcome) -> None:
    step, noise = config["field_step_size"], config["field_noise"]
    problem = _problem(step, config["batch_fraction"], noise)
    steps = config["field_steps"]
    solution = dmft.solve(
        problem, t_max=steps, n_paths=config["n_paths"], replicates=config["replicates"]
    )
    simulation = dmft.simulate(
        problem, dimension=config["field_dimension"], seeds=config["seeds"], t_max=steps
    )
    axes.plot(solution.time, solution.effective_alpha, color=COLOURS[0], label="mean field")
    axes.errorbar(
        simulation.time, simulation.effective_alpha, yerr=2 * simulation.effective_alpha_stderr,
        fmt="o", color=COLOURS[0], markersize=4, markerfacecolor="white", capsize=2,
        label=f"simulation, d = {config['field_dimension']}",
    )  # fmt: skip
    rate = 0.5 * problem.sampling_ratio * step**2 * noise**2 / config["batch_fraction"]
    later = solution.time > steps / 2
    middle = solution.effective_alpha[later][0]
    line = middle * np.exp(-rate * (solution.time[later] - solution.time[later][0]))
    axes.plot(
        solution.time[later], line, ":", color=COLOURS[6], label="rate of the label noise alone"
    )
    axes.set(yscale="log", xlabel="steps", ylabel="effective alpha")
    axes.set_title("all networks", fontsize=10)
    axes.legend(fontsize=8)
    error = np.hypot(solution.effective_alpha_stderr[-1], simulation.effective_alpha_stderr[-1])
    z = (solution.effective_alpha[-1] - simulation.effective_alpha[-1]) / error
    outcome.check("effective alpha, mean field and simulation: |z| at the end", abs(z), 0.0, 4.0)
    slope = np.polyfit(solution.time[later], np.log(solution.effective_alpha[later]), 1)[0]
    outcome.check("rate of log alpha / that of the label noise alone", -slope / rate, 1.0, 1.6)


def _problem(step: float, fraction: float, noise: float) -> dmft.Problem:
    dynamics = {
        "kind": "sgd", "step_size": step, "batch_fraction": fraction, "label_noise_std": noise,
    }  # fmt: skip
    return dmft.Problem(
        sampling_ratio=0.4, noise_std=0.0, network={"init_u": 1.0, "init_v": 0.0},
        dynamics=dynamics,
    )  # fmt: skip


if __name__ == "__main__":
    run_alone(run, "label_noise", __doc__)
