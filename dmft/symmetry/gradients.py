"""Gradients of single samples: given as an array or by a callable, checked at the door."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dmft.errors import InputError

# Per-sample gradients (samples, P) at some theta, or a function of theta that returns them.
Gradients = Any | Callable[[np.ndarray], Any]


def per_sample_array(gradients: Gradients, theta: np.ndarray) -> np.ndarray:
    """The gradients as an array of floats, shape (samples, P).

    Raises
    ------
    InputError : another shape, no samples, NaN or infinity (the first such sample is named).
    """
    rows = np.asarray(gradients(theta) if callable(gradients) else gradients)
    if rows.dtype.kind not in "fiu":
        raise InputError(f"given numbers of type {rows.dtype}, must be floats", "gradients")
    if rows.dtype.kind != "f":
        rows = rows.astype(float)
    if rows.ndim != 2 or rows.shape[1] != len(theta) or not len(rows):
        raise InputError(
            f"given shape {rows.shape}, must be (samples, {len(theta)}):"
            " one row of derivatives for each sample",
            "gradients",
        )
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise InputError(f"sample {int(finite.argmin())} has NaN or infinity", "gradients")
    return rows


def noise_power(rows: np.ndarray, directions: Any) -> np.ndarray:
    """n^T Sigma n along each direction n, Sigma the covariance of per-sample gradients.

    Parameters
    ----------
    rows : per-sample gradients, shape (samples, P).
    directions : unit vectors, shape (P, r).

    Returns
    -------
    Variances over the samples, shape (r,); what is rounding of a vanishing variance is zero.
    """
    along = np.asarray(rows @ directions, dtype=float)
    variance = along.var(axis=0)
    rounding = (8.0 * np.finfo(rows.dtype).eps) ** 2 * (along**2).mean(axis=0)
    return np.asarray(np.where(variance > rounding, variance, 0.0))
