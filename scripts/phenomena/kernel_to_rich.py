"""The limit of training moves from the minimum l2 to the minimum l1 norm as the start shrinks.

Without weight decay and with fewer samples than coordinates the flow ends at the minimiser of
psi_alpha on Xw = y (Woodworth et al. 2020). Finite networks show it exactly, asinh(w / alpha^2)
lies in the row space of X; the mean field gives the excess risk in between.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from common import COLOURS, Outcome, new_figure, run_alone

import dmft
from dmft.settings import SimulationSettings
from dmft.simulation.coordinates import start_of
from dmft.simulation.data import draw_data
from dmft.simulation.flow import integrate
from dmft.theory import predict
from dmft.theory.tradeoff import trade_off

SMALL = {"dimension": 120, "seeds": 8, "starts": [1e-4, 1e-2, 0.1, 0.5, 1.0, 10.0]}
FULL = {"dimension": 400, "seeds": 16, "starts": [1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 0.7, 1, 3, 10]}


def run(full: bool, figure_path: Path) -> Outcome:
    """Compare limits of finite networks with the mean field over starts."""
    config = FULL if full else SMALL
    outcome = Outcome(
        "From kernel to rich: what the limit depends on", __doc__ or "", config, figure_path
    )
    starts = np.array(config["starts"])
    risks, row_space = [], 0.0
    for start in starts.tolist():
        runs = [_limit(start, config["dimension"], seed) for seed in range(config["seeds"])]
        risks.append([risk for risk, _ in runs])
        row_space = max(row_space, *(gap for _, gap in runs))
    mean = np.mean(risks, axis=1)
    error = np.std(risks, axis=1, ddof=1) / config["seeds"] ** 0.5
    theory = [predict(_problem(start)).excess_risk for start in starts.tolist()]
    curve = trade_off(dmft.Problem(), np.geomspace(1e-5, 1e2, 50))

    outcome.check(
        "distance of asinh(w/alpha^2) from the row space of X, relative", row_space, 0, 1e-9
    )
    # The bias of finite networks is of order 10/d of the risk.
    allowed = np.hypot(error, 10.0 / config["dimension"] * mean)
    outcome.check(
        "largest |finite - mean field|, in errors", np.max(np.abs(mean - theory) / allowed), 0, 3.5
    )
    rising = np.diff(curve.excess_risk)
    outcome.check("smallest step of the mean-field curve (it rises)", rising.min(), 0, np.inf)
    outcome.check(
        "risk at start 1e-5 over that of the l1 norm",
        curve.excess_risk[0] / curve.l1.excess_risk,
        1,
        1.1,
    )
    outcome.check(
        "risk at start 100 over that of the l2 norm",
        curve.excess_risk[-1] / curve.l2,
        0.9999,
        1.0001,
    )

    figure, (axes,) = new_figure(1, "Limit of training, sampling ratio 0.5, noise 0.1")
    axes.plot(curve.init_scale, curve.excess_risk, color=COLOURS[0], label="mean field")
    axes.errorbar(starts, mean, 2 * error, fmt="s", color=COLOURS[1], markerfacecolor="white",
                  capsize=2, label=f"networks, d = {config['dimension']} (±2 errors)")  # fmt: skip
    axes.axhline(curve.l2, color=COLOURS[6], linestyle=":", label="minimum $\\ell_2$ norm")
    axes.axhline(
        curve.l1.excess_risk, color=COLOURS[6], linestyle="--", label="minimum $\\ell_1$ norm"
    )
    axes.set(xscale="log", yscale="log", xlabel="start $\\alpha$", ylabel="excess risk at the end")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0.0, 0.88))
    figure.savefig(figure_path)
    return outcome


def _problem(start: float) -> dmft.Problem:
    return dmft.Problem(network={"init_scale": start})


def _limit(start: float, dimension: int, seed: int) -> tuple[float, float]:
    """Excess risk at the end, and the relative distance of the dual from the row space."""
    problem = _problem(start)
    settings = SimulationSettings(dimension=dimension, seeds=1)
    data = draw_data(problem, settings, np.random.SeedSequence(seed))
    coordinates = data.coordinates
    flow = start_of(problem.network, 0.0, coordinates.a0, coordinates.b0)
    end = 30.0 / predict(problem).relaxation_rate
    weights = integrate(
        data.features, data.labels, flow, np.array([end]),
        teacher=coordinates.teacher, variance=coordinates.variance, rtol=1e-5,
    ).weights[-1]  # fmt: skip
    dual = np.arcsinh(weights / start**2)
    basis = np.linalg.qr(data.features.T)[0]
    gap = np.linalg.norm(dual - basis @ (basis.T @ dual)) / np.linalg.norm(dual)
    return float(np.mean((weights - coordinates.teacher) ** 2)), float(gap)


if __name__ == "__main__":
    run_alone(run, "kernel_to_rich", __doc__)
