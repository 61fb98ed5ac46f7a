"""`dmft theory`: what it prints, for machines and for people."""

from __future__ import annotations

import json

import pytest

from dmft.cli.main import main


def test_json(capsys):
    assert main(["theory", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["regime"] == "interpolation"
    assert found["excess_risk"] == pytest.approx(0.1026926, rel=1e-6)
    assert found["train_mse"] == 0
    assert found["relaxation_rate"] == pytest.approx(0.0300886, rel=2e-6)


def test_table_and_config(tmp_path, capsys):
    config = tmp_path / "config.toml"
    config.write_text("[dynamics]\nweight_decay = 0.1\n")
    assert main(["theory", str(config)]) == 0
    text = capsys.readouterr().out
    assert "lasso" in text and "0.0193285" in text and "t^-2" in text and "note:" in text
    assert main(["theory", str(config), "--set", "dynamics.weight_decay=0"]) == 0
    assert "t^-1.5 exp(-0.0601771 t)" in capsys.readouterr().out


def test_what_has_no_number_is_null(capsys):
    assert main(["theory", "--json", "--set", "problem.sampling_ratio=1"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["excess_risk"] is None and "grows" in found["note"]
    assert main(["theory", "--set", "problem.sampling_ratio=1"]) == 0
    text = capsys.readouterr().out
    assert "unknown" in text and "nan" not in text


def test_bad_input_is_one_line(capsys):
    words = ["theory", "--set", "problem.network.init_u=0.5", "--set", "problem.network.init_v=0.5"]
    assert main(words) == 2
    message = capsys.readouterr().err
    assert message.startswith("dmft: error: problem.network: ") and message.count("\n") == 1
