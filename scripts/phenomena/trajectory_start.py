"""How straight a diagonal network travels depends on its start, in the mean field as in networks.

The path is measured from the time when training has begun (the training error is at 95 % of its
start) to the time when it is nearly done (1 %), at 24 times evenly spaced in log t. From large
starts the weights follow the linear model and hardly turn; from small ones the coordinates are
learned one after the other and the path turns each time. The mean directional similarity omega and
the straightness rise with the start, and finite networks agree with the mean field within their
errors. These errors fall like d^(-1/2).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, Outcome, new_figure, run_alone

import dmft
from dmft.theory import linear
from dmft.trajectory.kernels import of_kernel

SMALL = {
    "starts": [0.03, 0.3, 3.0],
    "n_paths": 512, "replicates": 4, "dimension": 200, "seeds": 16,
    "dimensions": [60, 120, 240], "many_seeds": 48,
}  # fmt: skip
FULL = {
    "starts": np.geomspace(1e-2, 10.0, 10).tolist(),
    "n_paths": 2048, "replicates": 12, "dimension": 1000, "seeds": 16,
    "dimensions": [100, 200, 400, 800], "many_seeds": 96,
}  # fmt: skip
MEASURES = {"mean_directional_similarity": "similarity $\\omega$", "straightness": "straightness"}
_CHECKPOINTS = 24


def run(full: bool, figure_path: Path) -> Outcome:
    """Solve and simulate a family of starts, then one start at growing dimension."""
    config = FULL if full else SMALL
    outcome = Outcome(
        "Trajectories from small and large starts", __doc__ or "", config, figure_path
    )
    figure, axes = new_figure(
        3, "Trajectories of the weights w, from 95 % to 1 % of the training error"
    )
    rows = [_both(start, config) for start in config["starts"]]
    starts = np.array(config["starts"])
    for place, (name, label) in enumerate(MEASURES.items()):
        field = np.array([[_number(x) for x in row[0].scalars[name]] for row in rows])
        finite = np.array([[_number(x) for x in row[1].scalars[name]] for row in rows])
        limit = _linear_limit().scalars[name][0]
        _draw(axes[place], starts, field, finite, float(limit or 0.0), config["dimension"])
        axes[place].set(xlabel="init_scale $\\alpha$", ylabel=label, xscale="log")
        z = (field[:, 0] - finite[:, 0]) / np.hypot(field[:, 1], finite[:, 1])
        # The bias of finite networks is of order 1/d; it is not in the errors.
        bias = 2.0 / config["dimension"]
        allowed = np.abs(field[:, 0] - finite[:, 0]) / np.hypot(
            np.hypot(field[:, 1], finite[:, 1]), bias
        )
        outcome.check(f"{name}: largest |mean field - networks|, in errors", allowed.max(), 0, 4)
        outcome.check(f"{name}: the same without allowance for bias", np.abs(z).max(), 0, 8)
        rise = field[-1, 0] - field[0, 0]
        outcome.check(f"{name}: rise from the smallest start to the largest", rise, 0.05, 1)
        gap = abs(field[-1, 0] - limit)
        outcome.check(f"{name}: distance of the largest start from the linear model", gap, 0, 0.01)
    _fluctuations(axes[2], config, outcome)
    axes[0].legend(fontsize=8)
    figure.savefig(figure_path)
    return outcome


def _both(start: float, config: dict[str, Any]) -> tuple[Any, Any]:
    """The trajectory of the weights in the mean field and in an ensemble, at the same times."""
    problem = dmft.Problem(network={"init_scale": start})
    solution = dmft.solve(
        problem, t_max=6.0 / (2.0 * start**2 + 0.2), n_paths=config["n_paths"],
        replicates=config["replicates"], rtol=3e-4,
    )  # fmt: skip
    times = _window(solution.time, solution.train_mse)
    field = solution.trajectory_map(times=times)
    simulation = dmft.simulate(
        problem, dimension=config["dimension"], seeds=config["seeds"], times=times
    )
    return field, simulation.trajectory_map().selected(np.arange(1, len(times) + 1))


def _window(time: np.ndarray, train_mse: np.ndarray) -> np.ndarray:
    share = train_mse / train_mse[0]
    first, last = (float(time[np.argmax(share < level)]) for level in (0.95, 0.01))
    times = np.geomspace(first, last, _CHECKPOINTS)
    times[-1] = last
    return times


def _linear_limit() -> Any:
    """The linear model, which the network follows from large starts, in the same window."""
    problem = dmft.Problem(network={"kind": "linear"})
    time = np.geomspace(1e-2, 20.0, 400)
    start = linear.learning_curves(problem, [0.0]).train_mse
    curve = np.concatenate([start, linear.learning_curves(problem, time).train_mse])
    times = _window(np.concatenate([[0.0], time]), curve)
    return of_kernel(linear.overlap(problem, times), times)


def _draw(
    axes: Any, starts: np.ndarray, field: np.ndarray, finite: np.ndarray, limit: float, d: int
) -> None:
    axes.errorbar(starts, field[:, 0], 2 * field[:, 1], color=COLOURS[0], label="mean field")
    axes.errorbar(
        starts, finite[:, 0], 2 * finite[:, 1], fmt="o", color=COLOURS[1], capsize=3,
        label=f"networks, d = {d}",
    )  # fmt: skip
    axes.axhline(limit, color=COLOURS[6], linestyle=":", label="linear model")


def _fluctuations(axes: Any, config: dict[str, Any], outcome: Outcome) -> None:
    """Standard deviation over runs of the measures of (u, v) against the dimension.

    Those of w are ruled by the few coordinates that happen to be learnt first, and so by rare runs.
    """
    problem = dmft.Problem()
    times = np.geomspace(0.2, 5.0, 10)
    d = np.array(config["dimensions"], dtype=float)
    seeds = config["many_seeds"]
    paths = [
        dmft.simulate(
            problem, dimension=dimension, seeds=seeds, times=times, rtol=1e-3
        ).trajectory_map("parameters")
        for dimension in config["dimensions"]
    ]  # fmt: skip
    # An error from 16 blocks is itself uncertain by 1/sqrt(30), relatively.
    uncertainty = 30**-0.5 / (np.log(d).std() * len(d) ** 0.5)
    for (name, label), colour, marker in zip(MEASURES.items(), COLOURS, "os", strict=False):
        spread = np.array([_number(path.scalars[name][1]) for path in paths]) * seeds**0.5
        slope = np.polyfit(np.log(d), np.log(spread), 1)[0]
        score = (slope + 0.5) / uncertainty
        outcome.check(f"{name}: power of d of its fluctuations, + 1/2, in errors", score, -4, 4)
        axes.errorbar(
            d, spread, 2 * 30**-0.5 * spread, fmt=marker, color=colour, capsize=3, label=label
        )
        middle = np.exp(np.mean(np.log(spread)) + 0.5 * np.mean(np.log(d)))
        axes.plot(d, middle * d**-0.5, color=colour, linewidth=1)
    axes.set(
        xscale="log", yscale="log", xlabel="dimension d", ylabel="standard deviation over runs"
    )
    axes.set_title("(u, v) from start 0.3; lines: $d^{-1/2}$", fontsize=10)
    axes.set_xticks(d, [f"{value:.0f}" for value in d])
    axes.set_xticks([], minor=True)
    axes.legend(fontsize=8)


def _number(value: float | None) -> float:
    return 0.0 if value is None else value


if __name__ == "__main__":
    run_alone(run, "trajectory_start", __doc__)
