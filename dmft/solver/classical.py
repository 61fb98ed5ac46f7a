"""The classical algorithm for the mean-field equations, as a reference that is easy to read.

It is the textbook scheme of dynamical mean-field theory, on a uniform grid t_k = k step:

    1. guess the kernels C_w and R_w of the weights' error;
    2. data side:        R_r = (I - R_w)^(-1),   C_r = R_r (C_w + sigma^2) R_r^T;
    3. noise:            zeta_m = (delta C_r)^(1/2) z_m with standard normal z_m, m = 1 ... n_paths;
    4. paths:            G_{k+1} = G_k + step e^(-mu t_k) g_k,     w_k = phi(G_k, t_k),
                         g_k = sqrt(s) zeta_k + delta s sum_l R_r[k, l] (w_l - w*);
    5. tangents:         the derivative of step 4 in a force h_l added to g_l;
    6. averages:         C_w = E[s (w - w*)(w - w*)],   R_w = E[s dw/dh];
    7. mix the averages into the guess with a damping factor, and repeat until nothing changes.

The recursion is explicit, so every response is strictly lower triangular. mu = 0 for a network of
depth 2; other networks accumulate the force with a weight (see `dmft.problem.networks`). With the
linear model and no weight decay the scheme is the exact mean field of gradient descent with this
step.

With any other smooth loss or labels step 2 samples rows of the data as well (`classical_rows.py`),
and the force of step 4 has a second part delta s (R_* + R_r 1)_k w*.

Sources: Sompolinsky and Zippelius, Phys. Rev. B 25, 6860 (1982) for the equations; Eissfeller and
Opper, Phys. Rev. Lett. 68, 2094 (1992) for solving them by sampled paths; Roy, Biroli, Bunin and
Cammarota, J. Phys. A 52, 484001 (2019) for the global damped iteration over the kernels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from threadpoolctl import threadpool_limits

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.dynamics import require_gradient_flow
from dmft.results.solution import Kernels
from dmft.solver.classical_process import Process, draw_population
from dmft.solver.classical_rows import LinearRows, SampledRows, symmetric_root


@dataclass(frozen=True)
class ClassicalSolution:
    """Learning curves and kernels of the classical algorithm.

    It carries no error bars: the paths are coupled through the kernels, so their spread
    understates the error. Solve again with other seeds to see it.

    Attributes
    ----------
    problem : what was solved.
    time : grid t_k = k step, shape (time,), in units of the flow.
    train_mse, train_loss, excess_risk, overlap, squared_norm : curves as in a `Solution`, (time,).
    kernels : two-time kernels, see `dmft.results.solution.Kernels`.
    iterations : sweeps over the kernels that were made.
    change : relative change of the kernels in the last sweep.
    converged : whether `change` reached the tolerance.
    reason : one line that explains why not, else empty.
    work : path_steps, and multiply_adds by stage (root, paths, tangents, averages).
    """

    problem: Problem
    time: np.ndarray
    train_mse: np.ndarray
    train_loss: np.ndarray
    excess_risk: np.ndarray
    overlap: np.ndarray
    squared_norm: np.ndarray
    kernels: Kernels
    iterations: int
    change: float
    converged: bool
    reason: str = ""
    work: dict[str, float] = field(default_factory=dict)


def classical_solve(
    problem: Problem,
    *,
    t_max: float,
    step: float,
    n_paths: int,
    seed: int = 0,
    damping: float = 0.0,
    tolerance: float = 1e-4,
    max_iterations: int = 200,
) -> ClassicalSolution:
    """Solve the mean-field equations on a uniform grid by iterating over the whole kernels.

    Parameters
    ----------
    t_max : final time, a whole number of steps, in units of the flow.
    step : time step; explicit Euler, so the error is of first order and large steps diverge.
    n_paths : paths of the effective process, shared equally by the strata of the population, and
        rows of the data where these are sampled.
    seed : the same normals serve every sweep, so that the iteration has a fixed point.
    damping : share of the old kernels kept in each sweep, in [0, 1). The equations are causal,
        which makes the undamped iteration settle from early times to late ones: about 20 sweeps
        where damping 0.3 takes 30 and 0.5 takes 45.
    tolerance : relative change of the kernels at which the iteration stops.
    max_iterations : sweeps after which it gives up.

    Returns
    -------
    ClassicalSolution : `converged` is False, with a `reason`, if the sweeps ran out or the paths
        left the range of numbers; the kernels are then those of the last finite sweep.

    Raises
    ------
    InputError : an option outside its range, a start that the network cannot use, steps instead
        of a gradient flow, or a loss whose slope jumps.
    """
    require_gradient_flow(problem.dynamics, "must be 'gradient-flow'")
    steps = _checked_steps(t_max, step, n_paths, damping, tolerance, max_iterations)
    # One thread: threads slow many small triangles down, and would change the last digits.
    # Paths that diverge are reported, so the overflow on the way needs no warning.
    with threadpool_limits(1, "blas"), np.errstate(over="ignore", invalid="ignore"):
        return _iterate(problem, steps, step, n_paths, seed, damping, tolerance, max_iterations)


def _iterate(
    problem: Problem,
    steps: int,
    step: float,
    n_paths: int,
    seed: int,
    damping: float,
    tolerance: float,
    max_iterations: int,
) -> ClassicalSolution:
    """The fixed-point iteration of the module's head, with checked options."""
    time = step * np.arange(steps + 1)
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    coordinates, probability = draw_population(problem, n_paths, rng)
    normals = rng.standard_normal((steps + 1, len(probability)))
    rows: LinearRows | SampledRows = LinearRows(problem)
    if not problem.regression:
        strength = float(probability @ (coordinates.variance * coordinates.teacher**2))
        rows = SampledRows(problem, steps + 1, n_paths, strength, rng)

    process = Process(problem, time, step, coordinates, probability)
    weights = np.tile(process.initial_weights(), (steps + 1, 1))
    averages = process.averages(weights, np.zeros((steps + 1, steps + 1)))
    iterations, change, reason = 0, np.inf, ""
    while change > tolerance and iterations < max_iterations:
        answer = rows.answer(averages)
        noise = symmetric_root(problem.sampling_ratio * answer.correlation) @ normals
        new_weights, slope = process.paths(noise, answer.response, answer.pull)
        new = process.averages(new_weights, process.response(slope, answer.response))
        if not new.finite:
            reason = f"paths diverged in sweep {iterations + 1}, use a smaller step or more damping"
            break
        weights, change = new_weights, new.change(averages)
        averages = new.mixed(averages, damping)
        iterations += 1
    converged = change <= tolerance
    if not converged and not reason:
        reason = (
            f"kernels still change by {change:.1e} after {iterations} sweeps, "
            f"tolerance {tolerance:.1e}"
        )
    answer = rows.answer(averages)
    return ClassicalSolution(
        problem=problem,
        time=time,
        train_mse=answer.mse,
        train_loss=answer.loss,
        excess_risk=np.diag(averages.correlation).copy(),
        overlap=averages.overlap,
        squared_norm=process.squared_norm(weights),
        kernels=Kernels(
            correlation_error=averages.correlation,
            correlation_residual=answer.correlation,
            response_weights=averages.response,
            response_residual=answer.response,
            overlap=(weights * probability) @ weights.T,
            quadrature_weights=np.append(np.full(steps, step), 0.0),
        ),
        iterations=iterations,
        change=float(change),
        converged=converged,
        reason=reason,
        work=_work(steps + 1, len(probability), iterations),
    )


