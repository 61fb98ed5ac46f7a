"""The search of small starts: closed form, limits, finite networks and solved curves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.stats import norm

import dmft
from dmft import InputError
from dmft.cli.main import main
from dmft.results.interpolation import curve_at
from dmft.theory import search
from dmft.theory.searching import ACTIVE, isolated_risk, isolated_share


def small(scale, **problem):
    return dmft.Problem(network={"init_scale": scale}, **problem)


def test_weights_that_learn_alone_follow_their_equation():
    """A teacher of one value with two features: risk from the differential equation itself."""
    features = {"kind": "discrete", "values": [0.5, 2.0], "weights": [0.3, 0.7]}
    teacher = {"kind": "discrete", "values": [0.8], "weights": [1.0]}
    problem = small(0.05, features=features, teacher=teacher, sampling_ratio=0.7, noise_std=0.3)
    times = np.array([0.5, 1.5, 4.0])
    z, measure = np.polynomial.hermite_e.hermegauss(160)
    expected = 0.0
    label = (0.3 * 0.5 + 0.7 * 2.0) * 0.8**2 + 0.3**2
    for s, share in ((0.5, 0.3), (2.0, 0.7)):
        h = 0.7 * s * 0.8 + np.sqrt(s * 0.7 * label) * z

        def rate(t, p, h=h, s=s):
            return h - 0.7 * s * 0.05**2 * np.sinh(2 * p)

        p = solve_ivp(rate, (0, 4), 0 * h, t_eval=times, rtol=1e-10, atol=1e-12, method="LSODA").y
        error = 0.05**2 * np.sinh(2 * p) - 0.8
        expected = expected + share * s * (measure / measure.sum()) @ error**2
    assert isolated_risk(problem, times) == pytest.approx(expected, rel=1e-4)
    assert isolated_risk(problem, 0.0) == pytest.approx(label - 0.3**2, rel=1e-9)


def test_the_time_of_a_tiny_start_is_its_logarithm_over_the_force():
    found = search(small(1e-60))
    h = np.array(found.active_forces)
    u = 0.5 * ACTIVE / h
    leading = np.log(2 * h * u / (0.5 * 1e-120 * (1 - u))) / (2 * h)
    assert found.active_times == pytest.approx(leading, rel=1e-9)
    # A weight of the teacher's spike or of its rest is larger than h so often.
    label = 0.5 * 1.01
    tails = 0.2 * norm.sf(h / np.sqrt(0.25 * 10.0 + label)) + 1.8 * norm.sf(h / np.sqrt(label))
    assert tails == pytest.approx(found.active_shares, rel=2e-2)
    ratio = search(small(1e-120)).search_time / found.search_time
    assert ratio == pytest.approx(2.0, rel=0.01)


def test_the_largest_correlations_leave_zero_first_in_a_finite_network():
    rng = np.random.default_rng(4)
    d, n, alpha = 1200, 600, 1e-12
    x = rng.standard_normal((n, d)) / d**0.5
    teacher = np.where(rng.random(d) < 0.1, rng.standard_normal(d) * 10**0.5, 0.0)
    y = x @ teacher + 0.1 * rng.standard_normal(n)
    p, left, step = np.zeros(d), np.full(d, np.inf), 0.005
    for k in range(2000):
        w = alpha**2 * np.sinh(2 * p)
        left = np.where((np.abs(w) > ACTIVE) & np.isinf(left), k * step, left)
        p = p - step * (x.T @ (x @ w - y))
    first = np.argsort(left)[:6]
    h = np.abs(x.T @ y)
    assert set(first) <= set(np.argsort(-h)[:12])
    u = 0.5 * ACTIVE / h[first]
    alone = np.log(2 * h[first] * u / (0.5 * alpha**2 * (1 - u))) / (2 * h[first])
    assert left[first] == pytest.approx(alone, rel=0.12)


@pytest.mark.parametrize(("scale", "within"), [(0.1, 0.05), (1e-3, 0.03)])
def test_solved_curves_confirm_it(scale, within):
    """Times at which the excess risk has fallen by 10 and by 20 %, and shares that have left."""
    problem = small(scale)
    found = search(problem)
    solution = dmft.solve(
        problem, t_max=1.4 * found.search_time, n_paths=2048, replicates=2, rtol=1e-3
    )
    assert solution.status == "done"
    times = np.linspace(0.3, 1.35, 400) * found.search_time

    def solved(name, positive):
        curve = getattr(solution, name)
        return curve_at(solution.time, solution.panel, curve, times, positive=positive)

    risk, alone = solved("excess_risk", True), isolated_risk(problem, times)
    for level in (0.9, 0.8):
        ratio = times[np.argmax(risk < level)] / times[np.argmax(alone < level)]
        assert abs(ratio - 1.0) < within
    shares, predicted = solved("active_fraction", False), isolated_share(problem, times)
    for share in (1e-3, 3e-3):
        ratio = times[np.argmax(shares > share)] / times[np.argmax(predicted > share)]
        assert abs(ratio - 1.0) < 0.1


def test_the_command_prints_it_for_small_starts_only(capsys):
    line = ["theory", "--set", "problem.network.init_scale=1e-6"]
    assert main([*line, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["search"]
    assert found == search(small(1e-6)).to_dict()
    assert main(line) == 0
    assert "search ends at            3.47583" in capsys.readouterr().out
    assert main(["theory", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["search"] is None


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"network": {"init_scale": 0.3}}, "problem.network.init_scale"),
        ({"network": {"init_scale": 1e-3, "depth": 3}}, "problem.network"),
        ({"network": {"kind": "linear"}}, "problem.network"),
        (
            {"network": {"init_scale": 1e-3}, "dynamics": {"weight_decay": 0.1}},
            "dynamics.weight_decay",
        ),
        ({"network": {"init_scale": 1e-3}, "noise_std": 1e3}, "problem.noise_std"),
    ],
)
def test_what_is_no_search_is_refused(change, where):
    with pytest.raises(InputError) as refused:
        search(dmft.Problem(**change))
    assert refused.value.location == where
