"""What was not looked at is said: checks that could not be made, systems that are not solved."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest

from dmft.cli.main import main
from dmft.conservation import laws
from dmft.conservation.models.tracing import elimination, peeling, unknowns

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
nn = torch.nn


class Uncopied(nn.Sequential):
    def __deepcopy__(self, memo):
        raise RuntimeError("a handle that cannot be copied")


class SingleOnly(nn.Sequential):
    def forward(self, x):
        if x.dtype != torch.float32:
            raise TypeError("written for float32")
        return super().forward(x)


class Overflowing(nn.Sequential):
    def forward(self, x):
        return super().forward(x) * (float("inf") if x.dtype == torch.float64 else 1.0)


@pytest.mark.parametrize(
    "kind, why",
    [(Uncopied, "no copy in float64 can be made"), (SingleOnly, "written for float32"),
     (Overflowing, "not finite")],
)  # fmt: skip
@pytest.mark.parametrize("check", [None, True])
def test_a_check_that_fails_is_not_called_a_check(kind, why, check):
    found = laws(kind(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), check=check)
    assert found.count == 8  # the trace remains the proof
    assert not found.checked and why in found.unchecked
    table = found.to_table()
    assert table["checked"] is False and why in table["unchecked"]


def test_checks_that_are_not_made_say_why():
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    assert laws(net).checked and laws(net).unchecked == ""
    assert laws(net, check=False).unchecked == "not asked for"
    large = nn.Sequential(nn.Linear(1500, 1500), nn.ReLU(), nn.Linear(1500, 1500))
    assert "more than 3000000 parameters" in laws(large).unchecked


def ring(size):
    """x_n + x_n+1 + x_n+2 = 0 around a ring: two solutions if 3 divides the size, else none."""
    system = unknowns.Unknowns()
    ids = system.new((size,))
    system.require([(Fraction(1), np.roll(ids, -n)) for n in range(3)])
    solution = system.solve()
    return solution.count, solution.given_up


def test_systems_that_are_too_large_are_counted():
    assert ring(60) == (2, 0) and ring(61) == (0, 0)
    assert ring(69) == (0, 69)
    assert ring(70) == (0, 0)  # zero is the only solution: nothing is lost


def span(solution, size):
    """An orthogonal basis of all solutions."""
    basis = np.zeros((solution.count, size))
    places, directions, values = solution.entries(np.arange(size))
    basis[directions, places] = values
    assert np.linalg.matrix_rank(basis) == solution.count
    return basis


def test_arrays_and_small_blocks_solve_alike(monkeypatch):
    """Layers of neurons, each in a three-term equation with what its layer shares."""
    monkeypatch.setattr(peeling, "_FEW", 0)
    rng = np.random.default_rng(3)
    for _ in range(8):
        system, rows = unknowns.Unknowns(), []
        size = int(rng.integers(8, 60))
        system.new((size,))
        for _ in range(int(rng.integers(2, 6))):
            width = int(rng.integers(1, size // 3))
            ids = rng.permutation(size)[: 2 * width].reshape(2, width)
            shared = np.full(width, rng.integers(size))
            weights = [Fraction(int(w)) for w in rng.choice([1, -1, 2, 3], 3)]
            system.require(list(zip(weights, (*ids, shared), strict=True)))
            rows += [
                sum(float(w) * np.eye(size)[one[n]] for w, one in zip(weights, (*ids, shared),
                                                                      strict=True))
                for n in range(width)
            ]  # fmt: skip
        monkeypatch.setattr(unknowns, "LARGE", 10**6)
        blocks = span(system.solve(), size)
        monkeypatch.setattr(unknowns, "LARGE", 0)
        arrays = span(system.solve(), size)
        rank = np.linalg.matrix_rank(np.array(rows))
        assert len(blocks) == len(arrays) == size - rank
        assert np.abs(np.array(rows) @ arrays.T).max(initial=0) == 0


@pytest.mark.parametrize("axes", [[(0, 1), (0, 2)], [(0, 1), (1, 2), (0, 2)], [(0,), (1, 2), ()]])
def test_few_places_require_all(monkeypatch, axes):
    """A sum of arrays on some axes each is zero everywhere, or at as few places as are tried."""
    counts = []
    for whole in (10**6, 0):
        monkeypatch.setattr(peeling, "_WHOLE", whole)
        system = unknowns.Unknowns()
        parts = []
        for own in axes:
            sizes = [n if a in own else 1 for a, n in enumerate((2, 3, 4))]
            parts.append((Fraction(1), np.broadcast_to(system.new(sizes), (2, 3, 4))))
        system.require(parts)
        counts.append(span(system.solve(), system.size).shape)
        places = peeling.enough(parts)
        assert len(places) == (1 if whole else len(axes))
    assert counts[0] == counts[1]


def test_rank_modulo_a_prime_agrees_with_elimination():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        size = int(rng.integers(2, 8))
        equations = [
            (tuple(rng.choice(size, 2, replace=False).tolist()),
             tuple(rng.choice([1, -1, 2, -2], 2).tolist()))
            for _ in range(int(rng.integers(size - 1, size + 3)))
        ]  # fmt: skip
        only = elimination.only_zero(equations, size)
        assert only == (not elimination.null_space(equations, size))
        seen.add(only)
    assert seen == {True, False}


def test_what_cannot_be_followed_ends_with_status_3(monkeypatch, tmp_path, capsys, qwen):
    transformers = pytest.importorskip("transformers")

    def forward(self, x, *args, **options):
        return self.down_proj(x) if bool(x.sum() > 0) else self.up_proj(x)

    monkeypatch.setattr(transformers.models.qwen3.modeling_qwen3.Qwen3MLP, "forward", forward)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**qwen, "intermediate_size": 8}))
    assert main(["conservation", "model", str(path)]) == 3
    out = capsys.readouterr().out
    assert out.startswith("not determined, at least 0 conservation laws") and "control flow" in out


SMALL = {"model_type": "gpt2", "n_layer": 1, "n_head": 2, "n_embd": 8, "vocab_size": 16}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layer": 10**5}, "config.json: n_layer: given 100000, must be at most 1000"),
        ({"n_layer": int("9" * 4000)}, "config.json: n_layer: given 9999"),
        (
            {"text_config": {"num_experts": 10**6}},
            "num_experts: given 1000000, must be at most 1000",
        ),
        ({"vocab_size": 10**11}, "config.json: is of a model of 3.2e+12 bytes, this machine has"),
        ({"n_embd": 10**9}, "no model can be built from it"),
        ({"model_type": "nothing"}, "no model can be built from it"),
    ],
)
def test_models_that_no_machine_holds(tmp_path, capsys, change, message):
    pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text(json.dumps({**SMALL, **change}))
    for words in (["conservation", "model"], ["symmetry", "find"]):
        assert main([*words, str(tmp_path)]) == 2
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1


@pytest.mark.parametrize("named", [{"a": 1}, 5, "x", [{}], ["logging"], ["nothing"], []])
def test_architectures_of_any_kind_are_passed_over(tmp_path, named):
    pytest.importorskip("transformers")
    from dmft.conservation.models.configuration import model_of

    (tmp_path / "config.json").write_text(json.dumps({**SMALL, "architectures": named}))
    assert type(model_of(tmp_path)).__name__ == "GPT2LMHeadModel"
