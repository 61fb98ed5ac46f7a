"""A finished file that is extended stays as it was until the extension is finished too."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from dmft.cli.main import main
from dmft.errors import DmftError
from dmft.store import load, load_checkpoint, locked, read_header, save
from tests.helpers import names

GROW = ["resume", "out.h5", "--set=solver.t_max=200", "--quiet"]
SMALL = ["--set=simulation.dimension=40", "--set=solver.t_max=2", "--quiet"]


def at(panel: int, action):
    """Do something once, before the given panel."""
    return lambda number: action() if number == panel else None


def send(number: int):
    return lambda: os.kill(os.getpid(), number)


@pytest.fixture
def short(inside, fake_solver) -> bytes:
    """A finished file, the solver that will march on from it, and what it comes to at once."""
    assert main(["solve", "-o", "out.h5", "--quiet"]) == 0
    before = Path("out.h5").read_bytes()
    fake_solver.panels = 12
    assert main(GROW) == 0
    Path("out.h5").rename("whole.h5")
    Path("out.h5").write_bytes(before)
    return before


def check_finished() -> None:
    assert load("out.h5").work == load("whole.h5").work
    assert load("out.h5").settings.t_max == 200.0
    assert names(Path()) == ["out.h5", "whole.h5"]


@pytest.mark.parametrize("again", [GROW, ["resume", "out.h5", "--quiet"]])
def test_interrupted(short, capsys, fake_solver, again):
    fake_solver.before_panel = at(9, send(signal.SIGTERM))
    assert main(GROW) == 130
    assert "continue with: dmft resume out.h5" in capsys.readouterr().err
    assert Path("out.h5").read_bytes() == short
    assert load_checkpoint("out.h5.part")[1]["panel"] == 9
    assert names(Path()) == ["out.h5", "out.h5.part", "whole.h5"]
    assert main(["info", "out.h5"]) == 0
    assert "not finished yet is in out.h5.part\n          continue" in capsys.readouterr().out
    marched: list[int] = []
    fake_solver.before_panel = marched.append
    assert main(again) == 0
    assert marched == [9, 10, 11]
    check_finished()
    lines = ("solve -o out.h5 --quiet", "resume out.h5 --set=solver.t_max=200 --quiet")
    line = read_header("out.h5").command_line
    assert line.startswith("; ".join(f"dmft {each}" for each in lines))


def test_killed(short, fake_solver):
    child = os.fork()
    if child == 0:
        fake_solver.before_panel = at(8, send(signal.SIGKILL))
        try:
            main(GROW)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert Path("out.h5").read_bytes() == short
    Path(".out.h5.part.0123abcd.tmp.part").write_bytes(b"left by it")
    Path(".out.h5.more.0123abcd.tmp.h5").write_bytes(b"somebody else's")
    assert main(["resume", "out.h5", "--quiet"]) == 0
    Path(".out.h5.more.0123abcd.tmp.h5").unlink()
    check_finished()


def test_result_that_cannot_be_saved(short, capsys, monkeypatch):
    def full(*_arguments, **_options):
        raise DmftError("out.h5: could not be written (No space left on device)")

    monkeypatch.setattr("dmft.store.save", full)
    assert main(GROW) == 1
    err = capsys.readouterr().err
    assert "No space left" in err and err.count("\n") == 1
    assert "what was computed is in out.h5.part, finish with: dmft resume out.h5" in err
    assert Path("out.h5").read_bytes() == short
    assert load_checkpoint("out.h5.part")[1]["panel"] == 12
    assert load_checkpoint("out.h5.part")[0].solver.t_max == 200.0


def test_nothing_can_be_written(short, capsys, fake_solver, monkeypatch):
    """A full disk from the start on: nothing is left, nothing is promised."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert main(GROW) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "dmft: error: out.h5: could not be written (No space left on device)"
    assert names(Path()) == ["out.h5", "whole.h5"]
    assert Path("out.h5").read_bytes() == short


