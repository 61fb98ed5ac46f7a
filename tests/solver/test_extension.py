"""A finished solve grows: what is there is not computed again, and the rest is as if it were."""

from __future__ import annotations

import copy
import json
import pickle

import numpy as np
import pytest

import dmft
from dmft.cli.main import main
from dmft.errors import InputError, Interrupted

OPTIONS = {"n_paths": 256, "replicates": 4, "rtol": 1e-2, "seed": 3, "threads": 1}
PROBLEM = dmft.Problem()
FLOWS = {
    "plain": PROBLEM,
    "noisy": PROBLEM.replace(
        dynamics={"kind": "stochastic-gradient-flow", "step_size": 0.1}
    ),
    "huber": PROBLEM.replace(loss="huber"),
    "decay": PROBLEM.replace(**{"dynamics.weight_decay": 0.01}),
}  # fmt: skip


def kept(problem, t_max, **more):
    """A solve and what it keeps."""
    state: dict = {}
    options = {**OPTIONS, **more}
    return dmft.solve(problem, t_max=t_max, keep=state.update, **options), state


@pytest.fixture(scope="module")
def short():
    return kept(PROBLEM, 10.0)


@pytest.mark.parametrize(
    "name",
    ["plain", *(pytest.param(name, marks=pytest.mark.slow) for name in FLOWS if name != "plain")],
)
def test_a_later_time(name, short):
    problem = FLOWS[name]
    before, state = short if name == "plain" else kept(problem, 10.0)
    later: dict = {}
    extended = dmft.solve(problem, t_max=200.0, resume=state, keep=later.update, **OPTIONS)
    direct = dmft.solve(problem, t_max=200.0, **OPTIONS)
    there = len(before.time)
    np.testing.assert_array_equal(extended.time[:there], before.time)
    if name == "plain":  # all panels but the last, which t_max cut short, are those of a later one
        np.testing.assert_array_equal(direct.time[: there - 3], before.time[:-3])
    at = np.geomspace(20.0, 200.0, 8)
    for curve in ("excess_risk", "train_mse"):
        one = extended.curves[curve]
        first = before.curves[curve].runs
        np.testing.assert_array_equal(one.runs[:, :there], first, err_msg=curve)
        error = np.hypot(*(each.curve_at(f"{curve}_stderr", at) for each in (extended, direct)))
        z = np.abs(extended.curve_at(curve, at) - direct.curve_at(curve, at)) / error
        assert np.median(z) < 2.5 and z.max() < 12.0, curve  # of four replicates each
    # At most one panel more of each replicate, and none of a pilot; a cut panel is made again.
    more = extended.work["panels"] - direct.work["panels"]
    assert more <= OPTIONS["replicates"] or later["splits"]


def test_an_extension_takes_the_work_of_the_difference():
    """From t = 100 to 1e4, in counters: half of the panels that a direct solve has in all."""
    options = {"n_paths": 256, "replicates": 3, "threads": 1}
    state: dict = {}
    before = dmft.solve(PROBLEM, t_max=100.0, keep=state.update, **options)
    extended = dmft.solve(PROBLEM, t_max=1e4, resume=state, **options)
    direct = dmft.solve(PROBLEM, t_max=1e4, **options)
    for counter in ("panels", "sweeps", "path_iterations", "tangent_flops"):
        difference = direct.work[counter] - before.work[counter]
        assert extended.work[counter] - before.work[counter] <= 1.1 * difference, counter


def test_only_what_follows_is_marched(short, monkeypatch):
    """Counters do not depend on the machine: attempts, and drawings of paths."""
    from dmft.solver.march import March

    before, state = short
    attempts = []
    attempt = March.attempt

    def counted(self, *arguments):
        attempts.append(self.time)
        return attempt(self, *arguments)

    monkeypatch.setattr(March, "attempt", counted)
    extended = dmft.solve(PROBLEM, t_max=200.0, resume=state, **OPTIONS)
    new = (len(extended.time) - len(before.time)) / 3
    assert min(attempts) >= 10.0 * (1.0 - 1e-12)
    assert len(attempts) <= new * (OPTIONS["replicates"] + 1)


@pytest.mark.parametrize(
    "name",
    ["plain", *(pytest.param(name, marks=pytest.mark.slow) for name in FLOWS if name != "plain")],
)
def test_paths_in_memory_go_on_to_the_same_bits_as_panels_that_are_repeated(
    name, short, monkeypatch
):
    from dmft.solver.panels import PanelScheme

    problem = FLOWS[name]
    _, state = short if name == "plain" else kept(problem, 10.0)
    panels = {key: value for key, value in state.items() if key != "ended"}
    assert len(state["ended"]) == OPTIONS["replicates"]
    more = {**OPTIONS, "replicates": 5, "t_max": 50.0}
    repeated = dmft.solve(problem, resume=panels, **more)
    replays = []
    replay = PanelScheme._replay
    monkeypatch.setattr(PanelScheme, "_replay", lambda *given: (replays.append(1), replay(*given)))
    for threads in (1, 2):  # twice, as it goes on from copies
        assert dmft.solve(problem, resume=state, **{**more, "threads": threads}) == repeated
    assert len(replays) == (2 if name == "noisy" else 0)  # whose replicate 1 becomes a pilot
    through = pickle.loads(pickle.dumps(copy.deepcopy(state)))
    assert dmft.solve(problem, resume=through, **more) == repeated and len(replays) >= 4


