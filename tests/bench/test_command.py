"""`dmft bench` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dmft.bench import suites
from dmft.cli.main import main


def test_checkpoints(inside, capsys):
    assert main("bench checkpoints --quick -o bench.json --report page.md --json".split()) == 0
    found = json.loads(capsys.readouterr().out)["checkpoints"]
    assert (found["checkpoints"], found["parameters"]) == (8, 40_000)
    assert len(found["ratios"]) == 2 and 0.0 < found["ratio"] < 1.2
    assert "## Checkpoints" in Path("page.md").read_text()


def test_ceiling_with_a_page(inside, capsys):
    line = "bench ceiling --quick -o bench.json --report page.md --json"
    assert main(line.split()) == 0
    stdout, stderr = capsys.readouterr()
    result = json.loads(stdout)
    assert "minutes of CPU time" in stderr and "ceiling/machine" in stderr
    rows = result["ceiling"]["rows"]
    assert [row["panels"] for row in rows] == [8, 16]
    for row in rows:
        assert row["flops"] == 18 * row["bytes"] / 4
        assert 0.0 < row["of_product"] <= row["of_roofline"] < 1.5
    page = Path("page.md").read_text()
    assert "## Ceiling" in page and "Time to accuracy" not in page
    # A finished suite is not measured again.
    before = Path("bench.json").read_text()
    assert main(line.split()) == 0
    assert "ceiling/machine" not in capsys.readouterr().err
    assert json.loads(before)["records"] == json.loads(Path("bench.json").read_text())["records"]
    # Unless it is asked for.
    assert main([*line.split(), "--again", "8 panels"]) == 0
    assert "ceiling/1024 paths, 8 panels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("bench", "-o/--output"),
        (
            "bench rase -o b.json",
            "SUITE: given 'rase', allowed: time-to-accuracy, classification, growth",
        ),
        ("bench -o b.json --problem P9", "--problem: given 'P9', allowed: P0, P1, P2, P3"),
        ("bench -o nowhere/b.json", "given a folder that does not exist"),
        ("bench -o b.json --report nowhere/b.md", "given a folder that does not exist"),
        ("bench -o b.json --again nothing", "--again: given 'nothing'"),
        ("bench ceiling --quick -o full.json", "holds measurements of size 'full', given 'quick'"),
        ("bench ceiling --quick -o text.json", "is no readable JSON file"),
    ],
)
def test_bad_input_is_one_line(inside, capsys, line, words):
    table = {"schema": "dmft-bench", "version": 3, "size": "full", "results": {}, "records": {}}
    Path("full.json").write_text(json.dumps(table))
    Path("text.json").write_text("text")
    assert main(line.split()) == 2
    stdout, stderr = capsys.readouterr()
    last = stderr.splitlines()[-1]
    assert stdout == "" and last.startswith("dmft: error:") and words in last


def test_an_interrupted_run_keeps_what_it_has_measured(inside, capsys, monkeypatch):
    def stopped(ledger, small):
        ledger.measure("growth/first", lambda: {"nodes": 1})
        raise KeyboardInterrupt

    monkeypatch.setattr(suites, "growth", stopped)
    assert main("bench growth --quick -o bench.json".split()) == 130
    assert json.loads(Path("bench.json").read_text())["records"]["growth/first"] == {"nodes": 1}
    assert sorted(path.name for path in inside.iterdir()) == ["bench.json"]


@pytest.mark.slow
def test_the_whole_race_in_small(inside, capsys):
    line = "bench time-to-accuracy growth --problem P0 --quick -o bench.json --report page.md"
    assert main(line.split()) == 0
    stdout, _ = capsys.readouterr()
    table = [row.split(" | ") for row in stdout.splitlines() if row.startswith("| P0")]
    assert len(table) == 6
    results = json.loads(Path("bench.json").read_text())["results"]
    race = results["time-to-accuracy"]["P0"]
    for outcome in race["contestants"].values():
        costs = [outcome["reached"][target]["seconds"] for target in ("0.1", "0.05")]
        assert 0.0 < costs[0] <= costs[1]
    assert race["ratios"]["classical"]["0.05"] == pytest.approx(
        race["contestants"]["classical"]["reached"]["0.05"]["seconds"]
        / race["contestants"]["mean-field"]["reached"]["0.05"]["seconds"]
    )
    exponents = results["growth"]["exponents"]["n_paths"]
    assert exponents["tangent_flops"]["exponent"] == pytest.approx(1.0, abs=0.1)
    for name in ("race", "growth"):
        assert Path(f"page/{name}.png").stat().st_size > 10_000
        assert f"(page/{name}.png)" in Path("page.md").read_text()
