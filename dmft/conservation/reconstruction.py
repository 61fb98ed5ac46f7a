"""Fractions from their residues modulo primes."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np


def reconstruct(residues: list[np.ndarray], primes: list[int]) -> np.ndarray | None:
    """Matrix of fractions with the given residues, or None if they are not small enough."""
    modulus = math.prod(primes)
    combined = np.zeros(residues[0].shape, object)
    for residue, prime in zip(residues, primes, strict=True):
        rest = modulus // prime
        combined += residue.astype(object) * (rest * pow(rest, -1, prime))
    out = np.zeros(combined.shape, object)
    for index in np.argwhere(combined % modulus != 0):
        value = rational(int(combined[tuple(index)] % modulus), modulus)
        if value is None:
            return None
        out[tuple(index)] = value
    return out


def rational(residue: int, modulus: int) -> Fraction | None:
    """The fraction n/d = residue mod modulus with |n|, d <= sqrt(modulus/2), if there is one.

    Wang's algorithm: the extended Euclidean one, stopped half-way.
    """
    bound = math.isqrt(modulus // 2)
    r0, r1, s0, s1 = modulus, residue % modulus, 0, 1
    while r1 > bound:
        quotient = r0 // r1
        r0, r1, s0, s1 = r1, r0 - quotient * r1, s1, s0 - quotient * s1
    if s1 == 0 or abs(s1) > bound or math.gcd(r1, s1) != 1:
        return None
    return Fraction(r1, s1)


def modulo(matrix: np.ndarray, prime: int) -> np.ndarray | None:
    """A matrix of fractions modulo a prime; None if it divides a denominator."""
    out = np.zeros(matrix.shape, np.int64)
    for index in np.argwhere(matrix != 0):
        value = Fraction(matrix[tuple(index)])
        if value.denominator % prime == 0:
            return None
        out[tuple(index)] = value.numerator * pow(value.denominator, -1, prime) % prime
    return out


def sparse(row: np.ndarray) -> dict[int, Fraction]:
    """Non-zero entries, scaled to coprime integers with the first one positive."""
    found = {int(i): Fraction(row[i]) for i in np.flatnonzero(row)}
    scale = Fraction(
        math.lcm(*(value.denominator for value in found.values())),
        math.gcd(*(value.numerator for value in found.values())),
    )
    if next(iter(found.values())) < 0:
        scale = -scale
    return {index: value * scale for index, value in found.items()}
