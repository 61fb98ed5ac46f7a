"""Small starts learn one coordinate after the other, at predictable times.

As alpha -> 0 training jumps from saddle to saddle. With time in units of log(1/alpha) the dual P
= -G / log(1/alpha) of a coordinate at rest moves with its constant force, the coordinate is
released when |P| = 1, and the weights jump to the least-squares fit on the released coordinates,
each with its sign (Pesme and Flammarion 2023; Berthier 2023). The jumps of a network lag behind
these times by a delay that stays bounded as alpha falls from 1e-5 to 1e-40, a bounded share of
nothing in units of log(1/alpha).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import COLOURS, Outcome, colours, new_figure, run_alone
from scipy.optimize import nnls

from dmft.problem.networks import Diagonal
from dmft.simulation.coordinates import start_of
from dmft.simulation.flow import integrate

SMALL = {
    "samples": 30,
    "dimension": 40,
    "seed": 11,
    "jumps": 4,
    "starts": [1e-5, 1e-10, 1e-20, 1e-40],
}
FULL = {**SMALL, "jumps": 8, "starts": [1e-5, 1e-7, 1e-10, 1e-14, 1e-20, 1e-28, 1e-40]}


def run(full: bool, figure_path: Path) -> Outcome:
    """Integrate one data set at decreasing starts and compare the times of its jumps."""
    config = FULL if full else SMALL
    outcome = Outcome(
        "Incremental learning: jumps from saddle to saddle", __doc__ or "", config, figure_path
    )
    rng = np.random.default_rng(config["seed"])
    shape = config["samples"], config["dimension"]
    features = rng.standard_normal(shape) / np.sqrt(shape[0])
    teacher = np.zeros(shape[1])
    teacher[:5] = [2.0, -1.2, 0.6, 0.35, -0.2]
    labels = features @ teacher + 0.1 * rng.standard_normal(shape[0])
    count = config["jumps"]
    jumps, saddles = greedy(features, labels, count)
    lags, supports = [], []
    figure, axes = new_figure(2, "Training from small starts, one data set")
    shades = colours(len(config["starts"]))
    for start, shade in zip(config["starts"], shades, strict=True):
        unit = np.log(1.0 / start)
        times = np.linspace(0.0, 1.1 * jumps[-1] * unit + 60.0, 4000)
        weights = flow(features, labels, start, times)
        loss = np.mean((weights @ features.T - labels) ** 2, axis=1)
        axes[0].plot(times / unit, loss / loss[0], color=shade, label=f"$\\alpha$ = {start:g}")
        halves = []
        for index in range(count):
            middle = 0.5 * (jumps[index - 1] + jumps[index]) if index else 0.0
            later = times >= middle * unit
            halves.append(
                half_time(times[later], weights[later], saddles[index], saddles[index + 1])
            )
        lags.append([half - jump * unit for half, jump in zip(halves, jumps, strict=True)])
        supports.append(visited(times / unit, weights, jumps, saddles))
    lags_array = np.array(lags)
    outcome.check(
        "largest |t_half - t_predicted|, in units of the flow", np.abs(lags_array).max(), 0, 15
    )
    change = np.abs(lags_array[-1] - lags_array[-2]).max()
    outcome.check("change of these lags over the last step of the start", change, 0, 2.0)
    relative = np.abs(lags_array[-1]).max() / np.log(1 / config["starts"][-1])
    outcome.check("largest lag at the smallest start, in units of log(1/alpha)", relative, 0, 0.1)
    outcome.check(
        "share of saddles whose support is that of the algorithm", np.mean(supports[-1]), 1, 1
    )

    for jump in jumps:
        axes[0].axvline(jump, color=COLOURS[6], linestyle=":", linewidth=1)
    axes[0].plot([], [], color=COLOURS[6], linestyle=":", label="predicted jumps")
    axes[0].set(xlabel="time / log(1/$\\alpha$)", ylabel="training error / start", ylim=(0, 1.05))
    axes[0].legend(fontsize=8)
    for index, row in enumerate(lags_array.T):
        axes[1].plot(config["starts"], row, "o-", color=COLOURS[index], label=f"jump {index + 1}")
    axes[1].set(
        xscale="log",
        xlabel="start $\\alpha$",
        ylabel="$t_{half} - t_{predicted}$ (units of the flow)",
    )
    axes[1].legend(fontsize=8)
    figure.savefig(figure_path)
    return outcome


def greedy(
    features: np.ndarray, labels: np.ndarray, count: int
) -> tuple[list[float], list[np.ndarray]]:
    """Times of the first jumps, in units of log(1/alpha), and the saddles between them."""
    dimension = features.shape[1]
    weights, dual, time = np.zeros(dimension), np.zeros(dimension), 0.0
    times, saddles = [], [weights]
    for _ in range(count):
        speed = -features.T @ (features @ weights - labels)
        speed[weights != 0] = 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            wait = np.where(
                np.abs(speed) > 1e-12, (1.0 - np.sign(speed) * dual) / np.abs(speed), np.inf
            )
        wait[wait < 1e-12] = np.inf  # released and held at zero by its sign: moves inwards
        step = wait.min()
        if not np.isfinite(step):
            break  # the data are fitted
        dual, time = np.clip(dual + step * speed, -1.0, 1.0), time + step
        released = np.flatnonzero(np.abs(dual) > 1 - 1e-9)
        signs = np.sign(dual[released])
        fit, _ = nnls(features[:, released] * signs, labels)
        weights = np.zeros(dimension)
        weights[released] = signs * fit
        times.append(float(time))
        saddles.append(weights)
    return times, saddles


def flow(features: np.ndarray, labels: np.ndarray, start: float, times: np.ndarray) -> np.ndarray:
    """Weights along the gradient flow from a = b = start, shape (time, d)."""
    dimension = features.shape[1]
    begin = np.full(dimension, start)
    scale = np.ones(dimension)
    return integrate(
        features, labels, start_of(Diagonal(), 0.0, begin, begin), times,
        teacher=scale, variance=scale, rtol=1e-5,
    ).weights  # fmt: skip


def half_time(times: np.ndarray, weights: np.ndarray, old: np.ndarray, new: np.ndarray) -> float:
    """When the weights are half-way from one saddle to the next, along the straight line."""
    direction = (new - old) / np.sum((new - old) ** 2)
    share = (weights - old) @ direction
    first = int(np.argmax(share >= 0.5))
    if first == 0:
        return np.inf
    part = (0.5 - share[first - 1]) / (share[first] - share[first - 1])
    return float(times[first - 1] + part * (times[first] - times[first - 1]))


def visited(
    times: np.ndarray, weights: np.ndarray, jumps: list[float], saddles: list[np.ndarray]
) -> list[bool]:
    """Whether, half-way between two jumps, the large weights are those of the saddle."""
    same = []
    for index in range(1, len(jumps)):
        late = np.argmin(np.abs(times - 0.5 * (jumps[index - 1] + jumps[index])))
        present = np.abs(weights[late]) > 0.02
        same.append(bool(np.array_equal(present, np.abs(saddles[index]) > 0.02)))
    return same


if __name__ == "__main__":
    run_alone(run, "incremental", __doc__)
