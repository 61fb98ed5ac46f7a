"""Losses of finite networks: value, slope and curvature of l(h, y), array by array.

Written apart from the solver's compiled losses, so that either is a check of the other.
"""

from __future__ import annotations

import numpy as np

from dmft.problem.losses import HINGE, HUBER, LOGISTIC, POISSON, SQUARED, Loss


def loss_values(loss: Loss, fields: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """l(h, y); fields h and labels y broadcast."""
    if loss.code == SQUARED:
        return np.asarray(0.5 * (fields - labels) ** 2)
    if loss.code == LOGISTIC:
        return np.asarray(np.logaddexp(0.0, -labels * fields))
    if loss.code == HUBER:
        size = np.abs(fields - labels)
        inside = np.minimum(size, loss.parameter)
        return np.asarray(inside * (size - 0.5 * inside))
    if loss.code == HINGE:
        return np.maximum(0.0, loss.parameter - labels * fields)
    assert loss.code == POISSON
    return np.asarray(np.exp(fields) - labels * fields)


def loss_slopes(loss: Loss, fields: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """dl/dh; at the kink of the hinge loss that of the side where it vanishes."""
    if loss.code == SQUARED:
        return np.asarray(fields - labels)
    if loss.code == LOGISTIC:
        return -labels * _sigmoid(-labels * fields)
    if loss.code == HUBER:
        return np.clip(fields - labels, -loss.parameter, loss.parameter)
    if loss.code == HINGE:
        return np.where(labels * fields < loss.parameter, -labels, 0.0)
    assert loss.code == POISSON
    return np.asarray(np.exp(fields) - labels)


def loss_curvatures(loss: Loss, fields: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """d2l/dh2 where it exists; at the kinks of the Huber loss that of the inner side."""
    fields, labels = np.broadcast_arrays(fields, labels)
    if loss.code == LOGISTIC:
        return _sigmoid(fields) * _sigmoid(-fields)
    if loss.code == HUBER:
        return np.where(np.abs(fields - labels) <= loss.parameter, 1.0, 0.0)
    if loss.code == HINGE:
        return np.zeros(fields.shape)
    if loss.code == POISSON:
        return np.asarray(np.exp(fields))
    assert loss.code == SQUARED
    return np.ones(fields.shape)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    """1/(1 + exp(-x)) to full relative accuracy at either end."""
    decayed = np.exp(-np.abs(x))
    return np.where(x >= 0.0, 1.0, decayed) / (1.0 + decayed)