def test_interrupted_while_nothing_can_be_written(short, capsys, fake_solver, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    fake_solver.before_panel = at(7, send(signal.SIGINT))
    assert main(GROW) == 130
    last = capsys.readouterr().err.splitlines()[-1]
    assert "could not be saved" in last and "out.h5 is as it was" in last
    assert "continue" not in last
    assert names(Path()) == ["out.h5", "whole.h5"]


def test_folder_that_becomes_read_only(short, capsys, fake_solver, monkeypatch):
    """The error is that of the result, not of a lock that could not be removed either."""
    unlink, replace = Path.unlink, os.replace

    def refuse(name: object) -> None:
        raise PermissionError(13, "Permission denied", str(name))

    def revoke() -> None:
        monkeypatch.setattr(Path, "unlink", lambda path, **_: refuse(path))
        monkeypatch.setattr("os.replace", lambda source, _target: refuse(source))

    fake_solver.before_panel = at(9, revoke)
    assert main(GROW) == 1
    monkeypatch.setattr(Path, "unlink", unlink)
    monkeypatch.setattr("os.replace", replace)
    fake_solver.before_panel = lambda number: None
    err = capsys.readouterr().err.splitlines()
    assert err[-1].startswith("dmft: error: out.h5: could not be written (Permission denied); ")
    assert "the last checkpoint is in out.h5.part" in err[-1]
    assert Path("out.h5").read_bytes() == short
    assert main(["resume", "out.h5", "--quiet"]) == 0  # with a lock and temporaries lying about
    check_finished()


def test_file_that_is_read_only(short, capsys, fake_solver, monkeypatch):
    access = os.access
    monkeypatch.setattr(
        "os.access", lambda path, mode: access(path, mode) and Path(path).name != "out.h5"
    )
    fake_solver.calls.clear()
    assert main(GROW) == 2
    assert capsys.readouterr().err == "dmft: error: out.h5: cannot be written, it is read-only\n"
    assert not fake_solver.calls and Path("out.h5").read_bytes() == short


def test_file_that_becomes_read_only(short, capsys, fake_solver, monkeypatch):
    access = os.access

    def revoke() -> None:
        monkeypatch.setattr(
            "os.access", lambda path, mode: access(path, mode) and Path(path).name != "out.h5"
        )

    fake_solver.before_panel = at(9, revoke)
    assert main(GROW) == 1
    err = capsys.readouterr().err
    assert "out.h5: cannot be written, it is read-only; what was computed is in out" in err
    assert Path("out.h5").read_bytes() == short
    assert load_checkpoint("out.h5.part")[1]["panel"] == 12


def test_two_drivers(short, capsys, fake_solver):
    def other() -> None:
        assert main(GROW) == 2

    fake_solver.before_panel = at(9, other)
    assert main(GROW) == 0
    assert "another process is writing this file now" in capsys.readouterr().err
    check_finished()


def test_finished_by_another_one_in_between(short, capsys, fake_solver, monkeypatch):
    def late(path):
        monkeypatch.setattr("dmft.store.locked", locked)
        assert main(GROW) == 0
        return locked(path)

    monkeypatch.setattr("dmft.store.locked", late)
    fake_solver.calls.clear()
    assert main(["resume", "out.h5", "--set=solver.t_max=200"]) == 0
    assert "is finished already" in capsys.readouterr().err and len(fake_solver.calls) == 1
    check_finished()


def test_what_an_extension_under_way_allows(short, capsys, fake_solver):
    fake_solver.before_panel = at(9, send(signal.SIGTERM))
    assert main(GROW) == 130
    for word, said in (("solver.t_max=150", "given 150.0, must be 200.0 or more"),
                       ("solver.t_max=300", "given 300.0, finish first"),
                       ("problem.noise_std=2", "given 2")):  # fmt: skip
        capsys.readouterr()
        assert main(["resume", "out.h5", f"--set={word}"]) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1
        assert "in out.h5.part; delete it to give up this extension" in err
    assert main(["resume", "out.h5.part"]) == 2
    assert "is kept for an extension of out.h5, name that one" in capsys.readouterr().err
    Path("out.h5.part").unlink()
    assert main(["resume", "out.h5"]) == 0
    assert "finished already" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["damaged", "text", "finished", "of another one", "link"])
