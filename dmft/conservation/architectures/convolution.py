"""Convolutional networks in one or two dimensions, with residual connections and max-pooling."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from dmft.conservation.architectures.base import Architecture, Widths
from dmft.conservation.catalogue import balancedness, neuron_balance
from dmft.errors import InputError

if TYPE_CHECKING:
    from dmft.conservation.draws import Draws
    from dmft.conservation.law import Law
    from dmft.conservation.tensor import Tensor


class Convolution(Architecture):
    """Convolutional network W_L * pool(sigma(... sigma(W_1 * x + b_1) ...)), zero padding.

    channels : of the input, the hidden layers and the output.
    kernel : side of the kernels, odd.
    size : side of the images.
    dimension_of_images : 1 or 2.
    activation : after every layer but the last.
    bias : biases of the hidden layers.
    residual : every pair of layers is a branch x + W_2 * sigma(W_1 * x).
    pool : side of the windows of max-pooling before the last layer, 1 for none.
    """

    kind: Literal["convolution"] = "convolution"
    channels: Widths
    kernel: int = Field(3, ge=1, le=9)
    size: int = Field(4, ge=1, le=32)
    dimension_of_images: Literal["1", "2"] = "1"
    activation: Literal["linear", "relu", "leaky-relu", "gelu", "silu", "tanh"] = "relu"
    bias: bool = False
    residual: bool = False
    pool: int = Field(1, ge=1, le=4)

    @model_validator(mode="after")
    def _consistent(self) -> Convolution:
        if self.kernel % 2 == 0:
            raise InputError(f"given {self.kernel}, must be odd", "kernel")
        if self.size % self.pool:
            raise InputError(f"given {self.pool}, must divide size {self.size}", "pool")
        if self.residual and (self.depth % 2 or len(set(self.channels[::2])) > 1):
            raise InputError(
                f"given {list(self.channels)}, must be like [c, h1, c, h2, c] with residual",
                "channels",
            )
        if self.residual and self.pool > 1:
            raise InputError("given with residual, must be 1", "pool")
        return self

    @property
    def depth(self) -> int:
        return len(self.channels) - 1

    @property
    def _axes(self) -> int:
        return int(self.dimension_of_images)

    def parameters(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        window = self.kernel**self._axes
        for i in range(1, self.depth + 1):
            shapes[f"W{i}"] = (self.channels[i], self.channels[i - 1], window)
            if self.bias and i < self.depth:
                shapes[f"b{i}"] = (self.channels[i],)
        return shapes

    def forward(self, theta: Mapping[str, Tensor], draws: Draws) -> Tensor:
        x = draws.inputs(self.channels[0], self.size**self._axes)
        branch = x
        side = self.size
        for i in range(1, self.depth + 1):
            last = i == self.depth
            branch = self._convolve(theta, i, branch, draws, side)
            if self.residual and i % 2 == 0:
                x = branch = x + branch
            elif not last:
                branch = draws.activation(self.activation, branch)
            if i == self.depth - 1 and self.pool > 1:
                windows = _windows(self.size, self.pool, self._axes)
                branch = draws.maximum(branch[:, windows])
                side = self.size // self.pool
        return branch

    def _convolve(
        self, theta: Mapping[str, Tensor], i: int, x: Tensor, draws: Draws, side: int
    ) -> Tensor:
        from dmft.conservation.tensor import concatenate

        zeros = draws.constant_array(np.zeros((x.shape[0], 1)))
        patches = concatenate([x, zeros])[:, _patches(side, self.kernel, self._axes)]
        weight = theta[f"W{i}"]
        out = weight.reshape(weight.shape[0], -1) @ patches.reshape(-1, side**self._axes)
        return out + theta[f"b{i}"].reshape(-1, 1) if f"b{i}" in theta else out

    def gradient_laws(self) -> tuple[Law, ...]:
        if self.activation in ("gelu", "silu", "tanh"):
            return ()
        laws = []
        for i in range(1, self.depth):
            if self.residual and i % 2 == 0:
                continue  # the stream between branches has no scale of its own
            inner, outer, bias = f"W{i}", f"W{i + 1}", f"b{i}" if self.bias else None
            if self.activation == "linear" and not self.pool > 1:
                laws.append(balancedness(inner, outer, bias))
            else:
                laws.append(neuron_balance(inner, outer, bias))
        return tuple(laws)


def _patches(size: int, kernel: int, axes: int) -> np.ndarray:
    """Indices (window, position) into flattened pixels; size^axes stands for the padding."""
    offsets = range(-(kernel // 2), kernel // 2 + 1)
    rows = []
    for offset in itertools.product(offsets, repeat=axes):
        row = []
        for pixel in itertools.product(range(size), repeat=axes):
            at = [a + b for a, b in zip(pixel, offset, strict=True)]
            inside = all(0 <= a < size for a in at)
            row.append(_flat_index(at, size) if inside else size**axes)
        rows.append(row)
    return np.array(rows)


def _windows(size: int, pool: int, axes: int) -> np.ndarray:
    """Indices (window, pixels in it) of the windows of max-pooling."""
    corners = itertools.product(range(0, size, pool), repeat=axes)
    return np.array([
        [
            _flat_index([a + b for a, b in zip(corner, offset, strict=True)], size)
            for offset in itertools.product(range(pool), repeat=axes)
        ]
        for corner in corners
    ])  # fmt: skip


def _flat_index(pixel: list[int], size: int) -> int:
    index = 0
    for coordinate in pixel:
        index = index * size + coordinate
    return index
