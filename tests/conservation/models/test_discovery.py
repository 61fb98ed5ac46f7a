"""Discovery from gradients: the same span, what the structure misses, what is false."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dmft.conservation import discover, laws
from dmft.conservation.models.dictionary import along, dictionary, values
from dmft.errors import InputError

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

FIVE = ["mlp", "wide", "swiglu", "reglu", "resnet"]
MORE = ["llama", "gpt2", "qwen2", "qwen3", "qwen3-moe", "mixtral", "vit", "llama-grouped"]


@pytest.mark.parametrize("name", FIVE + [pytest.param(n, marks=pytest.mark.slow) for n in MORE])
def test_same_span_as_the_structure(zoo, name):
    model, loss, batches = zoo[name]()
    before = [p.clone() for p in model.parameters()]
    result = discover(model, loss, batches)
    assert result.clear and result.above > 1e5 * result.below
    assert result.same_span and result.structural <= result.found
    assert result.found == result.structural + result.products
    entries = sum(law.entries for law in laws(model))
    # Shifts between positions contain the sums that the means of the stream are.
    assert result.structural <= entries
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_finds_what_the_structure_misses(zoo):
    model, loss, batches = zoo["mlp"]()
    known = laws(model)
    fewer = dataclasses.replace(known, laws=known.laws[1:])
    result = discover(model, loss, batches, laws=fewer)
    assert not result.same_span and len(result.missed) == 4
    assert all("0.weight" in text and "2.weight" in text for text in result.missed)


@pytest.mark.slow
def test_words_that_never_occur_are_found_to_be_frozen(zoo):
    model, loss, batches = zoo["llama-grouped"]()
    some = [(x, y) for x, y in batches if 4 not in x]
    result = discover(model, loss, some)
    assert not result.same_span and not result.refuted
    assert any("embed_tokens.weight[4," in text for text in result.missed)


def test_refutes_what_is_false(zoo):
    model, loss, batches = zoo["swiglu"]()
    known = laws(model)
    (law,) = known.laws
    wrong = dataclasses.replace(
        law, terms=tuple(dataclasses.replace(t, weight=abs(t.weight)) for t in law.terms)
    )
    result = discover(model, loss, batches, laws=dataclasses.replace(known, laws=(wrong,)))
    assert result.refuted == (law.name,) and result.found == 4


def test_derivatives_of_the_dictionary():
    rng = np.random.default_rng(0)
    shapes = {"a": (3, 4), "b": (5,), "c": (2, 3, 4), "d": (2, 2, 3, 3)}
    candidates = dictionary(shapes)

    def draw():
        return {n: torch.from_numpy(np.array(rng.standard_normal(s))) for n, s in shapes.items()}

    theta, direction = draw(), draw()
    labels = [text for each in candidates for text in each.labels()]
    step = 1e-6
    moved = [
        values(candidates, {n: theta[n] + s * step * direction[n] for n in theta})
        for s in (1, -1)
    ]  # fmt: skip
    slope = along(candidates, theta, direction)
    assert len(slope) == len(labels) == sum(each.size for each in candidates)
    np.testing.assert_allclose((moved[0] - moved[1]) / (2 * step), slope, atol=1e-8)
    place = labels.index("<c[1,0,:], c[1,2,:]>")
    c = theta["c"]
    assert values(candidates, theta)[place] == pytest.approx(float(c[1, 0] @ c[1, 2]))


def test_mistakes(zoo):
    model, loss, batches = zoo["mlp"]()
    with pytest.raises(InputError, match="given none, must be at least one"):
        discover(model, loss, [])
    with pytest.raises(InputError, match="depends on the parameters"):
        discover(model, lambda m, b: torch.zeros(()), batches)
    with pytest.raises(InputError, match=r"shape \(4, 2\), must be a scalar"):
        discover(model, lambda m, b: m(b[0]), batches)
    with pytest.raises(InputError, match="has a gradient with NaN or infinity"):
        discover(model, lambda m, b: m(b[0]).sum() * float("nan"), batches)
    for dtype in ("float32", "float16", "bfloat16"):
        with pytest.raises(InputError, match=f"type {dtype}, this test needs float64"):
            discover(model.to(getattr(torch, dtype)), loss, batches)
    large = torch.nn.Sequential(torch.nn.Linear(100, 100), torch.nn.Linear(100, 2)).double()
    with pytest.raises(InputError, match="candidate quantities, must be at most 4000"):
        discover(large, loss, batches)
    model = model.double().requires_grad_(False)
    with pytest.raises(InputError, match="all frozen"):
        discover(model, loss, batches)