def test_paths_of_another_solve_are_not_taken_for_those_of_a_state(short):
    """`keep=state.update` into what another solve has left there."""
    _, state = short
    mixed = dict(state)
    problem = PROBLEM.replace(noise_std=0.2)
    dmft.solve(problem, t_max=10.0, keep=mixed.update, keep_paths=False, **OPTIONS)
    assert mixed["ended"] is state["ended"]
    _, clean = kept(problem, 10.0, keep_paths=False)
    assert "ended" not in clean
    extended = [dmft.solve(problem, t_max=20.0, resume=each, **OPTIONS) for each in (mixed, clean)]
    assert extended[0] == extended[1]


def test_states_that_hold_paths_are_written_without_them(short, tmp_path, monkeypatch):
    solution, state = short
    dmft.save(tmp_path / "out.h5", solution, state=state)
    file = dmft.solve(PROBLEM, t_max=20.0, resume=tmp_path / "out.h5", **OPTIONS)
    assert file == dmft.solve(PROBLEM, t_max=20.0, resume=state, **OPTIONS)
    monkeypatch.setattr("dmft.solver.run._MOST_KEPT", state["ended"]["1"].size * 2.5)
    _, small = kept(PROBLEM, 10.0)
    assert list(small["ended"]) == ["1", "2"]
    assert file == dmft.solve(PROBLEM, t_max=20.0, resume=small, **OPTIONS)


def test_steps_of_a_later_time_do_not_feel_how_short_the_last_panel_was():
    """A panel that t_max leaves a sliver of must not shorten those that follow."""
    whole, _ = kept(PROBLEM, 200.0, replicates=2)
    edge = whole.time[::3][-5]
    lengths = {}
    for name, t_max in {"whole": 0.999 * edge, "sliver": edge * 1.001}.items():
        _, state = kept(PROBLEM, t_max, replicates=2)
        more = dmft.solve(PROBLEM, t_max=200.0, resume=state, **{**OPTIONS, "replicates": 2})
        lengths[name] = len(more.time)
    assert abs(lengths["whole"] - lengths["sliver"]) <= 3


def test_more_replicates_are_those_of_a_solve_with_more(short):
    _, state = short
    extended = dmft.solve(PROBLEM, t_max=10.0, resume=state, **{**OPTIONS, "replicates": 6})
    assert extended == dmft.solve(PROBLEM, t_max=10.0, **{**OPTIONS, "replicates": 6})


@pytest.mark.parametrize(
    ("changes", "options", "said"),
    [
        ({"noise_std": 0.3}, {}, "problem.noise_std: given 0.3, .* was computed with 0.1"),
        ({"teacher.density": 0.2}, {}, "problem.teacher.density: given 0.2"),
        ({"dynamics.weight_decay": 0.1}, {}, "dynamics.weight_decay: given 0.1"),
        ({}, {"n_paths": 512}, "solver.n_paths: given 512"),
        ({}, {"seed": 4}, "solver.seed: given 4"),
        ({}, {"replicates": 3}, "solver.replicates: given 3, must be 4 or more"),
    ],
)
def test_a_state_of_another_solve_is_refused(short, changes, options, said):
    _, state = short
    with pytest.raises(InputError, match=said):
        dmft.solve(PROBLEM.replace(**changes), t_max=20.0, resume=state, **{**OPTIONS, **options})


def test_a_state_of_a_long_teacher_tells_it_from_another():
    values = np.linspace(-1.0, 1.0, 500)
    _, state = kept(PROBLEM.replace(teacher=values), 0.5, replicates=2)
    assert len(state["of"]) < 2000
    more = {**OPTIONS, "replicates": 3}
    dmft.solve(PROBLEM.replace(teacher=values), t_max=0.5, resume=state, **more)
    with pytest.raises(InputError, match=r"problem.teacher.values"):
        dmft.solve(PROBLEM.replace(teacher=-0.5 * values), t_max=0.5, resume=state, **more)


def test_both_at_once_and_again(short):
    _, state = short
    first: dict = {}
    dmft.solve(PROBLEM, t_max=50.0, resume=state, keep=first.update, **OPTIONS)
    twice = dmft.solve(PROBLEM, t_max=200.0, resume=first, **{**OPTIONS, "replicates": 5})
    once = dmft.solve(PROBLEM, t_max=200.0, resume=state, **{**OPTIONS, "replicates": 5})
    assert len(twice.curves["excess_risk"].runs) == len(once.curves["excess_risk"].runs) == 5
    at = np.geomspace(20.0, 200.0, 8)
    error = np.hypot(*(each.curve_at("excess_risk_stderr", at) for each in (twice, once)))
    z = np.abs(twice.curve_at("excess_risk", at) - once.curve_at("excess_risk", at)) / error
    assert z.max() < 12.0
    np.testing.assert_array_equal(twice.time[: len(short[0].time)], short[0].time)