def test_a_part_that_is_none_is_left_alone(short, capsys, fake_solver, what):
    part = Path("out.h5.part")
    if what == "damaged":
        part.write_bytes(b"\x89HDF\r\n\x1a\n and no more")
    elif what == "text":
        part.write_text("my notes")
    elif what == "finished":
        part.write_bytes(short)
    elif what == "link":
        part.symlink_to("nowhere")
    else:
        fake_solver.before_panel = at(3, send(signal.SIGTERM))
        assert main(["solve", "-o", "out.h5.part", "--set=problem.noise_std=0.7"]) == 130
        fake_solver.before_panel = lambda number: None
    before = part.is_symlink() or part.read_bytes()
    capsys.readouterr()
    assert main(["resume", "out.h5", "--quiet"]) == 0
    err = capsys.readouterr().err
    assert err.startswith("dmft: warning: not used, out.h5.part: ") and err.count("\n") == 1
    assert main(["info", "out.h5"]) == 0
    out = capsys.readouterr().out
    assert "out.h5.part is no extension of it" in out and "continue" not in out
    assert main(GROW) == 2
    err = capsys.readouterr().err
    assert err.startswith("dmft: error: out.h5.part: is in the way of an extension, move or delete")
    assert err.count("\n") == 1 and Path("out.h5").read_bytes() == short
    assert (part.is_symlink() or part.read_bytes()) == before
    part.unlink()
    assert main(GROW) == 0
    check_finished()


def test_a_fault_of_our_own_is_no_damaged_state(short, monkeypatch):
    def faulty(*_arguments, **_options):
        raise KeyError("ours")

    monkeypatch.setattr("dmft.solver.solve", faulty)
    with pytest.raises(KeyError, match="ours"):
        main(GROW)


