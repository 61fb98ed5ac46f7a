"""Compiled laws of networks: all that the solver knows of how a weight moves under a force.

The formulas are those of problem/networks.py. Flows need w = phi(G) on the stages of a panel, its
slope, bounds of a Newton step and of a first guess, and the state (p, q) that restarts it at the
panel's end. Shapes: n paths, k stages. An unknown code raises.

Steps move the parameters of a coordinate: w itself on the linear network (depth 1), (u, v) with
w = uv at depth 2, (a, b) with w = (a^L - b^L)/L at depth L >= 3. Their gradients for a force g on w
are (g), (v g, u g) and (a^(L-1) g, -b^(L-1) g). Plain descent is as good in (a, b) at depth 2.
"""

from __future__ import annotations

import math

import numpy as np

from dmft.problem.networks import DEEP, DEPTH_TWO, LINEAR, Network
from dmft.solver.compiled import compiled, solve_in_place

_MOST_ITERATIONS = 100
_LONGEST_STEP = 0.7  # of Newton in G at depth 2, where w grows like e^(2G)
_TINY = -14.0  # log of a factor up to which it is no weight yet, and may grow by any step
_MARGIN = 0.2  # part of the distance to the singularity of a deep network that a step must leave
_LONGEST_GUESS, _GUESSED_ROOM = 3.0, 0.8


@compiled
def weight(code, depth, decay, growth, p, q, accumulated, elapsed):
    """w = phi(G) and dphi/dG of one coordinate, as problem/networks.py defines them."""
    if code == 1:
        a = math.exp(2.0 * (p - accumulated - decay * elapsed))
        b = math.exp(2.0 * (q + accumulated - decay * elapsed))
        return 0.5 * (a - b), -(a + b)
    if code == 0:
        damping = math.exp(-decay * elapsed)
        return damping * (p - accumulated), -damping
    if code == 2:
        scale = math.exp(growth * elapsed)
        exponent = -1.0 / (depth - 2)
        a = (scale * (p + (depth - 2) * accumulated)) ** exponent
        b = (scale * (q - (depth - 2) * accumulated)) ** exponent
        w = (a**depth - b**depth) / depth
        return w, -scale * (a ** (2 * depth - 2) + b ** (2 * depth - 2))
    raise ValueError("unknown network")


@compiled
def _admissible_part(code, depth, decay, p, q, elapsed, accumulated, step):
    """Fraction of a Newton step that neither overflows nor crosses a singularity."""
    part = 1.0
    if code == 1:
        for i in range(step.shape[0]):
            # G falls by the step: log a grows by it, or log b by its negative.
            growing = p - accumulated[i] if step[i] > 0.0 else q + accumulated[i]
            longest = max(_LONGEST_STEP, _TINY - growing + decay * elapsed[i])
            if part * abs(step[i]) > longest:
                part = longest / abs(step[i])
    elif code == 2:
        for i in range(step.shape[0]):
            while True:
                trial = accumulated[i] - part * step[i]
                left_a = (p + (depth - 2) * trial) / (p + (depth - 2) * accumulated[i])
                left_b = (q - (depth - 2) * trial) / (q - (depth - 2) * accumulated[i])
                if left_a > _MARGIN and left_b > _MARGIN:
                    break
                part *= 0.5
    elif code != 0:
        raise ValueError("unknown network")
    return part


def bounded(
    code: int,
    depth: int,
    decay: float,
    p: np.ndarray,
    q: np.ndarray,
    accumulated: np.ndarray,
    elapsed: np.ndarray,
) -> np.ndarray:
    """First guesses of G, (n, k), moved to where phi neither overflows nor is singular."""
    if code == DEPTH_TWO:
        # On the support of a stationary state |G| grows like the weight decay.
        decayed = decay * elapsed
        lowest = decayed + np.maximum(_LONGEST_GUESS, _TINY - p[:, None])  # of -G
        highest = decayed + np.maximum(_LONGEST_GUESS, _TINY - q[:, None])
        return np.clip(accumulated, -lowest, highest)
    if code == DEEP:
        room = _GUESSED_ROOM / (depth - 2)
        return np.clip(accumulated, -room * p[:, None], room * q[:, None])
    if code == LINEAR:
        return accumulated
    raise ValueError(f"unknown network {code}")


