"""`laws(model)`: from a PyTorch model to its conservation laws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dmft.conservation.models import huggingface
from dmft.conservation.models.checks import check_model
from dmft.conservation.models.graph import Graph, multi_head, trace
from dmft.conservation.models.survey import CROSS_ENTROPY, ModelLaws, Survey
from dmft.errors import InputError

if TYPE_CHECKING:
    import torch

Loss = Literal["cross-entropy", "any"]
_HEADS = ("ForCausalLM", "LMHeadModel", "ForImageClassification")


def laws(model: torch.nn.Module, loss: Loss | None = None) -> ModelLaws:
    """The conservation laws of the gradient flow of a model.

    Recognised are models of transformers (GPT-2, Llama, Mistral, Qwen 2 and 3, GPT-NeoX, ViT,
    Mixtral, Qwen 3 MoE) by their exact class, and plain modules whose forward pass `torch.fx` can
    trace. What is not recognised is listed in `unrecognised`; a quantity that something in the
    model breaks, such as an eps or a frozen parameter, in `broken`. Dropout counts if the module
    is in training mode, as does batch normalisation.

    Parameters
    ----------
    model : parameters are read for shapes, sharing and `requires_grad`, never for values.
    loss : 'cross-entropy' over the last axis of the outputs, or 'any'. By default the former for
        language models and classifiers of transformers, else the latter.

    Raises
    ------
    InputError : no parameters, parameters on the meta device, or an unknown loss.

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
    check_model(model)
    if loss is None:
        loss = "cross-entropy" if _has_logits(model) else "any"
    if loss not in ("cross-entropy", "any"):
        raise InputError(f"given {loss!r}, must be 'cross-entropy' or 'any'", "loss")
    survey = Survey(model, CROSS_ENTROPY if loss == "cross-entropy" else "any")
    _walk(survey, "", model)
    return survey.finish()


def _has_logits(model: torch.nn.Module) -> bool:
    if not type(model).__name__.endswith(_HEADS) or not huggingface.is_known(model):
        return False
    return getattr(model, "num_labels", 2) != 1 or "Image" not in type(model).__name__


def _walk(survey: Survey, prefix: str, module: torch.nn.Module) -> None:
    reader = huggingface.reader(module)
    if reader:
        reader(survey, prefix, module)
        return
    kind = type(module).__name__
    if kind == "MultiheadAttention":
        multi_head(survey, prefix, module)
        return
    foreign = type(module).__module__.startswith("transformers.")
    graph = None if foreign else trace(module)
    if graph is not None:
        Graph(survey, prefix, module).run(graph)
        return
    own = [name for name, _ in module.named_parameters(recurse=False)]
    if foreign or own or not list(module.children()):
        survey.unrecognised.append(f"{prefix or 'model'}: {kind}")
        return
    survey.unrecognised.append(
        f"{prefix or 'model'}: the forward pass of {kind} cannot be traced, its parts are taken"
        " one by one"
    )
    for name, child in module.named_children():
        if any(True for _ in child.parameters()):
            _walk(survey, f"{prefix}.{name}" if prefix else name, child)
