"""The phenomena at their small size, and the page they are put on."""

from __future__ import annotations

import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts" / "phenomena"
QUICK = ("incremental",)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The scripts import each other by name; forget them afterwards, the names are common."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(SCRIPTS)
    yield
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(SCRIPTS) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


def names():
    sys.path.insert(0, str(SCRIPTS))
    try:
        import reproduce
    finally:
        sys.path.remove(str(SCRIPTS))
    return reproduce.NAMES


# tests/trajectory and tests/conservation have those of trajectories and of laws.
MEAN_FIELD = [n for n in names() if not n.startswith(("trajectory_", "conservation_"))]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in MEAN_FIELD]
)
def test_phenomenon(name, tmp_path):
    from importlib import import_module

    outcome = import_module(name).run(False, tmp_path / "figure.png")
    assert len(outcome.checks) >= 3
    failed = [check for check in outcome.checks if not check.passed]
    assert not failed
    assert (tmp_path / "figure.png").stat().st_size > 10_000
    assert json.loads(json.dumps(outcome.config)) == outcome.config
    # A check that could not fail would be one whose range holds everything.
    assert all(np.isfinite(check.low) or np.isfinite(check.high) for check in outcome.checks)


def test_linear_algebra_has_one_thread(tmp_path):
    from common import run_limited
    from threadpoolctl import threadpool_info

    def threads(full, figure):
        np.ones((2, 2)) @ np.ones((2, 2))
        assert full and figure == tmp_path
        return {library["num_threads"] for library in threadpool_info()}

    assert run_limited(threads, True, tmp_path) == {1}


def test_every_script_is_reproduced():
    scripts = {path.stem for path in SCRIPTS.glob("*.py")} - {
        "common",
        "reproduce",
        "conservation_models",
        "transformers_families",  # by scripts/model_table
        "small_gpt",  # of trajectory_gpt
    }
    assert scripts == set(names())


def test_page_shows_passes_and_failures(tmp_path, monkeypatch, capsys):
    import common
    import reproduce

    def fake(full, figure):
        figure.write_bytes(b"png")
        outcome = common.Outcome("A <title>", "First part.\n\nSecond part.", {"n": 3}, figure)
        outcome.check("fits", 1.0, 0.5, 2.0)
        outcome.check("does not fit", float("nan"), 0.5, np.inf)
        return outcome

    class Module:
        run = staticmethod(fake)

    monkeypatch.setattr(reproduce, "import_module", lambda name: Module)
    monkeypatch.setattr(sys, "argv", ["reproduce", "-o", str(tmp_path), "--only", "noise"])
    assert reproduce.main() == 1
    assert "failed: noise" in capsys.readouterr().out
    page = (tmp_path / "index.html").read_text()
    assert "A &lt;title&gt;" in page and 'src="noise.png"' in page and "small size" in page
    assert page.count(">failed<") == 2 and page.count(">passed<") == 1
    assert "at least 0.5" in page and "<p>Second part.</p>" in page
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert numbers["noise"]["checks"][1]["value"] is None
    assert numbers["noise"]["passed"] is False and len(numbers["noise"]["checks"]) == 2


def test_greedy_algorithm_by_hand():
    """Two orthogonal features: released at 1/|x^T y|, each jumps to its own coefficient."""
    from incremental import greedy

    times, saddles = greedy(np.eye(2), np.array([2.0, -0.5]), 5)
    np.testing.assert_allclose(times, [0.5, 2.0])
    np.testing.assert_allclose(saddles, [[0, 0], [2, 0], [2, -0.5]])


def test_late_steps_follow_the_flow():
    """Five rows of an exponential loss over a decade of log t, against Radau."""
    from margin_memory import late_step
    from scipy.integrate import solve_ivp

    rng = np.random.default_rng(3)
    signs = rng.choice([-1.0, 1.0], size=6)
    rows, product, first, last = np.abs(rng.normal(size=(5, 6))) * signs, 1e-2, 12.0, 120.0

    def weights(force):
        return product * np.sinh(2.0 * force)

    def rate(log_time, force):
        return rows.T @ np.exp(log_time - rows @ weights(force))

    settings = {"method": "Radau", "rtol": 1e-8, "atol": 1e-11, "t_eval": [first, last]}
    start, end = solve_ivp(rate, (0.0, last), 2.0 * signs, **settings).y.T
    errors = []
    for count in (10, 80):
        force, logs = start, np.full(5, -5.0)
        log_times = np.geomspace(first, last, count + 1)
        for before, after in pairwise(log_times):
            length = after + np.log1p(-np.exp(before - after))  # of the step, its logarithm
            logs, force = late_step(rows, force, logs, length, product)
            residual = logs + rows @ weights(force) - length
            np.testing.assert_allclose(residual[logs > -79.0], 0.0, atol=2e-3)
            assert (residual > -2e-3).all()  # where a row adds nothing
        errors.append(np.abs(weights(force) / weights(end) - 1.0).max())
    assert errors[1] < 0.015
    assert errors[1] < 0.5 * errors[0] < 0.02
