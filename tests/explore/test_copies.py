"""Controls are those of the settings; what is copied is the configuration that was shown."""

from __future__ import annotations

import shlex
from unittest import mock

import pytest

import dmft
from dmft.config import load_config, parse_config
from dmft.errors import InputError
from dmft.explore.controls import changed_table, controls_of
from dmft.explore.copies import copies

CASES = {
    "default": (),
    "moved": ("problem.sampling_ratio=2.5", "problem.network.init_scale=0.01", "solver.t_max=7.5"),
    "losses": ("problem.loss.kind=huber", "problem.loss.width=0.3", "problem.labels.kind=outliers"),
    "signs": ("problem.loss.kind=logistic", "problem.labels.kind=logit"),
    # 0 is the default decay of a flow and not that of AdamW.
    "adamw": ("dynamics.kind=adamw", "dynamics.weight_decay=0.0", "solver.t_max=20"),
    "schedule": ("dynamics.kind=sgd", "dynamics.schedule.kind=cosine",
                 "dynamics.schedule.total_steps=100", "dynamics.nesterov=true",
                 "dynamics.momentum=0.5", "dynamics.sampling=with-replacement"),
    "truncated": ("problem.network.kind=truncated", "problem.network.level=0.5"),
    "teacher": ("problem.teacher={kind='discrete', values=[-1.0, 0.0, 1.0]}",
                "problem.network.init_u=0.2", "problem.network.init_v=0.1",
                "solver.target_error=0.01", "simulation.dimension=50"),
}  # fmt: skip


@pytest.mark.parametrize("overrides", CASES.values(), ids=CASES)
def test_copies_give_the_same_configuration_again(overrides, tmp_path):
    config = load_config(None, overrides)
    texts = copies(config)
    file = tmp_path / "copied.toml"
    file.write_text(texts["toml"])
    assert load_config(file) == config
    file.write_text(load_config(file).to_toml())  # as `dmft config` prints it
    assert load_config(file) == config
    words = shlex.split(texts["command"])
    assert words[:4] == ["dmft", "solve", "-o", "out.h5"]
    assert set(words[4::2]) <= {"--set"}
    assert load_config(None, words[5::2]) == config
    with mock.patch("dmft.solve") as solve:
        exec(compile(texts["python"], "copied", "exec"), {})
    (problem,), given = solve.call_args
    assert problem == config.problem
    assert dmft.settings.SolverSettings(**given) == config.solver


def test_every_control_stands_where_the_settings_are_and_can_be_moved():
    base = load_config(None, ("dynamics.kind=sgd", "problem.labels.kind=outliers")).to_table()
    controls = {control["name"]: control for control in controls_of(base)}
    wanted = {"problem.sampling_ratio", "problem.noise_std", "problem.network.init_scale",
              "problem.loss.kind", "problem.labels.fraction", "dynamics.kind", "dynamics.momentum",
              "dynamics.step_size", "dynamics.weight_decay", "dynamics.nesterov",
              "solver.t_max"}  # fmt: skip
    assert wanted <= set(controls)
    assert "discrete" not in controls["problem.teacher.kind"]["choices"]  # needs values
    for name, control in controls.items():
        reach = control["reach"]
        ends = control["choices"] if reach is None else (reach["low"], reach["high"])
        for value in ends:
            table = changed_table(base, {name: value})
            moved = next(each for each in controls_of(table) if each["name"] == name)
            assert moved["value"] == value
            if not name.endswith(".kind") and name != "dynamics.nesterov":
                parse_config(table)  # all of a slider is allowed


def test_a_new_kind_starts_afresh_and_keeps_nothing_of_the_old():
    base = load_config(None, ("dynamics.kind=sgd", "dynamics.step_size=0.5")).to_table()
    table = changed_table(base, {"dynamics.kind": "adam", "dynamics.momentum": 0.5})
    assert parse_config(table).problem.dynamics == dmft.problem.optimisers.Adam()
    assert base["dynamics"]["step_size"] == 0.5
    with pytest.raises(InputError, match="dynamics.kind: given 'x', allowed: gradient-flow"):
        controls_of(changed_table(base, {"dynamics.kind": "x"}))
    with pytest.raises(InputError, match="problem.loss.kind"):
        changed_table(base, {"problem.loss.kind": []})


def test_the_start_of_laws_has_no_slider():
    base = load_config(None, ("problem.network.init_u=0.2", "problem.network.init_v=0.1"))
    names = [control["name"] for control in controls_of(base.to_table())]
    assert "problem.network.init_scale" not in names and "problem.network.depth" in names
