"""Cases of the rule of docs/settings.md, each with its right value or its error."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from dmft.cli.main import main
from dmft.config import Config, load_config, parse_config
from dmft.errors import InputError
from dmft.explanation import commented_toml, explanations, settings_page
from dmft.problem import SGD, Adam, Empirical, Gaussian, GradientDescent, GradientFlow, Problem
from dmft.settings import SimulationSettings, SolverSettings
from dmft.shapes import setting_names, tables
from dmft.sweep.grid import parse_grid
from dmft.symmetry.settings import SymmetryConfig, load_symmetry_config

ROOT = Path(__file__).parents[2]
DESCENT = '[dynamics]\nkind = "gradient-descent"\nstep_size = 0.03\nweight_decay = 0.05\n'


def resolved(*overrides: str, file: str | None = None, folder: Path = Path()) -> Config:
    if file is None:
        return load_config(None, overrides)
    path = folder / "file.toml"
    path.write_text(file)
    return load_config(path, overrides)


@pytest.mark.parametrize("text", ["", "\n# problem.noise_std = 1\n"])
def test_a_file_without_settings_is_warned_of(text, tmp_path, capsys):
    path = tmp_path / "file.toml"
    path.write_text(text)
    with pytest.warns(UserWarning, match="file.toml: holds no settings, all have their defaults"):
        assert load_config(path) == Config()
    assert main(["config", str(path)]) == 0
    out, err = capsys.readouterr()
    assert out == Config().to_toml()
    assert err == f"dmft: warning: {path}: holds no settings, all have their defaults\n"


def test_long_lists_of_measured_values_are_taken(tmp_path):
    values = np.random.default_rng(0).normal(size=100_000)
    listed = ",\n".join(map(repr, values.tolist()))
    text = f"[problem.teacher]\nkind = 'empirical'\nvalues = [\n{listed},\n]\n"
    teacher = resolved(file=text, folder=tmp_path).problem.teacher
    assert isinstance(teacher, Empirical) and np.array_equal(teacher.values, values)


def test_a_message_with_a_long_text_in_it_is_cut(tmp_path, capsys):
    path = tmp_path / "file.toml"
    path.write_text(f"{'a' * 10**6} = 1\n")
    assert main(["config", str(path)]) == 2
    err = capsys.readouterr().err
    assert len(err) < 1200 and err.count("\n") == 1
    assert err.startswith("dmft: error: aaa") and err.endswith(f"given in {path}\n")


@pytest.mark.parametrize("big", [10**400, -(10**400)])
def test_numbers_beyond_floats_are_refused(big):
    with pytest.raises(InputError, match="given 10|given -10"):
        SolverSettings(times=[big])


@pytest.mark.parametrize(
    ("overrides", "key", "value"),
    [
        (["dynamics.step_size=.06", "dynamics.kind=sgd"], "dynamics", SGD(step_size=0.06)),
        (["dynamics.kind=sgd", "dynamics.step_size=.06"], "dynamics", SGD(step_size=0.06)),
        (["dynamics=sgd", "dynamics.step_size=.06"], "dynamics", SGD(step_size=0.06)),
        (["problem.dynamics.step_size=1e-1", "dynamics=sgd"], "dynamics", SGD(step_size=0.1)),
        (
            ["dynamics.weight_decay=.1", "dynamics.kind=gradient-flow"],
            "dynamics", GradientFlow(weight_decay=0.1),
        ),
        (
            ["problem.dynamics.weight_decay=.1", "dynamics.kind=gradient-flow"],
            "dynamics", GradientFlow(weight_decay=0.1),
        ),
        (
            ["dynamics.batch_fraction=.2", "dynamics.kind=sgd", "dynamics.kind=adam"],
            "dynamics", Adam(batch_fraction=0.2),
        ),
        (["dynamics.step_size=1", "dynamics.step_size=2.", "dynamics={kind='sgd'}"],
         "dynamics", SGD(step_size=2.0)),
        (["problem.teacher={std=2}", "problem.teacher.kind=gaussian"], "teacher", Gaussian(std=2)),
        (
            ["dynamics.schedule.factor=.9", "dynamics.kind=adam",
             "dynamics.schedule.kind=exponential"],
            "dynamics", Adam(schedule={"kind": "exponential", "factor": 0.9}),
        ),
    ],
)  # fmt: skip
def test_order_of_overrides_does_not_matter(overrides, key, value):
    assert getattr(resolved(*overrides).problem, key) == value


def test_the_start_of_a_network_stays():
    given = ["problem.network.init_scale=.01", "problem.network.kind=diagonal"]
    assert resolved(*given).problem.network.init_scale == 0.01


def test_the_predicted_risk_is_that_of_the_start_given(capsys):
    """The value of the start .01, however it is given: that of the default start is .1027."""
    words = ["theory", "--json", "--set", "problem.network.init_scale=.01"]
    assert main(words) == 0
    alone = capsys.readouterr().out
    assert main([*words, "--set", "problem.network.kind=diagonal"]) == 0
    assert capsys.readouterr().out == alone
    assert '"excess_risk": 0.034' in alone


def test_a_new_kind_keeps_what_a_file_gave(tmp_path):
    dynamics = resolved("dynamics.kind=sgd", file=DESCENT, folder=tmp_path).problem.dynamics
    assert dynamics == SGD(step_size=0.03, weight_decay=0.05)


def test_a_file_may_use_both_names_of_the_dynamics(tmp_path):
    text = DESCENT + "[problem.dynamics]\nmomentum = 0.9\n"
    dynamics = resolved(file=text, folder=tmp_path).problem.dynamics
    assert dynamics == GradientDescent(step_size=0.03, weight_decay=0.05, momentum=0.9)


@pytest.mark.parametrize(
    ("overrides", "file", "words"),
    [
        (
            ["dynamics.kind=gradient-flow"], DESCENT,
            ["dynamics.step_size: unknown key of kind 'gradient-flow'",
             "by --set dynamics.kind=gradient-flow", "in ", "file.toml", "remove it", "adam"],
        ),
        (
            ["dynamics.momentum=.9"], None,
            ["dynamics.momentum", "'gradient-flow' (by default)", "by --set dynamics.momentum=.9"],
        ),
        (
            [], DESCENT + "[problem.dynamics]\nstep_size = 0.03",
            ["dynamics.step_size: given in ", "file.toml twice"],
        ),
        (["problem.teacher.kind=gaussian"], "[problem.teacher]\ndensity=0.2", ["density", "mean"]),
        (
            ["problem.network.kind=linear", "problem.network.depth=3"], None,
            ["problem.network.depth", "'linear'", "diagonal", "no keys"],
        ),
        (
            ["dynamics.kind=sgd", "dynamics.schedule.total_steps=9"], None,
            ["dynamics.schedule.total_steps", "'constant'", "cosine, linear"],
        ),
        (
            ["problem.network.init_u=.5", "problem.network.init_v=.1"],
            "problem.network.init_u={kind='gaussian', std=0.1}",
            ["problem.network.init_u.std", "'discrete'"],
        ),
        (["noise_std=.3"], None, ["'noise_std=.3'", "did you mean problem.noise_std?"]),
        (["noise_sd=.3"], None, ["'noise_sd=.3'", "did you mean problem.noise_std?"]),
        (["loss.kind=logistic"], None, ["loss: unknown key", "did you mean 'problem.loss'?"]),
        (["seed=3"], None, ["solver.seed or simulation.seed"]),
        (["problem.init_scale=.3"], None, ["did you mean 'problem.network.init_scale'"]),
        (["problem.noise_std.x=3"], None, ["noise_std", "'x'", "no section"]),
        (["problem.noise_std={}"], None, ["problem.noise_std", "{}"]),
        (["problem.teacher={kind='gaussian',std=.3}"], None, ["--set", "not valid TOML"]),
        (["problem.teacher=3"], None, ["problem.teacher", "given 3", "table"]),
    ],
)  # fmt: skip
def test_nothing_is_dropped(tmp_path, overrides, file, words):
    with pytest.raises(InputError) as error:
        resolved(*overrides, file=file, folder=tmp_path)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_a_model_keeps_its_dimension(tmp_path):
    path = tmp_path / "model.toml"
    path.write_text('[model]\nkind = "diagonal"\ndimension = 4\n')
    for word in ("model.kind=scale-invariant", "model=scale-invariant"):
        model = load_symmetry_config(path, [word]).model
        assert model is not None
        assert (model.kind, model.dimension) == ("scale-invariant", 4)
    with pytest.raises(InputError, match=r"model.dimension: unknown key .*two-layer.* in .*toml"):
        load_symmetry_config(path, ["model.kind=two-layer-linear"])


# ------------------------------------------------------------------------------------- grids

KINDS = '[axes]\n"dynamics.kind" = ["sgd", "gradient-descent"]\n'


def grid_dynamics(text: str) -> list:
    return [
        point.items[0].config.problem.dynamics for point in parse_grid(tomllib.loads(text)).points
    ]


def test_every_point_has_what_the_base_gives():
    assert grid_dynamics("[base.dynamics]\nweight_decay = 0.2\n" + KINDS) == [
        SGD(weight_decay=0.2), GradientDescent(weight_decay=0.2),
    ]  # fmt: skip
    assert grid_dynamics("[base.dynamics]\nkind = 'sgd'\nstep_size = 0.05\n" + KINDS) == [
        SGD(step_size=0.05), GradientDescent(step_size=0.05),
    ]  # fmt: skip


def test_a_grid_with_a_point_that_lacks_a_key_of_the_base_is_refused_whole():
    text = "[base.problem.dynamics]\nkind = 'sgd'\nbatch_fraction = 0.2\n" + KINDS
    message = r"dynamics.batch_fraction: .*'gradient-descent' .*\[axes\].* in \[base\]"
    with pytest.raises(InputError, match=message):
        grid_dynamics(text)


def test_axes_by_two_names_are_one_setting():
    with pytest.raises(InputError, match="twice"):
        grid_dynamics(
            '[axes]\n"dynamics.weight_decay" = [0.1]\n"problem.dynamics.weight_decay" = [0]'
        )


@pytest.mark.parametrize("values", ['["0.1"]', "[true]", '[0.2, "0.1"]', "[0.1, 0.2, true]"])
def test_values_of_axes_are_numbers(values):
    with pytest.raises(InputError, match="axes.problem.noise_std: given .*, must be a number"):
        grid_dynamics(f"[axes]\nproblem.noise_std = {values}")


# ------------------------------------------------------------------------------------ Python


def test_replace_keeps_what_was_given():
    problem = Problem(noise_std=0.2, dynamics={"kind": "sgd", "batch_fraction": 0.2})
    changed = problem.replace(**{"network.init_scale": 0.1, "dynamics.kind": "adam"})
    assert changed == Problem(
        noise_std=0.2, network={"init_scale": 0.1}, dynamics=Adam(batch_fraction=0.2)
    )
    assert problem.replace() == problem
    assert problem.replace(dynamics=GradientFlow()).dynamics == GradientFlow()
    assert problem.replace(teacher=np.array([1.0, 2.0])).teacher == Empirical(values=(1, 2))
    with pytest.raises(InputError, match=r"dynamics.batch_fraction: .*in the problem: replace"):
        problem.replace(dynamics="gradient-flow")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise_std": -5}, "noise_std: given -5, must be at least 0"),
        ({"noise": 0.7}, "noise: unknown key, did you mean 'noise_std'"),
        ({"noise_std": True}, "noise_std: given True, must be a number"),
    ],
)
def test_changes_are_validated(changes, message):
    for change in (
        lambda: Problem(**changes),
        lambda: Problem().replace(**changes),
        lambda: Problem().model_copy(update=changes),
        lambda: Problem.model_validate(changes),
        lambda: Problem.model_validate_json(json.dumps(changes)),
    ):
        with pytest.raises(InputError, match=message):
            change()


def test_a_copy_keeps_what_was_given():
    copy = Problem(noise_std=0.2).model_copy(update={"teacher": Gaussian()})
    assert copy == Problem(noise_std=0.2, teacher="gaussian")
    assert set(copy.given()) == {"noise_std", "teacher"}


def test_shortcuts():
    assert Problem(teacher="gaussian", dynamics="sgd") == Problem(
        teacher=Gaussian(), dynamics={"kind": "sgd"}
    )
    assert Problem(teacher=np.array([0, 1])).teacher == Empirical(values=(0.0, 1.0))
    for wrong, word in (("gausian", "gaussian"), (np.ones((2, 2)), "one dimension"), (3, "table")):
        with pytest.raises(InputError, match=word):
            Problem(teacher=wrong)


def test_settings_cannot_be_changed_in_place():
    problem = Problem()
    for change in (
        lambda: setattr(problem, "noise_std", 0.3),
        lambda: setattr(problem, "noise", 0.3),
        lambda: setattr(problem.network, "depth", 3),
        lambda: delattr(problem, "noise_std"),
    ):
        with pytest.raises(InputError, match="in place") as error:
            change()
        assert "\n" not in str(error.value)
    assert problem == Problem()


@pytest.mark.parametrize("value", [True, "1", np.True_, b"1", None])
def test_numbers_are_numbers(value):
    for make in (
        lambda: Problem(noise_std=value),
        lambda: Problem(sampling_ratio=value),
        lambda: Problem(teacher={"kind": "discrete", "values": [1, value]}),
        lambda: Problem(network={"init_u": 0.5, "init_v": {"kind": "gaussian", "std": value}}),
        lambda: SolverSettings(seed=value),
        lambda: SolverSettings(rtol=value),
        lambda: SimulationSettings(dimension=value),
        lambda: SymmetryConfig(training={"steps": value}),
        lambda: SymmetryConfig(data={"noise_std": value}),
        lambda: SymmetryConfig(model={"kind": "diagonal", "depth": value}),
    ):
        with pytest.raises(InputError):
            make()


def test_numbers_of_other_types_are_taken():
    assert Problem(noise_std=1).noise_std == 1.0
    assert Problem(noise_std=np.float32(0.5)).noise_std == 0.5
    assert SolverSettings(n_paths=1e4).n_paths == 10_000
    assert SolverSettings(seed=np.int64(3)).seed == 3
    with pytest.raises(InputError, match="boolean"):
        SimulationSettings(stratified=1)


# ------------------------------------------------------------------------------- explanation


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["dynamics=sgd", "problem.network.init_u=.5", "problem.network.init_v=.1"],
        ["dynamics=adam", "dynamics.schedule={kind='piecewise',steps=[3],factors=[1e-20]}"],
        ["problem.teacher={kind='discrete',values=[1,-2],weights=[1,3]}"],
    ],
)
def test_a_printed_configuration_is_the_same_run(overrides, tmp_path, capsys):
    words = [word for text in overrides for word in ("--set", text)]
    assert main(["config", *words]) == 0
    printed = capsys.readouterr().out
    assert parse_config(tomllib.loads(printed)) == resolved(*overrides)
    path = tmp_path / "printed.toml"
    path.write_text(printed)
    assert main(["config", str(path)]) == 0
    assert capsys.readouterr().out == printed
    settings = [line for line in printed.splitlines() if "=" in line and not line.startswith("#")]
    assert len(settings) >= 25


def test_a_printed_symmetry_is_the_same(tmp_path, capsys):
    path = tmp_path / "symmetry.toml"
    path.write_text(
        '[[symmetry]]\nkind = "scaling"\ntensors = ["a\\"b"]\n[[symmetry]]\nkind = "matrix"\n'
        'file = "m.npz"\n[training]\nsteps = 7\n'
    )
    assert main(["config", str(path), "--set", "training.batch_size=3"]) == 0
    printed = capsys.readouterr().out
    expected = load_symmetry_config(path, ["training.batch_size=3"])
    assert SymmetryConfig(**tomllib.loads(printed)) == expected
    assert commented_toml(expected) == printed


def test_a_grid_is_no_configuration(tmp_path, capsys):
    path = tmp_path / "grid.toml"
    path.write_text("[axes]\nproblem.noise_std = [0.1]\n")
    assert main(["config", str(path)]) == 2
    assert "dmft sweep plan" in capsys.readouterr().err


@pytest.mark.parametrize("model", [Config, SymmetryConfig])
def test_every_setting_is_explained(model):
    missing = []
    models, seen = [model], set()
    while models:
        one = models.pop()
        seen.add(one)
        texts = explanations(one)
        missing += [
            f"{one.__name__}.{n}" for n in one.model_fields if n != "kind" and not texts.get(n)
        ]
        inner = [member for table in tables(one).values() for member in table.members.values()]
        models += [member for member in inner if member not in seen]
    assert missing == []
    assert len(seen) > 8 and len(setting_names(model)) > 20


def test_the_page_of_settings_is_up_to_date():
    """`scripts/settings_page` renews it."""
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert settings_page(page) == page
    assert page.count("| `init_scale` |") == 2 + 4  # of networks, and of the models of symmetry


@pytest.mark.slow
def test_types_of_the_readme_example(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    extra = (
        "problem = dmft.Problem(teacher='gaussian', dynamics='sgd')\n"
        "other: dmft.Problem = problem.replace(**{'network.init_scale': 0.1})\n"
    )
    (tmp_path / "example.py").write_text(code + extra)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"),
         "--follow-imports=silent", str(tmp_path / "example.py")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
