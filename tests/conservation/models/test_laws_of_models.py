"""Laws that are listed: as many as the exact count, independent, and orthogonal to gradients."""

from __future__ import annotations

import time

import numpy as np
import pytest

from dmft.conservation import count, laws, parse_architecture
from dmft.conservation.models import flow_drift
from dmft.errors import InputError

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")

# The same architectures for the exact engine.
_MOE = {"kind": "llama", "kv_heads": 1, "experts": 3, "top_k": 2}
SAME = {
    "wide": {"kind": "linear", "widths": [2, 5, 2]},
    "gpt2": {"kind": "gpt2"},
    "gpt2-untied": {"kind": "gpt2", "tied": False},
    "gpt2-relu": {"kind": "transformer", "feed_forward": "relu", "bias": True},
    "llama": {"kind": "llama"},
    "llama-grouped": {"kind": "llama", "tied": False, "kv_heads": 1},
    "llama-no-eps": {"kind": "llama", "eps": False},
    "mistral": {"kind": "llama", "kv_heads": 1},
    "qwen3": {"kind": "llama", "kv_heads": 1, "qk_norm": True},
    "mixtral": {**_MOE, "hidden": 3},
    "qwen3-moe": {**_MOE, "hidden": 2, "qk_norm": True, "gate": "switch"},
    "neox-sequential": {"kind": "transformer", "norm": "layer", "position": "rotary", "bias": True,
             "heads": 1, "frequencies": [1, 0], "tied": False},
}  # fmt: skip
COUNTS = {
    "mlp": 14, "wide": 14, "swiglu": 4, "reglu": 8, "resnet": 9, "gpt2": 41, "gpt2-untied": 53,
    "gpt2-relu": 45, "llama": 20, "llama-grouped": 24, "llama-no-eps": 21, "mistral": 16,
    "qwen2": 16, "qwen3": 16, "qwen3-moe": 22, "mixtral": 25, "neox": 50, "neox-sequential": 47,
    "vit": 60,
}  # fmt: skip


def generic(model, loss, batches):
    from dmft.conservation.models.fields import Fields

    fields = Fields(model, loss, batches)
    fields.set(fields.random(np.random.default_rng(0)))
    return fields


@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_those_of_independent_laws_that_gradients_keep(zoo, name):
    model, loss, batches = zoo[name]()
    found = laws(model)
    assert found.count == COUNTS[name] and found.unrecognised == ()
    fields = generic(model, loss, batches)
    gradients = fields.jacobian(found.laws).numpy()
    assert len(gradients) == sum(law.entries for law in found)
    gradients /= np.linalg.norm(gradients, axis=1, keepdims=True)
    singular = np.linalg.svd(gradients, compute_uv=False)
    assert int(np.sum(singular > 1e-10 * singular[0])) == found.count
    for batch in range(5):
        field = fields.gradient(batch).numpy()
        assert np.abs(gradients @ field).max() < 1e-14 * max(np.linalg.norm(field), 1.0)


QUICK = ["wide", "llama", "gpt2"]


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SAME]
)
def test_counts_of_the_exact_engine(zoo, name):
    model, _, _ = zoo[name]()
    result = count(parse_architecture(SAME[name]), points=1)
    assert result.parameters == sum(p.numel() for p in model.parameters())
    assert result.certificate.exact and laws(model).count == result.laws


FLOW = ["mlp", "resnet", "llama"]


@pytest.mark.parametrize(
    "name",
    [name if name in FLOW else pytest.param(name, marks=pytest.mark.slow) for name in COUNTS],
)
def test_flow_conserves(zoo, name):
    model, loss, batches = zoo[name]()
    generic(model, loss, batches)
    drifts = flow_drift(model, laws(model), loss, batches[:2], steps=5)
    assert drifts.pop("moved") > 1e-3
    assert len(drifts) == len(laws(model)) and max(drifts.values()) < 1e-13


