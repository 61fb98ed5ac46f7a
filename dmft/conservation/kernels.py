"""Compiled arithmetic over a prime field for multi-dual arrays.

A multi-dual number with k nilpotents (eps_i^2 = 0) has 2^k components, one per subset of
nilpotents, numbered by its bit mask. The product is a convolution over disjoint subsets,
(ab)_S = sum over T in S of a_T b_{S - T}. Entries are int64 in [0, p) with p < 2^31, so that a
product of two and a partial sum fit into 63 bits.
"""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def multiply(a: np.ndarray, b: np.ndarray, p: int) -> np.ndarray:
    """Elementwise product of multi-dual arrays (components, n); the numbers may differ."""
    components = max(a.shape[0], b.shape[0])
    n = a.shape[1]
    out = np.zeros((components, n), np.int64)
    for whole in range(components):
        part = whole
        while True:  # every submask of `whole`
            rest = whole ^ part
            if part < a.shape[0] and rest < b.shape[0]:
                for i in range(n):
                    out[whole, i] = (out[whole, i] + a[part, i] * b[rest, i]) % p
            if part == 0:
                break
            part = (part - 1) & whole
    return out


@njit(cache=True)
def matmul(a: np.ndarray, b: np.ndarray, p: int) -> np.ndarray:
    """Matrix product of multi-dual arrays (components, batch, heads, rows, inner) and (...).

    Batch and heads broadcast when they are 1 on one side.
    """
    components = max(a.shape[0], b.shape[0])
    batch = max(a.shape[1], b.shape[1])
    heads = max(a.shape[2], b.shape[2])
    rows, inner, columns = a.shape[3], a.shape[4], b.shape[4]
    out = np.zeros((components, batch, heads, rows, columns), np.int64)
    big = p << 31  # a multiple of p near 2^62: keeps the running sum below it
    for whole in range(components):
        part = whole
        while True:
            rest = whole ^ part
            if part < a.shape[0] and rest < b.shape[0]:
                for i in range(batch):
                    for h in range(heads):
                        left = a[part, i % a.shape[1], h % a.shape[2]]
                        right = b[rest, i % b.shape[1], h % b.shape[2]]
                        target = out[whole, i, h]
                        for r in range(rows):
                            for c in range(columns):
                                total = target[r, c]
                                for m in range(inner):
                                    total += left[r, m] * right[m, c]
                                    if total >= big:
                                        total -= big
                                target[r, c] = total % p
            if part == 0:
                break
            part = (part - 1) & whole
    return out


@njit(cache=True)
def power(a: np.ndarray, exponent: int, p: int) -> np.ndarray:
    """a^exponent of a flat array."""
    out = np.empty_like(a)
    for i in range(a.size):
        result, base, e = 1, a[i], exponent
        while e > 0:
            if e & 1:
                result = result * base % p
            base = base * base % p
            e >>= 1
        out[i] = result
    return out


@njit(cache=True)
def reduce_rows(rows: np.ndarray, p: int) -> np.ndarray:
    """Bring `rows` into reduced echelon form in place; return the pivot column of each, or -1.

    Rows whose pivot is -1 are zero.
    """
    count, width = rows.shape
    pivots = np.full(count, -1, np.int64)
    # p' = -1/p mod 2^32, by Newton's iteration, for Montgomery's reduction below.
    inverse = np.uint64(1)
    for _ in range(6):
        inverse = inverse * (np.uint64(2) - np.uint64(p) * inverse)
    negative = (np.uint64(0) - inverse) & np.uint64(0xFFFFFFFF)
    for i in range(count):
        for c in range(width):
            if rows[i, c] != 0:
                pivots[i] = c
                break
        pivot = pivots[i]
        if pivot < 0:
            continue
        scale, base, e = 1, rows[i, pivot], p - 2
        while e > 0:  # the inverse, by Fermat
            if e & 1:
                scale = scale * base % p
            base = base * base % p
            e >>= 1
        for c in range(pivot, width):
            rows[i, c] = rows[i, c] * scale % p
        for j in range(count):
            if j != i and rows[j, pivot] != 0:
                factor = ((p - rows[j, pivot]) << 32) % p
                _add_multiple(rows[j, pivot:], rows[i, pivot:], factor, p, negative)
    return pivots


@njit(cache=True)
def _add_multiple(
    target: np.ndarray, source: np.ndarray, factor: int, p: int, negative: np.uint64
) -> None:
    """target += factor / 2^32 * source, by Montgomery's reduction, which vectorises."""
    low = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    modulus = np.uint64(p)
    times = np.uint64(factor)
    for c in range(target.size):
        t = times * np.uint64(source[c])
        m = ((t & low) * negative) & low
        u = (t + m * modulus) >> shift  # below 2p
        u = min(u, u - modulus)  # unsigned: the difference wraps around if u < p
        u = u + np.uint64(target[c])
        target[c] = np.int64(min(u, u - modulus))
