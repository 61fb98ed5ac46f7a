"""Trajectories known by their two-time kernel, of the mean field or of simulations.

In infinite dimension the maps are functions of E[w(t) w(s)]. For the parameters of a network of
depth 2, with the charge C = u^2 - v^2 and z = (1/2) asinh(2 w / |C|),

    u(t) u(s) + v(t) v(s) = sqrt(|C(t) C(s)|) cosh(z(t) + z(s)),

whose average over paths takes the place of E[w w]. At depth 2, w(0) = 0 has no direction and the
map leaves it out; (u, v) is never zero.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from dmft.errors import InputError
from dmft.results.overlaps import OverlapBlocks
from dmft.trajectory import algebra
from dmft.trajectory.measures import Trajectory


def of_kernel(
    kernel: np.ndarray, step: np.ndarray, sizes: np.ndarray | None = None, name: str = ""
) -> Trajectory:
    """The trajectory with a given kernel.

    Parameters
    ----------
    kernel : K_ts, shape (T, T), or a stack of kernels (block, T, T) of replicates that add up.
    step : time of each row, shape (T,).
    sizes : number of replicates in each block; ones by default.
    name : what it is the trajectory of.

    Raises
    ------
    InputError : as `Trajectory`.
    """
    stack = kernel if kernel.ndim == 3 else kernel[None]
    sizes = np.ones(len(stack)) if sizes is None else sizes
    return Trajectory(step, algebra.from_kernel(stack), sizes, 0, name)


def of_overlaps(
    time: np.ndarray,
    overlap: np.ndarray,
    blocks: OverlapBlocks | None,
    of: str,
    change: np.ndarray | None = None,
) -> Trajectory:
    """The trajectory of a solution or a simulation.

    Parameters
    ----------
    time : shape (T,).
    overlap : mean of E[w(t) w(s)], used where there are no blocks; then without error bars.
    blocks : the overlaps of groups of replicates.
    of : "weights" or "parameters".
    change : matrix (T', T) that interpolates to other times.

    Raises
    ------
    InputError : an unknown `of`, or a kernel that is not there.
    """
    if of not in ("weights", "parameters"):
        raise InputError(f"given '{of}', allowed: weights, parameters", "of")
    if of == "parameters" and (blocks is None or blocks.parameters is None):
        raise InputError(
            "the overlap of (u, v) is not in this result: it needs a network of depth 2, and a "
            "version of dmft that keeps it",
            "of",
        )
    sizes, stack = np.ones(1), overlap[None]
    if blocks is not None:
        kept = blocks.weights if of == "weights" else blocks.parameters
        assert kept is not None
        sizes, stack = blocks.sizes, kept / blocks.sizes.sum()
    if change is not None:
        time, stack = change @ time, change @ stack @ change.T
    return of_kernel(stack, time, sizes, of)


def flow_length(
    kernel: np.ndarray, time: np.ndarray, panel: np.ndarray, weights: np.ndarray
) -> float:
    """Length int sqrt(d_t d_s K(t, s) at s = t) dt of a flow, from its collocation polynomials.

    Parameters
    ----------
    kernel, time, panel, weights : kernel, nodes, panel numbers and quadrature weights, as in
        `dmft.results.solution.Solution` and its `Kernels`.
    """
    slopes = _derivative(time, panel)
    speed = np.sqrt(np.maximum(np.einsum("ti,ij,tj->t", slopes, kernel, slopes), 0.0))
    return float(weights @ speed)


def _derivative(time: np.ndarray, panel: np.ndarray) -> np.ndarray:
    """Derivative at each node of the polynomial through the panel's start and nodes, (T, T).

    By barycentric weights; the row of t = 0 is zero, as is its quadrature weight.
    """
    matrix = np.zeros((len(time), len(time)))
    last = np.append(np.flatnonzero(np.diff(panel)), len(time) - 1)
    for start, end in pairwise(last):
        columns = np.arange(start, end + 1)
        distance = time[columns][:, None] - time[columns]
        np.fill_diagonal(distance, 1.0)
        barycentric = 1.0 / distance.prod(axis=1)
        slopes = barycentric / barycentric[:, None] / distance
        np.fill_diagonal(slopes, 0.0)
        np.fill_diagonal(slopes, -slopes.sum(axis=1))
        matrix[np.ix_(columns[1:], columns)] = slopes[1:]
    return matrix