def test_relations_of_names_and_broken_laws(zoo):
    found = laws(zoo["qwen3"]()[0])
    why = {one.name: one.why for one in found.broken}
    assert "eps" in why["norms model.layers.0.self_attn.q_proj"]
    law = found["scale model.layers.0.self_attn.q_norm-model.layers.0.self_attn.k_norm"]
    assert law.degree == 2 and law.count == 1  # one plane of rotation
    table = found.to_table()
    assert table["laws"] == 16 and table["unrecognised"] == []
    with pytest.raises(InputError, match="no law of Qwen3ForCausalLM"):
        found["nothing"]


def test_dropout_breaks_the_means_of_the_stream_in_training(zoo):
    model = zoo["classes"].gpt2(resid_pdrop=0.1)[0]
    model.train()
    found = laws(model)
    # What is dropped has no mean; words and positions are not dropped.
    assert found.count == 41 - 10
    model.eval()
    assert laws(model).count == 41
    attention_only = zoo["classes"].gpt2(attn_pdrop=0.1)[0].train()
    assert laws(attention_only).count == 41


def test_frozen_and_shared_parameters(zoo):
    model = zoo["mlp"]()[0]
    model[0].weight.requires_grad_(False)
    found = laws(model)
    assert found.count == 10 and "0.weight is frozen" in {one.why for one in found.broken}
    tied = torch.nn.Sequential(
        torch.nn.Linear(3, 3, bias=False), torch.nn.ReLU(), torch.nn.Linear(3, 3, bias=False)
    )
    tied[2].weight = tied[0].weight
    found = laws(tied)
    assert found.count == 0 and found.determined


def test_layer_that_is_used_twice():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.Linear(3, 4), torch.nn.Linear(4, 4)
            self.c = torch.nn.Linear(4, 2)

        def forward(self, x):
            x = torch.relu(self.a(x))
            return self.c(torch.relu(self.b(torch.relu(self.b(x)))))

    found = laws(Twice())
    # One scale for the outputs of a, and of both uses of b.
    assert [law.name for law in found] == ["channels a"]
    model = Twice().double()
    x = torch.randn(5, 3).double()
    drifts = flow_drift(model, found, lambda m, b: m(b).square().mean(), [x], steps=5)
    assert max(value for key, value in drifts.items() if key != "moved") < 1e-13


def test_graph_of_convolutions_pooling_and_flattening():
    nn = torch.nn
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.LeakyReLU(), nn.Dropout(0.1),
        nn.Flatten(), nn.Linear(16, 6), nn.GELU(), nn.Linear(6, 3),
    ).double()  # fmt: skip
    found = laws(net, loss="cross-entropy")
    assert [law.name for law in found] == [
        "neurons 0-3", "neurons 3-7", "output sums 9", "output sums 9.bias",
    ]  # fmt: skip
    assert found.count == 4 + 4 + 6 + 1
    x, y = torch.randn(6, 1, 4, 4).double(), torch.tensor([0, 1, 2, 0, 1, 2])
    net.eval()
    drifts = flow_drift(
        net, found, lambda m, b: nn.functional.cross_entropy(m(b[0]), b[1]), [(x, y)], steps=5
    )
    drifts.pop("moved")
    assert max(drifts.values()) < 1e-13


def test_operations_that_mix_channels_or_divide_by_them_fix_the_scale():
    nn = torch.nn

    class Net(nn.Module):
        def __init__(self, operation):
            super().__init__()
            self.inner, self.outer = nn.Linear(4, 4), nn.Linear(4, 2)
            self.operation = operation

        def forward(self, x):
            return self.outer(self.operation(torch.relu(self.inner(x))))

    assert laws(Net(lambda y: y / 2)).count == 4
    assert laws(Net(lambda y: 2.0 / y)).count == 4  # of degree -1: both with a plus
    for operation in (
        lambda y: 1 / (1 + y),
        lambda y: y + 1,
        lambda y: y.mean((-2, -1)),
    ):
        assert laws(Net(operation)).count == 0
    # A convolution has its channels second, a linear layer last.
    assert laws(nn.Sequential(nn.Conv1d(2, 6, 1), nn.ReLU(), nn.Linear(6, 2))).count == 1


