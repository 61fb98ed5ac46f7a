"""Error bars by leaving out one block of parameters (or one replicate) at a time.

Delete-m_j jackknife for blocks of unequal size: Busing, Meijer and van der Leeden, "Delete-m
jackknife for unequal m", Statistics and Computing 9, 3-8 (1999). With h_j = N / m_j, the estimate
x of all data and x_j of all but block j, the pseudo-values are p_j = h_j x - (h_j - 1) x_j, and

    x_J = g x - sum_j (1 - 1/h_j) x_j,      Var = (1/g) sum_j (p_j - x_J)^2 / (h_j - 1).

Blocks of one size give the usual jackknife.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dmft.trajectory.blocks import Factors


def jackknife(
    function: Callable[[np.ndarray], np.ndarray], sums: np.ndarray | Factors, sizes: np.ndarray
) -> np.ndarray | None:
    """Standard error of `function(sum of the blocks)`.

    Parameters
    ----------
    function : takes a stack (..., T, T), returns a stack of results of any shape.
    sums : additive data of each block, (block, T, T).
    sizes : number of parameters (or replicates) in each block, (block,).

    Returns None with fewer than two blocks, since there is nothing to compare.
    """
    count = len(sums)
    if count < 2:
        return None
    total = sums.sum(axis=0)
    share = sizes / sizes.sum()
    estimate = function(total[None])[0]
    # Sums of w, w q, w q^2 and of q over the blocks, with q_j = p_j - x and w_j = 1 / (h_j - 1):
    # one rest is held at a time, since with many checkpoints each is large.
    weight, first, second, mean = 0.0, 0.0 * estimate, 0.0 * estimate, 0.0 * estimate
    for block, part in zip(iter(sums), share, strict=True):
        # Each rest is rescaled to the size of the whole, so that sums and ratios are treated alike.
        left = function(((total - block) / (1.0 - part))[None])[0]
        odds = (1.0 - part) / part  # h - 1
        pseudo = odds * (estimate - left)
        weight += 1.0 / odds
        first, second = first + pseudo / odds, second + pseudo**2 / odds
        mean = mean + part * pseudo
    # The centre x_J - x is sum_j q_j / h_j.
    variance = (second - 2.0 * mean * first + mean**2 * weight) / count
    return np.asarray(np.sqrt(np.maximum(variance, 0.0)))
