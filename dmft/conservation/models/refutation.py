"""A law is false if one gradient contradicts it: the last test before laws are listed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dmft.conservation.models.checks import in_double
from dmft.conservation.models.forms import ModelLaw
from dmft.conservation.models.tracing.inputs import Inputs
from dmft.conservation.models.tracing.outputs import outputs_of

if TYPE_CHECKING:
    import torch

_DRAWS = 2
_TOLERANCE = 1e-9  # of a derivative, relative to the sizes of parameters and gradient


@dataclass(frozen=True)
class Refutation:
    """What gradients say of laws.

    false : names of those that one contradicts. failure : why not all inputs gave a gradient, ""
    if they did.
    """

    false: tuple[str, ...] = ()
    failure: str = ""


def refute(
    model: torch.nn.Module, inputs: Sequence[Inputs], found: Sequence[ModelLaw], loss: str
) -> Refutation:
    """Laws whose derivative along a gradient is not zero.

    A copy of the model in float64 gets random parameters and inputs. For a quadratic law h,
    h(theta + g) - h(theta - g) is four times the bilinear form of theta and g, without error.
    """
    import copy

    import torch

    if not found:
        return Refutation()
    try:
        twin = copy.deepcopy(model).double()
    except Exception as error:  # whatever a stranger's module raises; the trace remains the proof
        return Refutation(failure=f"no copy in float64 can be made ({first_line(error)})")
    parameters = {name: p for name, p in twin.named_parameters() if p.requires_grad}
    false: dict[str, None] = {}
    failure = ""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for args, kwargs in inputs:
            for _ in range(_DRAWS):
                _randomise(parameters)
                try:
                    gradient = _gradient(twin, parameters, args, kwargs, loss)
                except Exception as error:  # what ran in its own precision may not in float64
                    failure = f"no gradient in float64 ({first_line(error)})"
                    continue
                if not all(bool(g.isfinite().all()) for g in gradient.values()):
                    failure = "a gradient in float64 is not finite"
                    continue
                false.update(dict.fromkeys(_contradicted(found, parameters, gradient)))
    return Refutation(tuple(false), failure)


def first_line(error: Exception) -> str:
    """The kind of an error and how it begins."""
    text = (str(error).splitlines() or [""])[0][:120]
    return f"{type(error).__name__}: {text}"


def _randomise(parameters: dict[str, Any]) -> None:
    import torch

    with torch.no_grad():
        for p in parameters.values():
            fan_in = p.numel() / p.shape[0] if p.ndim > 1 and p.numel() else 1.0
            p.copy_(torch.randn_like(p) / max(fan_in, 1.0) ** 0.5)


def _redrawn(x: Any) -> Any:
    import torch

    if isinstance(x, torch.Tensor) and x.is_floating_point():
        return torch.randn(x.shape, dtype=torch.float64)
    return x


def _gradient(
    twin: Any, parameters: dict[str, Any], args: Sequence[Any], kwargs: dict[str, Any], loss: str
) -> dict[str, Any]:
    import torch

    leaves = list(parameters.values())
    with in_double(), torch.enable_grad():
        out = twin(*map(_redrawn, args), **{k: _redrawn(v) for k, v in kwargs.items()})
        value = sum(_losses(list(outputs_of(out)), loss))
        grads = torch.autograd.grad(value, leaves, allow_unused=True)
    return {
        name: torch.zeros_like(p) if g is None else g
        for (name, p), g in zip(parameters.items(), grads, strict=True)
    }


def _losses(outputs: list[tuple[str, Any]], loss: str) -> Iterator[Any]:
    """Cross-entropy with random labels for logits, else a random function."""
    import torch

    for label, x in outputs:
        if loss == "cross-entropy" and x.ndim and (len(outputs) == 1 or label == "logits"):
            flat = x.reshape(-1, x.shape[-1])
            target = torch.randint(x.shape[-1], (len(flat),))
            yield torch.nn.functional.cross_entropy(flat, target)
        elif x.is_floating_point():
            yield (x * torch.randn_like(x)).sum() + (x - torch.randn_like(x)).square().sum()


def _contradicted(
    found: Sequence[ModelLaw], parameters: dict[str, Any], gradient: dict[str, Any]
) -> Iterator[str]:
    import torch

    with torch.no_grad():
        plus = {name: p + gradient[name] for name, p in parameters.items()}
        minus = {name: p - gradient[name] for name, p in parameters.items()}
        force = torch.stack([g.norm() for g in gradient.values()]).norm()
        for law in found:
            slope = (law.evaluate(plus) - law.evaluate(minus)).abs().max()
            size = force if law.degree == 1 else force * sum(
                parameters[name].norm() for name in law.parameters
            )  # fmt: skip
            # The squares of both cancel to rounding only.
            rounding = sum((x[n] * x[n]).sum() for n in law.parameters for x in (plus, minus))
            size = size + 1e-6 * rounding
            if float(slope) > _TOLERANCE * float(size):
                yield law.name
