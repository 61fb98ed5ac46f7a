"""The life of points: computed once, retried, blocked, stopped, never lost."""

from __future__ import annotations

import errno
import json
import os
import threading
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from pathlib import Path

import h5py
import pytest

from dmft.errors import DmftError, InputError, Interrupted, NotConverged
from dmft.store import load, locked
from dmft.sweep import Settings, create, open_folder, run
from dmft.sweep.claims import acquire
from dmft.sweep.status import plan, retry, status
from dmft.sweep.worker import Work, compute
from tests.helpers import names

GRID = "[axes]\nproblem.noise_std = [0.1, 0.2, 0.3]\n"


def events(folder: Path, kind: str) -> list[dict]:
    return [event for event in open_folder(folder).events() if event["event"] == kind]


def test_everything_is_computed_once(make_sweep, fake_solve):
    folder = make_sweep(GRID)
    summary = run(folder)
    assert summary.computed == {"done": 3} and summary.skipped == 0
    assert sorted(fake_solve.noises) == [0.1, 0.2, 0.3]
    for name, item in open_folder(folder).grid.items.items():
        solution = load(open_folder(folder).result(name))
        assert solution.problem == item.config.problem
    assert names(folder / "running") == []
    again = run(folder)
    assert again.computed == {} and again.skipped == 3 and len(fake_solve.noises) == 3


def test_an_edited_grid_computes_only_what_is_new(make_sweep, fake_solve, tmp_path):
    folder = make_sweep(GRID)
    run(folder)
    edited = GRID.replace("0.1, 0.2, 0.3", "0.2, 0.4") + "solver.seed = [0, 1]\n"
    (folder / "grid.toml").write_text(edited)
    found = status(folder)
    assert (found.points, found.done, found.pending, found.unused) == (4, 1, 3, 2)
    run(folder)
    assert sorted(fake_solve.noises[3:]) == [0.2, 0.4, 0.4]
    (folder / "grid.toml").write_text(GRID)
    assert status(folder).done == 3


def test_a_changed_base_over_old_results_is_refused(make_sweep, fake_solve, tmp_path):
    folder = make_sweep(GRID)
    changed = tmp_path / "changed.toml"
    changed.write_text("[base.solver]\nn_paths = 512\n" + GRID)
    create(changed, folder)  # nothing was computed yet
    run(folder)
    before = names(folder / "results")
    (folder / "grid.toml").write_text(GRID)
    message = "base.solver.n_paths: given 4096, the results in .* were computed with 512"
    for action in (status, run, lambda path: create(folder / "grid.toml", path)):
        with pytest.raises(InputError, match=message):
            action(folder)
    # Settings that the results do not depend on may change.
    (folder / "grid.toml").write_text(
        "[base.simulation]\nseeds = 3\n[base.solver]\nn_paths = 512\n" + GRID
    )
    assert status(folder).done == 3
    (folder / "grid.toml").write_text(GRID)
    create(folder / "grid.toml", folder, replace=True)
    run(folder)
    assert status(folder).done == 3 and status(folder).unused == 3
    assert set(before) < set(names(folder / "results"))


def test_not_converged_is_done_but_said(make_sweep, fake_solve):
    folder = make_sweep("[axes]\nproblem.noise_std = [0.1, 0.5]\n")
    summary = run(folder)
    assert summary.computed == {"done": 1, "not-converged": 1}
    assert run(folder).not_converged == summary.not_converged and len(summary.not_converged) == 1
    found = status(folder)
    assert (found.done, found.not_converged, found.failed) == (2, 1, 0)
    assert found.warnings[0][0] == "noise_std=0.5" and found.warnings[0][2] == "few paths"


def fail_at(noise, *errors):
    """Raise the errors in turn at one point, nothing when there are no more."""
    left = list(errors)

    def before(config):
        if config.problem.noise_std == noise and left:
            raise left.pop(0)

    return before


def test_unexpected_errors_are_tried_again(make_sweep, fake_solve):
    folder = make_sweep(GRID)
    fake_solve.before = fail_at(0.2, RuntimeError("cosmic ray"))
    assert run(folder).computed == {"done": 3}
    [error] = events(folder, "error")
    assert error["reason"] == "RuntimeError: cosmic ray" and "Traceback" in error["traceback"]


