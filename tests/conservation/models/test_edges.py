"""What was not looked at is said: checks that could not be made, systems that are not solved."""

from __future__ import annotations

import json
from fractions import Fraction

import numpy as np
import pytest

from dmft.cli.main import main
from dmft.conservation import laws
from dmft.conservation.models.tracing import elimination, unknowns

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
