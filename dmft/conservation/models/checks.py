"""What a model must be: one line for each thing that it is not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dmft.errors import InputError

if TYPE_CHECKING:
    import torch


def check_model(model: Any, *, meta: bool = False) -> None:
    """Parameters exist, and have values or, with `meta`, shapes.

    Raises
    ------
    InputError : not a module, no parameters, some without a shape, or on the meta device.
    """
    try:
        import torch
    except ImportError:
        raise InputError(
            "PyTorch is needed for laws of models and is not installed"
            " (the extra 'torch' of the package)"
        ) from None
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"given {type(model).__name__}, must be a torch.nn.Module", "model")
    parameters = list(model.named_parameters())
    for name, parameter in parameters:
        if isinstance(parameter, torch.nn.parameter.UninitializedParameter):
            raise InputError(f"given {name} without a shape (run the model once)", "model")
    if not any(parameter.numel() for _, parameter in parameters):
        raise InputError(f"given {type(model).__name__}, it has no parameters", "model")
    for name, parameter in parameters:
        if parameter.is_meta and not meta:
            raise InputError(
                f"given {name} on the meta device, must have values (use to_empty or from_config)",
                "model",
            )
        if not parameter.is_floating_point():
            raise InputError(
                f"given {name} of type {kind(parameter)}, must be real floating point", "model"
            )


def check_precision(model: torch.nn.Module, allowed: Sequence[str], what: str) -> None:
    """All parameters have one of the allowed types.

    Raises
    ------
    InputError : names the first that has not.
    """
    for name, parameter in model.named_parameters():
        if kind(parameter) not in allowed:
            raise InputError(
                f"given {name} of type {kind(parameter)}, {what} needs {' or '.join(allowed)}"
                f" (model.{'double' if allowed == ['float64'] else 'float'}())",
                "model",
            )


def kind(tensor: torch.Tensor) -> str:
    """Name of the type of the entries."""
    return str(tensor.dtype).removeprefix("torch.")


@contextmanager
def in_double() -> Iterator[None]:
    """Keep to float64 what a forward pass would turn to float32.

    Norms, softmax and routers of transformers compute in float32, whatever the model is.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class KeepDouble(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = dict(kwargs or {})
            source = next((a for a in args if isinstance(a, torch.Tensor)), None)
            if source is None or source.dtype != torch.float64:
                return func(*args, **kwargs)
            if func is torch.Tensor.float:
                return source
            if func.__name__.endswith("grouped_mm"):
                return _grouped_product(*args, **kwargs)
            if kwargs.get("dtype") in (torch.float32, torch.float):
                kwargs["dtype"] = torch.float64
            args = tuple(torch.float64 if a is torch.float32 else a for a in args)
            return func(*args, **kwargs)

    with KeepDouble():
        yield


def _grouped_product(x: Any, weights: Any, offs: Any, **_: Any) -> Any:
    """Rows of x up to offs[i] times weights[i]; PyTorch has it in float32 only."""
    import torch

    ends = offs.tolist()
    starts = [0, *ends[:-1]]
    parts = [x[a:b] @ w for a, b, w in zip(starts, ends, weights, strict=True)]
    return torch.cat([*parts, x.new_zeros(len(x) - ends[-1], weights.shape[-1])])
