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
from dmft.problem.networks import DEPTH_TWO, LINEAR
from dmft.problem.population import Coordinates, strata
from dmft.results.solution import Kernels

_ROWS = 32  # time steps whose memory of the rows before is one matrix product


@dataclass(frozen=True)
class ClassicalSolution:
    """Learning curves and kernels of the classical algorithm.

    It carries no error bars: the paths are coupled through the kernels, so their spread
    understates the error. Solve again with other seeds to see it.

    Attributes
    ----------
    problem : what was solved.
    time : grid t_k = k step, shape (time,), in units of the flow.
    train_mse, excess_risk : curves, shape (time,).
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
    excess_risk: np.ndarray
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
    n_paths : paths of the effective process, shared equally by the strata of the population.
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
    InputError : an option outside its range, or a start that the network cannot use.
    """
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

    process = _Process(problem, time, step, coordinates)
    weights = np.tile(process.initial_weights(), (steps + 1, 1))
    error_correlation = process.correlation(weights, probability)
    error_response = np.zeros((steps + 1, steps + 1))
    iterations, change, reason = 0, np.inf, ""
    while change > tolerance and iterations < max_iterations:
        residual_response, residual_correlation = data_side(
            error_correlation, error_response, problem.noise_std
        )
        noise = symmetric_root(problem.sampling_ratio * residual_correlation) @ normals
        new_weights, slope = process.paths(noise, residual_response)
        new_correlation = process.correlation(new_weights, probability)
        new_response = process.response(slope, residual_response, probability)
        if not (np.isfinite(new_correlation).all() and np.isfinite(new_response).all()):
            reason = f"paths diverged in sweep {iterations + 1}, use a smaller step or more damping"
            break
        weights = new_weights
        change = max(
            _relative_change(new_correlation, error_correlation),
            _relative_change(new_response, error_response),
        )
        error_correlation = damping * error_correlation + (1 - damping) * new_correlation
        error_response = damping * error_response + (1 - damping) * new_response
        iterations += 1
    converged = change <= tolerance
    if not converged and not reason:
        reason = (
            f"kernels still change by {change:.1e} after {iterations} sweeps, "
            f"tolerance {tolerance:.1e}"
        )
    residual_response, residual_correlation = data_side(
        error_correlation, error_response, problem.noise_std
    )
    return ClassicalSolution(
        problem=problem,
        time=time,
        train_mse=np.diag(residual_correlation).copy(),
        excess_risk=np.diag(error_correlation).copy(),
        kernels=Kernels(
            correlation_error=error_correlation,
            correlation_residual=residual_correlation,
            response_weights=error_response,
            response_residual=residual_response,
            overlap=(weights * probability) @ weights.T,
            quadrature_weights=np.append(np.full(steps, step), 0.0),
        ),
        iterations=iterations,
        change=float(change),
        converged=converged,
        reason=reason,
        work=_work(steps + 1, len(probability), iterations),
    )


def draw_population(
    problem: Problem, count: int, rng: np.random.Generator
) -> tuple[Coordinates, np.ndarray]:
    """Draw about `count` coordinates and the probability each one stands for, both (path,).

    Every stratum of the population gets equally many paths, and within it each quantity takes one
    value per quantile (Latin hypercube): the few large coefficients of a sparse teacher would
    otherwise dominate the sampling error.
    """
    draws, shares = [], []
    mixture = strata(problem)
    for stratum in mixture:
        size = max(1, round(count / len(mixture)))
        ranks = rng.permuted(np.tile(np.arange(size), (stratum.random_dimensions, 1)), axis=1).T
        draws.append(stratum.draw((ranks + rng.random(ranks.shape)) / size))
        shares.append(np.full(size, stratum.probability / size))
    columns = zip(*((c.teacher, c.variance, c.a0, c.b0) for c in draws), strict=True)
    return Coordinates(*(np.concatenate(column) for column in columns)), np.concatenate(shares)


def data_side(
    error_correlation: np.ndarray, error_response: np.ndarray, noise_std: float
) -> tuple[np.ndarray, np.ndarray]:
    """R_r and C_r of one sample's residual, which is linear in the weights; all (time, time)."""
    from scipy.linalg import solve_triangular

    identity = np.eye(len(error_response))
    residual_response = solve_triangular(
        identity - error_response, identity, lower=True, unit_diagonal=True
    )
    target = error_correlation + noise_std**2
    return residual_response, residual_response @ target @ residual_response.T


