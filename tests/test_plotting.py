"""Figures: drawn for every kind of result, with labels, and with what they claim to show."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import dmft
from dmft import plotting
from dmft.plotting import kernels, style

pytestmark = pytest.mark.filterwarnings("error")  # a log axis without data, a failed layout

SMALL = {"t_max": 2.0, "n_paths": 128, "replicates": 2, "rtol": 1e-2}


@pytest.fixture(scope="module")
def solution():
    return dmft.solve(dmft.Problem(), **SMALL)


@pytest.fixture(scope="module")
def simulation():
    return dmft.simulate(dmft.Problem(), dimension=60, seeds=2, t_max=2.0, points=8)


@pytest.fixture
def figures(monkeypatch):
    """Every finished figure, in order, instead of a file: rendering is what takes time."""
    written = []
    monkeypatch.setattr(style, "write", lambda figure, path: written.append(figure))
    return written


def one_replicate(result):
    bare = {name: replace(curve, stderr=None) for name, curve in result.curves.items()}
    return replace(result, curves=bare)


def words(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def titled(figure, title):
    return next(axes for axes in figure.axes if axes.get_title() == title)


def test_curves_have_bands_of_student_t(solution, figures, tmp_path):
    plotting.plot_solution(solution, tmp_path / "figure.png")
    curves = titled(figures[0], "learning curves")
    assert curves.get_xscale() == curves.get_yscale() == "log"
    assert curves.get_xlabel() == plotting.TIME_LABEL
    assert words(curves) == ["training mean squared error", "excess risk"]
    assert "95 % intervals" in curves.get_legend().get_title().get_text()
    risk = curves.get_lines()[1].get_ydata()
    assert risk[-1] == pytest.approx(solution.excess_risk[-1])
    band = curves.collections[1].get_paths()[0].vertices
    top = band[np.isclose(band[:, 0], solution.time[-1]), 1].max()
    student = 12.7062  # 97.5 % of one degree of freedom, from tables
    expected = solution.excess_risk[-1] + student * solution.excess_risk_stderr[-1]
    assert top == pytest.approx(expected, rel=1e-4)
    title = figures[0].get_suptitle()
    assert "sampling_ratio = 0.5" in title and "2 replicates of 128 paths" in title


def test_one_replicate_has_no_bands(solution, figures, tmp_path):
    plotting.plot_solution(one_replicate(solution), tmp_path / "figure.png")
    curves = titled(figures[0], "learning curves")
    assert not curves.collections
    assert "no error bars" in curves.get_legend().get_title().get_text()


def test_paths_end_beside_their_teachers(solution, figures, tmp_path):
    plotting.plot_solution(solution, tmp_path / "figure.png")
    lines = titled(figures[0], "sample paths of the effective process").get_lines()
    drawn = [line for line in lines if len(line.get_xdata()) > 1]
    marks = [line for line in lines if len(line.get_xdata()) == 1]
    assert len(drawn) == len(marks) >= 8
    teacher, weights = solution.paths.teacher, solution.paths.weights
    for path, mark in zip(drawn, marks, strict=True):
        value = mark.get_ydata()[0]
        ends = weights[np.isclose(teacher, value), -1]
        assert np.isclose(ends, path.get_ydata()[-1]).any()
        assert path.get_color() == mark.get_color()
    plotting.plot_solution(replace(solution, paths=None), tmp_path / "figure.png")


def test_kernels_are_maps_with_labelled_bars(solution, figures, tmp_path):
    plotting.plot_solution(solution, tmp_path / "figure.png")
    names = ["error correlation", "residual correlation", "overlap of the weights"]
    names.append("response of the weights at t to a force at s")
    later = solution.time > 0
    kernels = {}
    for name in names:
        axes = titled(figures[0], name)
        assert axes.get_xscale() == axes.get_yscale() == "log"
        assert axes.collections[0].colorbar.ax.get_ylabel()
        kernels[name] = np.ma.filled(axes.collections[0].get_array(), np.nan)
    np.testing.assert_array_equal(
        kernels[names[0]], solution.kernels.correlation_error[np.ix_(later, later)]
    )
    np.testing.assert_allclose(np.diag(kernels[names[1]]), 1.0)
    # A density, blank where nothing can respond yet; a force on w lowers w.
    response = kernels[names[3]]
    assert np.isnan(response[np.triu_indices(len(response))]).all()
    row, column = len(response) - 1, 4
    weight = solution.kernels.quadrature_weights[later][column]
    expected = solution.kernels.response_weights[np.ix_(later, later)][row, column] / weight
    assert response[row, column] == pytest.approx(expected) and expected < 0


@pytest.mark.parametrize(
    ("values", "colours", "limits"),
    [
        (np.array([[0.0, 2.0], [2.0, 4.0]]), "viridis", (0.0, 4.0)),
        (np.array([[0.0, -2.0], [-2.0, -4.0]]), "viridis_r", (-4.0, 0.0)),
        (np.array([[4.0, -2.0], [-2.0, 1.0]]), "RdBu_r", (-4.0, 4.0)),
        (np.zeros((2, 2)), "viridis", (0.0, 1.0)),
        (np.full((2, 2), np.nan), "viridis", (0.0, 1.0)),
    ],
)
def test_colours_follow_the_sign(values, colours, limits):
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    kernels.draw_map(axes, np.array([1.0, 10.0]), values, "title", "label", dmft.Problem())
    image = axes.collections[0]
    assert image.get_cmap().name == colours and image.get_clim() == limits


def test_steps_and_charges(figures, tmp_path):
    """Discrete dynamics: axes in steps, charges of both sides and in the scores."""
    dynamics = {"kind": "sgd", "step_size": 0.1, "batch_fraction": 0.2}
    problem = dmft.Problem(dynamics=dynamics)
    solution = dmft.solve(problem, t_max=10, n_paths=128, replicates=2)
    simulation = dmft.simulate(problem, dimension=60, seeds=3, t_max=10)
    plotting.plot_solution(solution, tmp_path / "a.png")
    plotting.plot_simulation(simulation, tmp_path / "b.png")
    plotting.plot_comparison(solution, simulation, tmp_path / "c.png")
    for figure in figures:
        labels = [axes.get_xlabel() for axes in figure.axes]
        assert "steps" in labels and not any("flow" in label for label in labels)
        assert "dynamics.kind = sgd, dynamics.batch_fraction = 0.2" in figure.get_suptitle()
        (charge,) = [axes for axes in figure.axes if axes.get_title() == "charge"]
        curve = charge.get_lines()[0].get_ydata()
        assert curve[-1] in (solution.mean_charge[-1], simulation.mean_charge[-1])
    assert len(figures[2].axes) == 3
    assert len(figures[1].axes) == 8  # curves, charge, three maps with their bars, none empty


def test_stochastic_gradient_flow(figures, tmp_path):
    """Its charges move, its time is that of the flow."""
    problem = dmft.Problem(dynamics={"kind": "stochastic-gradient-flow"})
    solution = dmft.solve(problem, **{**SMALL, "t_max": 1.0})
    plotting.plot_solution(solution, tmp_path / "figure.png")
    (charge,) = [axes for axes in figures[0].axes if axes.get_title() == "charge"]
    assert charge.get_xlabel() == "time (units of the flow)"
    assert len(charge.get_legend().get_texts()) == 2


@pytest.mark.parametrize(
    "problem",
    [
        {"dynamics": {"weight_decay": 0.1}},
        {"network": {"kind": "linear"}, "noise_std": 0.0, "sampling_ratio": 3.0},
        {"network": {"depth": 3}, "features": {"kind": "power-law"}},
        {"network": {"init_u": 0.5, "init_v": 0.1}, "teacher": {"kind": "rademacher"}},
    ],
)
def test_every_kind_of_problem(problem, figures, tmp_path):
    solution = dmft.solve(dmft.Problem(**problem), **{**SMALL, "t_max": 1.0})
    plotting.plot_solution(solution, tmp_path / "figure.png")
    titles = [axes.get_title() for axes in figures[0].axes]
    assert ("mean charge" in titles) == (solution.mean_charge is not None)
    assert ("mean charge" in titles) == ("dynamics" in problem)
    if "mean charge" in titles:
        charge = titled(figures[0], "mean charge").get_lines()[0].get_ydata()
        np.testing.assert_array_equal(charge, solution.mean_charge[1:])


def test_vanished_training_error(solution, simulation, figures, tmp_path, change):
    """An exact zero and rounding errors are not drawn, and nothing warns."""
    zero = np.zeros_like(solution.kernels.overlap)
    without = change(
        solution,
        train_mse=0 * solution.train_mse,
        train_mse_stderr=0 * solution.train_mse,
        kernels=replace(solution.kernels, correlation_residual=zero, response_weights=zero),
    )
    plotting.plot_solution(without, tmp_path / "figure.png")
    assert words(titled(figures[0], "learning curves"))[0] == "training mean squared error: zero"
    fading = solution.train_mse * np.where(solution.time > 1.0, 1e-25, 1.0)
    plotting.plot_solution(change(solution, train_mse=fading), tmp_path / "figure.png")
    drawn = titled(figures[1], "learning curves").get_lines()[0]
    assert drawn.get_ydata().min() > 1e-16 and drawn.get_xdata().max() < 1.5
    none = change(simulation, train_mse=0 * simulation.train_mse)
    plotting.plot_simulation(none, tmp_path / "figure.png")
    plotting.plot_comparison(without, none, tmp_path / "figure.png")
    figures[-1].draw_without_rendering()


def test_simulation(simulation, figures, tmp_path):
    plotting.plot_simulation(simulation, tmp_path / "figure.png")
    axes = titled(figures[0], "learning curves")
    thin = [line for line in axes.get_lines() if line.get_linewidth() == 0.5]
    assert len(thin) == 2 * len(simulation.seed)
    bars = axes.containers[1].lines[2][0].get_segments()
    expected = simulation.excess_risk[-1] + 12.7062 * simulation.excess_risk_stderr[-1]
    assert bars[-1][1][1] == pytest.approx(expected, rel=1e-4)
    assert "dimension 60" in figures[0].get_suptitle()
    single = dmft.simulate(simulation.problem, dimension=60, seeds=1, t_max=2.0, points=4)
    plotting.plot_simulation(single, tmp_path / "figure.png")
    remark = titled(figures[1], "learning curves").get_legend().get_title().get_text()
    assert remark == "one run: no error bars"


def test_comparison(solution, simulation, figures, tmp_path):
    plotting.plot_comparison(solution, simulation, tmp_path / "figure.png")
    upper, lower = figures[0].axes
    assert len(words(upper)) == 4 and lower.get_ylabel() == "z-score"
    comparison = dmft.compare(solution, simulation)
    assert comparison.verdict in figures[0].get_suptitle()
    scores = [line for line in lower.get_lines() if len(line.get_xdata()) > 2]
    for line, difference in zip(scores, comparison.curves, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), simulation.time[1:])
        np.testing.assert_array_equal(line.get_ydata(), difference.z[1:])
    bare = one_replicate(simulation)
    plotting.plot_comparison(one_replicate(solution), bare, tmp_path / "figure.png")
    upper, lower = figures[1].axes
    assert any("no z-scores" in text.get_text() for text in lower.texts)
    assert upper.get_legend().get_title().get_text() == "one replicate and one run: no error bars"
    with pytest.raises(dmft.InputError):
        plotting.plot_comparison(simulation, solution, tmp_path / "other.png")
    assert not (tmp_path / "other.png").exists()


@pytest.fixture(scope="module")
def signs():
    problem = dmft.Problem(loss={"kind": "logistic"}, labels={"kind": "sign"})
    return (
        dmft.solve(problem, **{**SMALL, "t_max": 1.0}),
        dmft.simulate(problem, dimension=60, seeds=2, t_max=1.0, points=8),
    )


def test_classification_is_drawn_in_its_own_measures(signs, figures, tmp_path):
    solution, simulation = signs
    plotting.plot_solution(solution, tmp_path / "a.png")
    plotting.plot_simulation(simulation, tmp_path / "b.png")
    plotting.plot_comparison(solution, simulation, tmp_path / "c.png")
    expected = ["training loss", "training error of the signs", "test error of the signs"]
    for figure in figures:
        assert "loss.kind = logistic" in figure.get_suptitle()
        assert words(titled(figure, "learning curves"))[:3] == expected
        assert words(titled(figure, "overlap and norm"))[0] == "overlap with the teacher"
        figure.draw_without_rendering()
    scores = figures[2].axes[-1]
    assert words(scores)[:3] == expected and len(words(scores)) == 5


def test_curves_into_given_axes(solution, simulation):
    """Names, smoothness against the interpolation, points of a simulation, words of the table."""
    from matplotlib.figure import Figure

    one, two = Figure().subplots(1, 2)
    assert plotting.plot_curves(solution, "overlap", one) is one
    line = one.get_lines()[0]
    time = line.get_xdata()
    assert len(time) > 5 * len(solution.time)
    np.testing.assert_array_equal(line.get_ydata(), solution.curve_at("overlap", time))
    assert one.get_yscale() == "linear" and one.get_ylabel() == "overlap with the teacher"
    assert simulation.plot(["train_mse", "squared_norm"], ax=two) is two
    assert words(two) == ["training mean squared error", "squared norm of the weights"]
    assert solution.plot().figure is not one.figure
    for wrong in ("nonsense", [], ["train_mse", "charge"]):
        with pytest.raises(dmft.InputError, match="names: given"):
            solution.plot(wrong)


def test_curves_appear_in_pyplot_where_it_is_used(solution):
    code = (
        "import matplotlib; matplotlib.use('agg'); from matplotlib import pyplot\n"
        "from dmft.plotting.style import axes_for\n"
        "assert axes_for(None).figure is pyplot.gcf()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", kernels.KERNELS)
def test_kernel_into_given_axes(solution, simulation, name):
    from matplotlib.figure import Figure

    one, two = Figure().subplots(1, 2)
    assert plotting.plot_kernel(solution, name, one) is one
    assert one.collections[0].colorbar.ax.get_ylabel() and one.get_title()
    if name.startswith("response"):
        with pytest.raises(dmft.InputError, match="allowed: correlation_error, corr.*, overlap$"):
            plotting.plot_kernel(simulation, name, two)
    else:
        assert plotting.plot_kernel(simulation, name, two) is two


def test_flat_start_is_cut_to_a_decade():
    """A diagonal that moves at t = 1 is shown from just before, one that never does in whole."""
    time = np.concatenate([[0.0], np.geomspace(1e-3, 100.0, 51)])
    late = np.where(time < 0.99, 0.0, 1.0)
    start = kernels.first_change(time, np.outer(late, late))
    assert start == time[time < 0.99][-1]
    assert kernels.first_change(time, np.ones((52, 52))) == pytest.approx(1e-3)
    end = np.where(time < 99.0, 0.0, 1.0)
    assert kernels.first_change(time, np.outer(end, end)) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("time", "scale"),
    [
        ([0.0, 1.0, 2.0, 3.0, 40.0], "log"),
        (np.arange(50.0), "linear"),
        ([0.0, 1.0, 2.0, 5.0], "linear"),
        ([0.0, 5.0], "linear"),
        ([0.0], "linear"),
    ],
)
def test_axis_of_time_follows_the_spacing(time, scale):
    assert style.time_scale(np.asarray(time)) == scale


def test_overlay(solution, simulation, signs, figures, tmp_path):
    plotting.plot_overlay({"mean": solution, "networks": simulation}, tmp_path / "a.png")
    (legend,) = figures[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["mean", "networks"]
    assert "default problem" in figures[0].get_suptitle()
    assert [axes.get_title() for axes in figures[0].axes] == [
        "training mean squared error",
        "excess risk",
    ]
    assert len({axes.get_lines()[0].get_color() for axes in figures[0].axes}) == 1
    plotting.plot_overlay({"mean": solution, "signs": signs[0]}, tmp_path / "b.png")
    texts = [text.get_text() for text in figures[1].legends[0].get_texts()]
    assert texts[0] == "mean: the default problem" and "loss.kind = logistic" in texts[1]
    for figure in figures:
        figure.draw_without_rendering()
    with pytest.raises(dmft.InputError, match="given 1, must be two"):
        plotting.plot_overlay({"mean": solution}, tmp_path / "c.png")
    steps = dmft.Problem(dynamics={"kind": "gradient-descent"})
    networks = dmft.simulate(steps, dimension=20, seeds=1, t_max=3)
    with pytest.raises(dmft.InputError, match="b: counts steps and a time in units of the flow"):
        plotting.plot_overlay({"a": solution, "b": networks}, tmp_path / "c.png")
    assert not (tmp_path / "c.png").exists()


@pytest.mark.parametrize(
    ("ending", "start"),
    [("png", b"\x89PNG"), ("PNG", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?")],
)
def test_formats(solution, simulation, tmp_path, ending, start):
    path = tmp_path / f"figure.{ending}"
    plotting.plot_comparison(solution, simulation, path)
    assert path.read_bytes().startswith(start)


def test_whole_page_fits(solution, tmp_path, change):
    charged = change(solution, mean_charge=solution.train_mse)
    plotting.plot_solution(charged, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 20_000


def test_matplotlib_is_imported_late_and_without_pyplot():
    code = (
        "import sys, dmft.plotting; assert 'matplotlib' not in sys.modules;"
        "dmft.plotting.style.figure(3, 3, 'a', dmft.Problem());"
        "assert 'matplotlib.figure' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_part_is_a_figure_of_its_own(solution, simulation, figures, tmp_path):
    from dmft.plotting.pages import PARTS, kinds_of, plot_part

    assert set(kinds_of(solution)) <= set(PARTS) and "overlaps" not in kinds_of(solution)
    titles = {}
    for kind in kinds_of(solution):
        plot_part(solution, kind, tmp_path / f"{kind}.png")
        axes = figures[-1].axes
        assert len(axes) == (2 if kind in kernels.KERNELS else 1)  # a map has a bar of colours
        titles[kind] = axes[0].get_title()
        assert "Mean field" in figures[-1].get_suptitle()
    assert len(set(titles.values())) == len(titles) >= 6
    with pytest.raises(
        dmft.InputError, match="kind: given 'paths', allowed: curves, correlation_error"
    ):
        plot_part(simulation, "paths", tmp_path / "no.png")
    assert not (tmp_path / "no.png").exists()
