"""Values of a solution between its nodes, from the polynomials that its integrator rests on.

A panel starts at the last node of the panel before and holds the nodes of a collocation method.
The polynomial through start and nodes is the one the paths are computed with, of error O(h^4) for
three nodes. Standard errors are not smooth; they are interpolated linearly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from dmft.errors import InputError
from dmft.numerics.collocation import lagrange

_STEEP = 1e3  # growth within a panel from which on a curve is interpolated in its logarithm
_ROUNDING = 1e-12  # a time may pass the end by this much of it


def interpolation_matrix(time: np.ndarray, panel: np.ndarray, at: ArrayLike) -> np.ndarray:
    """Weights of the nodes' values in the value at each time, shape (len(at), len(time)).

    Parameters
    ----------
    time : nodes, shape (time,), increasing from 0, in units of the flow.
    panel : panel number of each node, shape (time,), -1 for t = 0 (as in `Solution`).
    at : times in [0, time[-1]], in any order.

    Raises
    ------
    InputError : a time outside [0, time[-1]].
    """
    times = _checked(time, at)
    last = np.append(np.flatnonzero(np.diff(panel)), len(time) - 1)  # of t = 0 and every panel
    which = np.searchsorted(time[last], times)  # a panel's end belongs to it
    matrix = np.zeros((len(times), len(time)))
    for number in np.unique(which):
        rows = np.flatnonzero(which == number)
        columns = np.arange(0 if number == 0 else last[number - 1], last[number] + 1)
        # Distances are measured from the start, which is exact, and in units of the panel.
        start, length = time[columns[0]], max(time[columns[-1]] - time[columns[0]], 1e-300)
        nodes, points = (time[columns] - start) / length, (times[rows] - start) / length
        matrix[np.ix_(rows, columns)] = lagrange(nodes, points)
    return matrix


def curve_at(
    time: np.ndarray,
    panel: np.ndarray,
    curve: np.ndarray,
    at: ArrayLike,
    *,
    positive: bool = False,
) -> np.ndarray:
    """A curve, or several of shape (..., time), at the given times: shape (..., len(at)).

    A curve said to be `positive` is interpolated in its logarithm, so that it stays positive
    where it falls by orders of magnitude within a panel; where a node's value is zero, the
    polynomial goes through the values themselves and is cut at zero. Any curve is interpolated in
    its logarithm where its values in a panel have one sign and differ by more than a factor of
    1000.

    Raises
    ------
    InputError : a time outside [0, time[-1]].
    """
    matrix = interpolation_matrix(time, panel, at)
    curve = np.asarray(curve, dtype=float)
    plain = curve @ matrix.T
    if not positive:
        return _growing(matrix, curve, plain)
    usable = curve > 0.0
    logarithm = np.log(np.where(usable, curve, 1.0)) @ matrix.T
    without = (~usable).astype(float) @ (matrix != 0.0).T > 0.0
    return np.where(without, np.maximum(plain, 0.0), np.exp(np.where(without, 0.0, logarithm)))


def _growing(matrix: np.ndarray, curve: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """`plain`, but through logarithms where a panel's values grow or fall by a factor of 1000.

    A polynomial through values of other orders of magnitude rings around the small ones.
    """
    width = max(1, int(np.max(np.count_nonzero(matrix, axis=1), initial=1)))
    nodes = np.argsort(matrix == 0.0, axis=1, kind="stable")[:, :width]  # of each time's panel
    used = np.take_along_axis(matrix, nodes, axis=1) != 0.0
    values = curve[..., nodes]
    least = np.where(used, values, np.inf).min(axis=-1)
    most = np.where(used, values, -np.inf).max(axis=-1)
    sign = np.sign(least)
    far, near = np.maximum(np.abs(least), np.abs(most)), np.minimum(np.abs(least), np.abs(most))
    steep = (sign != 0.0) & (sign == np.sign(most)) & (far > _STEEP * near)
    if not steep.any():
        return plain
    logarithm = np.log(np.where(curve == 0.0, 1.0, np.abs(curve))) @ matrix.T
    return np.where(steep, sign * np.exp(np.where(steep, logarithm, 0.0)), plain)


def kernel_at(time: np.ndarray, panel: np.ndarray, kernel: np.ndarray, at: ArrayLike) -> np.ndarray:
    """A correlation kernel (time, time) at all pairs of times, shape (len(at), len(at)).

    By the tensor product of the panels' polynomials, applied to the correlations
    K(t, s) / sqrt(K(t, t) K(s, s)) with the diagonal interpolated as a positive curve, so that
    kernels keep their relative accuracy where they decay; where some K(t, t) is zero (w(0) = 0),
    to the kernel itself. Meant for kernels that are smooth across the diagonal: responses are
    causal and hold quadrature weights, which do not interpolate.

    Raises
    ------
    InputError : a time outside [0, time[-1]].
    """
    matrix = interpolation_matrix(time, panel, at)
    diagonal = np.diag(kernel)
    if not (diagonal > 0.0).all():
        once = curve_at(time, panel, kernel, at)
        twice = curve_at(time, panel, once.T, at)
        return 0.5 * (twice + twice.T)
    deviation = np.sqrt(diagonal)
    correlation = matrix @ (kernel / np.outer(deviation, deviation)) @ matrix.T
    deviation = curve_at(time, panel, deviation, at, positive=True)
    return correlation * np.outer(deviation, deviation)


def curve_error_at(time: np.ndarray, error: np.ndarray, at: ArrayLike) -> np.ndarray:
    """Standard errors (..., time) of a curve, piecewise linear between nodes: (..., len(at)).

    Raises
    ------
    InputError : a time outside [0, time[-1]].
    """
    return np.asarray(error) @ _linear_matrix(time, at).T


def kernel_error_at(time: np.ndarray, error: np.ndarray, at: ArrayLike) -> np.ndarray:
    """Standard errors (time, time) of a kernel, bilinear between nodes: (len(at), len(at)).

    Raises
    ------
    InputError : a time outside [0, time[-1]].
    """
    matrix = _linear_matrix(time, at)
    return matrix @ error @ matrix.T


def _linear_matrix(time: np.ndarray, at: ArrayLike) -> np.ndarray:
    times = _checked(time, at)
    return np.array([np.interp(times, time, unit) for unit in np.eye(len(time))]).T


def _checked(time: np.ndarray, at: ArrayLike) -> np.ndarray:
    """The times as an array, rounding beyond the end taken back."""
    end = float(time[-1])
    try:
        times = np.atleast_1d(np.asarray(at, dtype=float))
    except (TypeError, ValueError):
        raise InputError(f"given {str(at)[:60]!r}, must be numbers", "times") from None
    if times.ndim != 1:
        raise InputError(f"given an array of shape {times.shape}, must be a list", "times")
    outside = times[~((times >= 0.0) & (times <= end * (1.0 + _ROUNDING)))]
    if len(outside):
        raise InputError(f"given {outside[0]:g}, must be from 0 to {end:g}", "times")
    return np.minimum(times, end)