def test_errors_that_stay_are_kept_and_others_go_on(make_sweep, fake_solve):
    folder = make_sweep(GRID)
    fake_solve.before = fail_at(0.2, *[RuntimeError(f"no {i}") for i in range(4)])
    summary = run(folder, settings=Settings(retries=2))
    assert summary.computed == {"done": 2, "failed": 1}
    assert fake_solve.noises.count(0.2) == 3
    [note] = (folder / "notes").iterdir()
    reasons = [error["reason"] for error in json.loads(note.read_text())["errors"]]
    assert reasons == [f"RuntimeError: no {i}" for i in range(3)]
    assert run(folder).computed == {"failed": 1} and fake_solve.noises.count(0.2) == 3
    found = status(folder)
    assert (found.done, found.failed, found.pending) == (2, 1, 0)
    assert found.failures[0][2] == "RuntimeError: no 2"
    assert len(retry(folder)) == 1 and status(folder).pending == 1
    assert run(folder).computed == {"done": 1}  # its fourth error, then a retry
    assert len(events(folder, "error")) == 4  # kept in the log


@pytest.mark.parametrize("error", [InputError("too large", "solver"), NotConverged("no panel")])
def test_certain_errors_are_not_tried_again(make_sweep, fake_solve, error):
    folder = make_sweep(GRID)
    fake_solve.before = fail_at(0.2, error, error)
    summary = run(folder, settings=Settings(retries=5))
    assert summary.failures[0].reason == str(error) and fake_solve.noises.count(0.2) == 1


def test_what_needs_a_failed_result_is_blocked(make_sweep, fake_solve):
    folder = make_sweep(
        'tasks = ["compare"]\n[base.simulation]\ndimension = 20\nseeds = 2\npoints = 3\n' + GRID
    )
    fake_solve.before = fail_at(0.2, InputError("no"))
    summary = run(folder)
    assert {(o.state, o.name.partition("-")[0]) for o in summary.failures} == {
        ("failed", "solve"), ("blocked", "compare"),
    }  # fmt: skip
    found = status(folder)
    assert (found.done, found.failed, found.pending) == (2, 1, 0)
    assert found.tasks["simulate"].done == 3 and found.tasks["compare"].pending == 1


def test_full_disk_stops_the_sweep_and_loses_nothing(make_sweep, fake_solve, monkeypatch):
    folder = make_sweep(GRID)
    original, full = os.fsync, []

    def fsync(descriptor):
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    fake_solve.before = lambda config: full.append(1) if config.problem.noise_std == 0.2 else None
    with pytest.raises(DmftError, match=r"stopped: .*No space left.*what is finished is safe"):
        run(folder)
    found = status(folder)
    assert (found.done, found.failed, found.pending, found.running) == (1, 0, 2, 0)
    assert names(folder / "running") == []
    full.clear()
    fake_solve.before = lambda config: None
    assert run(folder).computed == {"done": 2}


def test_two_drivers(make_sweep, fake_solve):
    folder = make_sweep(GRID)
    with locked(folder / "driver"), pytest.raises(InputError, match="another driver is at work"):
        run(folder)
    assert fake_solve.noises == []
    with locked(folder / "driver"):
        assert run(folder, indices=range(1, 2)).computed == {"done": 1}  # a worker may join
    assert fake_solve.noises == [0.2]


def test_what_another_process_computes_is_waited_for(make_sweep, fake_solve, monkeypatch):
    monkeypatch.setattr("dmft.sweep.driver._WAIT_SECONDS", 0.1)
    folder = make_sweep(GRID)
    first = next(iter(open_folder(folder).grid.items))
    claim = acquire(folder / "running", first, folder / "running" / f"{first}.h5")

    def release(outcome, done, total):
        if done == 2:
            assert outcome.name != first
            threading.Timer(0.6, claim.release).start()

    with pytest.warns(UserWarning, match="waiting for 1 results that other processes"):
        assert run(folder, report=release).computed == {"done": 3}
    assert len(fake_solve.noises) == 3


def test_a_result_that_came_between_look_and_claim_is_taken(make_sweep, fake_solve, monkeypatch):
    from dmft.sweep import worker

    folder = make_sweep(GRID)
    item = next(iter(open_folder(folder).grid.items.values()))
    looks = []
    original = worker._known

    def known(there, item):
        looks.append(1)
        if len(looks) == 1:
            compute(Work(folder, item))  # another process, just now
            return None
        return original(there, item)

    monkeypatch.setattr(worker, "_known", known)
    assert compute(Work(folder, item)).state == "done" and len(fake_solve.noises) == 1


def test_process_that_lost_its_claim_publishes_nothing(make_sweep, fake_solve):
    folder = make_sweep(GRID)
    item = next(iter(open_folder(folder).grid.items.values()))
    fake_solve.before = lambda config: (folder / "running" / f"{item.name}.claim-1").touch()
    assert compute(Work(folder, item)).state == "busy"
    assert names(folder / "results") == []


