"""Losses by finite differences and against the solver's; labels by their laws."""

import numpy as np
import pytest

from dmft import InputError, Problem
from dmft.simulation.optimisers import update_of

KINDS = ["squared", "logistic", "huber", "hinge", "poisson"]


def problem_of(kind, **changes):
    labels = {"poisson": "poisson", "squared": "linear", "huber": "outliers"}.get(kind, "sign")
    return Problem(loss={"kind": kind}, labels={"kind": labels}, **changes)


@pytest.mark.parametrize("kind", KINDS)
def test_slopes_and_curvatures_are_derivatives(kind):
    loss = problem_of(kind).loss
    h = np.linspace(-6.03, 6.07, 97)[:, None]
    y = np.array([0.0, 1.0, 3.0]) if kind == "poisson" else np.array([-1.0, 1.0])
    step = 1e-5
    slope = (loss.values(h + step, y) - loss.values(h - step, y)) / (2 * step)
    np.testing.assert_allclose(loss.slopes(h, y), slope, rtol=1e-6, atol=1e-6)
    second = (loss.slopes(h + step, y) - loss.slopes(h - step, y)) / (2 * step)
    np.testing.assert_allclose(loss.curvatures(h, y), second, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_those_of_the_solver(kind):
    from dmft.solver.losses import losses

    loss = problem_of(kind).loss
    h = np.concatenate([np.linspace(-700, 700, 57), [0.3, 1e-9, 1.0, -1.0]])[None]
    h = np.minimum(h, 600.0) if kind == "poisson" else h
    for label in [0.0, 2.0] if kind == "poisson" else [-1.0, 1.0]:
        y = np.array([label])
        found = [np.empty_like(h) for _ in range(3)]
        losses(loss.code, loss.parameter, h, y, *found)
        ours = [f(h, y[:, None]) for f in (loss.values, loss.slopes, loss.curvatures)]
        for one, other in zip(ours, found, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-300)


def labels_of(problem, fields, exact=True, seed=0):
    generator = np.random.default_rng(seed)
    return problem.labels.draw(fields, problem.noise_std, generator, exact_noise=exact)


def test_laws_of_labels():
    n = 400_000
    fields = np.full(n, 0.6)

    def law(kind, loss="squared", **more):
        return Problem(noise_std=0.5, loss={"kind": loss}, labels={"kind": kind, **more})

    def mean(problem, exact=False):
        return labels_of(problem, fields, exact).mean()

    from scipy.special import expit, ndtr

    tolerance = 4 / n**0.5
    assert mean(law("sign")) == pytest.approx(2 * ndtr(0.6 / 0.5) - 1, abs=tolerance)
    assert mean(law("logit", slope=2.0)) == pytest.approx(2 * expit(1.2) - 1, abs=tolerance)
    assert mean(law("random")) == pytest.approx(0.0, abs=tolerance)
    counts = labels_of(law("poisson", slope=1.5), fields)
    assert counts.mean() == pytest.approx(np.exp(0.9), abs=2 * tolerance)
    assert counts.var() == pytest.approx(np.exp(0.9), rel=0.02)
    outliers = law("outliers", fraction=0.2, outlier_std=3.0)
    for exact in (False, True):
        noise = labels_of(outliers, fields, exact) - 0.6
        assert noise.var() == pytest.approx(0.8 * 0.25 + 0.2 * 9.0, rel=0.02)
        assert np.mean(noise**4) == pytest.approx(3 * (0.8 * 0.0625 + 0.2 * 81.0), rel=0.05)


def test_stratified_noise_has_its_exact_variance():
    fields = np.zeros(1000)
    problem = Problem(noise_std=0.5)
    assert np.mean(labels_of(problem, fields) ** 2) == pytest.approx(0.25, rel=1e-12)
    outliers = Problem(noise_std=0.5, labels={"kind": "outliers", "fraction": 0.25})
    expected = 0.75 * 0.25 + 0.25 * 25.0
    assert np.mean(labels_of(outliers, fields) ** 2) == pytest.approx(expected, rel=1e-12)


def test_counts_beyond_all_bounds_are_refused():
    problem = Problem(labels={"kind": "poisson", "slope": 50.0})
    with pytest.raises(InputError, match=r"slope: given labels of mean exp\(50\), must be below"):
        labels_of(problem, np.ones(3))


@pytest.mark.parametrize("kind", ["adam", "adamw", "rmsprop", "adagrad"])
def test_a_parameter_without_gradient_stays(kind):
    """0/0 of a vanished gradient at epsilon = 0 is no step, and no NaN."""
    dynamics = Problem(dynamics={"kind": kind, "epsilon": 0.0, "weight_decay": 0.0}).dynamics
    update = update_of(dynamics, 2)
    parameters = np.array([[0.4], [0.0]])
    for _ in range(2):
        moved = update.step(parameters, np.array([[1.0], [0.0]]), np.ones(1))
        assert moved[1, 0] == 0.0 and moved[0, 0] < 0.4
