"""Where networks are evaluated: exactly over a prime field, or over the reals in float64.

Both rings act on *multi-dual* arrays (components, batch, ...): numbers with k nilpotents eps_i,
eps_i^2 = 0, have 2^k components, numbered by bit masks of nilpotents. The coefficient of
eps_1 ... eps_k is a mixed derivative, without truncation error.

Transcendental functions have no values in a prime field. There, `value` returns a pseudorandom
element that depends on the name of the function and on the argument: the function is treated as
*formal*, known only by its differential equation. What follows holds for the real function if its
values at the arguments of a network are algebraically independent of all else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from dmft.conservation import kernels
from dmft.errors import NotConverged

# The largest primes below 2^31 that are 3 mod 4, where square roots are one power.
PRIMES = (2147483647, 2147483587, 2147483579, 2147483563, 2147483543, 2147483423)


class Ring:
    """Arithmetic of multi-dual arrays; `scalar` operations act on plain arrays."""

    exact: ClassVar[bool]
    dtype: ClassVar[Any]

    def add(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Sum of arrays whose numbers of components may differ."""
        if len(a) == len(b):
            return self.wrap(a + b)
        if len(a) < len(b):
            a, b = b, a
        shape = np.broadcast_shapes(a.shape[1:], b.shape[1:])
        out = np.array(np.broadcast_to(a, (len(a), *shape)))
        out[: len(b)] = self.wrap(out[: len(b)] + b)
        return out

    def negative(self, a: np.ndarray) -> np.ndarray:
        return self.wrap(-a)

    def wrap(self, a: np.ndarray) -> np.ndarray:
        """Normal form of the result of sums and products of two entries."""
        raise NotImplementedError

    def multiply(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def matmul(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Product over the last two axes; axes between batch and them broadcast."""
        raise NotImplementedError

    def inverse(self, a: np.ndarray) -> np.ndarray:
        """1/a of a plain array."""
        raise NotImplementedError

    def fraction(self, numerator: int, denominator: int = 1) -> Any:
        """A rational constant."""
        raise NotImplementedError

    def value(self, name: str, z: np.ndarray) -> np.ndarray:
        """A transcendental function of a plain array: its value, or a formal element."""
        raise NotImplementedError

    def random(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        raise NotImplementedError


class PrimeField(Ring):
    """Integers modulo a prime p < 2^31, p = 3 mod 4; `key` selects the formal functions."""

    exact = True
    dtype = np.int64

    def __init__(self, p: int = PRIMES[0], key: int = 0) -> None:
        self.p = p
        self.key = key

    def wrap(self, a: np.ndarray) -> np.ndarray:
        return a % self.p

    def multiply(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        shape = np.broadcast_shapes(a.shape[1:], b.shape[1:])
        return kernels.multiply(_flat(a, shape), _flat(b, shape), self.p).reshape(-1, *shape)

    def matmul(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        heads = np.broadcast_shapes(a.shape[2:-2], b.shape[2:-2])
        out = kernels.matmul(_headed(a, heads), _headed(b, heads), self.p)
        return out.reshape(*out.shape[:2], *heads, *out.shape[-2:])

    def inverse(self, a: np.ndarray) -> np.ndarray:
        if not a.all():
            raise NotConverged(f"a division by zero modulo {self.p}: take another seed")
        return self._power(a, self.p - 2)

    def fraction(self, numerator: int, denominator: int = 1) -> int:
        return numerator * pow(denominator, -1, self.p) % self.p

    def square_root(self, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Square roots, and whether they exist."""
        root = self._power(a, (self.p + 1) // 4)
        return root, root * root % self.p == a % self.p

    def value(self, name: str, z: np.ndarray) -> np.ndarray:
        salt = np.uint64(hash_name(f"{name}/{self.key}/{self.p}"))
        return (_mix(z.astype(np.uint64) + salt) % np.uint64(self.p)).astype(np.int64)

    def random(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.integers(0, self.p, shape)

    def _power(self, a: np.ndarray, exponent: int) -> np.ndarray:
        flat = np.ascontiguousarray(a).reshape(-1)
        return kernels.power(flat, exponent, self.p).reshape(a.shape)


class Reals(Ring):
    """float64: the fallback, and the ring of flows."""

    exact = False
    dtype = np.float64

    def wrap(self, a: np.ndarray) -> np.ndarray:
        return a

    def multiply(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return _convolve(np.multiply, a, b)

    def matmul(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return _convolve(np.matmul, a, b)

    def inverse(self, a: np.ndarray) -> np.ndarray:
        return 1.0 / a

    def fraction(self, numerator: int, denominator: int = 1) -> float:
        return numerator / denominator

    def value(self, name: str, z: np.ndarray) -> np.ndarray:
        return _REAL[name](z)

    def random(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.standard_normal(shape)


def hash_name(text: str) -> int:
    """A number of 62 bits that depends on a text in the same way everywhere."""
    value = 0
    for byte in text.encode():
        value = (value * 1000003 + byte + 1) % (1 << 62)
    return value


def _mix(z: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): a bijection that looks random."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _normal_cdf(z: np.ndarray) -> np.ndarray:
    from scipy.special import ndtr

    return np.asarray(ndtr(z))


def _sigmoid(z: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return np.asarray(expit(z))


_REAL: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "softplus": lambda z: np.logaddexp(0.0, z),
    "normal-cdf": _normal_cdf,
    "normal-pdf": lambda z: np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi),
}


def _flat(a: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if a.shape[1:] != shape:
        a = np.broadcast_to(a, (len(a), *shape))
    return np.ascontiguousarray(a).reshape(len(a), -1)


def _headed(a: np.ndarray, heads: tuple[int, ...]) -> np.ndarray:
    """All axes between batch and matrix as one axis, which is 1 if `a` has none of them."""
    inner = a.shape[2:-2]
    if inner != heads and math.prod(inner) != 1:
        a = np.broadcast_to(a, (*a.shape[:2], *heads, *a.shape[-2:]))
    return np.ascontiguousarray(a).reshape(*a.shape[:2], -1, *a.shape[-2:])


def _convolve(operation: Callable[..., np.ndarray], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    out: list[Any] = []
    for whole in range(max(len(a), len(b))):
        total: Any = 0.0
        part = whole
        while True:
            rest = whole ^ part
            if part < len(a) and rest < len(b):
                total = total + operation(a[part], b[rest])
            if part == 0:
                break
            part = (part - 1) & whole
        out.append(total)
    return np.stack(out)