def test_points_that_kill_their_process_are_given_up(make_sweep, fake_solve):
    folder = make_sweep(GRID)
    item = next(iter(open_folder(folder).grid.items.values()))
    for _ in range(5):
        child = os.fork()
        if child == 0:
            fake_solve.before = lambda config: os.kill(os.getpid(), 9)
            compute(Work(folder, item))
            os._exit(1)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == 9
    outcome = compute(Work(folder, item))
    assert outcome.state == "failed" and "5 processes died" in outcome.reason
    assert run(folder).computed == {"failed": 1, "done": 2}


def test_stop_on_request(make_sweep, fake_solve):
    folder = make_sweep(GRID)
    with pytest.raises(Interrupted, match=r"interrupted, 2 results are left; continue with: dmft"):
        run(folder, stop=lambda: len(fake_solve.noises) >= 2)
    found = status(folder)
    assert (found.done, found.pending) == (1, 2) and names(folder / "running") == []
    assert run(folder).computed == {"done": 2}


def test_other_executors_are_asked_to_stop_by_a_file(make_sweep, fake_solve):
    folder = make_sweep("[axes]\nsolver.seed = [0, 1, 2, 3, 4, 5, 6, 7]\n")
    with ThreadPoolExecutor(2) as pool, pytest.raises(Interrupted):
        run(folder, pool, stop=lambda: len(fake_solve.noises) >= 2)
    assert 2 <= status(folder).done < 8
    with ThreadPoolExecutor(2) as pool:
        run(folder, pool)
    assert status(folder).done == 8 and names(folder / "running") == []


class Breaking(Executor):
    """Every other worker dies before it begins; with `always`, every one."""

    def __init__(self, always=False):
        self.always, self.calls = always, 0

    def submit(self, function, /, *args, **options):
        self.calls += 1
        future: Future = Future()
        if self.always or self.calls % 2:
            future.set_exception(BrokenExecutor("gone"))
        else:
            future.set_result(function(*args, **options))
        return future


def test_executors_whose_workers_die(make_sweep, fake_solve):
    folder = make_sweep(GRID)
    assert run(folder, Breaking()).computed == {"done": 3}
    other = make_sweep(GRID, "other")
    with pytest.raises(DmftError, match="workers keep dying"):
        run(other, Breaking(always=True))
    assert status(other).pending == 3


def test_part_of_the_points(make_sweep, fake_solve):
    folder = make_sweep(GRID)
    run(folder, indices=range(2, 5))
    assert fake_solve.noises == [0.3]


def test_damaged_unfinished_file_is_started_again(make_sweep, fake_solve):
    folder = make_sweep(GRID)
    item = next(iter(open_folder(folder).grid.items))
    (folder / "running" / f"{item}.h5").write_bytes(b"half a file")
    assert run(folder).computed == {"done": 3}


def test_finished_file_that_was_not_put_in_place_is_not_computed_again(make_sweep, fake_solve):
    folder = make_sweep(GRID)
    run(folder)
    there = open_folder(folder)
    name = next(iter(there.grid.items))
    there.result(name).rename(there.unfinished(name))  # killed just before the last step
    assert run(folder).computed == {"done": 1} and len(fake_solve.noises) == 3


def test_cost_follows_what_was_measured(make_sweep, fake_solve):
    folder = make_sweep("[base.solver]\nt_max = 1000.0\n" + GRID)
    there = open_folder(folder)
    total, left, rough, measured = plan(there.grid, there)
    assert (total, left, measured) == (3, 3, False) and rough > 1
    there.log({"item": next(iter(there.grid.items)), "event": "done", "seconds": 2 * rough / 3})
    _, _, scaled, measured = plan(there.grid, there)
    assert measured and scaled == pytest.approx(2 * rough)


def test_status_opens_no_result(make_sweep, fake_solve, monkeypatch):
    folder = make_sweep(GRID)
    run(folder)
    monkeypatch.setattr(h5py, "File", lambda *_, **__: pytest.fail("opened"))
    assert status(folder).done == 3


def test_folders_that_are_none(tmp_path, make_sweep):
    with pytest.raises(InputError, match="no such folder, make one with: dmft sweep init"):
        open_folder(tmp_path / "nothing")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(InputError, match="is no folder of a sweep"):
        open_folder(tmp_path / "other")
    grid = tmp_path / "grid.toml"
    grid.write_text(GRID)
    with pytest.raises(InputError, match="is not empty and holds no sweep"):
        create(grid, tmp_path / "other")
    with pytest.raises(InputError, match="is a file, must be a folder"):
        create(grid, grid)
    with pytest.raises(InputError, match="no such file"):
        create(tmp_path / "no.toml", tmp_path / "new")
    assert not (tmp_path / "new").exists()
