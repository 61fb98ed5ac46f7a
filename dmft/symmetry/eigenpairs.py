"""Eigenvectors of sparse symmetric matrices, and products with dense or sparse matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

VANISHED = 1e-13  # of the largest eigenvalue: what rounding may make of zero


def eigenpairs(matrix: sparse.csr_array) -> tuple[np.ndarray, sparse.csc_array]:
    """Eigenpairs of a sparse symmetric matrix, block by connected block; zero rows are left out."""
    matrix.eliminate_zeros()
    used = np.flatnonzero(np.diff(matrix.indptr))
    inner = matrix[used][:, used]
    count, label = sparse.csgraph.connected_components(inner, directed=False)
    order = np.argsort(label, kind="stable")
    ends = np.cumsum(np.bincount(label, minlength=count))
    values, rows, columns, entries = [], [], [], []
    at = 0
    for block in np.split(order, ends[:-1]) if count else []:
        if len(block) == 1:
            found, vectors = inner[block, block], np.ones((1, 1))
        else:
            found, vectors = np.linalg.eigh(inner[block][:, block].toarray())
        values.append(np.ravel(found))
        rows.append(np.repeat(used[block], len(block)))
        columns.append(np.tile(np.arange(at, at + len(block)), len(block)))
        entries.append(vectors.ravel())
        at += len(block)
    if not values:
        return np.zeros(0), sparse.csc_array((matrix.shape[0], 0))
    place = (np.concatenate(rows), np.concatenate(columns))
    directions = sparse.csc_array((np.concatenate(entries), place), shape=(matrix.shape[0], at))
    return np.concatenate(values), directions


def on_rows(vectors: np.ndarray, matrix: Any) -> np.ndarray:
    """vectors @ matrix for any number of leading axes, which sparse matrices do not take."""
    flat = vectors.reshape(-1, vectors.shape[-1]) @ matrix
    return np.asarray(flat).reshape(*vectors.shape[:-1], matrix.shape[1])


def unit_columns(directions: Any) -> np.ndarray | None:
    """Row of the single entry 1 of every column, or None if there are other columns."""
    if not sparse.issparse(directions):
        return None
    columns = sparse.csc_array(directions)
    if (np.diff(columns.indptr) != 1).any() or (columns.data != 1.0).any():
        return None
    return np.asarray(columns.indices)


def dense_array(matrix: Any) -> np.ndarray:
    """A matrix as a dense array."""
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix)
