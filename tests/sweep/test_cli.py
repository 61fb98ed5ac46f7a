"""The commands: what they print, and one line for every mistake."""

from __future__ import annotations

import json

import pytest

from dmft.cli.main import main
from dmft.sweep import open_folder
from dmft.sweep.submitted import ranges

GRID = """
[axes]
problem.network.init_scale = [0.1, 0.3]
problem.noise_std = [0.1, 0.2, 0.5]
"""


@pytest.fixture
def inside(inside):
    """The working directory, with a grid in it."""
    (inside / "grid.toml").write_text(GRID)
    return inside


@pytest.fixture
def study(inside, capsys):
    assert main(["sweep", "init", "grid.toml", "study"]) == 0
    capsys.readouterr()
    return inside / "study"


def in_json(capsys, *words):
    status = main([*words, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_from_a_grid_to_a_report(inside, capsys, fake_solve):
    assert main(["sweep", "init", "grid.toml", "study"]) == 0
    assert "points    6 = init_scale (2) x noise_std (3)" in capsys.readouterr().out
    assert main(["sweep", "plan", "grid.toml"]) == 0
    assert "6 to be computed" in capsys.readouterr().out
    for index in range(3):
        code = main(["sweep", "run", "study", "--index", str(index), "--chunk", "2"])
        assert code == (0 if index == 0 else 3)  # both points with noise 0.5 do not converge
    assert "computed  1 not-converged, 1 done" in capsys.readouterr().out.replace(
        "1 done, 1 not-converged", "1 not-converged, 1 done"
    )
    status, found = in_json(capsys, "sweep", "status", "study")
    assert status == 0
    assert [found[key] for key in ("points", "done", "failed", "pending")] == [6, 6, 0, 0]
    assert found["not_converged"] == 2 and found["warnings"][0]["reason"] == "few paths"
    assert main(["sweep", "status", "study"]) == 0
    assert "not converged: solve-" in capsys.readouterr().out
    assert main(["sweep", "collect", "study", "-o", "all.h5"]) == 0
    assert "points    6: 4 done, 2 not-converged" in capsys.readouterr().out
    assert main(["info", "all.h5"]) == 0
    assert "schema    dmft-collection" in capsys.readouterr().out
    for kind, more in (("map", []), ("lines", ["--by", "init_scale"]), ("curves", [])):
        assert main(["sweep", "plot", "all.h5", "-o", f"{kind}.png", "--kind", kind, *more]) == 0
    assert main(["sweep", "plot", "all.h5", "-o", "at.png", "--at", "noise_std=0.2"]) == 0
    assert main(["sweep", "report", "all.h5", "-o", "report.html"]) == 0
    assert "report in report.html" in capsys.readouterr().out


def test_failures_and_retry(study, capsys, fake_solve):
    def before(config):
        raise RuntimeError("no luck")

    fake_solve.before = before
    assert main(["sweep", "run", "study", "--index", "0", "--retries", "0"]) == 1
    assert "no luck" in capsys.readouterr().err
    status, found = in_json(capsys, "sweep", "status", "study")
    assert found["failed"] == 1 and found["failures"][0]["reason"] == "RuntimeError: no luck"
    assert found["failures"][0]["point"] == "init_scale=0.1, noise_std=0.1"
    status, found = in_json(capsys, "sweep", "retry", "study")
    assert status == 0 and len(found["retried"]) == 1
    assert in_json(capsys, "sweep", "status", "study")[1]["pending"] == 6


def test_plan_in_json(study, capsys):
    status, found = in_json(capsys, "sweep", "plan", "study")
    assert status == 0 and found["points"] == found["to_compute"] == 6
    assert found["axes"] == {"init_scale": 2, "noise_std": 3} and found["core_seconds"] > 0


@pytest.mark.parametrize(
    "line, message",
    [
        ("init nothing.toml new", "nothing.toml: no such file"),
        ("init empty.toml new", "empty.toml: axes.problem.noise_std: given an axis of length 0"),
        ("init grid.toml .", ".: exists, is not empty and holds no sweep"),
        ("run nothing", "nothing: no such folder, make one with: dmft sweep init"),
        ("run study --index 6", "--index: given 6, must be at most 5"),
        ("run study --index -1", "argument --index: given '-1', must be an integer"),
        ("run study --chunk 2", "--chunk: given without --index"),
        ("run study --index 1 --jobs 2", "--jobs: given with --index"),
        ("run study --jobs 0", "argument --jobs: given '0', must be an integer of at least 1"),
        ("run study --scheduler tcp://x:1", "--scheduler: given without --executor dask"),
        ("run study --limit 3", "--limit: given without --executor slurm"),
        ("run study --setup true", "--setup: given without --executor slurm"),
        ("run study --index 0 --executor dask", "--executor: given with --index"),
        ("run study --executor magic", "argument --executor: invalid choice: 'magic'"),
        ("run study --executor slurm --jobs 2", "--jobs: given with --executor slurm"),
        ("run study --executor slurm", "--executor slurm: sbatch was not found"),
        ("collect study -o no/all.h5", "no/all.h5: given a folder that does not exist"),
        ("report all.h5 -o report.pdf", "given the ending '.pdf', allowed: .html, .htm"),
        ("report grid.toml -o report.html", "grid.toml: is not an HDF5 file"),
        ("plot all.h5 -o fig.txt", "fig.txt: given the ending '.txt'"),
        ("plot all.h5 -o fig.png --kind map --value nonsense", "--value: unknown key"),
        ("plot all.h5 -o fig.png --kind map --by noise_std", "--by: given with --kind map"),
        ("plot all.h5 -o fig.png --at noise_std", "--at: given 'noise_std', must be AXIS=VALUE"),
        ("plot all.h5 -o fig.png --at noise=1", "noise: unknown key, did you mean 'noise_std'?"),
        ("status grid.toml", "grid.toml: is no folder of a sweep"),
        ("frobnicate", "argument ACTION: invalid choice: 'frobnicate'"),
    ],
)
def test_mistakes(study, inside, refused, monkeypatch, fake_solve, line, message):
    monkeypatch.setenv("PATH", "/nowhere")
    (inside / "empty.toml").write_text("[axes]\nproblem.noise_std = []\n")
    if "all.h5" in line and "collect" not in line:
        assert main(["sweep", "run", "study", "--index", "0"]) == 0
        assert main(["sweep", "collect", "study", "-o", "all.h5"]) == 0
    before = sorted(inside.iterdir())
    refused(["sweep", *line.split()], message)
    assert sorted(inside.iterdir()) == before


def test_nothing_to_draw(study, capsys):
    assert main(["sweep", "collect", "study", "-o", "all.h5"]) == 0
    assert "points    6: 6 missing" in capsys.readouterr().out
    assert main(["sweep", "plot", "all.h5", "-o", "fig.png"]) == 2
    assert "all.h5: holds no results, nothing can be drawn" in capsys.readouterr().err
    assert main(["sweep", "report", "all.h5", "-o", "report.html"]) == 0


def test_batch_script(study, capsys):
    line = ["--chunk", "2", "--limit", "5", "--sbatch=--time=10:00", "--setup=module load python"]
    assert main(["sweep", "script", "study", *line]) == 0
    script = capsys.readouterr().out
    for wanted in (
        "#!/usr/bin/env bash\n",
        "#SBATCH --array=0-2%5\n",
        "#SBATCH --requeue\n",
        "#SBATCH --open-mode=append\n",
        "#SBATCH --signal=B:USR1@120\n",
        "#SBATCH --time=10:00\n",
        "\nmodule load python\n",
        '--index "$SLURM_ARRAY_TASK_ID" --threads "${SLURM_CPUS_PER_TASK:-1}"',
    ):
        assert wanted in script
    assert script.index("--time=10:00") < script.index("module load")


@pytest.mark.parametrize(
    "numbers, text",
    [([0], "0"), ([0, 1, 2], "0-2"), ([0, 2, 3, 7, 9, 10], "0,2-3,7,9-10"), ([4, 6], "4,6")],
)
def test_numbers_as_slurm_writes_them(numbers, text):
    assert ranges(numbers) == text


def test_nothing_left_to_submit(study, capsys, fake_solve):
    for index in range(6):
        main(["sweep", "run", "study", "--index", str(index), "--quiet"])
    assert main(["sweep", "script", "study"]) == 2
    assert "study: nothing is left to compute" in capsys.readouterr().err
    assert len(open_folder("study").finished()) == 6