def symmetric_root(covariance: np.ndarray) -> np.ndarray:
    """Symmetric square root of a covariance, negative eigenvalues (round-off) taken as zero.

    A residual covariance is numerically of low rank, which a Cholesky factor does not survive.
    Among all roots only the symmetric one depends continuously on the covariance, so that the
    same normals give nearly the same noise from one sweep to the next.
    """
    if not np.isfinite(covariance).all():
        return np.full_like(covariance, np.nan)
    eigenvalues, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(eigenvalues, 0.0))) @ vectors.T


class _Process:
    """Effective process of one coordinate, for all paths at once; path arrays are (time, path)."""

    def __init__(
        self, problem: Problem, time: np.ndarray, step: float, coordinates: Coordinates
    ) -> None:
        self.network = problem.network
        self.decay = problem.dynamics.weight_decay
        self.sampling_ratio = problem.sampling_ratio
        self.time = time
        self.coordinates = coordinates
        self.increment = step * np.exp(-self.network.growth(self.decay) * time)

    def weights_of(self, force: np.ndarray, time: float) -> tuple[np.ndarray, np.ndarray]:
        """w = phi(G, t) and d phi / dG for the accumulated force G of every path."""
        lam, depth = self.decay, self.network.depth
        a0, b0 = self.coordinates.a0, self.coordinates.b0
        if self.network.code == LINEAR:
            shrink = np.exp(-lam * time)
            return -shrink * force, np.full_like(force, -shrink)
        if self.network.code == DEPTH_TWO:
            plus = (a0 * np.exp(-force - lam * time)) ** 2
            minus = (b0 * np.exp(force - lam * time)) ** 2
            return (plus - minus) / 2, -(plus + minus)
        growth = np.exp(self.network.growth(lam) * time)
        roots = np.array(
            [a0 ** (2 - depth) + (depth - 2) * force, b0 ** (2 - depth) - (depth - 2) * force]
        )
        # A step across the singularity lands on another branch: no number, not a wrong one.
        a, b = (growth * np.where(roots > 0, roots, np.nan)) ** (-1 / (depth - 2))
        slope = -growth * (a ** (2 * depth - 2) + b ** (2 * depth - 2))
        return (a**depth - b**depth) / depth, slope

    def initial_weights(self) -> np.ndarray:
        """w(0), shape (path,)."""
        return self.weights_of(np.zeros_like(self.coordinates.teacher), 0.0)[0]

    def paths(
        self, noise: np.ndarray, residual_response: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Explicit Euler: weights w_k and slopes d phi/dG along every path."""
        variance = self.coordinates.variance
        feedback = self.sampling_ratio * variance
        noise = np.sqrt(variance) * noise
        weights, slope, error = (np.empty_like(noise) for _ in range(3))
        force = np.zeros_like(noise[0])
        for start in range(0, len(noise), _ROWS):
            # One product for the memory of a whole block of rows, up to the block.
            rows = slice(start, start + _ROWS)
            memory = residual_response[rows, :start] @ error[:start]
            for k, past in enumerate(memory, start):
                weights[k], slope[k] = self.weights_of(force, self.time[k])
                error[k] = weights[k] - self.coordinates.teacher
                past += residual_response[k, start : k + 1] @ error[start : k + 1]
                force += self.increment[k] * (noise[k] + feedback * past)
        return weights, slope

    def correlation(self, weights: np.ndarray, probability: np.ndarray) -> np.ndarray:
        """C_w = E[s (w - w*)(w - w*)]."""
        error = weights - self.coordinates.teacher
        return (error * (probability * self.coordinates.variance)) @ error.T

    def response(
        self, slope: np.ndarray, residual_response: np.ndarray, probability: np.ndarray
    ) -> np.ndarray:
        """R_w = E[s dw/dh], from the tangent of every path."""
        from dmft.solver.classical_tangents import mean_response

        return mean_response(
            slope, residual_response, self.increment, self.coordinates.variance, probability,
            self.sampling_ratio,
        )  # fmt: skip


def _relative_change(new: np.ndarray, old: np.ndarray) -> float:
    """Largest difference relative to the largest entry."""
    return float(np.abs(new - old).max() / max(np.abs(new).max(), np.finfo(float).tiny))


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
