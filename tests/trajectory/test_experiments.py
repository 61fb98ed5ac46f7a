"""The experiments run, at sizes of seconds; at their small size their numbers are in range."""

from __future__ import annotations

import pytest

TINY = {
    "trajectory_start": {
        "starts": [0.3, 3.0], "n_paths": 128, "replicates": 2, "dimension": 40, "seeds": 3,
        "dimensions": [20, 40], "many_seeds": 4,
    },
    "trajectory_training": {
        "hidden": 8, "steps": 20, "seeds": 2, "checkpoints": 5,
        "changes": {"momentum": [0.0, 0.9], "batch": [8, 64], "step_size": [0.1, 0.2],
                    "weight_decay": [0.0, 0.1]},
    },
    "trajectory_normalisation": {"channels": 4, "epochs": 2, "switches": [0, 1, 2], "seeds": 2,
                                 "samples": 100},
    "trajectory_heads": {"widths": [8], "heads": 2, "steps": 10, "checkpoints": 4},
    "trajectory_gpt": {"widths": [8, 16], "heads": 2, "layers": 1, "steps": 4, "checkpoints": 3,
                       "batch": 2, "seeds": 2, "momenta": [0.0, 0.9], "decays": [0.0, 2.0],
                       "long": 6, "switches": [3, 5]},
}  # fmt: skip
NEEDS_TORCH = {name for name in TINY if name != "trajectory_start"}
EVERY = [
    pytest.param(name, marks=[pytest.mark.torch] if name in NEEDS_TORCH else []) for name in TINY
]


@pytest.fixture
def load(phenomenon):
    def load(name):
        if name in NEEDS_TORCH:
            pytest.importorskip("torch")
        return phenomenon(name)

    return load


@pytest.mark.parametrize("name", EVERY)
def test_it_runs(load, name, monkeypatch, tmp_path):
    script = load(name)
    monkeypatch.setattr(script, "SMALL", {**script.SMALL, **TINY[name]})
    outcome = script.run(False, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 5_000
    assert outcome.title and outcome.paragraph and outcome.checks


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_its_numbers_are_in_range(name, monkeypatch, tmp_path):
    outcome = load(name).run(False, tmp_path / "figure.png")
    assert [check for check in outcome.checks if not check.passed] == []
