"""`laws(model)`: from a PyTorch model to its conservation laws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from dmft.conservation.models.checks import check_model
from dmft.conservation.models.forms import ModelLaw
from dmft.conservation.models.refutation import first_line, refute
from dmft.conservation.models.survey import ANY_LOSS, CROSS_ENTROPY, Broken, ModelLaws
from dmft.conservation.models.tracing.findings import findings
from dmft.conservation.models.tracing.inputs import Inputs, guesses
from dmft.conservation.models.tracing.picking import never_chosen
from dmft.conservation.models.tracing.recording import NotTraced, Trace, record
from dmft.errors import InputError

if TYPE_CHECKING:
    import torch

Loss = Literal["cross-entropy", "any"]
_HEADS = ("ForCausalLM", "LMHeadModel", "ForImageClassification", "ForMaskedLM")
_LARGE = 30_000_000  # parameters beyond which nothing is computed, only shapes are followed
_SMALL = 3_000_000  # up to which laws are checked against gradients by default
_ALTERNATIVES = 3


def laws(
    model: torch.nn.Module, loss: Loss | None = None, *, inputs: Any = None,
    check: bool | None = None,
) -> ModelLaws:  # fmt: skip
    """The conservation laws of the gradient flow of a model.

    The forward pass is run once and every operation written down; a law is listed if these
    operations leave its symmetry alone, whatever the classes of the modules are. What an operation
    without a rule touches is left out and named in `unrecognised`; so is the reason if the forward
    pass cannot be followed, in which case no law is listed. A quantity that an eps or another loss
    breaks is in `broken`. Dropout and batch normalisation count as in the mode the module is in.

    Units: parameters as they are in the model; no step size or time enters.

    Parameters
    ----------
    model : its parameters may be on the meta device; they are left as they are.
    loss : 'cross-entropy' over the last axis of the outputs, or 'any'. By default the former for
        language models and classifiers of transformers, else the latter.
    inputs : to trace with: a tensor, a tuple of positional or a mapping of keyword arguments. By
        default guessed from the first layers or the configuration; of inputs with several numbers
        of axes that all run, only laws that hold for all are listed.
    check : test every law against gradients of random data in float64 first, and drop those that
        are refuted. Default: for up to 3 million parameters. `checked` says whether it could be
        done, `unchecked` why not.

    Raises
    ------
    InputError : no parameters, parameters without a shape, or an unknown loss.

    Examples
    --------
    >>> import pytest
    >>> torch = pytest.importorskip("torch")
    >>> net = torch.nn.Sequential(
    ...     torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> found = laws(net)
    >>> found.count, found.laws[0].formula
    (8, '|0.weight[k]|^2 + |0.bias[k]|^2 - |2.weight[:,k]|^2')
    """
    check_model(model, meta=True)
    if loss not in ("cross-entropy", "any", None):
        raise InputError(f"given {loss!r}, must be 'cross-entropy' or 'any'", "loss")
    size = sum(p.numel() for p in model.parameters())
    meta = any(p.is_meta for p in model.parameters())
    dimension = sum(p.numel() for p in model.parameters() if p.requires_grad)
    name = type(model).__name__
    try:
        _check_hooks(model)
        used, traces = _traces(model, inputs, fake=meta or size > _LARGE)
    except NotTraced as reason:
        return ModelLaws(
            name, dimension, (), (), (f"{name}: {reason}",), "the forward pass cannot be followed"
        )
    if loss is None:
        loss = "cross-entropy" if _has_logits(model, traces[0]) else "any"
    chosen = CROSS_ENTROPY if loss == "cross-entropy" else ANY_LOSS
    found, broken, unknown = _agreed([findings(trace, chosen) for trace in traces])
    for frozen in _frozen(model):
        broken.append(Broken(f"laws of {frozen}", frozen, f"{frozen} is frozen"))
    unknown += dict.fromkeys(text for trace in traces for text in never_chosen(trace))
    unchecked = _reason_not_to_check(check, size, meta)
    if not unchecked:
        with _batched_experts(model):
            refuted = refute(model, used, found, loss)
        unknown += [f"{law}: refuted by gradients of random data" for law in refuted.false]
        found = [law for law in found if law.name not in refuted.false]
        unchecked = refuted.failure
    return ModelLaws(name, dimension, tuple(found), tuple(broken), tuple(unknown), unchecked)


def _reason_not_to_check(check: bool | None, size: int, meta: bool) -> str:
    if check is False:
        return "not asked for"
    if meta:
        return "parameters on the meta device have no values"
    if check is None and size > _SMALL:
        return f"more than {_SMALL} parameters (laws(.., check=True) checks them)"
    return ""


def _traces(model: Any, inputs: Any, *, fake: bool) -> tuple[list[Inputs], list[Trace]]:
    """What the model does with all inputs of the first set of which some run."""
    import torch

    given = [_arguments(inputs)] if inputs is not None else None
    failure = ""
    best: tuple[int, list[Inputs], list[Trace]] | None = None  # with the number of parts not seen
    with torch.random.fork_rng(devices=[]), _batched_experts(model):
        torch.manual_seed(0)
        for attempts in [given] if given else guesses(model):
            used, traces = [], []
            for args, kwargs in attempts[:_ALTERNATIVES]:
                try:
                    traces.append(record(model, args, kwargs, fake=fake))
                    used.append((args, kwargs))
                except NotTraced:
                    raise
                except Exception as error:  # whatever a stranger's forward pass raises
                    failure = failure or first_line(error)
                    if "data-dependent" in str(error).lower() or "DataDependent" in repr(error):
                        raise NotTraced(
                            "the forward pass depends on values of tensors (control flow)"
                        ) from None
            if traces and any(one.outputs for one in traces):
                lacking = sum(len(never_chosen(one)) for one in traces)
                if best is None or lacking < best[0]:
                    best = (lacking, used, traces)
                if not lacking:
                    break
    if best is not None:
        return best[1:]
    failure = failure or "no inputs are known that it would take"
    raise NotTraced(
        f"the forward pass did not run on guessed inputs ({failure}); give inputs=.."
        if given is None else f"the forward pass did not run on the inputs ({failure})"
    )  # fmt: skip


def _arguments(inputs: Any) -> Inputs:
    if isinstance(inputs, Mapping):
        return (), dict(inputs)
    return (tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)), {}


def _check_hooks(model: Any) -> None:
    """Hooks that change gradients make them no gradients of the loss."""
    for name, parameter in model.named_parameters():
        if parameter._backward_hooks:
            raise NotTraced(f"a hook changes the gradient of {name}")
    for name, module in model.named_modules():
        if module._backward_hooks or getattr(module, "_backward_pre_hooks", None):
            raise NotTraced(f"a hook changes gradients of {name or 'the model'}")


@contextmanager
def _batched_experts(model: Any) -> Iterator[None]:
    """Experts of transformers without a loop over those that are hit."""
    configs = {id(c): c for m in model.modules() if (c := getattr(m, "config", None)) is not None
               and hasattr(c, "_experts_implementation")}  # fmt: skip
    before = {key: c._experts_implementation for key, c in configs.items()}
    try:
        for c in configs.values():
            c._experts_implementation = "batched_mm"
        yield
    finally:
        for key, c in configs.items():
            c._experts_implementation = before[key]


def _agreed(
    each: Sequence[tuple[list[ModelLaw], list[Broken], list[str]]],
) -> tuple[list[ModelLaw], list[Broken], list[str]]:
    """What all traces list."""
    found, broken, unknown = each[0]
    for others, _, more in each[1:]:
        same = {(law.formula, law.shape) for law in others}
        found = [law for law in found if (law.formula, law.shape) in same]
        unknown = list(dict.fromkeys([*unknown, *more]))
    return list(found), list(broken), list(unknown)


def _frozen(model: Any) -> list[str]:
    return [name for name, p in model.named_parameters() if not p.requires_grad]


def _has_logits(model: torch.nn.Module, trace: Trace) -> bool:
    name = type(model).__name__
    if not name.endswith(_HEADS) or not type(model).__module__.startswith("transformers."):
        return False
    if not any(label == "logits" for label, _ in trace.outputs):
        return False
    return getattr(model, "num_labels", 2) != 1 or "Image" not in name
