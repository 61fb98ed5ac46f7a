"""Paths that come back to where they started, and blocks that alone move: no noise, no NaN."""

from __future__ import annotations

import numpy as np
import pytest

from dmft import trajectory
from dmft.trajectory.files import load_report, save_report
from dmft.trajectory.report import report_of
from dmft.trajectory.scalars import SCALARS


@pytest.fixture
def walk():
    return np.cumsum(np.random.default_rng(0).standard_normal((20, 5000)), axis=0)


@pytest.mark.parametrize("origin", [0, 3])
def test_what_returns_to_the_origin_has_no_direction(walk, origin):
    walk[[7, 12]] = walk[origin]
    path = trajectory.of_arrays(walk)
    apart = np.delete(walk - walk[origin], [origin, 7, 12], axis=0)
    found = path.map(origin)
    assert found.points.tolist() == [t for t in range(20) if t not in (origin, 7, 12)]
    unit = apart / np.linalg.norm(apart, axis=1)[:, None]
    assert np.abs(found.values - unit @ unit.T).max() < 1e-12
    assert path.similarity(origin=origin) == pytest.approx((unit @ unit.T).mean(), rel=1e-12)


def test_a_zero_checkpoint_after_others_has_no_direction(walk):
    walk[5] = 0.0
    assert 5 not in trajectory.of_arrays(walk).map().points


@pytest.mark.parametrize("size", [1e-6, 1.0])
def test_small_steps_keep_their_direction(walk, size):
    small = 100.0 * walk[:1] + size * (walk - walk[:1])
    found = trajectory.of_arrays(small).map(0)
    assert len(found.points) == 19
    expected = trajectory.of_arrays(walk).map(0).values
    assert np.abs(found.values - expected).max() < 1e-7


@pytest.mark.parametrize("sketch", [False, True])
def test_a_block_that_alone_moves_at_first(tmp_path, sketch):
    """Without it the first step has no length: error bars are large there, and finite."""
    rng = np.random.default_rng(1)
    (tmp_path / "run").mkdir()
    bias, weight = np.zeros(3), rng.standard_normal((40, 40))
    for step in range(8):
        np.savez(tmp_path / "run" / f"step{step}.npz", bias=bias, weight=weight)
        bias = bias + np.array([1.0, 0.0, 0.0])
        weight = weight + (step > 0) * rng.standard_normal((40, 40))
    report = report_of(trajectory.of_checkpoints(tmp_path / "run", sketch=sketch), "run", None)
    save_report(tmp_path / "x.h5", report)
    found = load_report(tmp_path / "x.h5").path
    assert np.isfinite(found.map(0).stderr).all()
    assert found.map(0).stderr[0, 1:].min() > found.map(0).stderr[2:, 2:].max()
    assert all(found.scalars[name][1] is not None for name in SCALARS)
