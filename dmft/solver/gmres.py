"""GMRES for the small, well-conditioned systems of a sweep.

Saad and Schultz, SIAM J. Sci. Stat. Comput. 7, 856 (1986). Its time is that of the operator, where
the overhead of a general implementation exceeds that, and nothing is imported.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def gmres(
    operator: Callable[[np.ndarray], np.ndarray],
    right: np.ndarray,
    tolerance: float,
    most: int,
) -> np.ndarray:
    """Solve operator(x) = right from x = 0 until the residual is below `tolerance` of `right`.

    After `most` applications the best solution so far is returned.
    """
    size = np.linalg.norm(right)
    if size == 0.0:
        return np.zeros_like(right)
    basis = np.zeros((most + 1, right.size))
    basis[0] = right / size
    hessenberg = np.zeros((most + 1, most))
    target = np.zeros(most + 1)
    target[0] = size
    for k in range(most):
        image = operator(basis[k])
        for _ in range(2):
            part = basis[: k + 1] @ image
            image = image - part @ basis[: k + 1]
            hessenberg[: k + 1, k] += part
        length = hessenberg[k + 1, k] = np.linalg.norm(image)
        part, *_ = np.linalg.lstsq(hessenberg[: k + 2, : k + 1], target[: k + 2], rcond=None)
        left = np.linalg.norm(hessenberg[: k + 2, : k + 1] @ part - target[: k + 2])
        if left <= tolerance * size or length <= tolerance * np.finfo(float).eps * size:
            break
        basis[k + 1] = image / length
    return part @ basis[: k + 1]
