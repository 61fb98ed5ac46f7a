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


def jackknife(
    function: Callable[[np.ndarray], np.ndarray], sums: np.ndarray, sizes: np.ndarray
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
    # Each rest is rescaled to the size of the whole, so that sums and ratios are treated alike.
    rest = (total - sums) / (1.0 - share)[:, None, None]
    estimate = function(total[None])[0]
    left = function(rest)
    h = (1.0 / share).reshape(-1, *[1] * (left.ndim - 1))
    pseudo = h * estimate - (h - 1.0) * left
    centre = count * estimate - np.sum((1.0 - 1.0 / h) * left, axis=0)
    variance: np.ndarray = np.mean((pseudo - centre) ** 2 / (h - 1.0), axis=0)
    return np.sqrt(variance)
