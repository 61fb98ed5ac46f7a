"""`dmft compare` and `dmft plot`: the words, the JSON and figures that appear whole."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from dmft.cli.main import main
from dmft.plotting.pages import PARTS
from dmft.store import save

PNG = b"\x89PNG"


@pytest.fixture
def results(inside, make_solution, make_simulation, monkeypatch):
    """out.h5 and sim.h5, a comparison whose answer can be chosen, and a plotting that records."""
    save("out.h5", make_solution())
    save("sim.h5", make_simulation())
    answer = SimpleNamespace(
        agrees=True,
        table=lambda: f"time  difference\n{answer.verdict}",
        verdict="they agree",
        to_dict=lambda: {
            "agrees": answer.agrees, "time": np.array([0.0, 1.0]), "largest": float("nan"),
        },
    )  # fmt: skip
    comparing, plotting = ModuleType("dmft.results.comparison"), ModuleType("dmft.plotting")
    comparing.compare = lambda solution, simulation: answer  # type: ignore[attr-defined]

    def draw(*arguments):
        arguments[-1].write_bytes(PNG)
        answer.drawn = [type(result).__name__ for result in arguments[:-1]]

    for name in ("plot_solution", "plot_simulation", "plot_comparison"):
        setattr(plotting, name, draw)
    plotting.plot_overlay = lambda results, path: draw(*results.values(), path)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dmft.results.comparison", comparing)
    monkeypatch.setitem(sys.modules, "dmft.plotting", plotting)
    return answer


@pytest.mark.parametrize(("agrees", "words"), [(True, "they agree"), (None, "undecided")])
def test_compare(results, capsys, agrees, words):
    results.agrees, results.verdict = agrees, words
    assert main(["compare", "out.h5", "sim.h5"]) == 0
    stdout, stderr = capsys.readouterr()
    assert stdout == f"time  difference\n{words}\n" and stderr == ""
    assert main(["compare", "out.h5", "sim.h5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["agrees"] is agrees and found["figure"] is None
    assert found["time"] == [0, 1] and found["largest"] is None
    assert found["solution"] == "out.h5" and found["simulation"] == "sim.h5"


def test_compare_draws(results, capsys):
    line = ["compare", "out.h5", "sim.h5", "--plot", "fig.png"]
    assert main(line) == 0
    assert "figure in fig.png" in capsys.readouterr().out
    assert results.drawn == ["Solution", "Simulation"]
    assert Path("fig.png").read_bytes() == PNG
    assert main(line) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*line, "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["figure"] == "fig.png"


def test_compare_warns_of_a_solution_that_did_not_converge(results, capsys, make_solution):
    save("bad.h5", make_solution(status="not-converged", reason="error 0.1 > 0.01"))
    assert main(["compare", "bad.h5", "sim.h5"]) == 0
    stderr = capsys.readouterr().err
    assert stderr == "dmft: warning: bad.h5: not-converged, error 0.1 > 0.01\n"


@pytest.mark.parametrize("ending", ["png", "pdf", "svg", "PNG"])
@pytest.mark.parametrize(("file", "kind"), [("out.h5", "Solution"), ("sim.h5", "Simulation")])
def test_plot(results, inside, capsys, ending, file, kind):
    assert main(["plot", file, "-o", f"fig.{ending}"]) == 0
    assert capsys.readouterr().out == f"figure in fig.{ending}\n"
    assert results.drawn == [kind]
    names = sorted(entry.name for entry in inside.iterdir())
    assert names == [f"fig.{ending}", "out.h5", "sim.h5"]
    assert main(["plot", file, "-o", f"fig.{ending}", "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": file, "figure": f"fig.{ending}"}


def test_plot_of_several(results, capsys):
    assert main(["plot", "out.h5", "sim.h5", "-o", "fig.png", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"files": ["out.h5", "sim.h5"], "figure": "fig.png"}
    assert results.drawn == ["Solution", "Simulation"]
    assert main(["plot", "out.h5", "out.h5", "-o", "two.png"]) == 2
    assert "out.h5: given twice, must be different files" in capsys.readouterr().err
    assert not Path("two.png").exists()


def test_plot_that_fails_leaves_the_old_figure(results, inside, capsys, monkeypatch):
    def fail(_solution, path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    Path("fig.png").write_bytes(b"old")
    monkeypatch.setattr(sys.modules["dmft.plotting"], "plot_solution", fail)
    assert main(["plot", "out.h5", "-o", "fig.png", "--overwrite"]) == 1
    assert "fig.png: could not be written (No space" in capsys.readouterr().err
    assert Path("fig.png").read_bytes() == b"old"
    assert len(list(inside.iterdir())) == 3


def test_plot_of_one_kind(results, capsys):
    plotting = sys.modules["dmft.plotting"]
    plotting.plot_part = lambda result, kind, path: path.write_bytes(PNG + kind.encode())
    assert main(["plot", "out.h5", "--kind", "paths", "-o", "fig.png", "--json"]) == 0
    assert Path("fig.png").read_bytes() == PNG + b"paths"
    answer = {"file": "out.h5", "kind": "paths", "figure": "fig.png"}
    assert json.loads(capsys.readouterr().out) == answer
    for words in (["sim.h5", "--kind", "paths"], ["--kind", "path"]):
        assert main(["plot", "out.h5", *words, "-o", "two.png"]) == 2
    assert not Path("two.png").exists()
    stderr = capsys.readouterr().err
    assert "--kind: given 'paths' of 2 files, must be of one" in stderr
    assert all(kind in stderr.splitlines()[-1] for kind in ("page", *PARTS))
