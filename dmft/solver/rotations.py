"""Rotations of the noise where both sides are sampled, one for each of them.

Late outputs follow combinations of many directions of noise. The first dimensions of a
low-discrepancy sample are the most uniform: they go to the combinations that move the outputs of
their side most, as a pilot has found them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dmft.errors import InputError

OF_COORDINATES, OF_ROWS = 0, 1


def principal_rotation(responses: np.ndarray) -> np.ndarray:
    """Orthogonal, its rows the combinations of normals that responses are largest to, in order.

    responses : of outputs at all nodes, relative to what counts there, shape (nodes, normals).
    """
    return np.ascontiguousarray(np.linalg.eigh(responses.T @ responses)[1][:, ::-1].T)


def both_rotations(rotations: Sequence[np.ndarray]) -> np.ndarray:
    """Those of coordinates and of rows as one array of shape (2, K, K): the smaller one turns its
    first normals and leaves the others."""
    size = max(len(rotation) for rotation in rotations)
    both = np.tile(np.eye(size), (len(rotations), 1, 1))
    for padded, rotation in zip(both, rotations, strict=True):
        padded[: len(rotation), : len(rotation)] = rotation
    return both


def rotation_of(both: np.ndarray | None, side: int) -> np.ndarray | None:
    """That of one side; None for a pilot.

    Raises
    ------
    InputError : a plan of a version that did not rotate the noise of both.
    """
    if both is None:
        return None
    if both.ndim != 3:
        raise InputError("given a plan of another version, cannot go on: solve again", "resume")
    return np.asarray(both[side])
