"""Figures: drawn for every kind of result, with labels, and with what they claim to show."""

import numpy as np
import pytest

import dmft
from dmft import plotting

SMALL = {"t_max": 2.0, "n_paths": 128, "replicates": 2, "rtol": 1e-2}


@pytest.fixture(scope="module")
def simulation():
    return dmft.simulate(dmft.Problem(), dimension=60, seeds=2, t_max=2.0, points=8)


@pytest.mark.parametrize(
    ("problem", "options"),
    [
        ({}, {}),
        ({}, {"replicates": 1}),
        ({"dynamics": {"weight_decay": 0.1}}, {}),
        ({"network": {"kind": "linear"}, "noise_std": 0.0, "sampling_ratio": 3.0}, {"t_max": 60.0}),
        ({"features": {"kind": "power-law"}}, {}),
    ],
)
def test_solutions_are_drawn(problem, options, tmp_path, monkeypatch):
    figures = capture(monkeypatch)
    solution = dmft.solve(dmft.Problem(**problem), **{**SMALL, **options})
    plotting.plot_solution(solution, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 20_000
    axes = figures[0].axes
    curves = axes[0]
    assert curves.get_xscale() == curves.get_yscale() == "log"
    assert curves.get_xlabel() == plotting.TIME_LABEL
    assert [text.get_text() for text in curves.get_legend().get_texts()] == [
        "training error", "excess risk",
    ]  # fmt: skip
    bands = len(curves.collections)
    assert bands == (0 if options.get("replicates") == 1 else 2)
    risk = curves.get_lines()[1].get_ydata()
    assert np.isclose(risk[-1], solution.excess_risk[-1])
    assert ("mean charge" in [a.get_title() for a in axes]) == (solution.mean_charge is not None)


def test_simulation_and_comparison_are_drawn(simulation, tmp_path, monkeypatch):
    figures = capture(monkeypatch)
    solution = dmft.solve(dmft.Problem(), **SMALL)
    for ending in ("png", "pdf", "svg"):
        plotting.plot_simulation(simulation, tmp_path / f"simulation.{ending}")
    plotting.plot_comparison(solution, simulation, tmp_path / "comparison.png")
    assert (tmp_path / "simulation.pdf").read_bytes()[:4] == b"%PDF"
    assert b"<svg" in (tmp_path / "simulation.svg").read_bytes()
    upper, lower = figures[-1].axes
    assert upper.get_yscale() == "log"
    assert lower.get_ylabel() == "z-score"
    shown = dmft.compare(solution, simulation).curves[0].z
    assert np.isin(lower.get_lines()[0].get_ydata(), shown).all()


def capture(monkeypatch):
    """Every figure that is written, in order."""
    figures = []
    original = plotting._write
    monkeypatch.setattr(
        plotting, "_write", lambda figure, path: (figures.append(figure), original(figure, path))
    )
    return figures