def initial_state(
    code: int, depth: int, a0: np.ndarray, b0: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """State (p, q) at t = 0."""
    if code == DEPTH_TWO:
        with np.errstate(divide="ignore"):
            return np.log(np.abs(a0)), np.log(np.abs(b0))
    if code == DEEP:
        return a0 ** (2.0 - depth), b0 ** (2.0 - depth)
    if code == LINEAR:
        return np.zeros_like(a0), np.zeros_like(b0)
    raise ValueError(f"unknown network {code}")


def moved_state(
    code: int,
    depth: int,
    decay: float,
    growth: float,
    p: np.ndarray,
    q: np.ndarray,
    accumulated: np.ndarray,
    step: float,
) -> tuple[np.ndarray, np.ndarray]:
    """State (p, q) after a panel with this accumulated force at its end."""
    if code == DEPTH_TWO:
        return p - accumulated - decay * step, q + accumulated - decay * step
    if code == DEEP:
        scale = math.exp(growth * step)
        with np.errstate(over="ignore"):  # infinite state: weights that have decayed to zero
            return scale * (p + (depth - 2) * accumulated), scale * (q - (depth - 2) * accumulated)
    if code == LINEAR:
        return math.exp(-decay * step) * (p - accumulated), q
    raise ValueError(f"unknown network {code}")


@compiled
def weights_on_stages(code, depth, decay, growth, p, q, accumulated, elapsed, w, slope):
    """Fill w and slope = dphi/dG, both (n, k), at given accumulated forces (n, k)."""
    for m in range(accumulated.shape[0]):
        for i in range(accumulated.shape[1]):
            w[m, i], slope[m, i] = weight(
                code, depth, decay, growth, p[m], q[m], accumulated[m, i], elapsed[i]
            )


@compiled
def solve_weights(
    code, depth, decay, growth, p, q, root_variance, teacher, elapsed, coupling, ratio, drive,
    shift, tolerance, accumulated, w, slope,
):  # fmt: skip
    """Solve G = sqrt(s) (c + C (delta sqrt(s) (phi(G) - w*) + b)) for every path by damped Newton.

    C is `coupling` (k, k), b is `drive` and c is `shift` (n, k); `accumulated` holds the first
    guess and then the result, w and slope its weights. `tolerance` is that of a Newton step: what
    is left is of the order of its square. Returns (iterations, paths that did not converge).
    """
    count, stages = drive.shape
    jacobian = np.empty((stages, stages))
    residual = np.empty(stages)
    iterations = 0
    failed = 0
    for m in range(count):
        root = root_variance[m]
        converged = False
        for _ in range(_MOST_ITERATIONS):
            iterations += 1
            for i in range(stages):
                w[m, i], slope[m, i] = weight(
                    code, depth, decay, growth, p[m], q[m], accumulated[m, i], elapsed[i]
                )
            if converged:
                break
            for i in range(stages):
                total = shift[m, i]
                for j in range(stages):
                    force = ratio * root * (w[m, j] - teacher[m]) + drive[m, j]
                    total += coupling[i, j] * force
                    jacobian[i, j] = -ratio * root * root * coupling[i, j] * slope[m, j]
                jacobian[i, i] += 1.0
                residual[i] = accumulated[m, i] - root * total
            solve_in_place(jacobian, residual)
            part = _admissible_part(
                code, depth, decay, p[m], q[m], elapsed, accumulated[m], residual
            )
            longest = 0.0
            for i in range(stages):
                accumulated[m, i] -= part * residual[i]
                longest = max(longest, abs(residual[i]))
            if not math.isfinite(longest):
                break
            converged = longest < tolerance * (1.0 + abs(accumulated[m, stages - 1]))
        if not converged:
            failed += 1
    return iterations, failed


# ---------------------------------------------------------------------- steps


def depth_of(network: Network) -> int:
    """The depth L of the parameters that steps move, 1 if the network is linear.

    Raises
    ------
    ValueError : a network that is neither linear nor made of powers or products.
    """
    if network.code not in (LINEAR, DEPTH_TWO, DEEP):
        raise ValueError(f"unknown network {network.code}")
    return 1 if network.code == LINEAR else network.depth


def initial_parameters(depth: int, a0: np.ndarray, b0: np.ndarray) -> np.ndarray:
    """Parameters of every coordinate at the start, shape (1 or 2, n)."""
    if depth == 1:
        return np.zeros((1, len(a0)))
    return np.array([a0 + b0, a0 - b0]) / 2**0.5 if depth == 2 else np.array([a0, b0])


@compiled
def _power(x, n):
    """x^n for whole n >= 0, by multiplication: signs and zeros are those of the power."""
    result = 1.0
    for _ in range(n):
        result *= x
    return result


@compiled
def parameter_weights(depth, parameters, w):
    """Fill w (n,) from the parameters (1 or 2, n) of every coordinate."""
    for m in range(len(w)):
        if depth == 1:
            w[m] = parameters[0, m]
        elif depth == 2:
            w[m] = parameters[0, m] * parameters[1, m]
        else:
            w[m] = (_power(parameters[0, m], depth) - _power(parameters[1, m], depth)) / depth


@compiled
def parameter_gradients(depth, force, parameters, gradients):
    """Fill gradients (1 or 2, n) of the parameters for forces (n,) on w."""
    for m in range(len(force)):
        if depth == 1:
            gradients[0, m] = force[m]
        elif depth == 2:
            gradients[0, m] = parameters[1, m] * force[m]
            gradients[1, m] = parameters[0, m] * force[m]
        else:
            gradients[0, m] = _power(parameters[0, m], depth - 1) * force[m]
            gradients[1, m] = -_power(parameters[1, m], depth - 1) * force[m]


@compiled
def power_terms(depth, a, b, w, slope_a, slope_b, inner_a, inner_b):
    """Fill w, dw/da = a^(L-1), -dw/db = b^(L-1) and a^(L-2), b^(L-2), all (n,)."""
    for m in range(len(a)):
        if depth == 1:
            w[m] = a[m]
            slope_a[m], slope_b[m], inner_a[m], inner_b[m] = 1.0, 0.0, 0.0, 0.0
        else:
            w[m] = (a[m] ** depth - b[m] ** depth) / depth
            slope_a[m], slope_b[m] = a[m] ** (depth - 1), b[m] ** (depth - 1)
            inner_a[m], inner_b[m] = a[m] ** (depth - 2), b[m] ** (depth - 2)
