"""Small models of the families of transformers: counted, or the reason; never a false law."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.torch
pytest.importorskip("torch")
pytest.importorskip("transformers")

ROOT = Path(__file__).resolve().parents[3]
QUICK = ["GPT2LMHeadModel", "LlamaForCausalLM", "DistilBertForMaskedLM", "CLIPTextModel",
         "FNetForMaskedLM"]  # fmt: skip


@pytest.fixture
def families(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "phenomena"))
    import transformers_families

    yield transformers_families
    sys.modules.pop("transformers_families")


@pytest.mark.parametrize("name", QUICK)
def test_families_are_counted(families, name):
    (family,) = (one for one in families.FAMILIES if one[2] == name)
    line = families.row(family)
    assert line.endswith("| counted |") and int(line.split("|")[4]) > 50


def test_what_cannot_be_followed_is_explained(families):
    (family,) = (one for one in families.FAMILIES if one[2] == "BloomForCausalLM")
    assert "not determined: BloomForCausalLM: a backward pass of its own" in families.row(family)


@pytest.mark.slow
def test_the_page_is_that_of_the_program(families):
    page = families.page()
    lines = [line for line in page.splitlines() if line.startswith("| ")][2:]
    assert len(lines) == len(families.FAMILIES) >= 60
    assert not any("refuted" in line for line in lines)
    counted = [line for line in lines if line.endswith("| counted |")]
    assert len(counted) >= 0.9 * len(lines)
    assert all("not determined: " in line for line in lines if line not in counted)
