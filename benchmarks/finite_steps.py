"""Gradient descent and SGD: mean field against finite networks, and the limit of small steps.

    python benchmarks/finite_steps.py agreement [--dimension 2000] [--seeds 24]
    python benchmarks/finite_steps.py order
    python benchmarks/finite_steps.py forms [--steps 300] [--replicates 16]

`agreement` prints, for three steps of gradient descent up to the edge of stability and for three
batch fractions, the largest difference over all recorded steps in combined standard errors.
`order` halves the step at fixed step_size/batch_fraction and prints how far SGD is from its flow.
`forms` compares the march that traces tangents with the one that does not: CPU seconds and scatter
of a replicate, and how many times less CPU the second takes at equal standard error.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

import dmft

CURVES = ("train_mse", "excess_risk", "mean_charge", "effective_alpha")
STEPS = 100
# The teacher is bounded: with a normal one every step is too large for some coordinate.
PROBLEM: dict[str, Any] = {"noise_std": 0.3, "teacher": {"kind": "rademacher"}}
DYNAMICS: tuple[dict[str, Any], ...] = (
    {"kind": "gradient-descent", "step_size": 0.1},
    {"kind": "gradient-descent", "step_size": 0.3},
    {"kind": "gradient-descent", "step_size": 0.35},
    {"kind": "sgd", "step_size": 0.03, "batch_fraction": 0.02},
    {"kind": "sgd", "step_size": 0.1, "batch_fraction": 0.1},
    {"kind": "sgd", "step_size": 0.3, "batch_fraction": 0.5},
)


def agreement(dimension: int, seeds: int) -> None:
    """Largest |z| over the recorded steps, for every dynamics and curve."""
    print("largest |z| over the recorded steps, and the largest relative standard error")
    for dynamics in DYNAMICS:
        problem = dmft.Problem(**PROBLEM, dynamics=dynamics)
        solution = dmft.solve(problem, t_max=STEPS, n_paths=4096, replicates=8)
        simulation = dmft.simulate(problem, dimension=dimension, seeds=seeds, t_max=STEPS)
        comparison = dmft.compare(solution, simulation)
        print(" ".join(str(value) for value in dynamics.values()), comparison.verdict)
        for curve in comparison.curves:
            z = np.abs(curve.z[np.isfinite(curve.z)])
            relative = np.max(curve.stderr / np.abs(curve.mean_field))
            print(f"  {curve.name:<16}{z.max():6.2f}   {relative:.2%}", flush=True)


def order() -> None:
    """Relative difference of SGD and its flow at fixed times, as the step is halved."""
    times = np.array([0.5, 1.0, 2.0, 4.0])
    print("SGD / flow - 1 at t =", times)
    for step in (0.1, 0.05, 0.025, 0.0125):
        noise = {"step_size": step, "batch_fraction": step}
        flow, descent = (
            dmft.solve(
                dmft.Problem(noise_std=0.3, dynamics={"kind": kind, **noise}),
                t_max=t_max, n_paths=2048, replicates=8, rtol=2e-3,
            )
            for kind, t_max in (("stochastic-gradient-flow", 4.0), ("sgd", round(4.0 / step)))
        )  # fmt: skip
        print(f"step {step:g}")
        for name in CURVES:
            limit = flow.curve_at(name, times)
            errors = flow.curve_at(f"{name}_stderr", times)
            value = descent.curve_at(name, times / step)
            spread = np.hypot(errors, descent.curve_at(f"{name}_stderr", times / step)) / limit
            print(
                f"  {name:<16}",
                np.round(value / limit - 1, 4),
                "±",
                np.round(spread, 4),
                flush=True,
            )


def forms(steps: int, replicates: int) -> None:
    """CPU and scatter of gradient descent with and without tangents, all in one run."""
    from dmft.solver import schemes

    problem = dmft.Problem(dynamics=DYNAMICS[0])
    found = {}
    for name, most, count in (("without", 0, 4 * replicates), ("tangents", steps, replicates)):
        schemes._MOST_TRACED = most
        dmft.solve(problem, t_max=5, n_paths=256, replicates=2)  # compiles
        start = time.process_time()
        solution = dmft.solve(problem, t_max=steps, n_paths=4096, replicates=count, threads=1)
        seconds = (time.process_time() - start) / count
        print(f"{name}: {seconds:.3f} s a replicate")
        for curve in ("excess_risk", "train_mse"):
            runs = solution.curves[curve].runs
            scatter = (runs.std(axis=0, ddof=1) / runs.mean(axis=0))[solution.time > 5]
            found[name, curve] = seconds * np.array([scatter.mean() ** 2, scatter[-1] ** 2])
            print(f"  {curve:<12} scatter {scatter.mean():.2%}, at the end {scatter[-1]:.2%}")
    for curve in ("excess_risk", "train_mse"):
        ratio = found["tangents", curve] / found["without", curve]
        print(f"{curve}: {ratio[0]:.1f} times less CPU, at the end {ratio[1]:.1f}")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["agreement", "order", "forms"])
    parser.add_argument("--dimension", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--replicates", type=int, default=16)
    arguments = parser.parse_args()
    if arguments.what == "agreement":
        agreement(arguments.dimension, arguments.seeds)
    elif arguments.what == "order":
        order()
    else:
        forms(arguments.steps, arguments.replicates)


if __name__ == "__main__":
    main()
