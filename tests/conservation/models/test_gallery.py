"""Laws that are listed against those that gradients alone reveal, model by model."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from dmft.conservation import discover, laws
from dmft.conservation.models.tracing.outputs import outputs_of

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

_SPEC = importlib.util.spec_from_file_location("gallery", Path(__file__).with_name("gallery.py"))
gallery = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(gallery)

QUICK = ["glu", "winner takes all", "tensor train", "pruned", "group norm", "grouped linear", "GRU",
         "softmax between", "unused half", "sorted", "padding", "stopped gate"]  # fmt: skip


def loss(model, batch):
    """A function of all outputs that depends on the batch."""
    inputs, weights = batch
    outputs = [x for _, x in outputs_of(model(*inputs))]
    return sum((x * a).sum() + (x - b).square().sum()
               for x, (a, b) in zip(outputs, weights, strict=True))  # fmt: skip


def batches(model, draw, count=40):
    for _ in range(count):
        inputs = draw()
        outputs = [x for _, x in outputs_of(model(*inputs))]
        yield inputs, [(torch.randn_like(x), torch.randn_like(x)) for x in outputs]


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in gallery.GALLERY]
)
def test_listed_laws_are_those_of_gradients(name):
    make, draw, expected, beyond = gallery.GALLERY[name]
    model = make().double()
    found = laws(model, check=False, inputs=draw())
    assert found.determined and found.count == expected, [law.name for law in found]
    with torch.no_grad():
        drawn = list(batches(model, draw))
    result = discover(model, loss, drawn, laws=found)
    assert result.clear and result.refuted == ()
    assert result.structural == expected and len(result.missed) == beyond
