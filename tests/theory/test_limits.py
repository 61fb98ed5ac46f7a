"""Fixed points of any loss against finite problems solved by others, closed forms and limits."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq, linprog, minimize, minimize_scalar, nnls
from scipy.special import expit, log_ndtr, ndtr

from dmft import InputError, Problem
from dmft.settings import SimulationSettings
from dmft.simulation.data import draw_data
from dmft.theory import limit, max_margin, predict, separability_threshold

SIGNS = {"loss": {"kind": "logistic"}, "labels": {"kind": "sign"}}
LINEAR = {"kind": "linear"}
SEPARABLE = Problem(
    sampling_ratio=1.5,
    noise_std=0.0,
    teacher={"kind": "bernoulli-gauss", "density": 0.2},
    **SIGNS,
)


def draws(problem, d, count):
    for seed in range(count):
        yield draw_data(problem, SimulationSettings(dimension=d), np.random.SeedSequence(seed))


def order(data, w):
    """Overlap and squared norm of weights."""
    s, teacher = data.coordinates.variance, data.coordinates.teacher
    return np.mean(s * w * teacher), np.mean(s * w**2)


def assert_within(found, expected, slack):
    """Mean over draws within four standard errors and a finite-d allowance, relative."""
    found, expected = np.array(found), np.array(expected)
    error = found.std(axis=0, ddof=1) / len(found) ** 0.5
    assert np.all(error < 0.1 * np.abs(expected) + 0.1)
    difference = np.abs(found.mean(axis=0) - expected)
    assert np.all(difference < 4 * error + slack * np.abs(expected)), (found.mean(axis=0), expected)


# ---------------------------------------------------------------------- known values


def test_values_that_other_programs_found():
    problem = Problem(sampling_ratio=4.0, noise_std=0.7, network=LINEAR, **SIGNS)
    found = limit(problem)
    assert found.regime == "m-estimator"
    np.testing.assert_allclose(found.squared_norm, 40.94, rtol=3e-4)
    np.testing.assert_allclose(found.overlap, 5.187, rtol=1e-4)
    np.testing.assert_allclose(found.angle, 0.19912, rtol=1e-4)
    np.testing.assert_allclose(found.train_loss, 0.24314, rtol=1e-4)
    found = limit(Problem(sampling_ratio=1.0, noise_std=0.3, network=LINEAR, **SIGNS))
    assert found.regime == "max-margin"
    np.testing.assert_allclose([found.margin, found.angle], [0.74936, 0.28321], rtol=2e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling_ratio": 0.5},
        {"sampling_ratio": 0.5, "network": {"init_u": 0.5, "init_v": 0.2}},
        {"sampling_ratio": 2.0, "network": LINEAR},
        {"dynamics": {"weight_decay": 0.1}, "teacher": {"kind": "gaussian", "mean": 0.5}},
        {"sampling_ratio": 2.0, "network": LINEAR, "dynamics": {"weight_decay": 0.3}},
        {"features": {"kind": "discrete", "values": [0.3, 1.7]}, "network": {"depth": 3}},
    ],
)
def test_squared_loss_is_that_of_predict(changes):
    problem = Problem(**changes)
    expected, found = predict(problem), limit(problem)
    np.testing.assert_allclose(found.excess_risk, expected.excess_risk, rtol=1e-7)
    np.testing.assert_allclose(2 * found.train_loss, expected.train_mse, rtol=1e-7, atol=1e-12)


def folded(problem):
    """Density of v = y h* for sign and logit labels with rho2 = 1."""

    def density(v):
        normal = np.exp(-0.5 * v**2) / np.sqrt(2 * np.pi)
        if problem.labels.kind == "logit":
            return 2 * normal * expit(problem.labels.slope * v)
        return 2 * normal * ndtr(v / problem.noise_std)

    return density


@pytest.mark.parametrize("noise", [0.3, 0.8])
def test_l2_margin_is_that_of_gordons_inequality(noise):
    """max m: delta E(m - c v - sqrt(1-c^2) z)_+^2 <= 1 - c^2 (Montanari et al. 2019)."""
    problem = Problem(sampling_ratio=1.2, noise_std=noise, **SIGNS)
    density = folded(problem)

    def excess(margin, c):
        b = np.sqrt(1 - c**2)

        def inner(v):
            u = (margin - c * v) / b
            bell = np.exp(-0.5 * u**2) / np.sqrt(2 * np.pi)
            return density(v) * ((1 + u**2) * ndtr(u) + u * bell)

        return 1.2 * quad(inner, -9, 9, limit=200)[0] - 1

    def best(margin):
        return minimize_scalar(lambda c: excess(margin, c), bounds=(0.01, 0.999), method="bounded")

    margin = brentq(lambda m: best(m).fun, 0.05, 2.0, xtol=1e-7)
    found = max_margin(problem, "l2")
    np.testing.assert_allclose(found.margin, margin, rtol=1e-5)
    np.testing.assert_allclose(found.angle, np.arccos(best(margin).x) / np.pi, atol=1e-3)


@pytest.mark.parametrize(
    "labels, noise", [({"kind": "sign"}, 0.5), ({"kind": "logit", "slope": 3.0}, 0.0)]
)
def test_threshold_by_quadrature(labels, noise):
    problem = Problem(noise_std=noise, loss={"kind": "logistic"}, labels=labels)
    density = folded(problem)

    def missed(t):
        def inner(v):
            bell = np.exp(-0.5 * (t * v) ** 2) / np.sqrt(2 * np.pi)
            return density(v) * ((1 + (t * v) ** 2) * np.exp(log_ndtr(-t * v)) - t * v * bell)

        return quad(inner, -9, 9, limit=200)[0]

    expected = 1 / minimize_scalar(missed, bracket=(0.0, 1.0)).fun
    np.testing.assert_allclose(separability_threshold(problem), expected, rtol=1e-7)


def test_thresholds_in_closed_form():
    random = Problem(loss={"kind": "logistic"}, labels={"kind": "random"})
    np.testing.assert_allclose(separability_threshold(random), 2.0, rtol=1e-9)  # Cover 1965
    assert separability_threshold(SEPARABLE) == np.inf
    assert separability_threshold(Problem()) == 0.0
    # With hardly any information signs are random.
    noisy = Problem(noise_std=1e4, **SIGNS)
    np.testing.assert_allclose(separability_threshold(noisy), 2.0, rtol=1e-6)


def test_margins_vanish_at_the_threshold():
    problem = Problem(noise_std=0.7, **SIGNS)
    edge = separability_threshold(problem)
    margins = [
        max_margin(problem.model_copy(update={"sampling_ratio": edge - gap}), "l2").margin
        for gap in (0.1, 0.01)
    ]
    assert 0 < margins[1] < 0.2 * margins[0]


def test_family_leads_from_l2_to_l1():
    l2, l1 = max_margin(SEPARABLE, "l2"), max_margin(SEPARABLE, "l1")
    family = [max_margin(SEPARABLE, mu) for mu in (1e4, 1.0, 1e-2, 1e-8)]
    angles = [each.angle for each in (l2, *family, l1)]
    assert np.all(np.diff(angles) < 0)
    np.testing.assert_allclose(family[0].squared_norm, l2.squared_norm, rtol=1e-5)
    far = max_margin(SEPARABLE, 1e-200)
    np.testing.assert_allclose(far.squared_norm, l1.squared_norm, rtol=2e-2)


# ---------------------------------------------------------------------- finite problems


def minimised(problem, data):
    """argmin sum l(h, y) + lambda/2 |w|^2 by L-BFGS."""
    decay = problem.dynamics.weight_decay
    X, y = data.features, data.labels

    def energy(w):
        h = X @ w
        slope = X.T @ problem.loss.slopes(h, y)
        return problem.loss.values(h, y).sum() + 0.5 * decay * w @ w, slope + decay * w

    options = {"maxiter": 5000, "maxfun": 10_000, "gtol": 1e-7, "ftol": 1e-14}
    return minimize(energy, np.zeros(X.shape[1]), jac=True, method="L-BFGS-B", options=options).x


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling_ratio": 6.0, "noise_std": 0.7, **SIGNS},
        {"sampling_ratio": 1.5, "noise_std": 0.3, **SIGNS, "dynamics": {"weight_decay": 0.2}},
        {
            "sampling_ratio": 5.0,
            "loss": {"kind": "logistic"},
            "labels": {"kind": "logit", "slope": 2.0},
            "features": {"kind": "discrete", "values": [0.5, 1.5]},
        },
        {"sampling_ratio": 4.0, "loss": {"kind": "logistic"}, "labels": {"kind": "random"}},
        {"sampling_ratio": 2.0, "loss": {"kind": "huber"}, "labels": {"kind": "outliers"}},
        {
            "sampling_ratio": 0.7,
            "loss": {"kind": "huber", "width": 0.5},
            "labels": {"kind": "outliers"},
            "dynamics": {"weight_decay": 0.2},
        },
        {"sampling_ratio": 2.5, "loss": {"kind": "squared"}, "labels": {"kind": "sign"}},
        {
            "sampling_ratio": 4.0,
            "loss": {"kind": "poisson"},
            "labels": {"kind": "poisson", "slope": 0.5},
        },
        {
            "sampling_ratio": 2.0,
            "loss": {"kind": "poisson"},
            "labels": {"kind": "poisson", "slope": 0.5},
            "dynamics": {"weight_decay": 0.5},
        },
        {"sampling_ratio": 3.0, "loss": {"kind": "huber"}, "labels": {"kind": "poisson"}},
    ],
    ids=lambda c: f"{c['loss']['kind']} of {c['labels']['kind']}",
)
def test_minima_of_finite_problems(changes):
    problem = Problem(network=LINEAR, teacher={"kind": "gaussian"}, **changes)
    found = []
    for data in draws(problem, 250, 8):
        w = minimised(problem, data)
        loss = problem.loss.values(data.features @ w, data.labels).mean()
        found.append((*order(data, w), loss))
    expected = limit(problem)
    expected = (expected.overlap, expected.squared_norm, expected.train_loss)
    assert_within(found, expected, slack=0.03)


def test_l1_penalty_of_finite_problems():
    """Logistic loss and lambda |w|_1, by L-BFGS-B in w = p - q with p, q >= 0."""
    problem = Problem(
        sampling_ratio=2.0, noise_std=0.3, dynamics={"weight_decay": 0.3}, **SIGNS,
        teacher={"kind": "bernoulli-gauss", "density": 0.3},
    )  # fmt: skip
    found = []
    for data in draws(problem, 200, 8):
        X, y = data.features, data.labels

        def energy(pq, X=X, y=y):
            h = X @ (pq[:200] - pq[200:])
            slope = X.T @ problem.loss.slopes(h, y)
            value = problem.loss.values(h, y).sum() + 0.3 * pq.sum()
            return value, np.concatenate([slope, -slope]) + 0.3

        bounds = [(0, None)] * 400
        options = {"maxiter": 3000, "ftol": 1e-13}
        pq = minimize(
            energy, np.zeros(400), jac=True, method="L-BFGS-B", bounds=bounds, options=options
        ).x
        w = pq[:200] - pq[200:]
        found.append((*order(data, w), problem.loss.values(X @ w, y).mean()))
    expected = limit(problem)
    assert expected.regime == "lasso"
    assert_within(found, (expected.overlap, expected.squared_norm, expected.train_loss), 0.03)


def margins(data):
    """The matrix of y_i x_i, whose product with w must be at least 1."""
    return data.labels[:, None] * data.features


def test_l2_margins_of_finite_problems():
    found = []
    for data in draws(SEPARABLE, 150, 6):
        A = margins(data)
        # Least distance programming (Lawson and Hanson 1974).
        matrix = np.vstack([A.T, np.ones(len(A))])
        target = np.append(np.zeros(A.shape[1]), 1.0)
        residual = matrix @ nnls(matrix, target)[0] - target
        w = -residual[:-1] / residual[-1]
        assert (A @ w).min() > 1 - 1e-6
        found.append((*order(data, w), np.mean(w**2) ** -0.5))
    expected = max_margin(SEPARABLE, "l2")
    assert_within(found, (expected.overlap, expected.squared_norm, expected.margin), 0.03)


def test_l1_margins_of_finite_problems():
    found = []
    for data in draws(SEPARABLE, 200, 6):
        A = margins(data)
        best = linprog(np.ones(400), A_ub=np.hstack([-A, A]), b_ub=-np.ones(len(A)))
        w = best.x[:200] - best.x[200:]
        found.append((*order(data, w), 1 / np.mean(np.abs(w))))
    expected = max_margin(SEPARABLE, "l1")
    assert_within(found, (expected.overlap, expected.squared_norm, expected.margin), 0.03)


def test_hyperbolic_margins_of_finite_problems():
    """By the dual: max sum_i a_i - sum_j mu cosh(2 p_j)/2, p = A^T a, a >= 0."""
    mu, found = 0.1, []
    for data in draws(SEPARABLE, 150, 6):
        A = margins(data)

        def energy(dual, A=A):
            p = A.T @ dual
            return 0.5 * mu * np.cosh(2 * p).sum() - dual.sum(), A @ (mu * np.sinh(2 * p)) - 1

        bounds = [(0, None)] * len(A)
        options = {"maxiter": 5000, "maxfun": 10_000, "ftol": 1e-14, "gtol": 1e-8}
        best = minimize(
            energy, np.zeros(len(A)), jac=True, method="L-BFGS-B", bounds=bounds, options=options
        )
        w = mu * np.sinh(2 * A.T @ best.x)
        assert (A @ w).min() > 0.999
        found.append(order(data, w))
    expected = max_margin(SEPARABLE, mu)
    assert_within(found, (expected.overlap, expected.squared_norm), 0.03)


@pytest.mark.parametrize("margin", [1e-3, 0.1, 10.0])
def test_margin_of_the_hinge_is_only_a_unit(margin):
    """The loss is homogeneous: w and the loss scale with the margin."""
    common = {"sampling_ratio": 5.0, "noise_std": 1.0, "labels": {"kind": "sign"}}
    one = limit(Problem(loss={"kind": "hinge"}, **common))
    found = limit(Problem(loss={"kind": "hinge", "margin": margin}, **common))
    np.testing.assert_allclose(found.overlap, margin * one.overlap, rtol=1e-6)
    np.testing.assert_allclose(found.squared_norm, margin**2 * one.squared_norm, rtol=1e-6)
    np.testing.assert_allclose(found.train_loss, margin * one.train_loss, rtol=1e-5)


def test_without_noise_the_teacher_is_found():
    found = limit(Problem(sampling_ratio=2.0, noise_std=0.0, loss={"kind": "huber"}))
    assert (found.excess_risk, found.train_loss) == (0.0, 0.0)


# ---------------------------------------------------------------------- doors


@pytest.mark.parametrize(
    "changes, message",
    [
        ({**SIGNS, "network": {"depth": 3}}, "depth: given 3 with separable signs"),
        (
            {**SIGNS, "network": {"depth": 3}, "dynamics": {"weight_decay": 0.1}},
            "depth: given 3 with weight decay",
        ),
        ({"loss": {"kind": "hinge"}, "labels": {"kind": "sign"}}, "given 'hinge' below"),
        (
            {"loss": {"kind": "poisson"}, "labels": {"kind": "poisson"}},
            "sampling_ratio: given 0.5, has no minimum",
        ),
        (
            {"sampling_ratio": 1.0, "loss": {"kind": "huber"}},
            "sampling_ratio: given 1, has no minimum",
        ),
        ({**SIGNS, "dynamics": {"kind": "adam"}}, "given 'adam', predictions are those of"),
    ],
)
def test_what_has_no_limit_is_refused(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        limit(Problem(**changes))
    assert "\n" not in str(caught.value)


def test_margins_need_separable_signs():
    with pytest.raises(InputError, match="given 'linear', a margin needs"):
        max_margin(Problem())
    with pytest.raises(InputError, match="given 4, separable below 3.26"):
        max_margin(Problem(sampling_ratio=4.0, noise_std=0.7, **SIGNS))
    with pytest.raises(InputError, match="given 'l3', allowed: l2, l1, a positive number"):
        max_margin(SEPARABLE, "l3")
