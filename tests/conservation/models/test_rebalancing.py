"""Rebalancing: laws get new values, the function of the model keeps its own."""

from __future__ import annotations

import numpy as np
import pytest

from dmft.conservation import laws, rebalance
from dmft.conservation.models.checks import in_double
from dmft.errors import InputError, NotConverged

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")


def outputs(model, batch):
    with in_double(), torch.no_grad():
        x = batch[0]
        if not hasattr(model, "config"):
            return model(x)
        given = {"pixel_values": x} if x.is_floating_point() else {"input_ids": x}
        return model(**given).logits.log_softmax(-1)


@pytest.mark.parametrize(
    "name",
    ["mlp", "swiglu", "reglu", "resnet", "gpt2", "gpt2-relu", "llama-grouped", "llama-no-eps",
     "qwen2", "qwen3-moe", "mixtral", "neox", "vit"],
)  # fmt: skip
def test_values_change_and_the_function_does_not(zoo, name):
    model, _, batches = zoo[name]()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        for p in model.parameters():
            p.add_(0.5 * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    found = laws(model)
    before = outputs(model, batches[0])
    start = found.evaluate(dict(model.named_parameters()))
    targets = {}
    rng = np.random.default_rng(1)
    for law in found:
        value = start[law.name].detach().numpy()
        if "shift" in law.name:
            continue  # its sum over the stream is that of the means
        noise = rng.standard_normal(law.entries)
        if law.form != "squares" or min(law.weights) < 0:
            targets[law.name] = value + 0.3 * noise
        else:
            targets[law.name] = value * np.exp(0.3 * noise)
    rounds = rebalance(model, found, targets)
    assert rounds > 0
    after = found.evaluate(dict(model.named_parameters()))
    for key, target in targets.items():
        np.testing.assert_allclose(after[key].detach().numpy(), target, rtol=0, atol=2e-12)
    change = (outputs(model, batches[0]) - before).abs().max()
    assert float(change) < 1e-12 * max(1.0, float(before.abs().max()))


def test_balanced_weights(zoo):
    model, _, batches = zoo["mlp"]()
    found = laws(model)
    before = outputs(model, batches[0])
    rebalance(model, found, {"balance 2-3": 1.0, "neurons 0-2": 0.0})
    first, second, third = model[0], model[2], model[3]
    gram = second.weight @ second.weight.T + torch.outer(second.bias, second.bias)
    # Not 0: three matrices of rank 4 and 2 cannot be balanced.
    one = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(gram - one, third.weight.T @ third.weight, rtol=0, atol=1e-12)
    incoming = first.weight.square().sum(1) + first.bias.square()
    torch.testing.assert_close(incoming, second.weight.square().sum(0), rtol=0, atol=1e-12)
    assert float((outputs(model, batches[0]) - before).abs().max()) < 1e-13


def test_ranks_limit_what_can_be_reached(zoo):
    model, _, _ = zoo["mlp"]()
    before = [p.clone() for p in model.parameters()]
    with pytest.raises(NotConverged, match="lose rank|cannot be reached"):
        rebalance(model, laws(model), {"balance 2-3": 0.0})
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_values_out_of_reach_leave_the_model_alone():
    class Direction(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch.nn.Linear(3, 4)

        def forward(self, x):
            y = self.inner(x)
            return y / y.norm(dim=-1, keepdim=True)

    model = Direction().double()
    found = laws(model)
    (law,) = found.laws  # a sum of squares is not negative
    assert law.formula == "|inner.weight|^2 + |inner.bias|^2"
    before = {key: value.clone() for key, value in model.named_parameters()}
    with pytest.raises(NotConverged, match="cannot be reached"):
        rebalance(model, found, {law.name: -1.0})
    assert all(torch.equal(before[key], p) for key, p in model.named_parameters())


def test_mistakes(zoo):
    model, _, _ = zoo["mlp"]()
    found = laws(model)
    with pytest.raises(InputError, match="given 3 values, must be 1 or 4"):
        rebalance(model, found, {"neurons 0-2": [0.0, 1.0, 2.0]})
    with pytest.raises(InputError, match="no law of Sequential has that name"):
        rebalance(model, found, {"neurons": 0.0})
    with pytest.raises(InputError, match="not finite"):
        rebalance(model, found, {"neurons 0-2": float("nan")})
    with pytest.raises(InputError, match="float32, rebalancing needs float64"):
        rebalance(model.float(), found, {"neurons 0-2": 0.0})
