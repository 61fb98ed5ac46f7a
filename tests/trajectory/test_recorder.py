"""The recorder against the exact trajectory of the same run."""

from __future__ import annotations

import numpy as np
import pytest

from dmft import trajectory
from dmft.errors import InputError
from dmft.trajectory.files import load_report

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def train(recorder, steps, every, width=16, step_size=0.05):
    """A small network; returns the exact parameters at the recorded steps."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(20, width), torch.nn.Tanh(), torch.nn.Linear(width, 3)
    )
    recorder.start(net)
    optimizer = torch.optim.SGD(net.parameters(), lr=step_size, momentum=0.9)
    x, y = torch.randn(64, 20), torch.randn(64, 3)
    hook = recorder.attach(optimizer)
    rows = [torch.nn.utils.parameters_to_vector(net.parameters()).detach().double().numpy()]
    for step in range(1, steps + 1):
        batch = torch.randint(0, 64, (8,))
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(net(x[batch]), y[batch]).backward()
        optimizer.step()
        if step % every == 0:
            vector = torch.nn.utils.parameters_to_vector(net.parameters())
            rows.append(vector.detach().double().numpy())
    hook.remove()
    return np.array(rows)


def test_few_parameters_are_exact():
    recorder = trajectory.Recorder(every=5)
    rows = train(recorder, 40, 5)
    exact = trajectory.of_arrays(rows, np.arange(0, 41, 5))
    found = recorder.trajectory()
    assert found.step.tolist() == exact.step.tolist()
    assert np.abs(found.map().values - exact.map().values).max() < 1e-6  # differences in float32
    assert found.scalars["length"][0] == pytest.approx(exact.scalars["length"][0], rel=1e-5)


def test_2000_steps_within_the_error_bars():
    z = []
    for seed in range(2):
        recorder = trajectory.Recorder(every=20, width=509, seed=seed)
        rows = train(recorder, 2000, 20, width=400, step_size=0.003)
        exact, found = trajectory.of_arrays(rows), recorder.trajectory()
        assert found.parameters == rows.shape[1] > 9000
        deviation = found.map().values - exact.map().values
        error = found.map().stderr
        away = error > 1e-9
        z.append((deviation[away] / error[away]).ravel())
    assert np.sqrt(np.mean(np.square(np.concatenate(z)))) < 2.0


def test_the_last_checkpoints_and_anchors_are_exact():
    recorder = trajectory.Recorder(every=5, width=31, window=3, anchors=[0, 12])
    rows = train(recorder, 40, 1)
    kept = recorder.exact()
    assert kept.step.tolist() == [0, 12, 30, 35, 40]
    exact = trajectory.of_arrays(rows[[0, 12, 30, 35, 40]])
    assert np.abs(kept.map().values - exact.map().values).max() < 1e-12


def test_saved_like_every_trajectory(tmp_path):
    recorder = trajectory.Recorder(every=10)
    train(recorder, 30, 10)
    recorder.save(tmp_path / "run.h5")
    assert load_report(tmp_path / "run.h5").path.step.tolist() == [0, 10, 20, 30]


def test_bad_use():
    with pytest.raises(InputError, match="every: given 0"):
        trajectory.Recorder(every=0)
    recorder = trajectory.Recorder(torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match="at least 2"):
        recorder.exact()
    recorder.record(3)
    with pytest.raises(InputError, match="given 3 after 3, must increase"):
        recorder.record(3)
    with pytest.raises(InputError, match="another model"):
        recorder.start(torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match="no model"):
        trajectory.Recorder().record(0)
    frozen = torch.nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(InputError, match="without trainable parameters"):
        trajectory.Recorder(frozen)
