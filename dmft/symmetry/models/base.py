"""What a model is: losses and gradients of single samples, symmetries, a start.

Parameters are flat vectors theta (..., P), inputs x (..., B, inputs), labels y (..., B, outputs);
all leading axes broadcast, so that many runs train at once.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from dmft.symmetry.exponential import ExponentialSymmetry
from dmft.validation import Settings


class Model(Settings):
    """A loss per sample with its derivatives."""

    @property
    @abstractmethod
    def widths(self) -> tuple[int, int]:
        """Lengths of an input and of a label."""

    @property
    @abstractmethod
    def parameters(self) -> int:
        """P, the length of theta."""

    @abstractmethod
    def start(self, rng: np.random.Generator) -> np.ndarray:
        """Random parameters, shape (P,)."""

    @abstractmethod
    def losses(self, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Loss of every sample, shape (..., B)."""

    @abstractmethod
    def per_sample(self, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Gradient of the loss of every sample, shape (..., B, P)."""

    @abstractmethod
    def gradient(self, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Gradient of the mean loss, shape (..., P)."""

    @abstractmethod
    def sharpness(self, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Trace of the Hessian of the mean loss, shape (...)."""

    @abstractmethod
    def symmetries(self) -> tuple[ExponentialSymmetry, ...]:
        """Generators; where they commute depends on the model."""