@pytest.mark.parametrize("stop_after", [3, 9])
def test_interrupted_on_the_way_it_continues_to_the_same_bits(short, stop_after):
    _, state = short
    whole = dmft.solve(PROBLEM, t_max=100.0, resume=state, **OPTIONS)
    saved: dict = {}
    count = 0

    def stop() -> bool:
        nonlocal count
        count += 1
        return count >= stop_after

    def checkpoint(tree) -> None:
        saved.clear()
        saved.update(tree)

    with pytest.raises(Interrupted):
        dmft.solve(
            PROBLEM, t_max=100.0, resume=state, stop=stop, checkpoint=checkpoint,
            keep=lambda _: None, **OPTIONS,
        )  # fmt: skip
    assert dmft.solve(PROBLEM, t_max=100.0, resume=saved, **OPTIONS) == whole


def test_a_panel_that_fails_on_the_way_is_cut_for_all(short, monkeypatch):
    from dmft.solver.panels import PanelReplicate
    from dmft.solver.scheme import PanelFailed

    _, state = short
    panels, failed = PanelReplicate.panels, []

    def failing(self):
        for advance in panels(self):
            if not failed and advance.time > 20.0 and len(self._march.rows) == advance.panels:
                failed.append(advance.panels)
                raise PanelFailed(advance.panels, None)
            yield advance

    monkeypatch.setattr(PanelReplicate, "panels", failing)
    extended = dmft.solve(PROBLEM, t_max=100.0, resume=state, **OPTIONS)
    assert failed and extended.status == "done"
    monkeypatch.undo()
    assert (
        len(extended.time)
        == len(dmft.solve(PROBLEM, t_max=100.0, resume=state, **OPTIONS).time) + 3
    )


def test_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = [f"--set=solver.{key}={value}" for key, value in OPTIONS.items() if key != "threads"]
    assert main(["solve", "-o", "out.h5", "--set=solver.t_max=5", *small, "--quiet"]) == 0
    extended = dmft.solve(PROBLEM, t_max=50.0, resume="out.h5", **OPTIONS)
    assert main(["resume", "out.h5", "--set=solver.t_max=50", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["time"][-1] == 50.0
    assert dmft.load("out.h5") == extended
    assert main(["resume", "out.h5", "--set=solver.replicates=5", "--quiet"]) == 0
    assert len(dmft.load("out.h5").curves["excess_risk"].runs) == 5
    for words, said in [
        (["solver.t_max=20"], "solver.t_max: given 20"),
        (["solver.n_paths=512"], "solver.n_paths: given 512"),
        (["problem.noise_std=0.3"], "problem.noise_std: given 0.3"),
    ]:
        assert main(["resume", "out.h5", *(f"--set={word}" for word in words)]) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1
    with pytest.raises(InputError, match="noise_std"):
        dmft.solve(PROBLEM.replace(noise_std=0.3), t_max=50.0, resume="out.h5", **OPTIONS)
    dmft.save("plain.h5", dmft.load("out.h5"))
    assert main(["resume", "plain.h5", "--set=solver.t_max=60"]) == 2
    assert "it cannot be extended" in capsys.readouterr().err


def test_steps_take_more_replicates_and_no_later_time():
    problem = PROBLEM.replace(dynamics={"kind": "gradient-descent", "step_size": 0.1})
    _, state = kept(problem, 20.0, replicates=2)
    more = {**OPTIONS, "replicates": 3}
    assert dmft.solve(problem, t_max=20.0, resume=state, **more) == dmft.solve(
        problem, t_max=20.0, **more
    )
    with pytest.raises(InputError, match=r"solver.t_max: given 40, .*steps cannot be continued"):
        dmft.solve(problem, t_max=40.0, resume=state, **more)


def test_a_failed_attempt_leaves_the_result(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = [f"--set=solver.{key}={value}" for key, value in OPTIONS.items() if key != "threads"]
    assert main(["solve", "-o", "out.h5", "--set=solver.t_max=2", *small, "--quiet"]) == 0
    before = dmft.load("out.h5")

    def fail(*_):
        raise InputError("no memory")

    monkeypatch.setattr("dmft.solver.panels.PanelScheme.check_memory", fail)
    line = ["resume", "out.h5", "--set=solver.t_max=20", "--checkpoint-seconds=0.001"]
    assert main(line) == 2
    assert "no memory" in capsys.readouterr().err
    assert dmft.load("out.h5") == before


def test_only_states_and_files_are_resumed():
    solution = dmft.solve(PROBLEM, t_max=0.1, **OPTIONS)
    for wrong, kind in ((solution, "Solution"), (3, "int"), ([], "list")):
        with pytest.raises(InputError, match=f"resume: given a {kind}, must be a state of `keep`"):
            dmft.solve(PROBLEM, t_max=1.0, resume=wrong, **OPTIONS)
