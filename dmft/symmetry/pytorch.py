"""Per-sample gradients of PyTorch models, by `torch.func`; needs the extra `torch`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.errors import InputError
from dmft.store.output import replacing
from dmft.symmetry.layout import Layout

if TYPE_CHECKING:
    import torch


def layout_of(module: torch.nn.Module) -> Layout:
    """The trainable parameters of a module, in its order; tied ones count once."""
    return Layout({name: tuple(value.shape) for name, value in _trainable(module).items()})


def parameters_of(module: torch.nn.Module) -> np.ndarray:
    """theta, shape (P,)."""
    tensors = {name: _array(value) for name, value in _trainable(module).items()}
    return layout_of(module).flatten(tensors)


def per_sample_gradients(
    module: torch.nn.Module,
    loss: Callable[[Any, Any], Any],
    inputs: Any,
    targets: Any,
    chunk_size: int | None = None,
) -> np.ndarray:
    """Gradient of the loss of every sample, shape (samples, P), in the layout of `layout_of`.

    Parameters
    ----------
    module : the model; it must not mix samples (batch normalisation in `eval` mode does not).
    loss : of an output and a target, both with a batch axis of length one, a scalar tensor.
    inputs, targets : tensors with the samples along their first axis.
    chunk_size : samples at once; all of them by default.

    Raises
    ------
    InputError : PyTorch is not installed, inputs and targets differ in number, or the loss of a
        sample is no scalar.
    """
    try:
        from torch.func import functional_call, grad, vmap
    except ImportError:
        raise InputError("needs PyTorch, install the extra: pip install dmft[torch]") from None
    if len(inputs) != len(targets):
        raise InputError(f"given {len(inputs)} inputs and {len(targets)} targets, must be equal")
    trainable = _trainable(module)
    fixed = {
        name: value.detach()
        for name, value in (*module.named_parameters(), *module.named_buffers())
        if name not in trainable
    }

    def of_one(parameters: dict[str, Any], sample: Any, target: Any) -> Any:
        output = functional_call(module, (parameters, fixed), (sample[None],))
        value = loss(output, target[None])
        if value.ndim:
            raise InputError(f"given a loss of shape {tuple(value.shape)}, must be a scalar")
        return value

    free = {name: value.detach() for name, value in trainable.items()}
    rows = vmap(grad(of_one), in_dims=(None, 0, 0), chunk_size=chunk_size)(free, inputs, targets)
    arrays = {name: _array(value) for name, value in rows.items()}
    return layout_of(module).flatten(arrays, samples=True)


class PointWriter:
    """Writes checkpoints and per-sample gradients as `dmft symmetry` reads them.

    `folder`/checkpoints/step-N.npz holds the trainable parameters by name, and
    `folder`/gradients/step-N.npz the same names with the samples along a first axis.

    Parameters
    ----------
    folder : made if it is missing.
    module, loss, inputs, targets, chunk_size : as in `per_sample_gradients`.
    """

    def __init__(
        self,
        folder: str | Path,
        module: torch.nn.Module,
        loss: Callable[[Any, Any], Any],
        inputs: Any,
        targets: Any,
        chunk_size: int | None = None,
    ) -> None:
        self.folder, self.module = Path(folder), module
        self._arguments = (loss, inputs, targets, chunk_size)

    def write(self, step: int) -> None:
        """Write the present parameters and their gradients, both files whole or not at all.

        Raises
        ------
        InputError : as `per_sample_gradients`.
        DmftError : a file cannot be written.
        """
        rows = per_sample_gradients(self.module, *self._arguments)
        theta = parameters_of(self.module)
        layout = layout_of(self.module)
        for name, values in (("checkpoints", theta), ("gradients", rows)):
            path = self.folder / name / f"step-{step}.npz"
            path.parent.mkdir(parents=True, exist_ok=True)
            arrays: Any = {key: values[..., layout.places(key)] for key in layout.shapes}
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(file, **arrays)


def _trainable(module: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


def _array(tensor: Any) -> np.ndarray:
    # NumPy has no bfloat16.
    values = tensor.detach().cpu()
    return np.asarray((values.float() if values.dtype.itemsize < 4 else values).numpy())
