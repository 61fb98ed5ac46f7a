"""Compiled laws of networks: all that the solver knows of how a weight moves under a force.

The formulas are those of problem/networks.py. Flows need w = phi(G) on the stages of a panel, its
slope, bounds of a Newton step and of a first guess, and the state (p, q) that restarts it at the
panel's end. Shapes: n paths, k stages. `constant` is that of the network, its depth or its level.
An unknown code raises.

Steps move the parameters of a coordinate: w itself on the linear network (depth 1), (u, v) with
w = uv at depth 2, (a, b) with w = (a^L - b^L)/L at depth L >= 3. Their gradients for a force g on w
are (g), (v g, u g) and (a^(L-1) g, -b^(L-1) g). Plain descent is as good in (a, b) at depth 2.
Truncated networks have depth 2 and (a, b) cut off at `level`, which is infinite for all others.
"""

from __future__ import annotations

import math

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.problem.networks import DEEP, DEPTH_TWO, LINEAR, TRUNCATED, Network
from dmft.solver.compiled import compiled, solve_in_place

_MOST_ITERATIONS = 1000
_LONGEST_STEP = 0.7  # of Newton in G at depth 2, where w grows like e^(2G)
_TINY = -14.0  # log of a factor up to which it is no weight yet, and may grow by any step
_MARGIN = 0.2  # part of the distance to the singularity of a deep network that a step must leave
_LONGEST_GUESS, _GUESSED_ROOM = 3.0, 0.8
# Up to which |G| the tolerance of G is relative: with weight decay it grows like t, and w = e^(2G).
_MOST_SIZE = 1e3


@compiled
def _truncated_half_square(x, level):
    """h(x) and its slope: H(a) and T(a)^2 of a cut factor with X(a) = x."""
    if x <= math.log(level):
        square = math.exp(2.0 * x)
        return 0.5 * square, square
    return level * level * (x - math.log(level) + 0.5), level * level


@compiled
def weight(code, constant, decay, growth, p, q, accumulated, elapsed):
    """w = phi(G) and dphi/dG of one coordinate, as problem/networks.py defines them."""
    if code == 1:
        a = math.exp(2.0 * (p - accumulated - decay * elapsed))
        b = math.exp(2.0 * (q + accumulated - decay * elapsed))
        return 0.5 * (a - b), -(a + b)
    if code == 0:
        damping = math.exp(-decay * elapsed)
        return damping * (p - accumulated), -damping
    if code == 2:
        depth = constant
        scale = math.exp(growth * elapsed)
        exponent = -1.0 / (depth - 2)
        a = (scale * (p + (depth - 2) * accumulated)) ** exponent
        b = (scale * (q - (depth - 2) * accumulated)) ** exponent
        w = (a**depth - b**depth) / depth
        return w, -scale * (a ** (2 * depth - 2) + b ** (2 * depth - 2))
    if code == 3:
        half_a, slope_a = _truncated_half_square(p - accumulated, constant)
        half_b, slope_b = _truncated_half_square(q + accumulated, constant)
        return half_a - half_b, -(slope_a + slope_b)
    raise ValueError("unknown network")


@compiled
def _admissible_part(code, constant, decay, p, q, elapsed, accumulated, step):
    """Fraction of a Newton step that neither overflows nor crosses a singularity."""
    part = 1.0
    if code == 1 or code == 3:
        for i in range(step.shape[0]):
            # G falls by the step: log a grows by it, or log b by its negative.
            growing = p - accumulated[i] if step[i] > 0.0 else q + accumulated[i]
            if code == 3 and growing > math.log(constant):
                continue  # beyond the level w is linear
            longest = max(_LONGEST_STEP, _TINY - growing + decay * elapsed[i])
            if part * abs(step[i]) > longest:
                part = longest / abs(step[i])
    elif code == 2:
        depth = constant
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
    constant: float,
    decay: float,
    p: np.ndarray,
    q: np.ndarray,
    accumulated: np.ndarray,
    elapsed: np.ndarray,
) -> np.ndarray:
    """First guesses of G, (n, k), moved to where phi neither overflows nor is singular."""
    if code in (DEPTH_TWO, TRUNCATED):
        # On the support of a stationary state |G| grows like the weight decay.
        decayed = decay * elapsed
        lowest = decayed + np.maximum(_LONGEST_GUESS, _TINY - p[:, None])  # of -G
        highest = decayed + np.maximum(_LONGEST_GUESS, _TINY - q[:, None])
        return np.clip(accumulated, -lowest, highest)
    if code == DEEP:
        room = _GUESSED_ROOM / (constant - 2)
        return np.clip(accumulated, -room * p[:, None], room * q[:, None])
    if code == LINEAR:
        return accumulated
    raise ValueError(f"unknown network {code}")


