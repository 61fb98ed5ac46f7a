"""Grid files: what they expand to, and what is refused."""

from __future__ import annotations

import hashlib
import tomllib

import pytest

from dmft.errors import InputError
from dmft.sweep import grid as module
from dmft.sweep.grid import parse_grid

AXES = '[axes]\n"problem.noise_std" = [0.1, 0.2]\n'


def parsed(text: str):
    return parse_grid(tomllib.loads(text))


def test_axes_are_crossed_in_their_order():
    grid = parsed(AXES + '"problem.network.init_scale" = [1, 0.3, 0.1]')
    assert grid.shape == (2, 3) and grid.tasks == ("solve",)
    assert [dimension.name for dimension in grid.dimensions] == ["noise_std", "init_scale"]
    assert [point.position for point in grid.points][:4] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    point = grid.points[4]
    assert point.index == 4 and point.values == {"noise_std": 0.2, "init_scale": 0.3}
    config = point.items[0].config
    assert (config.problem.noise_std, config.problem.network.init_scale) == (0.2, 0.3)


def test_keys_without_quotes_mean_the_same():
    quoted = parsed('[axes]\n"problem.network.init_scale" = [0.1]\n"solver.seed" = [0, 1]')
    nested = parsed("[axes]\nproblem.network.init_scale = [0.1]\nsolver.seed = [0, 1]")
    assert quoted.items.keys() == nested.items.keys()


def test_spaced_values_are_those_a_reader_selects():
    grid = parsed(
        "[axes]\nproblem.noise_std = { linspace = [0, 1, 11] }\n"
        "problem.network.init_scale = { geomspace = [1e-3, 1, 4] }"
    )
    linear, logarithmic = (dimension.axes[0].values for dimension in grid.dimensions)
    assert linear == tuple(i / 10 for i in range(11))
    assert logarithmic == (0.001, 0.01, 0.1, 1.0)


def test_zipped_axes_share_a_dimension():
    grid = parsed(
        'zip = [["solver.seed", "problem.noise_std"]]\n'
        "[axes]\nproblem.noise_std = [0.1, 0.1, 0.2]\nsolver.t_max = [1.0, 2.0]\n"
        "solver.seed = [0, 1, 0]"
    )
    assert grid.shape == (3, 2)
    assert grid.dimensions[0].names == ("noise_std", "seed")
    assert [p.values["seed"] for p in grid.points] == [0, 0, 1, 1, 0, 0]


def test_names_of_axes_are_short_but_different():
    grid = parsed(
        "[axes]\nsolver.seed = [0]\nsimulation.seed = [0, 1]\nproblem.teacher.kind = ['gaussian']\n"
        "problem.network.depth = [2]"
    )
    assert [d.name for d in grid.dimensions] == [
        "solver_seed", "simulation_seed", "kind", "depth",
    ]  # fmt: skip


def test_a_kind_keeps_the_settings_of_the_base_that_are_its_own():
    grid = parsed(
        "[base.dynamics]\nweight_decay = 0.2\nstep_size = 0.05\n"
        '[axes]\ndynamics.kind = ["sgd", "gradient-descent"]'
    )
    for point, kind in zip(grid.points, ("sgd", "gradient-descent"), strict=True):
        dynamics = point.items[0].config.problem.dynamics
        assert (dynamics.kind, dynamics.weight_decay, dynamics.step_size) == (kind, 0.2, 0.05)


def test_a_setting_of_the_base_that_a_kind_lacks_is_refused():
    grid = parsed(
        "[base.problem.network]\ninit_scale = 0.01\n"
        '[axes]\nproblem.network.kind = ["diagonal", "linear"]'
    )
    with pytest.raises(InputError, match=r"init_scale: .*kind 'linear' .*axes.*in \[base\]"):
        grid.points  # noqa: B018


def test_whole_tables_as_values():
    grid = parsed(
        '[axes]\nproblem.teacher = [{ kind = "gaussian", std = 2.0 }, { kind = "rademacher" }]'
    )
    assert [p.items[0].config.problem.teacher.kind for p in grid.points] == [
        "gaussian", "rademacher",
    ]  # fmt: skip
    assert grid.points[0].label == 'teacher={"kind": "gaussian", "std": 2.0}'


def test_digests_do_not_change():
    """They name files that people have: on any machine, and in any later version."""
    items = parsed('tasks = ["solve", "theory"]\n' + AXES).points[1].items
    assert [item.name for item in items] == ["solve-4a73ad10b581c445", "theory-6856fded3c8b3a01"]
    text = '["solve", {"problem.noise_std": 0.2}]'
    assert items[0].digest == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_digests_ignore_how_a_value_was_given():
    default, same = parsed("[axes]\nsolver.t_max = [100.0, 1]"), parsed(
        "[base.solver]\nrtol = 0.001\n[axes]\nsolver.t_max = [1.0, 1e2]"
    )  # fmt: skip
    assert default.items.keys() == same.items.keys()


