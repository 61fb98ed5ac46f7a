"""Ensembles in several processes, stopped, killed and extended, are bit for bit the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dmft.cli.main import main
from dmft.errors import InputError, Interrupted
from dmft.problem import Problem
from dmft.simulation import simulate
from dmft.store import load, load_checkpoint, read_header, save, save_checkpoint
from dmft.store.schema import SIMULATION

ROOT = Path(__file__).parents[2]
SMALL = {"dimension": 60, "seeds": 5, "t_max": 3.0, "points": 5}
SETTINGS = ["--set", "simulation.dimension=60", "--set", "simulation.points=5", "--quiet"]


@pytest.fixture(scope="module")
def whole():
    return simulate(Problem(), **SMALL)


def test_processes_change_no_bit(whole):
    states = []
    shared = simulate(Problem(), **SMALL, workers=2, checkpoint=states.append)
    assert shared == whole
    np.testing.assert_array_equal(shared.blocks.weights, whole.blocks.weights)
    assert len(states) == SMALL["seeds"]


@pytest.mark.parametrize("done", [1, 3, 5])
def test_any_state_continues_to_the_same_bits(whole, done):
    states = []
    simulate(Problem(), **{**SMALL, "seeds": done}, checkpoint=states.append)
    again = simulate(Problem(), **SMALL, resume=states[-1])
    assert again == whole
    np.testing.assert_array_equal(again.kernels.overlap_stderr, whole.kernels.overlap_stderr)


def test_a_run_that_was_early_waits_for_its_turn(whole):
    from dmft.simulation.ensemble_sums import EnsembleSums
    from dmft.simulation.run import make_run

    settings, time_ = whole.settings, whole.time
    runs = [make_run(Problem(), settings, time_, None, i) for i in range(SMALL["seeds"])]
    sums = EnsembleSums(len(time_))
    for number in (3, 0, 4):
        sums.add(number, runs[number])
    sums = EnsembleSums.from_state(len(time_), sums.state())
    assert sums.missing(5) == [1, 2]
    for number in (2, 1):
        sums.add(number, runs[number])
    assert sums.simulation(Problem(), settings, time_) == whole


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 1}, "state of other settings"),
        ({"dimension": 61}, "state of other settings"),
        ({"t_max": 4.0}, "state of other settings"),
        ({"seeds": 1}, "seeds: given 1, 2 runs are there already"),
    ],
)
def test_a_state_of_something_else_is_refused(changes, words):
    states = []
    simulate(Problem(), **{**SMALL, "seeds": 2}, checkpoint=states.append)
    with pytest.raises(InputError, match=words):
        simulate(Problem(), **{**SMALL, **changes}, resume=states[-1])


def _other(value):
    """What nobody would take it for."""
    if isinstance(value, int):
        return [-value - 1, float(value), None, "2"]
    if isinstance(value, dict):
        return [1, {}, {"more": np.ones(2)}]
    return [value.ravel()[1:], np.full_like(value, np.nan), value.astype(str), 1.0]


def _damaged(tree, place=()):
    """Copies of a state with one part changed or gone, and where."""
    for key, value in tree.items():
        here = (*place, key)
        yield from ((here, {**tree, key: other}) for other in _other(value))
        yield here, {name: each for name, each in tree.items() if name != key}
        if isinstance(value, dict):
            yield from ((where, {**tree, key: inner}) for where, inner in _damaged(value, here))


@pytest.mark.parametrize("done", [2, 3])
def test_a_damaged_state_is_refused_and_no_curve_of_fewer_runs_is_made(done):
    """Of the third run only its turn has come, or the first two are missing as well."""
    from dmft.simulation.ensemble_sums import EnsembleSums
    from dmft.simulation.run import make_run

    states, given = [], {**SMALL, "seeds": 3}
    whole = simulate(Problem(), **given, checkpoint=states.append)
    sums = EnsembleSums(len(whole.time))
    for number in ((0, 2), (0, 1, 2))[done - 2]:
        sums.add(number, make_run(Problem(), whole.settings, whole.time, None, number))
    state = {**states[-1], "sums": sums.state()}
    assert simulate(Problem(), **given, resume=state) == whole
    count = 0
    for place, damaged in _damaged(state["sums"], ("sums",)):
        if "early" in place and damaged.get("early") == {}:
            continue  # a run that was early is made again
        with pytest.raises(InputError, match="^resume: given a .*state") as caught:
            simulate(Problem(), **given, resume={**state, "sums": damaged})
        assert "\n" not in str(caught.value), place
        count += 1
    assert count > 100


def test_runs_with_other_observables_are_not_mixed():
    states = []
    simulate(Problem(), **{**SMALL, "seeds": 2}, checkpoint=states.append)
    mine = {"mine": lambda w, teacher: w}
    with pytest.raises(InputError, match="given a state without 'curves/mine'"):
        simulate(Problem(), **SMALL, resume=states[-1], observables=mine)
    simulate(Problem(), **{**SMALL, "seeds": 2}, checkpoint=states.append, observables=mine)
    with pytest.raises(InputError, match="given a state with a strange 'curves/mine'"):
        simulate(Problem(), **SMALL, resume=states[-1])


@pytest.mark.parametrize("workers", [1, 2])
def test_stopped_on_request(workers):
    with pytest.raises(Interrupted):
        simulate(Problem(), **SMALL, workers=workers, stop=lambda: True)


def test_what_no_process_can_import():
    with pytest.raises(InputError, match="observables: .* workers=1"):
        simulate(Problem(), **SMALL, workers=2, observables={"mine": lambda w, teacher: w})
    with pytest.raises(InputError, match="workers: given 0"):
        simulate(Problem(), **SMALL, workers=0)


def test_more_seeds_of_a_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", "-o", "whole.h5", *SETTINGS, "--set", "simulation.seeds=4"]) == 0
    assert main(["simulate", "-o", "sim.h5", *SETTINGS, "--set", "simulation.seeds=2"]) == 0
    assert main(["resume", "sim.h5", "--quiet", "--set", "simulation.seeds=4"]) == 0
    assert load("sim.h5") == load("whole.h5")
    assert main(["resume", "sim.h5", "--set", "simulation.seeds=3"]) == 2
    assert "given 3, must be 4 or more" in capsys.readouterr().err
    assert main(["resume", "sim.h5", "--set", "simulation.dimension=70"]) == 2
    assert "can grow in simulation.seeds only" in capsys.readouterr().err


def _start(*more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dmft", "simulate", "-o", "sim.h5", *LONG, *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


LONG = ["--quiet", "--set", "simulation.dimension=400", "--set", "simulation.seeds=6"]
LONG += ["--set", "solver.t_max=1000"]


def _runs_saved() -> int:
    try:
        return int(load_checkpoint("sim.h5")[1].get("sums", {}).get("count", 0))
    except InputError:
        return 0


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)]
)
@pytest.mark.slow
def test_stopped_or_killed_then_resumed(tmp_path, monkeypatch, number, status):
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", "-o", "whole.h5", *LONG, "--threads", "1"]) == 0
    process = _start("--threads", "2")
    end = time.monotonic() + 120
    while not _runs_saved() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(60) == status
    assert _runs_saved() >= 1 and read_header("sim.h5").status == "running"
    if status == 130:
        assert b"dmft resume sim.h5" in process.stderr.read()
    assert main(["resume", "sim.h5", "--quiet"]) == 0
    assert load("sim.h5") == load("whole.h5")


def _begun(process: subprocess.Popen[bytes]) -> float:
    """When it has imported all and begins."""
    while not Path("sim.h5.lock").exists() and process.poll() is None:
        time.sleep(0.02)
    return time.monotonic()


@pytest.mark.slow
def test_killed_at_twenty_moments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = ["--set", "simulation.seeds=12", "--threads", "2"]
    process = _start(*more)
    begun = _begun(process)
    assert process.wait(300) == 0
    length = time.monotonic() - begun
    whole = load("sim.h5")
    saved = []
    for moment in np.linspace(0.02, 0.98, 20):
        for path in tmp_path.iterdir():
            path.unlink()
        process = _start(*more)
        _begun(process)
        try:
            process.wait(moment * length)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)
        there = Path("sim.h5").exists()
        saved.append(_runs_saved() if there else -1)
        again = ["resume", "sim.h5"] if there else ["simulate", "-o", "sim.h5", *LONG, *more]
        assert main([*again, "--quiet"]) == 0
        assert load("sim.h5") == whole, moment
        assert {path.name for path in tmp_path.iterdir()} == {"sim.h5"}, moment
    assert len(set(saved)) >= 3, saved  # before, on the way and after


def _as_of_older_versions(state):
    """They did not say how coordinates are drawn."""
    return {**state, "origin": json.dumps(json.loads(state["origin"])[:2], sort_keys=True)}


def test_runs_drawn_as_by_older_versions_are_not_mixed_with_new_ones(whole):
    states = []
    simulate(Problem(), **{**SMALL, "seeds": 2}, checkpoint=states.append)
    older = _as_of_older_versions(states[-1])
    with pytest.raises(
        InputError, match="^resume: given runs of an older version.*again$"
    ) as caught:
        simulate(Problem(), **SMALL, resume=older)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="state of other settings"):
        simulate(Problem(), **{**SMALL, "seed": 1}, resume=older)
    assert simulate(Problem(), **SMALL, resume=states[-1]) == whole


@pytest.mark.parametrize(
    "settings", [{"stratified": False}, {"problem": Problem(teacher={"kind": "rademacher"})}]
)
def test_runs_that_are_drawn_as_ever_are_continued(settings):
    """Those of independent draws and of laws that are not continuous."""
    given, states = {"problem": Problem(), **SMALL, **settings}, []
    simulate(**{**given, "seeds": 2}, checkpoint=states.append)
    assert _as_of_older_versions(states[-1])["origin"] == states[-1]["origin"]
    assert simulate(**given, resume=states[-1]) == simulate(**given)


@pytest.mark.parametrize(
    ("place", "remedy"),
    [
        ("sim.h5", "it cannot be extended"),
        ("under-way.h5", "start again with --overwrite"),
        ("sim.h5.part", "delete it to give up this extension"),
    ],
)
def test_files_of_older_versions_open_but_are_not_extended(
    tmp_path, monkeypatch, capsys, place, remedy
):
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", "-o", "sim.h5", *SETTINGS, "--set", "simulation.seeds=2"]) == 0
    config, state = load_checkpoint("sim.h5", finished=True)
    older, result = _as_of_older_versions(state), load("sim.h5")
    if place == "sim.h5":
        save(place, result, overwrite=True, config=config, state=older)
    else:
        wanted = config.model_copy(
            update={"simulation": config.simulation.model_copy(update={"seeds": 4})}
        )
        save_checkpoint(place, wanted, older, schema=SIMULATION)
    more = ["--set", "simulation.seeds=4"] if place == "sim.h5" else []
    before, capture = Path(place).read_bytes(), capsys.readouterr()
    assert main(["resume", place.removesuffix(".part"), "--quiet", *more]) == 2, capture
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"dmft: error: {place}: given runs of an older version")
    assert told.endswith(f"simulate all of them again; {remedy}")
    assert Path(place).read_bytes() == before
    assert load("sim.h5") == result
