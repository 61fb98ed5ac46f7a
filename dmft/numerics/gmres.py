"""GMRES for the small, well-conditioned systems of a sweep.

Saad and Schultz, SIAM J. Sci. Stat. Comput. 7, 856 (1986). Its time is that of the operator, where
the overhead of a general implementation exceeds that, and nothing is imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

_ROUNDING = np.finfo(float).eps


def gmres(
    operator: Callable[[np.ndarray], np.ndarray],
    right: np.ndarray,
    tolerance: float,
    most: int,
) -> np.ndarray:
    """Solve operator(x) = right from x = 0 until the residual is below `tolerance` of `right`.

    After `most` applications the best solution so far is returned.
    """
    size = math.sqrt(right @ right)
    if size == 0.0:
        return np.zeros_like(right)
    basis = np.zeros((most + 1, right.size))
    basis[0] = right / size
    triangle = np.zeros((most, most))
    turns: list[tuple[float, float]] = []
    target = [size]
    for k in range(most):
        image = operator(basis[k])
        column = np.zeros(k + 2)
        for _ in range(2):
            part = basis[: k + 1] @ image
            image = image - part @ basis[: k + 1]
            column[: k + 1] += part
        length = column[k + 1] = math.sqrt(image @ image)
        # Givens rotations keep the projected problem triangular.
        for i, (cosine, sine) in enumerate(turns):
            upper, lower = column[i], column[i + 1]
            column[i], column[i + 1] = cosine * upper + sine * lower, cosine * lower - sine * upper
        radius = math.hypot(column[k], column[k + 1])
        if radius == 0.0:  # the operator vanishes on the last vector: a singular system
            k -= 1
            break
        cosine, sine = column[k] / radius, column[k + 1] / radius
        turns.append((cosine, sine))
        triangle[:k, k], triangle[k, k] = column[:k], radius
        target[k:] = [cosine * target[k], -sine * target[k]]
        if abs(target[k + 1]) <= tolerance * size or length <= tolerance * _ROUNDING * size:
            break
        basis[k + 1] = image / length
    part = np.linalg.solve(triangle[: k + 1, : k + 1], target[: k + 1])
    return part @ basis[: k + 1]
