"""The experiments run, at sizes of seconds; at their small size their numbers are in range."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
pytest.importorskip("torch")
pytest.importorskip("transformers")

ROOT = Path(__file__).parents[3]
TINY = {
    "conservation_training": {
        "models": ("ResNet", "Qwen 3 MoE"), "time": 0.2, "seeds": 2, "width": 8, "batch": 4,
    },
    "conservation_optimisers": {"halvings": 1, "steps": 3},
}  # fmt: skip


@pytest.mark.parametrize("name", TINY)
def test_it_runs(phenomenon, name, monkeypatch, tmp_path):
    script = phenomenon(name)
    monkeypatch.setattr(script, "SMALL", {**script.SMALL, **TINY[name]})
    outcome = script.run(False, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert outcome.title and outcome.paragraph and len(outcome.checks) > 8
    assert json.loads(json.dumps(outcome.config))


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_its_numbers_are_in_range(phenomenon, name, tmp_path):
    outcome = phenomenon(name).run(False, tmp_path / "figure.png")
    assert [check for check in outcome.checks if not check.passed] == []


@pytest.mark.slow
def test_table_of_the_documentation(phenomenon, tmp_path):
    outcome = phenomenon("conservation_optimisers").run(False, tmp_path / "figure.png")
    page = (ROOT / "docs" / "model-laws.md").read_text(encoding="utf-8")
    assert outcome.config["table"] in page