def test_a_part_that_the_file_has_overtaken(short, capsys, fake_solver):
    """As of a process killed between the last two steps: nothing is under way any more."""
    fake_solver.before_panel = at(9, send(signal.SIGTERM))
    assert main(GROW) == 130
    fake_solver.before_panel = lambda number: None
    part = Path("out.h5.part").read_bytes()
    assert main(["resume", "out.h5", "--quiet"]) == 0
    Path("out.h5.part").write_bytes(part)
    capsys.readouterr()
    assert main(["info", "out.h5"]) == 0
    assert ".part" not in capsys.readouterr().out
    assert main(["resume", "out.h5", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["resume", "out.h5", "--set=solver.replicates=9", "--quiet"]) == 0
    assert names(Path()) == ["out.h5", "whole.h5"]


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_solving_takes_no_strangers_part(short, capsys, options):
    if not options:
        Path("out.h5").unlink()
    for content in (b"half a download", short):
        Path("out.h5.part").write_bytes(content)
        assert main(["solve", "-o", "out.h5", "--quiet", *options]) == 0
        assert Path("out.h5.part").read_bytes() == content
        options = ["--overwrite"]


def test_hints_name_the_file_that_goes_on(short, capsys, fake_solver):
    fake_solver.before_panel = at(9, send(signal.SIGTERM))
    assert main(GROW) == 130
    capsys.readouterr()
    assert main(["plot", "out.h5.part", "-o", "out.png"]) == 2
    assert capsys.readouterr().err.endswith("continue it with: dmft resume out.h5\n")
    assert main(["info", "out.h5.part"]) == 0
    assert "continue with: dmft resume out.h5\n" in capsys.readouterr().out


def test_solved_anew_forgets_the_part(short, fake_solver):
    fake_solver.before_panel = at(9, send(signal.SIGTERM))
    assert main(GROW) == 130
    fake_solver.before_panel = lambda number: None
    assert main(["solve", "-o", "out.h5", "--overwrite", "--quiet"]) == 0
    assert names(Path()) == ["out.h5", "whole.h5"]


def test_links_keep_the_part_beside_the_file(short, fake_solver):
    Path("place").mkdir()
    Path("out.h5").rename("place/out.h5")
    Path("out.h5").symlink_to("place/out.h5")
    fake_solver.before_panel = at(9, send(signal.SIGTERM))
    assert main(GROW) == 130
    assert names(Path("place")) == ["out.h5", "out.h5.part"]
    fake_solver.before_panel = lambda number: None
    assert main(["resume", "place/out.h5", "--quiet"]) == 0
    assert names(Path("place")) == ["out.h5"] and Path("out.h5").is_symlink()


def test_real_state_of_a_result_that_could_not_be_saved(tmp_path, monkeypatch, capsys):
    """The part holds all: nothing is marched when it is finished."""
    monkeypatch.chdir(tmp_path)
    small = ["--set=solver.n_paths=64", "--set=solver.replicates=2", "--set=solver.rtol=1e-2"]
    assert main(["solve", "-o", "out.h5", "--set=solver.t_max=1", *small, "--quiet"]) == 0
    Path("whole.h5").write_bytes(Path("out.h5").read_bytes())
    grow = ["--set=solver.t_max=8", "--quiet"]
    assert main(["resume", "whole.h5", *grow]) == 0

    def full(*_arguments, **_options):
        raise DmftError("out.h5: could not be written (No space left on device)")

    monkeypatch.setattr("dmft.store.save", full)
    assert main(["resume", "out.h5", *grow]) == 1
    monkeypatch.setattr("dmft.store.save", save)
    monkeypatch.setattr("dmft.solver.march.March.attempt", None)
    assert main(["resume", "out.h5", "--quiet"]) == 0
    assert load("out.h5") == load("whole.h5")
    assert names(tmp_path) == ["out.h5", "whole.h5"]


def test_more_seeds(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", "-o", "sim.h5", *SMALL, "--set=simulation.seeds=2"]) == 0
    before = Path("sim.h5").read_bytes()
    Path("whole.h5").write_bytes(before)
    assert main(["resume", "whole.h5", "--set=simulation.seeds=5", "--quiet"]) == 0
    from dmft.simulation import simulate

    def stopped(*arguments, checkpoint, **options):
        def then_stop(state):
            checkpoint(state)
            os.kill(os.getpid(), signal.SIGTERM)

        return simulate(*arguments, checkpoint=then_stop, **options)

    monkeypatch.setattr("dmft.simulation.simulate", stopped)
    assert main(["resume", "sim.h5", "--set=simulation.seeds=5"]) == 130
    assert Path("sim.h5").read_bytes() == before
    assert load_checkpoint("sim.h5.part")[1]["sums"]["count"] >= 3
    monkeypatch.setattr("dmft.simulation.simulate", simulate)
    assert main(["resume", "sim.h5", "--quiet"]) == 0
    assert load("sim.h5") == load("whole.h5")
    assert names(tmp_path) == ["sim.h5", "whole.h5"]


def test_simulated_anew_and_stopped_at_once_is_not_what_was_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", "-o", "sim.h5", *SMALL, "--set=simulation.seeds=2"]) == 0

    def stopped(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("dmft.simulation.simulate", stopped)
    new = ["--set=simulation.seeds=3", "--set=problem.noise_std=0.7", "--overwrite"]
    assert main(["simulate", "-o", "sim.h5", *SMALL, *new]) == 130
    assert read_header("sim.h5").config.problem.noise_std == 0.7
    assert read_header("sim.h5").status == "running"
