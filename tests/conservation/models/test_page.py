"""The Python of docs/model-laws.md runs and prints what the page says; so does the command."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path

import pytest

from dmft.cli.main import main

pytestmark = pytest.mark.torch
pytest.importorskip("torch")

PAGE = Path(__file__).parents[3] / "docs" / "model-laws.md"
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NUMBER = re.compile(r"\d\.\de[-+]\d+|nan")


def masked(text):
    return [" ".join(NUMBER.sub("#", line).split()) for line in text.splitlines()]


def test_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    variables, printed = {}, ""
    for kind, body in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if kind == "python":
            with contextlib.redirect_stdout(io.StringIO()) as stream:
                exec(body, variables)
            printed = stream.getvalue()
        else:
            assert masked(printed) == masked(body)
    assert (tmp_path / "laws.h5").exists() and (tmp_path / "laws.png").exists()


def test_command(tmp_path, capsys, qwen):
    pytest.importorskip("transformers")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(qwen))
    assert main(["conservation", "model", str(path), "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    # Values and outputs, planes of gains, neurons, gains of three norms, shift of the logits.
    assert table["laws"] == 10 + 2 + 16 + 3 * 8 + 8 and table["unrecognised"] == []
    assert main(["conservation", "model", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "60 conservation laws" in out and "the eps of a norm" in out


@pytest.mark.parametrize(
    "text, words",
    [
        (None, "cannot be read"),
        ("{", "not valid JSON"),
        ("[1]", "no 'model_type'"),
        ('{"model_type": "nope"}', "no model can be built"),
        ({"num_key_value_heads": 0}, "no model can be built"),
    ],
)
def test_mistakes_of_the_command(tmp_path, refused, qwen, text, words):
    pytest.importorskip("transformers")
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text if isinstance(text, str) else json.dumps({**qwen, **text}))
    refused(["conservation", "model", str(path)], words)
