"""A sweep that fails alike everywhere stops early; one that fails here and there does not."""

from __future__ import annotations

import pytest

from dmft.cli.main import main
from dmft.errors import DmftError, NotConverged
from dmft.sweep import run
from dmft.sweep.status import status

GRID = "[axes]\nproblem.noise_std = { linspace = [0.01, 3.0, 300] }\n"


def failing(fake_solve, when=lambda noise: True, words="no panel at t = {noise}"):
    def before(config):
        noise = config.problem.noise_std
        if when(noise):
            raise NotConverged(words.format(noise=noise))

    fake_solve.before = before


def test_the_first_ten_that_fail_alike_stop_the_sweep(make_sweep, fake_solve):
    folder = make_sweep(GRID)
    failing(fake_solve)
    with pytest.raises(DmftError, match=r"the first 10 results failed alike \(no panel at t = "):
        run(folder)
    assert len(fake_solve.noises) == 10
    found = status(folder)
    assert (found.failed, found.pending) == (10, 290)


def test_whoever_says_so_goes_on(make_sweep, fake_solve):
    folder = make_sweep(GRID)
    failing(fake_solve)
    assert len(run(folder, most_failures=0).failures) == 300


def test_one_result_shows_that_it_can_be_done(make_sweep, fake_solve):
    folder = make_sweep(GRID)
    failing(fake_solve, lambda noise: noise != 0.05)
    assert run(folder).computed == {"failed": 299, "done": 1}


def test_failures_of_many_kinds_go_on(make_sweep, fake_solve):
    folder = make_sweep(GRID)
    kinds = iter(range(10**6))

    def different(config):
        raise NotConverged("abc"[next(kinds) % 3])

    fake_solve.before = different
    assert run(folder).computed == {"failed": 300}


def test_a_number_of_failures(make_sweep, fake_solve, capsys):
    folder = make_sweep(GRID)
    failing(fake_solve, lambda noise: noise > 0.1)
    with pytest.raises(DmftError, match="stopped: 3 results failed"):
        run(folder, most_failures=3)
    assert len(fake_solve.noises) == 10 + 3


def test_tasks_of_an_array_look_at_what_others_failed(make_sweep, fake_solve):
    folder = make_sweep(GRID)
    failing(fake_solve)
    for number in range(10):
        run(folder, indices=range(number, number + 1))
    with pytest.raises(DmftError, match="the first 10 results failed alike"):
        run(folder, indices=range(10, 11))
    assert len(fake_solve.noises) == 10


def test_the_command(make_sweep, fake_solve, capsys):
    folder = make_sweep(GRID)
    failing(fake_solve)
    assert main(["sweep", "run", str(folder), "--index", "0", "--chunk", "50", "--quiet"]) == 1
    err = capsys.readouterr().err
    assert "--stop-after-failures 0 goes on whatever fails" in err and err.count("\n") == 1
    line = ["sweep", "run", str(folder), "--index", "1", "--chunk", "50", "--quiet"]
    assert main([*line, "--stop-after-failures", "0"]) == 1
    assert len(fake_solve.noises) == 10 + 50


def test_restarts_of_jobs_are_counted(make_sweep, fake_solve, monkeypatch, capsys):
    folder = make_sweep("[axes]\nproblem.noise_std = [0.1, 0.2, 0.3]\n")
    for number, restarts in enumerate(("0", "2", "1")):
        monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
        monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
        monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(number))
        run(folder, indices=range(number, number + 1))
    assert status(folder).requeued == 3
    assert main(["sweep", "status", str(folder)]) == 0
    assert "requeued  3 times" in capsys.readouterr().out
