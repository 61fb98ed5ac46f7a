"""Quantiles and probabilities of the normal law, without the time that importing SciPy takes.

Rational approximations to 16 digits: M. J. Wichura, Algorithm AS 241, Applied Statistics 37, 477
(1988).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

# Numerators and denominators, the highest power first, in r = 0.425^2 - (p - 1/2)^2 about the
# centre and in sqrt(-log p) minus 1.6 or 5 in the tails.
_CENTRE = (
    (
        2509.0809287301227,
        33430.57558358813,
        67265.7709270087,
        45921.95393154987,
        13731.69376550946,
        1971.5909503065513,
        133.14166789178438,
        3.3871328727963665,
    ),
    (
        5226.495278852854,
        28729.085735721943,
        39307.89580009271,
        21213.794301586597,
        5394.196021424751,
        687.1870074920579,
        42.31333070160091,
        1.0,
    ),
)
_MIDDLE = (
    (
        0.0007745450142783414,
        0.022723844989269184,
        0.2417807251774506,
        1.2704582524523684,
        3.6478483247632045,
        5.769497221460691,
        4.630337846156546,
        1.4234371107496835,
    ),
    (
        1.0507500716444169e-09,
        0.0005475938084995345,
        0.015198666563616457,
        0.14810397642748008,
        0.6897673349851,
        1.6763848301838038,
        2.053191626637759,
        1.0,
    ),
)
_TAIL = (
    (
        2.0103343992922881e-07,
        2.7115555687434876e-05,
        0.0012426609473880784,
        0.026532189526576124,
        0.29656057182850487,
        1.7848265399172913,
        5.463784911164114,
        6.657904643501103,
    ),
    (
        2.0442631033899397e-15,
        1.421511758316446e-07,
        1.8463183175100548e-05,
        0.0007868691311456133,
        0.014875361290850615,
        0.1369298809227358,
        0.599832206555888,
        1.0,
    ),
)


def normal_cumulative(x: ArrayLike) -> np.ndarray:
    """P(X <= x), X standard normal, elementwise; no digits are lost in the lower tail."""
    scaled = -np.asarray(x, dtype=float) / math.sqrt(2.0)
    values = [0.5 * math.erfc(value) for value in scaled.ravel()]
    return np.array(values).reshape(scaled.shape)


def normal_quantile(probability: ArrayLike) -> np.ndarray:
    """x with P(X <= x) = `probability`, X standard normal, elementwise; infinite at 0 and 1."""
    p = np.asarray(probability, dtype=float)
    q = p - 0.5
    result = np.array(q * _ratio(_CENTRE, 0.180625 - q * q))
    outside = np.abs(q) > 0.425
    if np.any(outside):
        with np.errstate(divide="ignore"):
            r = np.sqrt(-np.log(np.minimum(p, 1.0 - p)[outside]))
        finite = np.minimum(r, 40.0)
        size = np.where(r <= 5.0, _ratio(_MIDDLE, finite - 1.6), _ratio(_TAIL, finite - 5.0))
        result[outside] = np.copysign(np.where(np.isfinite(r), size, np.inf), q[outside])
    return result


def _ratio(polynomials: tuple[tuple[float, ...], tuple[float, ...]], x: np.ndarray) -> np.ndarray:
    numerator, denominator = (np.polyval(coefficients, x) for coefficients in polynomials)
    return np.asarray(numerator / denominator)
