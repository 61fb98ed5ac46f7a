"""Up to which sampling ratio signs are separable, or a Poisson likelihood has no maximum.

Signs are separable, in the limit almost surely, when delta is below

    delta* = 1 / min_t E[(t v + z)_-^2],     v = y h*/sqrt(rho2), z normal and independent

(Candes and Sur 2020, arXiv 1804.09753). For counts a direction along which the likelihood never
falls has h = 0 where y > 0 and h <= 0 where y = 0, hence the square of all of t v + z there.
"""

from __future__ import annotations

import numpy as np

from dmft.problem import Problem
from dmft.theory.channels import channels_of
from dmft.theory.label_nodes import label_nodes
from dmft.theory.sample_side import _truncated


def separability_threshold(problem: Problem) -> float:
    """delta* of the labels of a problem: infinite for signs of h* itself, 0 for real labels.

    Units: dimensionless, samples per coordinate.

    Parameters
    ----------
    problem : teacher, features, noise and labels count; loss and network do not.

    Raises
    ------
    Nothing : every problem has one.
    """
    from scipy.optimize import minimize_scalar

    labels = problem.labels
    if not (labels.signs or labels.kind == "poisson"):
        return 0.0
    strength = channels_of(problem).second_moment
    if labels.kind == "sign" and problem.noise_std == 0.0 and strength > 0.0:
        return float(np.inf)
    nodes = label_nodes(problem, strength)

    def missed(t: float) -> float:
        """E[(t v + z)_-^2], and the whole square where a count is positive."""
        mean = t * nodes.teacher
        zero, one, two = _truncated(np.full_like(mean, -np.inf), -mean)
        square = mean**2 * zero + 2.0 * mean * one + two
        if labels.kind == "poisson":
            # The forbidden side of y = 0 is h > 0.
            square = np.where(nodes.label > 0.0, mean**2 + 1.0, mean**2 + 1.0 - square)
        return float(nodes.probability @ square)

    found = minimize_scalar(missed, bounds=(-1e3, 1e3), method="bounded")
    near = minimize_scalar(missed, bracket=(-0.5, 0.5), tol=1e-12)
    return 1.0 / min(float(found.fun), float(near.fun))