def initial_state(
    code: int, constant: float, a0: np.ndarray, b0: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """State (p, q) at t = 0."""
    if code == DEPTH_TWO:
        with np.errstate(divide="ignore"):
            return np.log(np.abs(a0)), np.log(np.abs(b0))
    if code == DEEP:
        return a0 ** (2.0 - constant), b0 ** (2.0 - constant)
    if code == TRUNCATED:
        return _stretched_log(a0, constant), _stretched_log(b0, constant)
    if code == LINEAR:
        return np.zeros_like(a0), np.zeros_like(b0)
    raise ValueError(f"unknown network {code}")


def _stretched_log(a: np.ndarray, level: float) -> np.ndarray:
    """X(a) = log|a| up to the level, and linear in |a| beyond."""
    with np.errstate(divide="ignore"):
        inside = np.log(np.minimum(np.abs(a), level))
    return np.asarray(inside + np.maximum(np.abs(a) / level - 1.0, 0.0))


def moved_state(
    code: int,
    constant: float,
    decay: float,
    growth: float,
    p: np.ndarray,
    q: np.ndarray,
    accumulated: np.ndarray,
    step: float,
) -> tuple[np.ndarray, np.ndarray]:
    """State (p, q) after a panel with this accumulated force at its end."""
    if code in (DEPTH_TWO, TRUNCATED):
        return p - accumulated - decay * step, q + accumulated - decay * step
    if code == DEEP:
        depth, scale = constant, math.exp(growth * step)
        with np.errstate(over="ignore"):  # infinite state: weights that have decayed to zero
            return scale * (p + (depth - 2) * accumulated), scale * (q - (depth - 2) * accumulated)
    if code == LINEAR:
        return math.exp(-decay * step) * (p - accumulated), q
    raise ValueError(f"unknown network {code}")


@compiled
def weights_on_stages(code, constant, decay, growth, p, q, accumulated, elapsed, w, slope):
    """Fill w and slope = dphi/dG, both (n, k), at given accumulated forces (n, k)."""
    for m in range(accumulated.shape[0]):
        for i in range(accumulated.shape[1]):
            w[m, i], slope[m, i] = weight(
                code, constant, decay, growth, p[m], q[m], accumulated[m, i], elapsed[i]
            )


@compiled
def solve_weights(
    code, constant, decay, growth, p, q, root_variance, teacher, elapsed, coupling, ratio, drive,
    shift, tolerance, accumulated, w, slope,
):  # fmt: skip
    """Solve G = sqrt(s) (c + C (delta sqrt(s) (phi(G) - w*) + b)) for every path by damped Newton.

    C is `coupling` (k, k), b is `drive` and c is `shift` (n, k); `accumulated` holds the first
    guess and then the result, w and slope its weights. `tolerance` is that of a Newton step: what
    is left is of the order of its square. Returns (iterations, paths that did not converge).
    """
    count = drive.shape[0]
    jacobian, residual = np.empty((STAGES, STAGES)), np.empty(STAGES)
    iterations = 0
    failed = 0
    for m in range(count):
        root = root_variance[m]
        converged = False
        for _ in range(_MOST_ITERATIONS):
            iterations += 1
            for i in range(STAGES):
                w[m, i], slope[m, i] = weight(
                    code, constant, decay, growth, p[m], q[m], accumulated[m, i], elapsed[i]
                )
            if converged:
                break
            for i in range(STAGES):
                total = shift[m, i]
                for j in range(STAGES):
                    force = ratio * root * (w[m, j] - teacher[m]) + drive[m, j]
                    total += coupling[i, j] * force
                    jacobian[i, j] = -ratio * root * root * coupling[i, j] * slope[m, j]
                jacobian[i, i] += 1.0
                residual[i] = accumulated[m, i] - root * total
            solve_in_place(jacobian, residual)
            part = _admissible_part(
                code, constant, decay, p[m], q[m], elapsed, accumulated[m], residual
            )
            longest = 0.0
            for i in range(STAGES):
                accumulated[m, i] -= part * residual[i]
                longest = max(longest, abs(residual[i]))
            if not math.isfinite(longest):
                break
            size = min(abs(accumulated[m, STAGES - 1]), _MOST_SIZE)
            converged = longest < tolerance * (1.0 + size)
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
    if network.code not in (LINEAR, DEPTH_TWO, DEEP, TRUNCATED):
        raise ValueError(f"unknown network {network.code}")
    return 1 if network.code == LINEAR else network.depth


def level_of(network: Network) -> float:
    """Where the parameters are cut off: infinite but for truncated networks."""
    return network.constant if network.code == TRUNCATED else math.inf


def initial_parameters(depth: int, level: float, a0: np.ndarray, b0: np.ndarray) -> np.ndarray:
    """Parameters of every coordinate at the start, shape (1 or 2, n)."""
    if depth == 1:
        return np.zeros((1, len(a0)))
    product = depth == 2 and level == math.inf
    return np.array([a0 + b0, a0 - b0]) / 2**0.5 if product else np.array([a0, b0])


@compiled
def _power(x, n):
    """x^n for whole n >= 0, by multiplication: signs and zeros are those of the power."""
    result = 1.0
    for _ in range(n):
        result *= x
    return result


@compiled
def _power_terms(depth, level, x):
    """x^L, x^(L-1) and x^(L-2); of a cut factor 2 H(x), T(x) and T'(x)."""
    if abs(x) > level:
        return level * (2.0 * abs(x) - level), math.copysign(level, x), 0.0
    return _power(x, depth), _power(x, depth - 1), _power(x, depth - 2)


@compiled
def parameter_weights(depth, level, parameters, w):
    """Fill w (n,) from the parameters (1 or 2, n) of every coordinate."""
    for m in range(len(w)):
        if depth == 1:
            w[m] = parameters[0, m]
        elif depth == 2 and level == math.inf:
            w[m] = parameters[0, m] * parameters[1, m]
        else:
            of_a = _power_terms(depth, level, parameters[0, m])
            of_b = _power_terms(depth, level, parameters[1, m])
            w[m] = (of_a[0] - of_b[0]) / depth


@compiled
def parameter_gradients(depth, level, force, parameters, gradients):
    """Fill gradients (1 or 2, n) of the parameters for forces (n,) on w."""
    for m in range(len(force)):
        if depth == 1:
            gradients[0, m] = force[m]
        elif depth == 2 and level == math.inf:
            gradients[0, m] = parameters[1, m] * force[m]
            gradients[1, m] = parameters[0, m] * force[m]
        else:
            gradients[0, m] = _power_terms(depth, level, parameters[0, m])[1] * force[m]
            gradients[1, m] = -_power_terms(depth, level, parameters[1, m])[1] * force[m]


@compiled
def power_terms(depth, level, a, b, w, slope_a, slope_b, inner_a, inner_b):
    """Fill w, dw/da = a^(L-1), -dw/db = b^(L-1) and a^(L-2), b^(L-2), all (n,); as cut off."""
    for m in range(len(a)):
        if depth == 1:
            w[m] = a[m]
            slope_a[m], slope_b[m], inner_a[m], inner_b[m] = 1.0, 0.0, 0.0, 0.0
        elif abs(a[m]) > level or abs(b[m]) > level:
            of_a, slope_a[m], inner_a[m] = _power_terms(depth, level, a[m])
            of_b, slope_b[m], inner_b[m] = _power_terms(depth, level, b[m])
            w[m] = (of_a - of_b) / depth
        else:
            w[m] = (a[m] ** depth - b[m] ** depth) / depth
            slope_a[m], slope_b[m] = a[m] ** (depth - 1), b[m] ** (depth - 1)
            inner_a[m], inner_b[m] = a[m] ** (depth - 2), b[m] ** (depth - 2)
