"""The integrator against exact solutions, another integrator and the flow's invariants."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import nnls

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.simulation import simulate
from dmft.simulation.coordinates import start_of
from dmft.simulation.flow import IntegrationError, _March, integrate
from dmft.simulation.rosenbrock import GAMMA, STAGES, dense_weights, end_weights
from tests.helpers import data_set


def flow(problem, data, times, rtol=1e-4, start=None):
    """Trajectory of the weights, from the drawn start unless another one is given."""
    drawn = data.coordinates
    if start is None:
        start = start_of(problem.network, problem.dynamics.weight_decay, drawn.a0, drawn.b0)
    return integrate(
        data.features,
        data.labels,
        start,
        np.asarray(times, float),
        teacher=drawn.teacher,
        variance=drawn.variance,
        rtol=rtol,
    )


def test_method_is_consistent_and_l_stable():
    # On z' = -z every stage is a scalar; the interpolant must approach exp(-theta h).
    from dmft.simulation.rosenbrock import COUPLING, STATE

    def stages(size):
        k = np.zeros(STAGES)
        for i in range(STAGES):
            k[i] = GAMMA * size * (-(1.0 + STATE[i] @ k) + COUPLING[i] @ k / size)
            k[i] /= 1.0 + GAMMA * size
        return k

    def errors(size):
        k = stages(size)
        end = abs(1.0 + end_weights() @ k - np.exp(-size))
        fractions = np.linspace(0.1, 0.9, 9)
        inside = [1.0 + dense_weights(f) @ k - np.exp(-f * size) for f in fractions]
        return end, np.abs(inside).max()

    coarse, fine = errors(0.4), errors(0.2)
    assert np.log2(coarse[0] / fine[0]) == pytest.approx(6.0, abs=0.5)
    assert np.log2(coarse[1] / fine[1]) > 4.5
    assert abs(1.0 + end_weights() @ stages(1e8)) < 1e-6


@pytest.mark.parametrize("ratio", [0.5, 2.0])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
def test_linear_network_is_solved_exactly(ratio, ridge):
    problem = Problem(
        sampling_ratio=ratio,
        network={"kind": "linear"},
        dynamics={"weight_decay": ridge},
        features={"kind": "discrete", "values": [0.5, 1.5]},
    )
    data = data_set(problem, 80)
    times = np.concatenate([[0.0], np.geomspace(0.05, 1e4, 12)])
    rates, modes = np.linalg.eigh(data.features.T @ data.features)
    rates = np.maximum(rates, 0.0) + ridge
    # (1 - exp(-rate t)) / rate, continued to rate = 0.
    grown = times[:, None] * -np.expm1(-times[:, None] * rates)
    grown /= np.where(times[:, None] * rates > 0, times[:, None] * rates, 1.0)
    exact = (grown * (modes.T @ (data.features.T @ data.labels))) @ modes.T
    found = flow(problem, data, times, rtol=1e-8).weights
    assert np.abs(found - exact).max() < 1e-6 * np.abs(exact).max()


def raw_flow(problem, data, times):
    """w from the equations of the factors themselves, by a tight explicit integration."""
    depth, decay = problem.network.depth, problem.dynamics.weight_decay
    drawn, d = data.coordinates, len(data.coordinates.teacher)

    def rate(_, ab):
        a, b = ab[:d], ab[d:]
        g = data.features.T @ (data.features @ ((a**depth - b**depth) / depth) - data.labels)
        return np.concatenate(
            [-(a ** (depth - 1)) * g - decay * a, b ** (depth - 1) * g - decay * b]
        )

    path = solve_ivp(
        rate,
        (0.0, times[-1]),
        np.concatenate([drawn.a0, drawn.b0]),
        method="DOP853",
        t_eval=times,
        rtol=1e-11,
        atol=1e-13,
    )
    assert path.success
    a, b = path.y[:d].T, path.y[d:].T
    return a, b, (a**depth - b**depth) / depth


SIGNS = {"kind": "discrete", "values": [-0.4, 0.3]}


@pytest.mark.parametrize(
    "network, decay",
    [
        ({"init_scale": 0.2}, 0.0),
        ({"init_scale": 0.2}, 0.05),
        ({"init_u": SIGNS, "init_v": {"kind": "gaussian", "std": 0.5}}, 0.05),
        ({"depth": 3, "init_scale": 0.4}, 0.0),
        ({"depth": 3, "init_u": 0.6, "init_v": 0.2}, 0.02),
        ({"depth": 4, "init_scale": 0.6}, 0.0),
        ({"depth": 4, "init_scale": 0.6}, 0.02),
    ],
)
def test_diagonal_networks_follow_the_raw_equations(network, decay):
    problem = Problem(
        sampling_ratio=0.7,
        network=network,
        dynamics={"weight_decay": decay},
        features={"kind": "discrete", "values": [0.5, 1.5]},
    )
    data = data_set(problem, 30)
    times = np.concatenate([[0.0], np.geomspace(0.1, 60.0, 12)])
    _, _, exact = raw_flow(problem, data, times)
    error = np.linalg.norm(flow(problem, data, times, rtol=1e-8).weights - exact, axis=1)
    assert error.max() < 1e-6 * np.linalg.norm(data.coordinates.teacher)


@pytest.mark.parametrize("depth", [2, 3])
def test_fixed_steps_converge_at_order_five(depth):
    # A wrong Jacobian or time derivative would leave the method right but of a lower order.
    problem = Problem(network={"depth": depth, "init_scale": 0.7}, dynamics={"weight_decay": 0.5})
    data = data_set(problem, 30)
    drawn = data.coordinates
    ends = []
    for steps in (10, 20, 40, 320):
        start = start_of(problem.network, 0.5, drawn.a0, drawn.b0)
        march = _March(data.features, data.labels, start, drawn.teacher, drawn.variance, rtol=1e6)
        for _ in range(steps):
            march.next_step = 1.0 / steps
            march.step()
        ends.append(march.weights)
    errors = [np.linalg.norm(end - ends[-1]) for end in ends[:-1]]
    assert march.refused == 0
    assert np.log2(errors[1] / errors[2]) > 4.5


def test_error_falls_with_the_tolerance():
    problem = Problem(network={"init_scale": 0.05})
    data = data_set(problem, 60)
    times = np.concatenate([[0.0], np.geomspace(0.1, 300.0, 30)])
    exact = flow(problem, data, times, rtol=1e-9).weights
    size = np.linalg.norm(exact - data.coordinates.teacher, axis=1)
    errors = []
    for rtol in (1e-2, 1e-4, 1e-6):
        found = flow(problem, data, times, rtol=rtol).weights
        errors.append(np.max(np.linalg.norm(found - exact, axis=1) / size))
    assert errors[0] < 2e-2 and errors[1] < 2e-4 and errors[2] < 5e-6
    assert errors[0] > 10 * errors[1] > 100 * errors[2]


def test_charge_is_conserved_or_decays_at_its_rate():
    # u^2 - v^2 = 2ab at depth 2; a^(2-L) + b^(2-L) for deep networks without weight decay.
    for network, decay in (({"init_u": 0.5, "init_v": 0.2}, 0.01), ({"depth": 3}, 0.0)):
        problem = Problem(network=network, dynamics={"weight_decay": decay})
        data = data_set(problem, 40)
        drawn = data.coordinates
        start = start_of(problem.network, decay, drawn.a0, drawn.b0)
        rng = np.random.default_rng(1)
        there = start
        for elapsed in (0.5, 3.0, 20.0):
            there = there.advanced(0.1 * rng.standard_normal(40), elapsed)
        if problem.network.depth == 2:
            charge = 2 * np.exp(there.log_a + there.log_b)
            expected = 2 * drawn.a0 * drawn.b0 * np.exp(-2 * decay * 23.5)
        else:
            charge, expected = there.a_power + there.b_power, start.a_power + start.b_power
        np.testing.assert_allclose(charge, expected, rtol=1e-12)


def test_fixed_point_with_weight_decay_is_the_lasso():
    # u'=v'=0 on the support means g = -lambda sign(w), and |g| <= lambda elsewhere.
    decay = 0.1
    problem = Problem(dynamics={"weight_decay": decay})
    data = data_set(problem, 100)
    weights = flow(problem, data, [3e4], rtol=1e-6).weights[-1]
    gradient = data.features.T @ (data.features @ weights - data.labels)
    support = np.abs(weights) > 1e-6
    assert 5 < support.sum() < 50
    np.testing.assert_allclose(
        gradient[support], -decay * np.sign(weights[support]), atol=1e-6 * decay
    )
    assert np.abs(gradient[~support]).max() < decay * (1 + 1e-6)


@pytest.mark.parametrize("scale", [1e-2, 1e-4])
def test_small_starts_end_at_the_entropic_interpolator(scale):
    # G = -asinh(w / alpha^2) / 2 accumulates in the row space of X, and Xw = y.
    problem = Problem(network={"init_scale": scale}, noise_std=0.0)
    data = data_set(problem, 60)
    weights = flow(problem, data, [1e7]).weights[-1]
    residual = data.features @ weights - data.labels
    assert np.linalg.norm(residual) < 1e-7 * np.linalg.norm(data.labels)
    potential = np.arcsinh(weights / scale**2)
    rows = np.linalg.lstsq(data.features.T, potential, rcond=None)[0]
    outside = potential - data.features.T @ rows
    assert np.linalg.norm(outside) < 1e-8 * np.linalg.norm(potential)


def test_long_times_cost_logarithmically():
    problem = Problem(dynamics={"weight_decay": 0.1})
    data = data_set(problem, 60)
    short, long = (flow(problem, data, [t]).steps for t in (1e3, 1e6))
    assert long < short + 30


def test_deep_escape_from_a_tiny_start():
    # The flow waits for about alpha^(2-L)/(L-2) before it moves at all.
    problem = Problem(network={"depth": 3, "init_scale": 1e-3})
    data = data_set(problem, 60)
    result = flow(problem, data, [1e2, 1e5])
    risk = np.mean((result.weights - data.coordinates.teacher) ** 2, axis=1)
    assert risk[0] > 0.99 and risk[1] < 0.5
    assert result.steps < 2000


@pytest.mark.parametrize("network", [{"init_scale": 1e-200}, {"init_u": 0.3, "init_v": 0.3}])
def test_vanishing_starts_are_integrated(network):
    # alpha^2 underflows in the first, b = 0 for good in the second: then w = a^2/2 >= 0.
    problem = Problem(network=network, sampling_ratio=2.0)
    data = data_set(problem, 40)
    weights = flow(problem, data, [1e5]).weights[-1]
    gradient = data.features.T @ (data.features @ weights - data.labels)
    if "init_u" in network:
        # Least squares over w >= 0.
        assert weights.min() >= 0.0 and gradient.min() > -1e-4
        assert np.abs(weights * gradient).max() < 1e-4
    else:
        # |int g| <= log(1/alpha) = 460 while w is not grown, against |g| = 0.1 to 5 at w = 0.
        assert np.abs(gradient).max() < 2 * 460 / 1e5
        assert np.count_nonzero(weights) > 3


def test_recorded_times_do_not_change_the_path():
    problem = Problem()
    data = data_set(problem, 50)
    sparse = flow(problem, data, [0.0, 3.0, 40.0])
    dense = flow(problem, data, np.linspace(0.0, 40.0, 401))
    np.testing.assert_array_equal(sparse.weights[1:], dense.weights[[30, 400]])
    assert sparse.steps == dense.steps


def test_no_weights_come_from_a_flow_that_cannot_proceed():
    problem = Problem()
    data = data_set(problem, 20)
    data.labels[3] = np.nan
    with pytest.raises(IntegrationError, match="cannot proceed beyond t = 0"):
        flow(problem, data, [1.0])


# ---------------------------------------------------------------------- other losses

CLASSES = {"loss": {"kind": "logistic"}, "labels": {"kind": "sign"}}
LOSSES = [("logistic", "sign"), ("huber", "outliers"), ("poisson", "poisson")]


def flow_of_loss(problem, data, times, rtol):
    drawn = data.coordinates
    return integrate(
        data.features,
        data.labels,
        start_of(problem.network, problem.dynamics.weight_decay, drawn.a0, drawn.b0),
        np.asarray(times, float),
        teacher=drawn.teacher,
        variance=drawn.variance,
        rtol=rtol,
        loss=problem.loss,
    ).weights


def explicit_flow(problem, data, times):
    """w from the equations of a, b or w by a tight explicit integration."""
    depth, decay = problem.network.depth, problem.dynamics.weight_decay
    drawn, d = data.coordinates, len(data.coordinates.teacher)

    def weights(state):
        return state if depth == 1 else (state[:d] ** depth - state[d:] ** depth) / depth

    def rate(_, state):
        h = data.features @ weights(state)
        g = data.features.T @ problem.loss.slopes(h, data.labels)
        if depth == 1:
            return -g - decay * state
        a, b = state[:d], state[d:]
        power = depth - 1
        return np.concatenate([-(a**power) * g - decay * a, b**power * g - decay * b])

    start = np.zeros(d) if depth == 1 else np.concatenate([drawn.a0, drawn.b0])
    path = solve_ivp(
        rate, (0.0, times[-1]), start, method="DOP853", t_eval=times, rtol=1e-11, atol=1e-13
    )
    assert path.success
    return np.array([weights(state) for state in path.y.T])


@pytest.mark.parametrize("ratio", [0.6, 2.0])
@pytest.mark.parametrize("network", [{"init_scale": 0.3}, {"depth": 3}, {"kind": "linear"}])
@pytest.mark.parametrize("loss, labels", LOSSES)
def test_other_losses_against_an_explicit_integration(loss, labels, network, ratio):
    problem = Problem(
        sampling_ratio=ratio,
        noise_std=0.3,
        loss={"kind": loss},
        labels={"kind": labels, **({"slope": 0.7} if loss == "poisson" else {})},
        network=network,
        dynamics={"weight_decay": 0.05 if ratio > 1 else 0.0},
        features={"kind": "discrete", "values": [0.5, 1.5]},
    )
    data = data_set(problem, 30, seed=1)
    times = np.concatenate([[0.0], np.geomspace(0.1, 20.0, 5)])
    found = flow_of_loss(problem, data, times, 1e-7)
    exact = explicit_flow(problem, data, times)
    # The slope of the Huber loss has kinks, across which steps are of lower order.
    assert np.abs(found - exact).max() < 2e-6 * np.abs(exact).max()


def test_separable_data_end_in_the_margin_directions():
    """dw/dlog t of separable data at t = 1e6: largest l2 margin, by least distance programming."""
    problem = Problem(sampling_ratio=1.0, noise_std=0.3, network={"kind": "linear"}, **CLASSES)
    data = data_set(problem, 150)
    w = flow_of_loss(problem, data, [0.0, 1e5, 1e6, 1e7], 1e-6)
    direction = (w[3] - w[2]) / np.log(10.0)
    rows = data.labels[:, None] * data.features
    matrix = np.vstack([rows.T, np.ones(len(rows))])
    target = np.append(np.zeros(150), 1.0)
    residual = matrix @ nnls(matrix, target)[0] - target
    best = -residual[:-1] / residual[-1]
    # w = best log t + O(1), the margin of best being 1 (Soudry et al. 2018).
    cosine = direction @ best / np.linalg.norm(direction) / np.linalg.norm(best)
    assert cosine > 0.999
    assert np.linalg.norm(direction) == pytest.approx(np.linalg.norm(best), rel=0.01)
    loss = [problem.loss.values(data.features @ each, data.labels).mean() for each in w]
    assert loss[2] * 1e6 == pytest.approx(loss[1] * 1e5, rel=0.1)


def test_inseparable_data_end_at_the_minimum():
    problem = Problem(sampling_ratio=4.0, noise_std=0.7, **CLASSES)
    data = data_set(problem, 80)
    w = flow_of_loss(problem, data, [0.0, 1e6], 1e-5)[-1]
    slopes = problem.loss.slopes(data.features @ w, data.labels)
    assert np.abs(data.features.T @ slopes).max() < 1e-10


def test_hinge_has_no_flow():
    problem = Problem(loss={"kind": "hinge"}, labels={"kind": "sign"})
    with pytest.raises(InputError, match="problem.loss.kind: given 'hinge', whose slope jumps"):
        simulate(problem, dimension=20, seeds=1)
