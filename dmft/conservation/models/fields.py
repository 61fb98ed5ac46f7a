"""Gradients of a model as vectors in float64, for tests of laws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.conservation.models.checks import check_model, check_precision, in_double
from dmft.errors import InputError

if TYPE_CHECKING:
    import torch

LossFunction = Callable[[Any, Any], Any]


class Fields:
    """The loss of a model on batches, as a function of one vector of all trained parameters.

    Parameters
    ----------
    model : all parameters in float64. Its own values are restored by `unchanged`.
    loss : function of model and batch that returns a scalar.
    batches : as many as it takes to see all of the model, at least one.

    Raises
    ------
    InputError : another precision, no batches, or a loss that does not depend on the parameters.
    """

    def __init__(
        self, model: torch.nn.Module, loss: LossFunction, batches: Sequence[Any]
    ) -> None:  # fmt: skip
        check_model(model)
        check_precision(model, ["float64"], "this test")
        if not len(batches):
            raise InputError("given none, must be at least one", "batches")
        self.model = model
        self.loss = loss
        self.batches = batches
        self.parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise InputError("given a model whose parameters are all frozen", "model")

    @property
    def dimension(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters.values())

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """The parameters are put back afterwards."""
        before = self.get()
        try:
            yield
        finally:
            self.set(before)

    def get(self) -> torch.Tensor:
        """All parameters, as one vector."""
        import torch

        return torch.cat([p.detach().reshape(-1) for p in self.parameters.values()])

    def set(self, theta: torch.Tensor) -> None:
        """Replace all parameters."""
        import torch

        with torch.no_grad():
            for name, part in self.split(theta).items():
                self.parameters[name].copy_(part)

    def split(self, vector: torch.Tensor) -> dict[str, torch.Tensor]:
        """A vector as tensors by name."""
        out, start = {}, 0
        for name, parameter in self.parameters.items():
            size = parameter.numel()
            out[name] = vector[start : start + size].view(parameter.shape)
            start += size
        return out

    def random(self, generator: np.random.Generator) -> torch.Tensor:
        """A generic point: all entries of the order of one over the root of the fan-in."""
        import torch

        parts = []
        for parameter in self.parameters.values():
            matrix = parameter.ndim > 1 and parameter.numel()
            fan_in = parameter.numel() / parameter.shape[0] if matrix else 1.0
            drawn = generator.standard_normal(parameter.numel())
            parts.append(drawn / max(fan_in, 1.0) ** 0.5)
        return torch.from_numpy(np.concatenate(parts))

    def gradient(self, batch: int, *, graph: bool = False) -> torch.Tensor:
        """Gradient of the loss on one batch, at the present parameters."""
        import torch

        with in_double():
            value = self.loss(self.model, self.batches[batch % len(self.batches)])
        if not isinstance(value, torch.Tensor) or not value.requires_grad:
            raise InputError("must be a tensor that depends on the parameters", "loss")
        if value.numel() != 1:
            raise InputError(f"given shape {tuple(value.shape)}, must be a scalar", "loss")
        grads = torch.autograd.grad(
            value, list(self.parameters.values()), create_graph=graph, allow_unused=True
        )
        zeros = (torch.zeros_like(p) for p in self.parameters.values())
        return torch.cat([
            (z if g is None else g).reshape(-1) for g, z in zip(grads, zeros, strict=True)
        ])  # fmt: skip

    def jacobian(self, laws: Sequence[Any]) -> torch.Tensor:
        """Gradients of all quantities of all laws at the present parameters: (quantities, D)."""
        import torch

        rows = []
        leaves = list(self.parameters.values())
        for law in laws:
            values = law.evaluate(self.parameters)
            for value in values:
                grads = torch.autograd.grad(value, leaves, retain_graph=True, allow_unused=True)
                rows.append(torch.cat([
                    (torch.zeros_like(p) if g is None else g).reshape(-1)
                    for g, p in zip(grads, leaves, strict=True)
                ]))  # fmt: skip
        return torch.stack(rows) if rows else torch.zeros(0, self.dimension, dtype=torch.float64)


def evaluate_all(laws: Sequence[Any], parameters: Mapping[str, Any]) -> np.ndarray:
    """Values of all quantities of all laws as one vector."""
    if not laws:
        return np.zeros(0)
    return np.concatenate([law.evaluate(parameters).detach().cpu().numpy() for law in laws])