def _work(nodes: int, paths: int, iterations: int) -> dict[str, float]:
    """Leading-order counts: what each stage would cost if it exploited every triangle."""
    return {
        "path_steps": float(iterations * paths * (nodes - 1)),
        "multiply_adds_root": float(iterations * 10 * nodes**3),
        "multiply_adds_paths": iterations * paths * nodes**2 * 1.5,
        "multiply_adds_tangents": iterations * paths * nodes**3 / 6,
        "multiply_adds_averages": iterations * paths * nodes**2 * 1.0,
    }


def _checked_steps(
    t_max: float,
    step: float,
    n_paths: int,
    damping: float,
    tolerance: float,
    max_iterations: int,
) -> int:
    """Number of steps, after checking every option."""
    checks = {
        "t_max": (t_max, 0 < t_max < np.inf, "a positive number"),
        "step": (step, 0 < step < np.inf, "a positive number"),
        "n_paths": (n_paths, n_paths >= 1, "at least 1"),
        "damping": (damping, 0 <= damping < 1, "at least 0 and less than 1"),
        "tolerance": (tolerance, 0 < tolerance < np.inf, "a positive number"),
        "max_iterations": (max_iterations, max_iterations >= 1, "at least 1"),
    }
    for name, (given, allowed, words) in checks.items():
        if not allowed:
            raise InputError(f"given {given}, must be {words}", name)
    steps = round(t_max / step)
    if steps < 1 or abs(steps * step - t_max) > 1e-9 * t_max:
        raise InputError(f"given {step}, must divide t_max = {t_max} into whole steps", "step")
    return steps
