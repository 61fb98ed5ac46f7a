"""What the loss and the labels change: outliers, memorised random labels, separable classes.

The Huber loss limits the pull of a row, and outliers that spoil regression by the squared loss
hardly touch it. Random labels are fitted as well as true ones while the test error stays at one
half; they take longer, and larger weights at the same loss. Where classes can be separated the
logistic flow never ends: the margin M of the weights grows by 1/(1 - 1/M) for every e-fold of time,
from dM/dt ~ M e^-M, and the l1 norm with it. Where they cannot, it converges to an M-estimator.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, Outcome, new_figure, run_alone

import dmft
from dmft.theory import limit

SMALL: dict[str, Any] = {
    "n_paths": 1024, "replicates": 2, "dimension": 300, "seeds": 8,
    "regression_time": 30.0, "time": 1e3, "converged": 300.0, "decades": 1.5, "width": 0.3,
}  # fmt: skip
FULL = {**SMALL, "n_paths": 4096, "replicates": 4, "dimension": 1600, "seeds": 12, "time": 1e5,
        "regression_time": 100.0}  # fmt: skip


def run(full: bool, figure_path: Path) -> Outcome:
    """Three pictures: outliers, memorisation, separability."""
    config = FULL if full else SMALL
    outcome = Outcome("What losses and labels change", __doc__ or "", config, figure_path)
    figure, axes = new_figure(3, "Sparse teacher of density 0.1, diagonal network from 0.3")
    _outliers(config, axes[0], outcome)
    _classes(config, axes[1], axes[2], outcome)
    figure.savefig(figure_path)
    return outcome


def _solve(problem: dmft.Problem, config: dict[str, Any], end: float) -> dmft.Solution:
    return dmft.solve(
        problem, t_max=end, n_paths=config["n_paths"], replicates=config["replicates"]
    )


def _outliers(config: dict[str, Any], axes: Any, outcome: Outcome) -> None:
    """A tenth of the labels with noise of standard deviation 5, sampling ratio 2."""
    least, end = {}, config["regression_time"]
    for name, loss, colour in (
        ("squared", {"kind": "squared"}, COLOURS[1]),
        ("Huber", {"kind": "huber", "width": config["width"]}, COLOURS[0]),
    ):
        problem = dmft.Problem(sampling_ratio=2.0, loss=loss, labels="outliers")
        solved = _solve(problem, config, end)
        networks = dmft.simulate(
            problem, t_max=end, dimension=config["dimension"], seeds=config["seeds"]
        )
        least[name] = solved.excess_risk.min()
        axes.plot(solved.time, solved.excess_risk, color=colour, label=name)
        axes.errorbar(networks.time, networks.excess_risk, 2 * networks.excess_risk_stderr,
                      fmt="o", markersize=3, color=colour, markerfacecolor="white")  # fmt: skip
        axes.axhline(limit(problem).excess_risk, color=colour, linestyle=":")
        theory = solved.curve_at("excess_risk", networks.time[-1])
        # Echoes and finite networks are both biased by some multiple of 1/size.
        allowed = np.hypot(
            networks.excess_risk_stderr[-1],
            theory * np.hypot(10 / config["dimension"], 75 / config["n_paths"]),
        )
        outcome.check(
            f"{name}: |networks - mean field| at the end, in errors",
            abs(networks.excess_risk[-1] - theory) / allowed, 0, 3.5,
        )  # fmt: skip
        least[name, "end"] = solved.excess_risk[-1]
    outcome.check(
        "outliers: least excess risk, squared over Huber", least["squared"] / least["Huber"], 10, 80
    )
    outcome.check(
        "outliers: excess risk at the end, squared over Huber",
        least["squared", "end"] / least["Huber", "end"], 15, 60,
    )  # fmt: skip
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(0.1, end),
        ylim=(5e-3, 5),
        xlabel="time",
        ylabel="excess risk",
    )
    axes.legend(fontsize=8, title="lines: mean field, points: networks,\ndotted: limits",
                title_fontsize=8)  # fmt: skip


def _classes(config: dict[str, Any], errors: Any, norms: Any, outcome: Outcome) -> None:
    """Signs of the teacher, separable or not, and random ones, under the logistic loss."""
    problems = {
        "true labels": dmft.Problem(
            sampling_ratio=0.5, noise_std=0.0, loss="logistic", labels="sign"
        ),
        "random labels": dmft.Problem(sampling_ratio=0.5, loss="logistic", labels="random"),
        "not separable": dmft.Problem(
            sampling_ratio=4.0, noise_std=0.7, loss="logistic", labels="sign"
        ),
    }
    ends = dict.fromkeys(problems, config["time"]) | {"not separable": config["converged"]}
    solved = {name: _solve(problems[name], config, end) for name, end in ends.items()}
    for (name, run_), colour in zip(solved.items(), COLOURS, strict=False):
        if name != "not separable":
            errors.plot(run_.time, run_.train_error, "--", color=colour, label=f"{name}, training")
            errors.plot(run_.time, run_.test_error, color=colour, label=f"{name}, test")
        norms.plot(run_.time, run_.l1_norm, color=colour, label=name)
    errors.set(xscale="log", xlim=(0.1, None), xlabel="time", ylabel="error rate")
    errors.legend(fontsize=8)
    random, true = solved["random labels"], solved["true labels"]
    outcome.check("random labels: training error at the end", random.train_error[-1], 0, 1e-3)
    outcome.check("random labels: test error at the end", random.test_error[-1], 0.49, 0.51)
    losses = [s.curve_at("train_loss", 10.0) for s in (random, true)]
    outcome.check("training loss at time 10, random over true", losses[0] / losses[1], 1.5, 3)
    sizes = [np.interp(np.log(100), -np.log(s.train_loss), s.l1_norm) for s in (random, true)]
    outcome.check("l1 norm at loss 0.01, random over true", sizes[0] / sizes[1], 1.1, 2.5)
    for name in ("true labels", "random labels"):
        run_ = solved[name]
        late = run_.time >= config["time"] * 10 ** -config["decades"]
        time, norm = run_.time[late], run_.l1_norm[late]
        slope = np.polyfit(np.log(time), norm, 1)[0]
        margin = limit(problems[name]).margin
        reached = margin * norm.mean()
        # From above: the direction is still on its way from small l2 to small l1 norm.
        outcome.check(f"{name}: l1 norm per e-fold of time, over its law",
                      slope * margin * (1 - 1 / reached), 1.0, 1.3)  # fmt: skip
        level = norm[-1] + np.log(time / time[-1]) / margin / (1 - 1 / reached)
        norms.plot(time, level, ":", color=COLOURS[6])
    still, theory = solved["not separable"], limit(problems["not separable"])
    tenth = still.curve_at("squared_norm", config["converged"] / 4)
    outcome.check("not separable: change of |w|^2 over the last factor of 4 of time",
                  abs(still.squared_norm[-1] / tenth - 1), 0, 0.01)  # fmt: skip
    outcome.check("not separable: overlap over that of the M-estimator",
                  still.overlap[-1] / theory.overlap, 0.95, 1.05)  # fmt: skip
    outcome.check("not separable: test error over that of the M-estimator",
                  still.test_error[-1] / theory.test_error, 0.98, 1.02)  # fmt: skip
    norms.set(xscale="log", xlim=(0.1, None), xlabel="time", ylabel="mean |w|", ylim=(0, None))
    norms.legend(fontsize=8, title="dotted: slope of the law", title_fontsize=8)


if __name__ == "__main__":
    run_alone(run, "losses", __doc__)
