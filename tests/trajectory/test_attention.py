"""Queries, keys, values and heads in every layout, against reshaping by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dmft import trajectory
from dmft.errors import InputError
from dmft.trajectory import algebra, layout
from dmft.trajectory.attention import parts_of

HEADS, DIM, WIDTH = 4, 3, 5

# name of the tensor, shape, and where (projection number, head) is in it as an index
LAYOUTS = {
    "interleaved": (
        "gpt_neox.layers.0.attention.query_key_value.weight",
        (HEADS * 3 * DIM, WIDTH),
        lambda x, p, h: x.reshape(-1, HEADS, 3, DIM, WIDTH)[:, h, p],
    ),
    "interleaved bias": (
        "h.0.self_attention.query_key_value.bias",
        (HEADS * 3 * DIM,),
        lambda x, p, h: x.reshape(-1, HEADS, 3, DIM)[:, h, p],
    ),
    "concatenated": (
        "encoder.layers.0.self_attn.in_proj_weight",
        (3 * HEADS * DIM, WIDTH),
        lambda x, p, h: x.reshape(-1, 3, HEADS, DIM, WIDTH)[:, p, h],
    ),
    "vision": (
        "blocks.0.attn.qkv.weight",
        (3 * HEADS * DIM, WIDTH),
        lambda x, p, h: x.reshape(-1, 3, HEADS, DIM, WIDTH)[:, p, h],
    ),
    "columns": (
        "h.0.attn.c_attn.weight",
        (WIDTH, 3 * HEADS * DIM),
        lambda x, p, h: x.reshape(-1, WIDTH, 3, HEADS, DIM)[:, :, p, h],
    ),
    "columns bias": (
        "h.0.attn.c_attn.bias",
        (3 * HEADS * DIM,),
        lambda x, p, h: x.reshape(-1, 3, HEADS, DIM)[:, p, h],
    ),
}


@pytest.mark.parametrize("kind", LAYOUTS)
@pytest.mark.parametrize("unit", [60, 2**24])
def test_fused_layouts(write, monkeypatch, kind, unit):
    monkeypatch.setattr(layout, "_UNIT", unit)
    monkeypatch.setattr(layout, "_SMALLEST", 1)
    name, shape, select = LAYOUTS[kind]
    theta = np.cumsum(np.random.default_rng(0).standard_normal((5, *shape)), axis=0)
    folder = write([{name: values} for values in theta])
    grams = trajectory.of_checkpoints(folder, heads=HEADS)
    assert grams.computed == theta.nbytes
    heads = grams.groups("head")
    assert len(heads) == 3 * HEADS
    for p, projection in enumerate(("query", "key", "value")):
        for h in range(HEADS):
            (label,) = [n for n in heads if n.endswith(f" {projection} head {h}")]
            exact = algebra.from_vectors(select(theta, p, h).reshape(5, -1))
            assert np.abs(heads[label].gram - exact).max() < 1e-12
    whole = algebra.from_vectors(theta.reshape(5, -1))
    assert np.abs(grams.trajectory().gram - whole).max() < 1e-12


def test_separate_projections_with_grouped_queries(write):
    rng = np.random.default_rng(1)
    shapes = {"q_proj": 8 * DIM, "k_proj": 2 * DIM, "v_proj": 2 * DIM, "o_proj": 7}
    walk = [
        {f"model.layers.1.self_attn.{n}.weight": rng.standard_normal((r, WIDTH))
         for n, r in shapes.items()}
        for _ in range(4)
    ]  # fmt: skip
    grams = trajectory.of_checkpoints(write(walk), heads=8, kv_heads=2)
    assert list(grams.groups("projection")) == [
        f"model.layers.1 {name}" for name in ("query", "key", "value")
    ]
    heads = grams.groups("head")
    assert len(heads) == 8 + 2 + 2
    keys = np.array([arrays["model.layers.1.self_attn.k_proj.weight"] for arrays in walk])
    exact = algebra.from_vectors(keys[:, DIM:].reshape(4, -1))
    assert np.abs(heads["model.layers.1 key head 1"].gram - exact).max() < 1e-12


def test_nothing_is_split_without_the_number_of_heads(write):
    walk = [{"attn.q_proj.weight": np.full((4, 4), float(i))} for i in range(3)]
    grams = trajectory.of_checkpoints(write(walk))
    assert [part.name for part in grams.parts] == ["attn.q_proj.weight"]
    with pytest.raises(InputError, match="no attention heads were found"):
        grams.groups("head")
    with pytest.raises(InputError, match="allowed: tensor, module, layer"):
        grams.groups("colour")


def test_heads_that_do_not_divide():
    with pytest.raises(InputError, match=r"a.qkv.weight: has 30 rows, which 12 heads"):
        parts_of("a.qkv.weight", (30, 4), 4, None)
    with pytest.raises(InputError, match="interleaved by head"):
        parts_of("a.query_key_value.weight", (36, 4), 4, 2)
