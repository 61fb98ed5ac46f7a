"""Measurements are made once, survive a killed run, and stay apart from strangers' files."""

import json

import numpy as np
import pytest

from dmft.bench.ledger import Ledger
from dmft.errors import InputError


def test_a_killed_run_goes_on(tmp_path):
    path, made = tmp_path / "bench.json", []

    def work(value):
        made.append(value)
        return {"seconds": 0.5, "risk": np.array([1.0, value])}

    def run(stop_at):
        ledger = Ledger(path)
        for value in range(4):
            if value == stop_at:
                raise KeyboardInterrupt
            ledger.measure(f"P0/case {value}/seed 1", lambda value=value: work(value))
        return ledger

    with pytest.raises(KeyboardInterrupt):
        run(stop_at=2)
    ledger = run(stop_at=None)
    assert made == [0, 1, 2, 3]
    assert ledger.records["P0/case 3/seed 1"] == {"seconds": 0.5, "risk": [1.0, 3.0]}
    assert [entry.name for entry in tmp_path.iterdir()] == ["bench.json"]
    assert ledger.forget("case 3") == 1 and ledger.forget("case 3") == 0
    assert len(list(ledger.under("P0"))) == 3


def test_records_do_not_depend_on_whether_they_were_read(tmp_path):
    path = tmp_path / "bench.json"
    fresh = Ledger(path).measure("a", lambda: {"risk": np.float64(0.1), "count": np.int64(3)})
    assert fresh == Ledger(path).measure("a", dict)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no json", "no readable JSON"),
        ("[]", "no file of dmft bench"),
        (json.dumps({"schema": "dmft-bench", "version": 99}), "version 99"),
    ],
)
def test_other_files_are_refused(tmp_path, text, words):
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        Ledger(path)
    assert path.read_text() == text
