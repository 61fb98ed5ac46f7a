"""A solve that is stopped, killed or fails loses nothing that it should not lose."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dmft.cli.main import main
from dmft.errors import DmftError, InputError, Interrupted
from dmft.store import load, load_checkpoint, read_header, save
from tests.helpers import names

ROOT = Path(__file__).parents[2]


def at(panel: int, action):
    """Do something once, before the given panel."""
    return lambda number: action() if number == panel else None


def send(number: int):
    return lambda: os.kill(os.getpid(), number)


@pytest.fixture
def uninterrupted(inside, fake_solver):
    """The result without any interruption."""
    assert main(["solve", "-o", "whole.h5", "--quiet"]) == 0
    return load("whole.h5")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("panel", [0, 1, 4])
def test_signal_then_resume(inside, capsys, fake_solver, uninterrupted, number, panel):
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    fake_solver.before_panel = at(panel, send(number))
    assert main(["solve", "-o", "out.h5"]) == 130
    stdout, stderr = capsys.readouterr()
    assert stdout == "" and stderr.count("\n") == 1
    assert stderr.startswith("dmft: error: interrupted, checkpoint saved")
    assert "dmft resume out.h5" in stderr
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert load_checkpoint("out.h5")[1]["panel"] == panel
    assert names(inside) == ["out.h5", "whole.h5"]

    fake_solver.before_panel = lambda number: None
    assert main(["resume", "out.h5"]) == 0
    assert "status: done" in capsys.readouterr().out
    assert load("out.h5").work == uninterrupted.work
    assert read_header("out.h5").command_line == "dmft solve -o out.h5; dmft resume out.h5"
    assert names(inside) == ["out.h5", "whole.h5"]


def test_interruption_in_json(inside, capsys, fake_solver):
    fake_solver.before_panel = at(2, send(signal.SIGINT))
    assert main(["solve", "-o", "a file.h5", "--json"]) == 130
    stdout, stderr = capsys.readouterr()
    assert json.loads(stdout)["status"] == "interrupted"
    assert "dmft resume 'a file.h5'" in stderr


def test_second_signal_does_not_wait(inside, capsys, fake_solver):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    fake_solver.before_panel = at(3, twice)
    assert main(["solve", "-o", "out.h5"]) == 130
    assert "dmft resume out.h5" in capsys.readouterr().err
    assert load_checkpoint("out.h5")[1]["panel"] == 3
    assert names(inside) == ["out.h5"]


def test_resume_of_a_file_that_did_not_converge(inside, capsys, make_solution):
    save("out.h5", make_solution(status="not-converged", reason="too few paths"))
    assert main(["resume", "out.h5"]) == 3
    assert "not-converged (too few paths)" in capsys.readouterr().out


def test_resume_of_a_finished_file(inside, capsys, fake_solver, uninterrupted):
    before = Path("whole.h5").read_bytes()
    assert main(["resume", "whole.h5"]) == 0
    stdout, stderr = capsys.readouterr()
    assert "finished already" in stderr and "status: done" in stdout
    assert Path("whole.h5").read_bytes() == before and len(fake_solver.calls) == 1
    assert names(inside) == ["whole.h5"]


def test_info_of_an_interrupted_file(inside, capsys, fake_solver):
    fake_solver.before_panel = at(2, send(signal.SIGINT))
    main(["solve", "-o", "out.h5"])
    capsys.readouterr()
    assert main(["info", "out.h5"]) == 0
    assert "continue with: dmft resume out.h5" in capsys.readouterr().out

    def look():
        assert main(["info", "out.h5"]) == 0

    fake_solver.before_panel = at(4, look)
    assert main(["resume", "out.h5", "--quiet"]) == 0
    assert "a process is working on it now" in capsys.readouterr().out


def test_checkpoint_that_cannot_be_written_is_a_warning(
    inside, capsys, fake_solver, uninterrupted, monkeypatch
):
    panels = []

    def sometimes_full(_descriptor):
        if panels[-1:] in ([2], [3]):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", sometimes_full)
    fake_solver.before_panel = panels.append
    assert main(["solve", "-o", "out.h5", "--quiet"]) == 0
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == 2
    assert warnings[0].startswith("dmft: warning: no checkpoint") and "No space" in warnings[0]
    assert load("out.h5").work == uninterrupted.work
    assert names(inside) == ["out.h5", "whole.h5"]


def test_interrupted_while_the_disk_is_full(inside, capsys, fake_solver, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    def fill_and_stop():
        monkeypatch.setattr("os.fsync", full)
        os.kill(os.getpid(), signal.SIGTERM)

    fake_solver.before_panel = at(3, fill_and_stop)
    assert main(["solve", "-o", "out.h5"]) == 130
    assert "last checkpoint could not be saved" in capsys.readouterr().err.splitlines()[-1]
    assert load_checkpoint("out.h5")[1]["panel"] == 3  # saved after the panel before
    assert names(inside) == ["out.h5"]


@pytest.mark.parametrize("old", [None, "old"])
def test_failure_at_the_start_brings_back_what_was_there(inside, capsys, fake_solver, old):
    def fail():
        raise InputError("cannot be solved", "problem.network")

    if old is not None:
        Path("out.h5").write_text(old)
    fake_solver.before_panel = at(0, fail)
    assert main(["solve", "-o", "out.h5", "--overwrite"]) == 2
    assert capsys.readouterr().err == "dmft: error: problem.network: cannot be solved\n"
    if old is None:
        assert names(inside) == []
    else:
        assert names(inside) == ["out.h5"]
        assert Path("out.h5").read_text() == old


def test_failure_later_keeps_the_checkpoint(inside, fake_solver):
    def bug():
        raise ZeroDivisionError

    fake_solver.before_panel = at(3, bug)
    with pytest.raises(ZeroDivisionError):
        main(["solve", "-o", "out.h5"])
    assert load_checkpoint("out.h5")[1]["panel"] == 3
    assert names(inside) == ["out.h5"]
    with pytest.raises(ZeroDivisionError):
        main(["resume", "out.h5"])
    assert load_checkpoint("out.h5")[1]["panel"] == 3
    assert names(inside) == ["out.h5"]


@pytest.mark.parametrize("panel", [0, 2])
def test_killed_then_resumed(inside, capsys, fake_solver, uninterrupted, panel):
    """The process dies without a chance to clean up; the file is resumed by another one."""
    child = os.fork()
    if child == 0:
        fake_solver.before_panel = at(panel, send(signal.SIGKILL))
        try:
            main(["solve", "-o", "out.h5"])
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert load_checkpoint("out.h5")[1] == {} or panel > 0
    assert main(["resume", "out.h5"]) == 0
    assert load("out.h5").work == uninterrupted.work
    assert names(inside) == ["out.h5", "whole.h5"]


def test_simulation_that_is_interrupted(inside, capsys, monkeypatch):
    def interrupt(*_args, stop, **_options):
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        raise Interrupted("asked to stop")

    monkeypatch.setattr("dmft.simulation.simulate", interrupt)
    assert main(["simulate", "-o", "sim.h5"]) == 130
    assert "dmft resume sim.h5" in capsys.readouterr().err
    assert names(inside) == ["sim.h5"]


def test_reader_of_the_output_that_goes_away(inside, fake_solver):
    main(["solve", "-o", "out.h5", "--quiet"])
    program = f"{sys.executable} -m dmft info out.h5 --json; echo $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({program}) | true"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.stderr in ("0\n", "141\n")  # it may be faster than the reader


def test_reader_gone_before_the_start(inside, fake_solver):
    main(["solve", "-o", "out.h5", "--quiet"])
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "dmft", "info", "out.h5"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    os.close(writer)
    assert done.stderr == "" and done.returncode == 141


def test_signal_while_the_result_is_saved_does_not_lose_it(inside, fake_solver, monkeypatch):
    def interrupted_save(*arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        save(*arguments, **options)

    monkeypatch.setattr("dmft.store.save", interrupted_save)
    assert main(["solve", "-o", "out.h5", "--quiet"]) == 0
    assert load("out.h5").status == "done"
    assert names(inside) == ["out.h5"]


def test_result_that_cannot_be_saved_leaves_the_checkpoint(
    inside, capsys, fake_solver, monkeypatch
):
    def full(*_arguments, **_options):
        raise DmftError("out.h5: could not be written (No space left on device)")

    monkeypatch.setattr("dmft.store.save", full)
    assert main(["solve", "-o", "out.h5"]) == 1
    assert "No space left" in capsys.readouterr().err
    assert load_checkpoint("out.h5")[1]["panel"] == fake_solver.panels
    assert names(inside) == ["out.h5"]
