"""Quadratic forms of a trajectory, all from one Gram matrix.

The matrix is that of the vectors [theta_0, Delta_1, ..., Delta_{T-1}] with
Delta_t = theta_t - theta_{t-1}, shape (..., T, T). Everything below is a quadratic form in it. It
is not recovered from the products of the theta_t themselves, because those lose the differences
to rounding as soon as |Delta| is much smaller than |theta|.

Leading axes are free: a stack of matrices gives a stack of results.
"""

from __future__ import annotations

import numpy as np

# Below this share of the largest squared norm a vector counts as zero and has no direction.
_ZERO = 1e-28
_ULPS = 16
_STRIP = 128  # rows at a time


def from_vectors(theta: np.ndarray) -> np.ndarray:
    """Gram matrix of checkpoints theta, shape (T, P)."""
    theta = np.asarray(theta, dtype=np.float64)
    basis = np.concatenate([theta[:1], np.diff(theta, axis=0)])
    return basis @ basis.T


def from_kernel(kernel: np.ndarray) -> np.ndarray:
    """Gram matrix from the kernel K_ts = theta_t . theta_s, shape (..., T, T).

    Rounding limits it to differences of |Delta|^2 > 1e-16 |theta|^2.
    """
    rows = np.concatenate([kernel[..., :1, :], np.diff(kernel, axis=-2)], axis=-2)
    return np.concatenate([rows[..., :1], np.diff(rows, axis=-1)], axis=-1)


def kernel(gram: np.ndarray) -> np.ndarray:
    """K_ts = theta_t . theta_s = L G L^T with L the lower triangle of ones."""
    return np.cumsum(np.cumsum(gram, axis=-1), axis=-2)


def relative_kernel(gram: np.ndarray, origin: int) -> np.ndarray:
    """(theta_t - theta_origin) . (theta_s - theta_origin)."""
    if origin == 0:
        return kernel(without_start(gram))
    selection = relative_sums(gram.shape[-1], origin)
    return selection @ gram @ selection.T


def relative_sums(count: int, origin: int) -> np.ndarray:
    """Matrix A with theta_t - theta_origin = sum_j A_tj b_j in the basis b of the Gram matrix."""
    triangle = np.tril(np.ones((count, count)))
    return triangle - triangle[origin]


def squared_norms(gram: np.ndarray, origin: int | None = None) -> np.ndarray:
    """|theta_t|^2 or |theta_t - theta_origin|^2, without the rest of the kernel, shape (..., T)."""
    if origin is not None:
        origin %= gram.shape[-1]
        after = squared_norms(gram[..., origin + 1 :, origin + 1 :])
        before = squared_norms(gram[..., origin:0:-1, origin:0:-1])[..., ::-1]
        return np.concatenate([before, np.zeros((*gram.shape[:-2], 1)), after], axis=-1)
    below = _sums_below(gram)
    return np.cumsum(np.diagonal(gram, axis1=-2, axis2=-1) + 2.0 * below, axis=-1)


def _sums_below(gram: np.ndarray) -> np.ndarray:
    """Sums of the rows of the lower triangle without the diagonal, (..., T), in strips: copies of
    it take longer than everything else in a similarity."""
    found = np.empty(gram.shape[:-1])
    for start in range(0, gram.shape[-1], _STRIP):
        rows = slice(start, start + _STRIP)
        corner = np.tril(gram[..., rows, rows], -1)
        found[..., rows] = gram[..., rows, :start].sum(axis=-1) + corner.sum(axis=-1)
    return found


def mean_cosine(
    gram: np.ndarray, weights: np.ndarray, points: np.ndarray, origin: int | None = None
) -> np.ndarray:
    """sum_ts W_t W_s cos(t, s) over chosen points, with W the normalised weights, shape (...).

    Vectors of no length, as where a block of parameters is left out that alone moved, count zero.

    It is |sum_t W_t a_t / |a_t||^2 of the vectors a_t = theta_t or theta_t - theta_origin, one
    product with the Gram matrix.
    """
    inverse = _inverse_lengths(squared_norms(gram, origin)[..., points])
    scaled = np.zeros(gram.shape[:-1])
    scaled[..., points] = weights / weights.sum(axis=-1, keepdims=True) * inverse
    # Coefficients of theta_0 and the differences: sums over the a_t that contain them.
    later = np.cumsum(scaled[..., ::-1], axis=-1)[..., ::-1]
    if origin is not None:
        origin %= gram.shape[-1]
        below = np.cumsum(scaled, axis=-1)
        later[..., 1 : origin + 1] = -below[..., :origin]
        later[..., 0] = 0.0
    mean = (later * (gram @ later[..., None])[..., 0]).sum(axis=-1)
    return np.clip(mean, None, 1.0)  # equal directions may differ by rounding


