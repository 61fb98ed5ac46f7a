"""The table of observables: mean field against finite networks, and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

import dmft
from dmft.results.observables import (
    OBSERVABLES,
    Weights,
    label_variance,
    observables_of,
    weight_curves,
)
from dmft.results.sign_error import sign_error

FINITE = 0.01  # relative, of networks of a few hundred coordinates; of order 1/d
PROBLEMS = {
    "default": ({}, 20.0),
    "decay": ({"dynamics": {"weight_decay": 0.1}, "sampling_ratio": 1.2}, 20.0),
    "depth-3": ({"network": {"depth": 3, "init_scale": 0.5}}, 10.0),
    "linear": ({"network": {"kind": "linear"}, "teacher": {"kind": "gaussian"}}, 10.0),
    "features": (
        {
            "features": {"kind": "discrete", "values": [0.5, 2.0], "weights": [0.5, 0.5]},
            "teacher": {"kind": "discrete", "values": [0.0, 1.0], "weights": [0.7, 0.3]},
        },
        10.0,
    ),
    "sgd": ({"dynamics": {"kind": "sgd", "step_size": 0.2, "batch_fraction": 0.5}}, 60.0),
}


def quartic(weights, teacher):
    """Bounded, as the largest teacher values of a network differ from draw to draw."""
    square = (weights - 0.5 * teacher) ** 2
    return square**2 / (1.0 + square**2)


@pytest.mark.parametrize("name", PROBLEMS)
def test_mean_field_and_networks_agree(name):
    given, t_max = PROBLEMS[name]
    problem, user = dmft.Problem(**given), {"quartic": quartic}
    solution = dmft.solve(problem, t_max=t_max, n_paths=2048, replicates=4, observables=user)
    late = np.flatnonzero(solution.time > 0.02 * t_max)  # at nodes: fractions are no polynomials
    chosen = late[:: max(1, len(late) // 5)]
    times = solution.time[chosen]
    simulation = dmft.simulate(problem, dimension=600, seeds=12, times=times, observables=user)
    assert solution.status == "done"
    assert list(solution.curves) == [*observables_of(problem), "quartic"] == [*simulation.curves]
    for curve in solution.curves:
        ours, theirs = getattr(solution, curve)[chosen], getattr(simulation, curve)[1:]
        errors = np.hypot(
            getattr(solution, f"{curve}_stderr")[chosen], getattr(simulation, f"{curve}_stderr")[1:]
        )
        # A quantile or a fraction of 600 coordinates is one of 600 numbers.
        grain = 1.0 / 600 if curve.endswith(("fraction", "rate", "weight")) else 0.0
        allowed = 4.0 * errors + 2.0 * FINITE * np.abs(ours) + 2.0 * grain
        assert np.all(np.abs(ours - theirs) < allowed), curve


def test_a_few_weights_by_hand():
    problem = dmft.Problem(teacher={"kind": "discrete", "values": [0.0, 2.0]}, noise_std=0.5)
    weights = Weights(
        problem,
        values=np.array([[0.0, 0.3], [0.0, -0.05], [0.0, 1.5], [0.0, 2.0]]),
        teacher=np.array([0.0, 0.0, 2.0, 2.0]),
        variance=np.array([1.0, 2.0, 1.0, 2.0]),
        probability=np.full(4, 0.25),
    )
    found = {name: values[1] for name, values in weight_curves(weights).items()}
    expected = {
        "excess_risk": (0.09 + 2 * 0.0025 + 0.25) / 4,
        "test_mse": (0.09 + 2 * 0.0025 + 0.25) / 4 + 0.25,
        "overlap": (3.0 + 8.0) / 4,
        "squared_norm": (0.09 + 2 * 0.0025 + 2.25 + 8.0) / 4,
        "l1_norm": 3.85 / 4,
        "active_fraction": 0.75,
        "true_positive_rate": 1.0,
        "false_positive_rate": 0.5,
        "risk_on_support": 0.25 / 4,
        "risk_off_support": (0.09 + 2 * 0.0025) / 4,
        "small_weight": 0.05,
        "large_weight": 2.0,
    }
    assert found == pytest.approx(expected)


def test_label_variance():
    outliers = {"kind": "outliers", "fraction": 0.2, "outlier_std": 3.0}
    problem = dmft.Problem(noise_std=0.5, labels=outliers)
    assert label_variance(problem) == pytest.approx(0.8 * 0.25 + 0.2 * 9.0)


@pytest.mark.parametrize(
    "labels, noise_std", [({"kind": "sign"}, 0.7), ({"kind": "logit", "slope": 2.5}, 0.1)]
)
def test_sign_error_by_drawing(labels, noise_std):
    problem = dmft.Problem(loss={"kind": "logistic"}, labels=labels, noise_std=noise_std)
    rng = np.random.default_rng(5)
    overlap, squared_norm, strength = 0.4, 0.9, 0.6
    covariance = [[squared_norm, overlap], [overlap, strength]]
    h, teacher = rng.multivariate_normal([0.0, 0.0], covariance, 400_000).T
    if labels["kind"] == "sign":
        y = np.sign(teacher + noise_std * rng.standard_normal(len(teacher)))
    else:
        y = np.where(rng.random(len(teacher)) < 1 / (1 + np.exp(-2.5 * teacher)), 1.0, -1.0)
    wrong = y * h <= 0
    found = sign_error(problem, np.array([overlap, 0.0]), np.array([squared_norm, 0.0]), strength)
    assert abs(found[0] - wrong.mean()) < 4 * wrong.std() / len(h) ** 0.5
    assert found[1] == 0.5


@pytest.mark.parametrize(
    "observables, message",
    [
        ({"overlap": quartic}, "a name that is taken"),
        ({"not a name": quartic}, "must be a name"),
        ({"number": 3}, "must be a function"),
        ({"mean": lambda w, teacher: w.mean()}, "must return finite numbers of the shape"),
        ({"bad": lambda w, teacher: w / 0 * 0}, "must return finite numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*encountered:RuntimeWarning")
def test_bad_observables(observables, message):
    with pytest.raises(dmft.InputError, match=message):
        dmft.solve(dmft.Problem(), t_max=0.1, n_paths=64, replicates=1, observables=observables)
    with pytest.raises(dmft.InputError, match=message):
        dmft.simulate(dmft.Problem(), dimension=20, seeds=1, t_max=0.1, observables=observables)


def test_users_observables_are_saved(tmp_path):
    solution = dmft.solve(
        dmft.Problem(), t_max=0.5, n_paths=64, replicates=2, observables={"quartic": quartic}
    )
    dmft.save(tmp_path / "out.h5", solution)
    loaded = dmft.load(tmp_path / "out.h5")
    np.testing.assert_array_equal(loaded.quartic, solution.quartic)
    np.testing.assert_array_equal(loaded.quartic_stderr, solution.quartic_stderr)
    np.testing.assert_array_equal(loaded.replicate_quartic, solution.replicate_quartic)
    assert loaded.mean_charge is None
    with pytest.raises(AttributeError):
        loaded.sextic  # noqa: B018


def test_every_row_has_words():
    for name, row in OBSERVABLES.items():
        assert row.name == name and row.words
