"""The table of the families of transformers: every line is what the program says now."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
pytest.importorskip("torch")
pytest.importorskip("transformers")

ROOT = Path(__file__).resolve().parents[3]
QUICK = ["GPT2LMHeadModel", "LlamaForCausalLM", "DistilBertForMaskedLM", "CLIPTextModel",
         "BloomForCausalLM", "FNetForMaskedLM"]  # fmt: skip


@pytest.fixture
def families(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "phenomena"))
    import transformers_families

    yield transformers_families
    sys.modules.pop("transformers_families")


@pytest.fixture
def lines():
    page = (ROOT / "docs" / "model-table.md").read_text(encoding="utf-8")
    return [line for line in page.splitlines() if line.startswith("| ")][2:]


@pytest.mark.parametrize("name", QUICK)
def test_line_of_the_table(families, lines, name):
    (family,) = (one for one in families.FAMILIES if one[2] == name)
    assert families.row(family) in lines


@pytest.mark.slow
def test_the_table_is_complete(families):
    page = (ROOT / "docs" / "model-table.md").read_text(encoding="utf-8")
    assert families.page() == page


def test_nothing_is_refuted_or_silent(families, lines):
    assert len(lines) == len(families.FAMILIES) >= 60
    assert not any("refuted" in line or "error" in line.lower() for line in lines)
    counted = [line for line in lines if line.endswith("| counted |")]
    assert len(counted) >= 0.9 * len(lines)
    assert all("not determined: " in line for line in lines if line not in counted)