def directed(squares: np.ndarray, rounding: np.ndarray | float = 0.0) -> np.ndarray:
    """Indices of the vectors that have a direction: squared norms (T,) above zero and `rounding`,
    as in a checkpoint that comes back to the origin."""
    scale = squares.max(initial=0.0)
    return np.flatnonzero((squares > _ZERO * scale) & (squares > rounding))


def rounding_of_squares(gram: np.ndarray, origin: int | None = None) -> np.ndarray:
    """What rounding may make of the squared norms (T,) of vectors that vanish: a few units in the
    last place of the largest sum on the way, the squared length of the path up to there."""
    lengths = np.sqrt(np.maximum(np.diagonal(gram), 0.0))
    path = np.cumsum(lengths)
    if origin is not None:
        path = np.abs(path - path[origin % len(path)])
    return np.asarray(_ULPS * np.finfo(float).eps * path**2)


def cosines(kernel: np.ndarray, squares: np.ndarray | None = None) -> np.ndarray:
    """K_ts / sqrt(K_tt K_ss), in [-1, 1] with ones on the diagonal; 0 with a vector of no length.

    squares : the K_tt, (..., T), where they are known otherwise than by the diagonal.
    """
    inverse = _inverse_lengths(
        np.diagonal(kernel, axis1=-2, axis2=-1) if squares is None else squares
    )
    cosine = kernel * inverse[..., :, None]
    cosine *= inverse[..., None, :]
    np.clip(cosine, -1.0, 1.0, out=cosine)
    index = np.arange(kernel.shape[-1])
    cosine[..., index, index] = 1.0
    return cosine


def _inverse_lengths(squares: np.ndarray) -> np.ndarray:
    """One over the lengths, zero of vectors that have none."""
    norms = np.sqrt(np.maximum(squares, 0.0))
    return np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0.0)


def angles(first: np.ndarray, product: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angles (degrees) between vectors of squared norms `first`, `second`, and product a.b.

    0 where one of them vanishes: no turn was taken.
    """
    sine = np.sqrt(np.maximum(first * second - product**2, 0.0))
    return np.degrees(np.arctan2(sine, product))


def update_angles(gram: np.ndarray) -> np.ndarray:
    """Angles (degrees) between consecutive updates Delta_t, Delta_{t+1}, shape (..., T - 2)."""
    squares = np.diagonal(gram, axis1=-2, axis2=-1)[..., 1:]
    products = np.diagonal(gram, offset=1, axis1=-2, axis2=-1)[..., 1:]
    return angles(squares[..., :-1], products, squares[..., 1:])


def apex_angles(gram: np.ndarray, *, at_origin: bool) -> np.ndarray:
    """Angles (degrees) under which consecutive checkpoints are seen, from zero or from theta_0.

    Shape (..., T - 1): between theta_t and theta_{t+1}, or theta_t - theta_0 and
    theta_{t+1} - theta_0 (whose first, t = 0, is no angle and given as 0). The sine comes from
    |a x (a + Delta)| = |a x Delta|, so that small angles keep their digits.
    """
    gram = gram if at_origin else without_start(gram)
    sums = np.cumsum(gram, axis=-2)  # row t: theta_t . b_j
    index = np.arange(gram.shape[-1] - 1)
    squares = squared_norms(gram)[..., :-1]
    steps = np.diagonal(gram, axis1=-2, axis2=-1)[..., 1:]
    products = sums[..., index, index + 1]
    sine = np.sqrt(np.maximum(squares * steps - products**2, 0.0))
    return np.degrees(np.arctan2(sine, squares + products))


def without_start(gram: np.ndarray) -> np.ndarray:
    """The Gram matrix of the same trajectory moved to start at zero."""
    moved = gram.copy()
    moved[..., 0, :] = 0.0
    moved[..., :, 0] = 0.0
    return moved


def centred(gram: np.ndarray) -> np.ndarray:
    """Kernel of the theta_t minus their mean, exact also where theta hardly moves."""
    moved = kernel(without_start(gram))
    moved = moved - moved.mean(axis=-1, keepdims=True)
    return moved - moved.mean(axis=-2, keepdims=True)


def norms(kernel: np.ndarray) -> np.ndarray:
    """Lengths of the vectors of a kernel or Gram matrix, shape (..., T)."""
    return np.sqrt(np.maximum(np.diagonal(kernel, axis1=-2, axis2=-1), 0.0))


def spectrum(kernel: np.ndarray) -> np.ndarray:
    """Eigenvalues, largest first, none below zero."""
    return np.maximum(np.linalg.eigvalsh(kernel)[..., ::-1], 0.0)


def participation_ratio(eigenvalues: np.ndarray) -> np.ndarray:
    """(sum lambda)^2 / sum lambda^2: how many directions share the spectrum; 0 for a zero one."""
    squares = np.sum(eigenvalues**2, axis=-1)
    total = np.sum(eigenvalues, axis=-1) ** 2
    return np.divide(total, squares, out=np.zeros_like(total), where=squares > 0.0)
