"""Taylor series of functions of one variable, by the equations that they satisfy.

Each series function returns the coefficients c_0 .. c_order of f(z + t) in t, from the differential
equation of f and, for a transcendental f, its value at z.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dmft.conservation.rings import PrimeField, Ring

Series = Callable[[Ring, np.ndarray, int], list[np.ndarray]]


def exp_series(ring: Ring, z: np.ndarray, order: int) -> list[np.ndarray]:
    """f' = f."""
    c = [ring.value("exp", z)]
    for j in range(order):
        c.append(ring.wrap(c[j] * ring.fraction(1, j + 1)))
    return c


def sigmoid_series(ring: Ring, z: np.ndarray, order: int) -> list[np.ndarray]:
    """f' = f (1 - f)."""
    return _riccati(ring, ring.value("sigmoid", z), order, linear=1, constant=0)


def tanh_series(ring: Ring, z: np.ndarray, order: int) -> list[np.ndarray]:
    """f' = 1 - f^2."""
    return _riccati(ring, ring.value("tanh", z), order, linear=0, constant=1)


def _riccati(
    ring: Ring, value: np.ndarray, order: int, linear: int, constant: int
) -> list[np.ndarray]:
    """f' = constant + linear f - f^2."""
    c = [value]
    for j in range(order):
        square = sum(ring.wrap(c[i] * c[j - i]) for i in range(j + 1))
        slope = linear * c[j] - square + (constant if j == 0 else 0)
        c.append(ring.wrap(ring.wrap(slope) * ring.fraction(1, j + 1)))
    return c


def softplus_series(ring: Ring, z: np.ndarray, order: int) -> list[np.ndarray]:
    """f' = sigmoid."""
    return _integral(ring, ring.value("softplus", z), sigmoid_series(ring, z, order))


def silu_series(ring: Ring, z: np.ndarray, order: int) -> list[np.ndarray]:
    """z sigmoid(z)."""
    return _times_argument(ring, z, sigmoid_series(ring, z, order))


def gelu_series(ring: Ring, z: np.ndarray, order: int) -> list[np.ndarray]:
    """z Phi(z), where Phi' = phi and phi' = -z phi (the exact GELU)."""
    pdf = [ring.value("normal-pdf", z)]
    for j in range(order):
        slope = z * pdf[j] if j == 0 else ring.wrap(z * pdf[j]) + pdf[j - 1]
        pdf.append(ring.wrap(-ring.wrap(slope) * ring.fraction(1, j + 1)))
    return _times_argument(ring, z, _integral(ring, ring.value("normal-cdf", z), pdf))


def power_series(exponent: int) -> Series:
    """z^exponent for an integer exponent, also negative."""

    def series(ring: Ring, z: np.ndarray, order: int) -> list[np.ndarray]:
        base = ring.inverse(z) if exponent < 0 else z
        powers = [np.ones_like(z)]
        for _ in range(abs(exponent) + (order if exponent < 0 else 0)):
            powers.append(ring.wrap(powers[-1] * base))
        c, binomial = [], 1
        for j in range(order + 1):
            at = abs(exponent) + j if exponent < 0 else exponent - j
            c.append(ring.wrap(ring.fraction(binomial) * powers[at]) if at >= 0 else 0 * z)
            binomial = binomial * (exponent - j) // (j + 1)
        return c

    return series


def inverse_root_series(ring: Ring, z: np.ndarray, order: int) -> list[np.ndarray]:
    """z^(-1/2): f' = -f / (2 z). In a prime field, only at squares (see `Draws.valid`)."""
    inverse = ring.inverse(z)
    c = [ring.square_root(inverse)[0]] if isinstance(ring, PrimeField) else [np.sqrt(inverse)]
    for j in range(order):
        factor = ring.fraction(-(2 * j + 1), 2 * (j + 1))
        c.append(ring.wrap(ring.wrap(c[j] * inverse) * factor))
    return c


def _integral(ring: Ring, value: np.ndarray, slope: list[np.ndarray]) -> list[np.ndarray]:
    return [value, *(ring.wrap(s * ring.fraction(1, j + 1)) for j, s in enumerate(slope[:-1]))]


def _times_argument(ring: Ring, z: np.ndarray, c: list[np.ndarray]) -> list[np.ndarray]:
    """Coefficients of (z + t) f(z + t)."""
    return [ring.wrap(z * c[0])] + [
        ring.wrap(ring.wrap(z * c[j]) + c[j - 1]) for j in range(1, len(c))
    ]


SERIES: dict[str, Series] = {
    "gelu": gelu_series,
    "sigmoid": sigmoid_series,
    "silu": silu_series,
    "softplus": softplus_series,
    "tanh": tanh_series,
}
