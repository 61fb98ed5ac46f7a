"""How fast training ends: edges of the generalised Marchenko-Pastur law.

Close to its limit the residual of a network obeys r' = -X S X^T r, where S = diag(dw_j/dp_j) is
taken at the limit (for depth 2 and a0 = b0 = alpha, S = 2 sqrt(w^2 + alpha^4)). As n, d -> infinity
the spectrum of X S X^T, and of S^(1/2) X^T X S^(1/2) with the same nonzero part, is the
generalised Marchenko-Pastur law (Marchenko and Pastur 1967), whose Stieltjes transform m obeys

    z = -1/m + E[ S / (1 + delta S m) ],       S = s dw/dp.

With c = 1 / (delta m) this is z(c) = c (E[S / (S + c)] - delta). Edges are extrema of z over the
real c where it has no pole (Silverstein and Choi 1995); each is where E[(S / (S + c))^2] = delta,
a monotone condition:

    lower edge   maximum of z over c > -min S:   c > 0 for delta < 1, c < 0 for delta > 1,
    upper edge   minimum of z over c < -max S.

The density vanishes like a square root at an edge, so averages over modes e^(-2xt) decay like
t^(-3/2) e^(-2 lambda_min t).
"""

from __future__ import annotations

import numpy as np

from dmft.theory.averages import Speeds

_DEEPEST = 80.0  # range of log(c / S) searched
_RESOLVED = 1e-11  # least probability between fast and slow weights


def lower_edge(speeds: Speeds, delta: float) -> float:
    """The smallest nonzero eigenvalue of X S X^T as n, d -> infinity; 0 at delta = 1.

    Parameters
    ----------
    speeds : law of S.
    delta : sampling ratio n/d.

    NaN where the law of S has next to no probability between its fast and its slow part, so that
    rounding decides (deep networks with tiny starts).
    """
    from scipy.optimize import brentq

    value, probability = _present(speeds)
    if delta == 1.0:
        return 0.0
    smallest = value.min()
    if smallest == 0.0 and delta > 1.0:
        return 0.0
    if delta < 1.0:

        def excess(log_c: float) -> float:
            return float(probability @ (value / (value + np.exp(log_c))) ** 2) - delta

        low, high = np.log(value.min()) - _DEEPEST, np.log(value.max()) + _DEEPEST
        c = float(np.exp(brentq(excess, low, high, xtol=1e-13)))
        # E[S/(S+c)] - delta = E[S/(S+c)] - E[(S/(S+c))^2], without cancellation
        share = value / (value + c)
        between = float(probability @ (share * (1.0 - share)))
        return c * between if between > _RESOLVED else float("nan")

    above = value - smallest  # S + c = above + gap, with gap = c + min S > 0

    def surplus(log_gap: float) -> float:
        gap = smallest * np.exp(log_gap)
        return float(probability @ (value / (above + gap)) ** 2) - delta

    # c = -min S + gap; at gap = min S the function is 1 - delta < 0.
    gap = smallest * float(np.exp(brentq(surplus, -_DEEPEST, 0.0, xtol=1e-13)))
    share = value / (above + gap)
    return (smallest - gap) * float(probability @ (share * (share - 1.0)))


def upper_edge(speeds: Speeds, delta: float) -> float:
    """The largest eigenvalue; infinite where the speeds have no bound."""
    from scipy.optimize import brentq

    if not speeds.bounded:
        return float("inf")
    value, probability = _present(speeds)
    largest = value.max()
    below = largest - value

    def excess(log_gap: float) -> float:
        return float(probability @ (value / (below + largest * np.exp(log_gap))) ** 2) - delta

    gap = largest * float(np.exp(brentq(excess, -_DEEPEST, _DEEPEST, xtol=1e-13)))
    share = value / (below + gap)
    return (largest + gap) * float(probability @ (share * (share + 1.0)))


def _present(speeds: Speeds) -> tuple[np.ndarray, np.ndarray]:
    """The points that have a share at all."""
    kept = speeds.probability > 1e-18
    return speeds.value[kept], speeds.probability[kept]
