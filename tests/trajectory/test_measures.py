"""Exact values of trajectories whose maps are known in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from dmft import trajectory
from dmft.errors import InputError
from dmft.trajectory import algebra
from dmft.trajectory.measures import Trajectory


def of_gram(gram, step=None):
    step = np.arange(len(gram)) if step is None else np.asarray(step, dtype=float)
    return Trajectory(step, gram[None], np.ones(1), 1)


def of_kernel(kernel):
    return of_gram(algebra.from_kernel(kernel))


def of_vectors(theta, step=None):
    return of_gram(algebra.from_vectors(theta), step)


def value(path, name):
    return path.scalars[name][0]


def orthonormal(rng, count, dimension):
    return np.linalg.qr(rng.standard_normal((dimension, count)))[0].T


def test_one_direction():
    rng = np.random.default_rng(0)
    path = of_vectors(np.outer([0.3, 1.0, 7.0, 2.0], rng.standard_normal(40)))
    assert np.abs(path.map().values - 1.0).max() < 1e-12
    assert path.similarity() == pytest.approx(1.0, abs=1e-12)
    assert value(path, "off_diagonal_similarity") == pytest.approx(1.0, abs=1e-12)


def test_independent_directions():
    exact = of_vectors(orthonormal(np.random.default_rng(1), 25, 60))
    assert exact.similarity() == pytest.approx(1 / 25, abs=1e-12)
    assert value(exact, "off_diagonal_similarity") == pytest.approx(0.0, abs=1e-12)
    drawn = np.random.default_rng(2).standard_normal((25, 200_000))
    # Each off-diagonal cosine is of variance 1/P, and there are 25 * 24 / 2 independent ones.
    error = np.sqrt(2 / (25 * 24) / 200_000) * (24 / 25)
    assert abs(of_vectors(drawn).similarity() - 1 / 25) < 4 * error


def random_walk(count):
    """Exact kernel of an infinite-dimensional walk from 0 at its steps 1..count."""
    t = np.arange(1.0, count + 1)
    return np.minimum(t[:, None], t)


def test_random_walk_in_infinite_dimension():
    t = np.arange(1.0, 201)
    path = of_kernel(random_walk(200))
    expected = np.sqrt(np.minimum(t[:, None], t) / np.maximum(t[:, None], t))
    assert np.abs(path.map().values - expected).max() < 1e-10
    assert path.similarity() == pytest.approx(0.66973, abs=5e-6)
    assert np.abs(path.curves["update_angle"] - 90.0).max() < 1e-10
    apex = np.cos(np.radians(path.curves["origin_angle"]))
    assert np.abs(apex - np.sqrt(t[:-1] / (t[:-1] + 1))).max() < 1e-10
    share = {kind: values[0] / values.sum() for kind, values in path.spectra.items()}
    assert share["centred"] == pytest.approx(6 / np.pi**2, rel=2e-2)
    assert share["uncentred"] == pytest.approx(8 / np.pi**2, rel=2e-2)


@pytest.mark.parametrize("count", [100, 200, 400])
def test_random_walk_spectrum_approaches_its_limit(count):
    spectra = of_kernel(random_walk(count)).spectra
    uncentred, centred = (spectra[name][0] / spectra[name].sum() for name in spectra)
    # The discrete sine and cosine spectra differ from the continuous ones at order 1/T.
    assert abs(uncentred - 8 / np.pi**2) < 1.0 / count
    assert abs(centred - 6 / np.pi**2) < 1.0 / count


def test_random_walk_omega_approaches_two_thirds():
    distance = [of_kernel(random_walk(count)).similarity() - 2 / 3 for count in (100, 200, 400)]
    assert np.abs(np.diff(np.log(np.array(distance))) / np.log(2) + 1.0).max() < 0.25


def test_random_walk_of_finite_dimension():
    dimension = 40_000
    steps = np.random.default_rng(3).standard_normal((60, dimension))
    path = of_vectors(np.cumsum(steps, axis=0))
    expected = of_kernel(random_walk(60)).map().values
    # A cosine of two Gaussian vectors has variance (1 - c^2)^2 / P.
    z = (path.map().values - expected) / np.maximum((1 - expected**2), 1e-12) * dimension**0.5
    np.fill_diagonal(z, 0.0)
    assert np.abs(z).max() < 5.0
    degrees = np.degrees(1.0) / dimension**0.5
    assert np.abs(path.curves["update_angle"] - 90.0).max() < 5.0 * degrees


@pytest.mark.parametrize("r", [0.0, 0.5, 0.9, 0.99])
def test_stationary_autoregression(r):
    count = 50
    index = np.arange(count)
    path = of_kernel(r ** np.abs(index[:, None] - index))
    assert np.abs(path.map().values - r ** np.abs(index[:, None] - index)).max() < 1e-10
    omega = (count * (1 - r**2) - 2 * r * (1 - r**count)) / (count**2 * (1 - r) ** 2)
    assert path.similarity() == pytest.approx(omega, abs=1e-10)


def test_drift_orthogonal_to_the_start():
    start, drift = orthonormal(np.random.default_rng(4), 2, 30)
    t = np.linspace(0.0, 5.0, 11)
    path = of_vectors(3.0 * start + np.outer(t, 2.0 * drift), step=t)
    a = 3.0 / 2.0
    expected = (a**2 + np.outer(t, t)) / np.sqrt(np.outer(a**2 + t**2, a**2 + t**2))
    assert np.abs(path.map().values - expected).max() < 1e-12
    relative = path.map(origin=0)
    assert relative.points.tolist() == list(range(1, 11))
    assert np.abs(relative.values - 1.0).max() < 1e-12
    assert value(path, "relative_similarity") == pytest.approx(1.0, abs=1e-12)
    assert value(path, "straightness") == pytest.approx(1.0, abs=1e-12)
    assert value(path, "length") == pytest.approx(10.0, abs=1e-12)
    assert value(path, "participation_ratio") == pytest.approx(1.0, abs=1e-10)
    # A straight line does not turn. arccos would see 1e-6 degrees, the angles from the start 1e-7.
    assert path.curves["start_angle"].max() < 1e-5
    apex = np.degrees(np.arctan2(t[1:], a) - np.arctan2(t[:-1], a))
    assert np.abs(path.curves["origin_angle"] - apex).max() < 1e-10


@pytest.mark.parametrize("share", [0.2, 0.9, 1.1, 1.7, 1.99])
def test_gradient_descent_on_a_quadratic_turns_back_beyond_the_rayleigh_bound(share):
    curvature = np.geomspace(0.01, 1.0, 20)
    step_size = share / curvature[-1]
    theta = [np.random.default_rng(5).standard_normal(20)]
    for _ in range(60):
        theta.append(theta[-1] - step_size * curvature * theta[-1])
    theta = np.array(theta)
    path = of_vectors(theta)
    updates = np.diff(theta, axis=0)[:-1]
    rayleigh = (updates**2 @ curvature) / np.sum(updates**2, axis=1)
    assert np.array_equal(path.curves["update_angle"] > 90.0, rayleigh > 1.0 / step_size)
    if share == 1.99:
        assert path.curves["update_angle"][-1] > 175.0


def test_linear_regression_flow():
    rng = np.random.default_rng(6)
    design = rng.standard_normal((30, 20)) / np.sqrt(20)
    hessian, teacher = design.T @ design, rng.standard_normal(20)
    values, vectors = np.linalg.eigh(hessian)
    t = np.geomspace(0.1, 50.0, 15)
    weights = (1 - np.exp(-np.outer(t, values))) * (vectors.T @ teacher)
    path = of_vectors(weights @ vectors.T, step=t)
    kernel = weights @ weights.T
    norms = np.sqrt(np.diag(kernel))
    assert np.abs(path.kernel - kernel).max() < 1e-10
    assert np.abs(path.map().values - kernel / np.outer(norms, norms)).max() < 1e-12


def test_float32_checkpoints_with_tiny_differences():
    """|Delta| = 1e-5 |theta|: the relative map survives, though theta . theta would lose it."""
    rng = np.random.default_rng(7)
    start = rng.standard_normal(100_000)
    moves = np.cumsum(rng.standard_normal((10, 100_000)), axis=0)
    moves *= 1e-5 * np.linalg.norm(start) / np.linalg.norm(moves[0])
    stored = np.concatenate([start[None], start + moves]).astype(np.float32)
    exact = stored.astype(np.longdouble) - stored[0].astype(np.longdouble)
    product = np.array(exact[1:] @ exact[1:].T, dtype=float)
    norms = np.sqrt(np.diag(product))
    assert np.abs(of_vectors(stored).map(0).values - product / np.outer(norms, norms)).max() < 1e-12
    # Against the real moves, before storage rounded them to float32 (6e-8 of theta, and so
    # 3e-3 of a move): the rounding is noise of its own direction and lowers the cosines by its
    # squared share, about 1e-5.
    product = moves @ moves.T
    norms = np.sqrt(np.diag(product))
    assert np.abs(of_vectors(stored).map(0).values - product / np.outer(norms, norms)).max() < 1e-4
    naive = (stored @ stored.T).astype(float)
    naive = algebra.relative_kernel(algebra.from_kernel(naive), 0)[1:, 1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        lost = algebra.cosines(np.abs(naive)) - product / np.outer(norms, norms)
    assert not np.abs(lost).max() < 1e-2


def test_a_start_at_zero_has_no_direction():
    path = of_vectors(np.outer([0.0, 1.0, 2.0], np.ones(5)))
    assert path.map().points.tolist() == [1, 2]
    assert path.similarity() == pytest.approx(1.0)


def test_nothing_moves():
    path = of_vectors(np.ones((4, 5)))
    assert path.similarity() == 1.0
    assert value(path, "relative_similarity") is None
    assert value(path, "straightness") is None
    assert value(path, "length") == 0.0
    with pytest.raises(InputError, match="nothing moves away"):
        path.map(origin=0)


def test_weightings_integrate_over_their_coordinate():
    """cos(theta_t, theta_s) = cos(t - s) on a circle; the mean over [0, 1]^2 is 2 (1 - cos 1)."""
    expected = 2.0 * (1.0 - np.cos(1.0))
    uneven = np.linspace(0.0, 1.0, 400) ** 2
    circle = np.stack([np.cos(uneven), np.sin(uneven)], axis=1)
    path = of_vectors(circle, step=uneven)
    assert path.similarity("time") == pytest.approx(expected, abs=1e-5)
    assert path.similarity("length") == pytest.approx(expected, abs=1e-5)
    assert of_vectors(circle).similarity("length") == pytest.approx(expected, abs=1e-5)
    assert abs(path.similarity() - expected) > 4e-3
    exponential = np.geomspace(1.0, np.e, 300)
    path = of_vectors(np.stack([np.cos(np.log(exponential)), np.sin(np.log(exponential))], axis=1),
                      step=exponential)  # fmt: skip
    assert path.similarity("log-time") == pytest.approx(expected, abs=1e-5)
    with pytest.raises(InputError, match="allowed: checkpoints, time"):
        path.similarity("weeks")


def test_windows():
    path = of_kernel(random_walk(10))
    whole = path.map().values
    windows = path.window_similarity(3)
    assert len(windows) == 8
    assert windows[2] == pytest.approx(whole[2:5, 2:5].mean())
    assert path.window_similarity(10)[0] == pytest.approx(path.similarity())
    with pytest.raises(InputError, match="given 11, must be from 1 to 10"):
        path.window_similarity(11)


def test_circle_turns_once():
    phase = np.linspace(0.0, 2 * np.pi, 101)
    path = of_vectors(np.stack([np.cos(phase), np.sin(phase)], axis=1))
    assert value(path, "total_turning") == pytest.approx(99 * 3.6, abs=1e-6)
    assert value(path, "length") == pytest.approx(200 * np.sin(np.pi / 100), abs=1e-10)
    assert path.principal_path().shape == (101, 2)
    assert np.linalg.norm(path.principal_path()[:100], axis=1).std() < 0.05


def test_selected_checkpoints():
    theta = np.random.default_rng(8).standard_normal((9, 30))
    chosen = np.array([1, 2, 5, 8])
    part = of_vectors(theta).selected(chosen)
    assert np.abs(part.gram - algebra.from_vectors(theta[chosen])).max() < 1e-12
    assert part.step.tolist() == [1, 2, 5, 8]


def test_relative_map_of_any_origin():
    theta = np.random.default_rng(9).standard_normal((6, 50))
    moved = theta - theta[3]
    expected = moved @ moved.T
    assert np.abs(algebra.relative_kernel(algebra.from_vectors(theta), 3) - expected).max() < 1e-11
    assert of_vectors(theta).map(origin=3).points.tolist() == [0, 1, 2, 4, 5]
    with pytest.raises(InputError, match="given 9"):
        of_vectors(theta).map(origin=9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": np.array([0, 0, 1])}, "do not increase"),
        ({"step": np.arange(2)}, "must be"),
        ({"blocks": np.full((1, 3, 3), np.nan)}, "NaN"),
        ({"step": np.arange(1), "blocks": np.ones((1, 1, 1))}, "at least 2"),
    ],
)
def test_bad_trajectories(changes, message):
    fields = {"step": np.arange(3), "blocks": np.ones((1, 3, 3)), "sizes": np.ones(1)}
    with pytest.raises(InputError, match=message):
        Trajectory(**{**fields, **changes}, parameters=1)


@pytest.mark.parametrize("origin", [None, 0, 2, 5, -1])
def test_similarity_needs_no_map(origin):
    """The mean of all cosines is one product with the Gram matrix, whatever the origin."""
    theta = np.random.default_rng(3).standard_normal((6, 40)).cumsum(axis=0)
    path = of_vectors(theta)
    seen = theta if origin is None else theta - theta[origin]
    unit = np.array([row / np.linalg.norm(row) for row in seen if row.any()])
    assert path.similarity(origin=origin) == pytest.approx((unit @ unit.T).mean(), abs=1e-14)
    assert path.map(origin).values == pytest.approx(unit @ unit.T, abs=1e-14)


@pytest.mark.parametrize(("times", "label"), [([0.0, 1.0, 2.0], "step"), ([0.0, 0.5, 1.0], "time")])
def test_map_into_given_axes(times, label):
    from matplotlib.figure import Figure

    path = of_vectors(np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]]), times)
    one, two = Figure().subplots(1, 2)
    assert trajectory.plot_map(path, ax=one) is one
    cosines = [[1.0, 0.5**0.5, 0.0], [0.5**0.5, 1.0, 0.5**0.5], [0.0, 0.5**0.5, 1.0]]
    drawn = np.asarray(one.collections[0].get_array())
    assert np.allclose(drawn.reshape(3, 3), cosines)
    assert one.get_xlabel() == one.get_ylabel() and one.get_xlabel().startswith(label)
    trajectory.plot_map(path, 0, two)  # seen from the start: (0, 1) and (-1, 2)
    drawn = np.asarray(two.collections[0].get_array())
    assert np.allclose(drawn.reshape(2, 2), [[1.0, 2 / 5**0.5], [2 / 5**0.5, 1.0]])
    assert two.get_title() == "map relative to checkpoint 0"
    with pytest.raises(InputError):
        trajectory.plot_map(path, 7)


@pytest.mark.parametrize("origin", [None, 0, 7, -1])
def test_a_similarity_forms_no_kernel(monkeypatch, origin):
    walk = 0.3 + np.cumsum(np.random.default_rng(12).standard_normal((30, 50)), axis=0)
    path = of_vectors(walk)
    expected = path.map(origin).values.mean()

    def refused(*_):
        raise AssertionError("a kernel was formed")

    monkeypatch.setattr(algebra, "kernel", refused)
    monkeypatch.setattr(algebra, "relative_kernel", refused)
    assert path.similarity(origin=origin) == pytest.approx(expected, rel=1e-12)
    assert path.curves["norm"] == pytest.approx(np.linalg.norm(walk, axis=1), rel=1e-12)
    assert path.curves["distance"] == pytest.approx(
        np.linalg.norm(walk - walk[0], axis=1), rel=1e-12
    )
