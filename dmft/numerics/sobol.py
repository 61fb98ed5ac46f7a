"""Scrambled Sobol points, without the second that importing scipy.stats takes.

The generating matrices are those of Joe and Kuo, SIAM J. Sci. Comput. 30, 2635 (2008), set D6; the
scrambling, a random lower triangular matrix of bits and a random shift in every dimension, is that
of Matousek, J. Complexity 14, 527 (1998). The tests compare the bare points with scipy.stats.qmc.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_BITS = 32
_UNIT = np.eye(_BITS, dtype=np.float32)
_BELOW = np.tri(_BITS, k=-1, dtype=np.float32)  # ones below the diagonal

# Per dimension from the second on: a primitive polynomial, its coefficients the bits of the first
# number, and the initial direction numbers.
_PARAMETERS = """
3 1
7 1 3
11 1 3 1
13 1 1 1
19 1 1 3 3
25 1 3 5 13
37 1 1 5 5 17
41 1 1 5 5 5
47 1 1 7 11 19
55 1 1 5 1 1
59 1 1 1 3 11
61 1 3 5 5 31
67 1 3 3 9 7 49
91 1 1 1 15 21 21
97 1 3 1 13 27 49
103 1 1 1 15 7 5
109 1 3 1 15 13 25
115 1 1 5 5 19 61
131 1 3 7 11 23 15 103
137 1 3 7 13 13 15 69
143 1 1 3 13 7 35 63
145 1 3 5 9 1 25 53
157 1 3 1 13 9 35 107
167 1 3 1 5 27 61 31
171 1 1 5 11 19 41 61
185 1 3 5 3 3 13 69
191 1 1 7 13 1 19 1
193 1 3 7 5 13 19 59
203 1 1 3 9 25 29 41
211 1 3 5 13 23 1 55
213 1 3 7 3 13 59 17
229 1 3 1 3 5 53 69
239 1 1 5 5 23 33 13
241 1 1 7 7 1 61 123
247 1 1 7 9 13 61 49
253 1 3 3 5 3 55 33
285 1 3 1 15 31 13 49 245
299 1 3 5 15 31 59 63 97
301 1 3 1 11 11 11 77 249
333 1 3 1 11 27 43 71 9
351 1 1 7 15 21 11 81 45
355 1 3 7 3 25 31 65 79
357 1 3 1 1 19 11 3 205
361 1 1 5 9 19 21 29 157
369 1 3 7 11 1 33 89 185
391 1 3 3 3 15 9 79 71
397 1 3 7 11 15 39 119 27
425 1 1 3 1 11 31 97 225
451 1 1 1 3 23 43 57 177
463 1 3 7 7 17 17 37 71
487 1 3 1 5 27 63 123 213
501 1 1 3 5 11 43 53 133
529 1 3 5 5 29 17 47 173 479
539 1 3 3 11 3 1 109 9 69
545 1 1 1 5 17 39 23 5 343
557 1 3 1 5 25 15 31 103 499
563 1 1 1 11 11 17 63 105 183
601 1 1 5 11 9 29 97 231 363
607 1 1 5 15 19 45 41 7 383
617 1 3 7 7 31 19 83 137 221
623 1 1 1 3 23 15 111 223 83
631 1 1 5 13 31 15 55 25 161
637 1 1 3 13 25 47 39 87 257
647 1 1 1 11 21 53 125 249 293
661 1 1 7 11 11 7 57 79 323
675 1 1 5 5 17 13 81 3 131
677 1 1 7 13 23 7 65 251 475
687 1 3 5 1 9 43 3 149 11
695 1 1 3 13 31 13 13 255 487
701 1 3 3 1 5 63 89 91 127
719 1 1 3 3 1 19 123 127 237
721 1 1 5 7 23 31 37 243 289
731 1 1 5 11 17 53 117 183 491
757 1 1 1 5 1 13 13 209 345
761 1 1 3 15 1 57 115 7 33
787 1 3 1 11 7 43 81 207 175
789 1 3 1 1 15 27 63 255 49
799 1 3 5 3 27 61 105 171 305
803 1 1 5 3 1 3 57 249 149
"""
MOST_DIMENSIONS = 1 + len(_PARAMETERS.split("\n")[1:-1])


def scrambled_points(count: int, dimensions: int, generator: np.random.Generator) -> np.ndarray:
    """The first `count` points of a randomly scrambled sequence, shape (count, dimensions).

    Strictly inside (0, 1); each point is uniform. `dimensions` is at most MOST_DIMENSIONS.
    """
    random = generator.integers(2, size=(dimensions, _BITS, _BITS)).astype(np.float32)
    lower = random * _BELOW + _UNIT
    # Bits are stored from the highest: row b of a matrix makes bit b of the scrambled numbers.
    # Sums of 32 bits are exact in single precision, which has fast products.
    sums = _direction_bits(dimensions).astype(np.float32) @ lower.transpose(0, 2, 1)
    scrambled = sums.astype(np.int32) & 1
    shift = generator.integers(2**_BITS, size=dimensions, dtype=np.uint64)
    return (points(count, _packed(scrambled)) ^ shift) * 2.0**-_BITS + 2.0 ** -(_BITS + 1)


def points(count: int, vectors: np.ndarray) -> np.ndarray:
    """Sobol points in Gray code order as integers; `vectors` are (dimensions, bits)."""
    found = np.zeros((1, len(vectors)), dtype=np.uint64)
    for bit in range(max(0, count - 1).bit_length()):  # the code of 2^(b+1) - 1 - i adds bit b
        found = np.concatenate([found, found[::-1] ^ vectors[:, bit]])
    return found[:count]


def direction_vectors(dimensions: int) -> np.ndarray:
    """Unscrambled direction vectors as integers of 32 bits, shape (dimensions, bits)."""
    return _packed(_direction_bits(dimensions))


@lru_cache
def _direction_bits(dimensions: int) -> np.ndarray:
    """Bits of the direction vectors, highest first, shape (dimensions, bits, bits)."""
    lines = _PARAMETERS.split("\n")[1:-1]
    numbers = [[1] * _BITS]
    for line in lines[: dimensions - 1]:
        polynomial, *m = map(int, line.split())
        degree = len(m)
        for k in range(degree, _BITS):
            new = m[k - degree] ^ (m[k - degree] << degree)
            for i in range(1, degree):
                if polynomial >> (degree - i) & 1:
                    new ^= m[k - i] << i
            m.append(new)
        numbers.append(m)
    vectors = [[number << (_BITS - 1 - k) for k, number in enumerate(m)] for m in numbers]
    positions = np.arange(_BITS - 1, -1, -1)
    return np.array(vectors, dtype=np.int64)[:, :, None] >> positions & 1


def _packed(bits: np.ndarray) -> np.ndarray:
    """Bits, highest first, as integers."""
    return (bits @ 2.0 ** np.arange(_BITS - 1, -1, -1)).astype(np.uint64)
