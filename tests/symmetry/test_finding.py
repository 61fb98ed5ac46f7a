"""Symmetries that are found in models; skipped without PyTorch."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dmft.cli.main import main
from dmft.errors import InputError
from dmft.symmetry import find
from dmft.symmetry.finding import chosen
from dmft.symmetry.layout import unit_rescalings
from dmft.symmetry.settings import SymmetryConfig

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from dmft.symmetry.pytorch import layout_of, parameters_of, per_sample_gradients  # noqa: E402


class Attention(torch.nn.Module):
    """Two heads; queries against keys, values against the output."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (torch.nn.Linear(6, 6, bias=False) for _ in range(4))

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (2, 3)).transpose(1, 2) for f in (self.q, self.k, self.v))
        weights = (q @ k.transpose(-1, -2) / 3**0.5).softmax(-1)
        return self.o((weights @ v).transpose(1, 2).flatten(2)).sum((1, 2))


def worst(net, x, y, families):
    """Largest violation over all symmetries and samples, and of what is no symmetry."""
    net = net.double()
    layout, theta = layout_of(net), parameters_of(net)
    rows = per_sample_gradients(net, torch.nn.functional.mse_loss, x, y)
    members = [member for family in families for member in family.symmetries(layout)]
    return max(member.violations(theta, rows).max() for member in members), len(members)


def test_units_of_a_rectifier_network():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 1))
    (family,) = find(net)
    assert (family.kind, family.count) == ("rescaling", 6)
    layout, theta = layout_of(net), parameters_of(net)
    known = unit_rescalings(layout, ["0.weight", "0.bias"], ["2.weight"])
    for found, by_hand in zip(family.symmetries(layout), known, strict=True):
        assert np.abs((found.matrix() - by_hand.matrix()).toarray()).max() < 1e-15
        assert found.charge(theta) == pytest.approx(by_hand.charge(theta))


def test_all_are_symmetries_of_every_sample():
    torch.manual_seed(1)
    attention = Attention()
    families = find(attention, inputs=torch.randn(2, 5, 6))
    assert {family.kind for family in families} == {"rotation"}
    violation, count = worst(attention, torch.randn(7, 5, 6).double(), torch.randn(7), families)
    assert violation < 1e-12 and count == sum(f.law.entries for f in families)

    normed = torch.nn.Sequential(
        torch.nn.Linear(5, 4, bias=False), torch.nn.LayerNorm(4, eps=0.0), torch.nn.Linear(4, 1)
    )
    families = find(normed, inputs=torch.randn(3, 5))
    assert "scale" in {family.kind for family in families}
    x, y = torch.randn(9, 5).double(), torch.randn(9, 1).double()
    assert worst(normed, x, y, families)[0] < 1e-12


def test_the_command_and_its_names(tmp_path, capsys):
    """What `find` lists serves as [symmetry] of checkpoints, by name."""
    pytest.importorskip("transformers")
    config = {
        "model_type": "llama", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 11,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main(["symmetry", "find", str(tmp_path), "--json"]) == 0
    families = json.loads(capsys.readouterr().out)["families"]
    assert main(["symmetry", "find", str(tmp_path)]) == 0
    assert f"in {len(families)} families" in capsys.readouterr().out
    name = next(family["name"] for family in families if family["kind"] == "rescaling")
    from dmft.conservation.models.configuration import model_of

    layout = layout_of(model_of(tmp_path))
    table = {"kind": "transformers", "config": str(tmp_path), "families": [name]}
    (given,) = SymmetryConfig(symmetry=table).symmetry
    members = given.symmetries(layout)
    assert len(members) == next(f["count"] for f in families if f["name"] == name)
    wrong = SymmetryConfig(symmetry={**table, "families": ["none"]}).symmetry[0]
    with pytest.raises(InputError, match="families: given 'none', unknown key"):
        wrong.symmetries(layout)


def test_unknown_families():
    net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 1))
    families = find(net)
    assert chosen(families, ()) == families
    with pytest.raises(InputError, match="families: given 'neuron'"):
        chosen(families, ["neuron"])
