"""How long a small start is remembered on the way to the largest l1 margin.

The logistic loss of separable signs drives a diagonal network of depth 2 to the direction of the
largest l1 margin, and a small start is expected to be the shorter way. It is the longer one: until
weights leave zero all rows push alike, and the forces of that time stay while later ones grow like
log log(1/loss). From alpha = 0.001 the margin is within 1 % of the largest one when log(1/loss) is
about 2e11, where the smallest double is exp(-745). Networks are followed there in log(1/loss): the
accumulated force is F = A^T lambda, A the rows times their labels, and w = alpha^2 sinh(2F). Late,
rows add d(lambda)/dt = exp(-A w), of which an implicit step is a convex problem in lambda.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import Outcome, colours, new_figure, run_alone

import dmft
from dmft.settings import SimulationSettings
from dmft.simulation.coordinates import start_of
from dmft.simulation.data import draw_data
from dmft.simulation.flow import integrate

SMALL: dict[str, Any] = {
    "starts": [0.1, 0.001], "dimension": 100, "seeds": 3, "per_decade": 10, "last": 1e14,
    "time": 1e13, "switch": 13.0,
}  # fmt: skip
FULL = {**SMALL, "starts": [0.1, 0.01, 0.001], "dimension": 200, "seeds": 8, "per_decade": 20}
_LEAST_MARGINS = {745.0: 0.90, 1e4: 0.94, 1e6: 0.965, 1e8: 0.975, 1e10: 0.98, 1e12: 0.985}
# Increments of lambda below exp(_LEAST) are none; the residual that ends Newton's method is
# _RESIDUAL, an error of the logarithm of an increment.
_LEAST, _RESIDUAL = -80.0, 1e-3
# Share of log(1/loss) that outputs are blurred by where they would lose to rounding.
_BLUR = 1e-10


def run(full: bool, figure_path: Path) -> Outcome:
    """l1 margin over the largest of the same data, against log(1/loss)."""
    config = FULL if full else SMALL
    outcome = Outcome("Memory of a small start", __doc__ or "", config, figure_path)
    figure, (axes,) = new_figure(1, "Sparse teacher of density 0.2, sampling ratio 1.5, no noise")
    grid = np.geomspace(100.0, 0.3 * config["last"], 200)
    reached = {}
    for alpha, colour in zip(config["starts"], colours(len(config["starts"])), strict=True):
        ratios, gap = [], 0.0
        for seed in range(config["seeds"]):
            early, late, largest = follow(config, alpha, seed)
            ratios.append(np.interp(np.log(grid), np.log(late[0]), late[1]) / largest)
            # Both integrators on the stretch that both can follow.
            both = (early[0] > 2.0 * config["switch"]) & (early[0] < 30.0)
            size = np.interp(early[0][both], late[0], late[2])
            gap = max(gap, float(np.max(np.abs(size / early[2][both] - 1.0))))
        mean, error = np.mean(ratios, axis=0), np.std(ratios, axis=0, ddof=1) / len(ratios) ** 0.5
        axes.plot(grid, mean, color=colour, label=f"start {alpha:g}")
        axes.fill_between(grid, mean - 2 * error, mean + 2 * error, color=colour, alpha=0.25)
        reached[alpha] = float(np.log10(grid[mean > 0.99].min(initial=np.inf)))
        for point, least in _LEAST_MARGINS.items():
            outcome.check(f"start {alpha:g}: margin over its largest at loss exp(-{point:g})",
                          np.interp(point, grid, mean), least, 1.0)  # fmt: skip
        outcome.check(f"start {alpha:g}: norms of both integrators, difference", gap, 0.0, 0.005)
    small_at_doubles = float(np.interp(745.0, grid, mean))
    axes.axvline(745.0, color="#555555", linestyle=":", label="smallest double")
    axes.axhline(0.99, color="#555555", linewidth=0.8)
    axes.set(xscale="log", xlabel="log(1/loss)", ylabel=r"$\ell_1$ margin over its largest")
    axes.legend(fontsize=8, loc="lower right")
    outcome.check("start 0.001: margin at loss exp(-745), short of its largest by",
                  1.0 - small_at_doubles, 0.05, 0.10)  # fmt: skip
    outcome.check("start 0.1: log10 of log(1/loss) where 1 % is reached", reached[0.1], 3.5, 6.0)
    outcome.check("start 0.001: the same", reached[0.001], 8.5, 13.5)
    figure.savefig(figure_path)
    return outcome


def follow(config: dict[str, Any], alpha: float, seed: int) -> tuple[np.ndarray, np.ndarray, float]:
    """One network: its states to `time` by the integrator of `dmft simulate`, those from
    log(1/loss) = `switch` on in steps of log(1/loss), and the largest margin of its data."""
    problem = dmft.Problem(
        sampling_ratio=1.5, noise_std=0.0, loss="logistic", labels="sign",
        teacher={"kind": "bernoulli-gauss", "density": 0.2}, network={"init_scale": alpha},
    )  # fmt: skip
    settings = SimulationSettings(dimension=config["dimension"])
    data = draw_data(problem, settings, np.random.SeedSequence(seed))
    drawn, rows = data.coordinates, data.labels[:, None] * data.features
    times = np.concatenate([[0.0], np.geomspace(10.0, config["time"], 100)])
    weights = integrate(
        data.features, data.labels, start_of(problem.network, 0.0, drawn.a0, drawn.b0), times,
        teacher=drawn.teacher, variance=drawn.variance, rtol=1e-4, loss=problem.loss,
    ).weights  # fmt: skip
    early = np.array([state(rows, w) for w in weights]).T
    k = int(np.searchsorted(early[0], config["switch"]))
    count = int(config["per_decade"] * np.log10(config["last"] / early[0, k]))
    log_times = np.geomspace(1.05 * early[0, k], config["last"], count)
    force, logs = 0.5 * np.arcsinh(weights[k] / alpha**2), np.full(len(rows), -5.0)
    late = [early[:, k]]
    for log_time in log_times:
        logs, force = late_step(rows, force, logs, float(log_time), alpha**2)
        late.append(np.array(state(rows, alpha**2 * np.sinh(2.0 * force))))
    return early, np.array(late).T, largest_margin(rows)


def state(rows: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    """log(1/loss), the least output over mean |w|, and mean |w|."""
    from scipy.special import logsumexp

    outputs, size = rows @ weights, float(np.mean(np.abs(weights)))
    # Beyond 40 the loss log(1 + e^-h) is e^-h to rounding.
    near = np.log(np.logaddexp(0.0, -np.minimum(outputs, 40.0)))
    loss = logsumexp(np.where(outputs > 40.0, -outputs, near)) - np.log(len(rows))
    return -float(loss), float(outputs.min()) / max(size, 1e-300), size


def late_step(
    rows: np.ndarray, force: np.ndarray, logs: np.ndarray, log_time: float, product: float
) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms q of what rows add to lambda in a step of exp(log_time), and the force after it.

    They obey q + A w = log_time at the end of the step, where the convex function
    sum e^q (q - 1 - log_time) + product/2 sum cosh(2F) of e^q is least: Newton's method with a line
    search. logs : first guess. product : alpha^2.
    """
    from scipy.linalg import cho_factor, cho_solve

    blur = max(1.0, _BLUR * log_time)

    def at(q: np.ndarray) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        moved = force + rows.T @ np.exp(q)
        with np.errstate(over="ignore", invalid="ignore"):
            weights = product * np.sinh(2.0 * moved)
            energy = np.exp(q) @ (blur * (q - 1.0) - log_time) + 0.5 * product * np.sum(
                np.cosh(2.0 * moved)
            )
            return float(energy) / log_time, moved, weights, blur * q + rows @ weights - log_time

    q = logs
    energy, moved, weights, residual = at(q)
    for _ in range(400):
        taking_part = (q > _LEAST) | (residual < 0.0)
        root = np.where(taking_part, np.exp(0.5 * q), 0.0)
        stiffness = rows * (2.0 * np.hypot(weights, product)) @ rows.T
        matrix = blur * np.eye(len(rows)) + root[:, None] * stiffness * root
        change = cho_solve(cho_factor(matrix), -root * residual)  # of e^q, over root
        change = np.divide(change, root, out=np.zeros_like(q), where=root > 0.0)
        slope = float((np.exp(q) * residual) @ change) / log_time
        size = 1.0
        while True:
            part = size * change
            # Increments stay positive: they grow as they are, and shrink by their logarithms.
            raised = q + np.where(part > 0.0, np.log1p(np.maximum(part, 0.0)), part.clip(-3.0))
            trial = at(np.maximum(raised, _LEAST))
            fell = trial[0] <= energy + 1e-4 * size * slope + 1e-13 * abs(energy)
            if fell or size < 1e-15:
                break
            size *= 0.5
        q = np.maximum(raised, _LEAST)
        energy, moved, weights, residual = trial
        if np.abs(residual[q > _LEAST]).max() < blur * _RESIDUAL + 1e-14 * log_time:
            return q, moved
    raise RuntimeError(f"Newton's method did not converge at log(time) = {log_time:g}")


def largest_margin(rows: np.ndarray) -> float:
    """The largest min(A w) over mean |w|, by linear programming."""
    from scipy.optimize import linprog

    count = rows.shape[1]
    found = linprog(np.ones(2 * count), A_ub=np.hstack([-rows, rows]), b_ub=-np.ones(len(rows)))
    return count / float(found.fun)


if __name__ == "__main__":
    run_alone(run, "margin_memory", __doc__)
