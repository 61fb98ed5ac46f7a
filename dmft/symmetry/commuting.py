"""Symmetries that commute, and the eigenvectors they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import linalg, sparse

from dmft.errors import InputError
from dmft.symmetry.eigenpairs import VANISHED, dense_array, eigenpairs
from dmft.symmetry.exponential import ExponentialSymmetry, Symmetries


def joint_basis(
    members: Sequence[ExponentialSymmetry],
) -> tuple[np.ndarray, Any]:
    """Common eigenvectors of commuting symmetries.

    A random combination of the A_k has, almost surely, no more degenerate eigenvalues than all of
    them together; its eigenvectors are then those of each.

    Returns
    -------
    values : eigenvalue of each A_k at each common eigenvector, shape (R, K).
    directions : orthonormal eigenvectors, shape (P, R).

    Raises
    ------
    InputError : two of them do not commute.
    """
    stack = Symmetries(members)
    _check_commuting(members)
    mix = np.random.default_rng(0).uniform(1.0, 2.0, len(members))
    if sparse.issparse(stack.directions):
        weights = sparse.diags_array(np.asarray(stack.values @ mix))
        mixed = stack.directions @ weights @ stack.directions.T
        directions = eigenpairs(sparse.csr_array((mixed + mixed.T) / 2))[1]
    else:
        span = linalg.orth(stack.directions)
        inside = span.T @ stack.directions
        mixed = (inside * np.asarray(stack.values @ mix)) @ inside.T
        directions = span @ np.linalg.eigh((mixed + mixed.T) / 2)[1]
    columns = []
    for member in members:
        overlap = directions.T @ member.directions
        squares = overlap.power(2) if sparse.issparse(overlap) else overlap**2
        columns.append(np.asarray(squares @ member.values))
    values = np.stack(columns, axis=1)
    values[np.abs(values) < VANISHED * np.abs(values).max()] = 0.0
    return values, directions


def _check_commuting(members: Sequence[ExponentialSymmetry]) -> None:
    """A_j A_k must be symmetric; those on separate parameters commute anyway."""
    used = [np.unique(member.directions.nonzero()[0]) for member in members]
    owner = np.repeat(np.arange(len(members)), [len(places) for places in used])
    moves = sparse.csr_array(
        (np.ones(len(owner)), (owner, np.concatenate(used))),
        shape=(len(members), members[0].parameters),
    )
    sharing = sparse.triu(moves @ moves.T, 1).nonzero()
    for first, second in ((members[j], members[k]) for j, k in zip(*sharing, strict=True)):
        product = first.matrix() @ second.matrix()
        size = np.abs(first.values).max() * np.abs(second.values).max()
        if np.abs(dense_array(product - product.T)).max() > 1e-9 * size:
            raise InputError(f"'{first.name}' and '{second.name}' do not commute, they must")