def test_a_result_depends_on_the_settings_of_its_task_only():
    grid = parsed('tasks = ["compare"]\n[axes]\nsimulation.dimension = [10, 20, 30]')
    assert grid.tasks == ("solve", "simulate", "compare")
    counts = [sum(item.task == task for item in grid.items.values()) for task in grid.tasks]
    assert counts == [1, 3, 3]
    compare = grid.points[2].items[2]
    assert compare.needs == tuple(item.name for item in grid.points[2].items[:2])


def test_work_grows_like_the_number_of_points(monkeypatch):
    calls = []
    original = module.config_of
    counted = lambda *sources: calls.append(1) or original(*sources)  # noqa: E731
    monkeypatch.setattr(module, "config_of", counted)
    grid = parsed("[axes]\nproblem.noise_std = { linspace = [0, 1, 40] }\nsolver.seed = [0, 1, 2]")
    assert len(grid.points) == len(grid.items) == 120
    assert len(calls) == 120


@pytest.mark.parametrize(
    "text, message",
    [
        ('task = ["solve"]\n' + AXES, "task: unknown key, did you mean 'tasks'?"),
        ('tasks = ["slove"]\n' + AXES, "tasks: given 'slove', allowed: solve, simulate"),
        ('tasks = "solve"\n' + AXES, "tasks: given 'solve', must be a list of tasks"),
        ("tasks = []\n" + AXES, "tasks: given [], must be a list of tasks"),
        ("", "axes: given none"),
        ("axes = 3", "axes: given none"),
        ("[axes]\nproblem.noise_std = []", "axes.problem.noise_std: given an axis of length 0"),
        (
            "[axes]\nproblem.noise_std = { linspace = [0, 1, 0] }",
            "axes.problem.noise_std.linspace: given an axis of length 0",
        ),
        (
            "[axes]\nproblem.noise_std = { geomspace = [0, 1, 3] }",
            "axes.problem.noise_std.geomspace: given [0, 1, 3], both ends must be greater than 0",
        ),
        (
            "[axes]\nproblem.noise_std = { linspace = [0, 1] }",
            "axes.problem.noise_std.linspace: given [0, 1], must be [first, last, count]",
        ),
        (
            "[axes]\nproblem.noise_std = { linspace = [0, 1, 2.5] }",
            "axes.problem.noise_std.linspace: given [0, 1, 2.5], must be [first, last, count]",
        ),
        ("[axes]\nproblem.noise_std = 0.3", "axes.problem.noise_std: given 0.3, must be a list"),
        (
            "[axes]\nproblem.network.init_scal = [0.1]",
            "axes.problem.network.init_scal: unknown key, did you mean 'init_scale'?",
        ),
        ("[axes]\nsolvr.seed = [0]", "solvr: unknown key, did you mean 'solver'?"),
        (
            "[axes]\nproblem.noise_std = [0.1, -1.0]",
            "axes.problem.noise_std: given -1.0, must be at least 0",
        ),
        ("[axes]\nproblem.noise_std = [nan]", "axes.problem.noise_std: given nan, must be"),
        (
            "[base.solver]\nn_path = 10\n" + AXES,
            "base.solver.n_path: unknown key, did you mean 'n_paths'?",
        ),
        ("base = 1\n" + AXES, "base: given 1, must be a table of sections"),
        (
            AXES + "problem.teacher.density = [0.1]\nproblem.teacher.kind = ['gaussian']",
            "axes.problem.teacher.density: unknown key",
        ),
        (
            '[axes]\n"problem.noise_std" = [0.1]\nproblem.noise_std = [0.2]',
            "axes.problem.noise_std: given twice",
        ),
        (
            "[axes]\n\"problem.teacher\" = [{ kind = 'gaussian' }]\n"
            '"problem.teacher.density" = [0.1]',
            "axes.problem.teacher: conflicts with axis 'problem.teacher.density'",
        ),
        (
            'zip = [["problem.noise_std", "solver.seed"]]\n' + AXES + '"solver.seed" = [0, 1, 2]',
            "zip: given axes of different lengths: problem.noise_std has 2, solver.seed has 3",
        ),
        ('zip = ["problem.noise_std"]\n' + AXES, "zip: given ['problem.noise_std'], must be"),
        ('zip = [["noise_std"]]\n' + AXES, "zip.noise_std: unknown key"),
        (
            "[axes]\nproblem.noise_std = [0.1, 0.2, 0.1]",
            "axes: points 0 (noise_std=0.1) and 2 (noise_std=0.1) are the same to solve",
        ),
        (
            "[axes]\nsolver.seed = [0]\nsimulation.dimension = [10, 20]",
            "an axis changes nothing that they depend on",
        ),
    ],
)  # fmt: skip
def test_bad_grids_are_refused(text, message):
    with pytest.raises(InputError) as caught:
        _ = parsed(text).points
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_error_of_several_settings_names_the_point():
    with pytest.raises(InputError, match="at the point problem.network.init_u=0.1"):
        _ = parsed("[axes]\nproblem.network.init_u = [0.1]").points