def test_what_is_not_recognised_is_listed():
    nn = torch.nn

    class Strange(nn.Module):
        def __init__(self):
            super().__init__()
            self.mixing = nn.Parameter(torch.ones(4, 4))
            self.inner, self.outer = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.outer(torch.softmax(self.inner(x), -1) @ self.mixing)

    found = laws(Strange())
    # Known since operations are followed: softmax sums of a layer, and mixing against outer.
    assert found.count == 5 + 10 and found.determined

    class Depends(Strange):
        def forward(self, x):
            return self.outer(x) if x.sum() > 0 else self.inner(x)

    found = laws(Depends())
    assert found.count == 0 and "control flow" in found.unrecognised[0]

    class Odd(Strange):
        def forward(self, x):
            return self.outer(torch.relu(self.inner(x)) @ torch.linalg.matrix_exp(self.mixing))

    found = laws(Odd())
    assert not found.determined and "linalg_matrix_exp" in found.unrecognised[0]


def test_attention_of_other_families_is_followed(zoo):
    import transformers

    config = transformers.BertConfig(
        vocab_size=5, hidden_size=4, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=4,
    )  # fmt: skip
    found = laws(transformers.BertModel(config))
    assert found.count > 0 and found.determined and found.checked
    plain = laws(torch.nn.MultiheadAttention(4, 2))
    assert plain.count == 2 * (3 + 3) + 4 and not plain.unrecognised


def test_subclass_is_followed_like_its_parent(zoo):
    model = zoo["gpt2"]()[0]

    class Changed(type(model)):
        def forward(self, *arguments, **options):
            return super().forward(*arguments, **options)

    model.__class__ = Changed
    found = laws(model, "cross-entropy")
    assert found.determined and found.count == 41


def test_walk_of_a_large_model_reads_no_weights():
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=32000, hidden_size=768, intermediate_size=2048, num_hidden_layers=12,
        num_attention_heads=12, num_key_value_heads=12, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    # Storage without contents: the shapes of 110 million parameters, none of their memory.
    for module in model.modules():
        for name, parameter in list(module._parameters.items()):
            if parameter is not None:
                empty = torch.zeros(1).expand(parameter.shape)
                module._parameters[name] = torch.nn.Parameter(empty)
    model.model.rotary_emb.inv_freq = 1.0 / torch.arange(1, 33)
    start = time.process_time()
    found = laws(model, loss="cross-entropy")
    assert time.process_time() - start < 10
    assert found.dimension > 100e6
    # As the two parameters of a tied embedding were replaced one by one, they are untied here.
    layer = 12 * (64 * 65 // 2 + 32) + 2048 + 2 * 768
    assert found.count == 12 * layer + 768 + 768


MISTAKES = [
    (lambda nn: 3, "given int"),
    (lambda nn: nn.ReLU(), "no parameters"),
    (lambda nn: nn.Linear(2, 2).to(torch.complex64), "complex64"),
]


@pytest.mark.parametrize("make, words", MISTAKES)
def test_mistakes(make, words):
    with pytest.raises(InputError, match=words) as caught:
        laws(make(torch.nn))
    assert "\n" not in str(caught.value)


def test_integers_and_unknown_losses_are_refused():
    class Counts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.n = torch.nn.Parameter(torch.ones(2, dtype=torch.int64), requires_grad=False)

    with pytest.raises(InputError, match="int64, must be real floating point"):
        laws(Counts())
    with pytest.raises(InputError, match="'hinge', must be 'cross-entropy' or 'any'"):
        laws(torch.nn.Linear(2, 2), loss="hinge")
