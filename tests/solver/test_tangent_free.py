"""The march of steps without tangents: exact curves, tangents, finite networks, folds, resuming."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from dmft import Interrupted, Problem
from dmft.solver import replicates, residuals, schemes, solve, tangent_free
from dmft.solver.fewer import fewer_paths
from dmft.solver.folded_noise import FoldedNoise
from dmft.solver.normal_supply import NormalSupply
from dmft.solver.plan import Plan
from dmft.solver.replicates import Replicates
from dmft.solver.stepping import Diverged, blamed, plan_before
from dmft.solver.stepwise import Stepwise
from dmft.theory.linear import marchenko_pastur

SGD = {"kind": "sgd", "step_size": 0.1, "batch_fraction": 0.1}
SIGNS = {"loss": {"kind": "hinge"}, "labels": {"kind": "sign"}, "sampling_ratio": 1.5}


@pytest.fixture
def always(monkeypatch):
    """Few steps of plain descent too."""
    monkeypatch.setattr(schemes, "_MOST_TRACED", 0)


def marched(problem: Problem, steps: int, paths: int = 512) -> Stepwise:
    stored = np.arange(steps + 1)
    march = Stepwise(problem, paths, np.random.SeedSequence(1), None, steps, stored, 1e6)
    for _ in range(steps):
        march.step()
    return march


# ------------------------------------------------------------------ squared loss


@pytest.mark.parametrize("momentum", [0.0, 0.8])
def test_linear_model_is_exact(always, momentum):
    """Along an eigenvector of X^T X heavy ball is a recursion of three terms."""
    eta, ratio, noise, steps = 0.2, 0.5, 0.3, 40
    dynamics = {"kind": "gradient-descent", "step_size": eta, "momentum": momentum}
    problem = Problem(
        network={"kind": "linear"}, sampling_ratio=ratio, noise_std=noise, dynamics=dynamics
    )
    spectrum = marchenko_pastur(ratio)
    x, kept = spectrum.eigenvalue, [np.ones(len(spectrum.eigenvalue))]
    velocity = np.zeros(len(x))
    for _ in range(steps):
        velocity = momentum * velocity + x * kept[-1]
        kept.append(kept[-1] - eta * velocity)
    kept = np.array(kept)
    inverse = np.divide(1.0, x, out=np.zeros_like(x), where=x > 0)
    train = (kept**2 * (x + noise**2)) @ spectrum.samples
    risk = (kept**2 + noise**2 * (1 - kept) ** 2 * inverse) @ spectrum.coordinates
    solution = solve(problem, t_max=steps, n_paths=512, replicates=2)
    np.testing.assert_allclose(solution.train_mse, train, rtol=5e-3, atol=1e-5)
    np.testing.assert_allclose(solution.excess_risk, risk, rtol=5e-3)


@pytest.mark.parametrize(
    "dynamics",
    [{"kind": "gradient-descent", "step_size": 0.1, "weight_decay": 0.05}, SGD],
    ids=["descent", "batches"],
)
def test_agrees_with_tangents(dynamics, monkeypatch):
    problem = Problem(
        dynamics=dynamics, noise_std=0.3, features={"kind": "discrete", "values": (0.5, 1.5)}
    )
    options = {"t_max": 60, "n_paths": 2048, "replicates": 4}
    traced = solve(problem, **options)
    monkeypatch.setattr(schemes, "_MOST_TRACED", 0)
    free = solve(problem, **options)
    assert free.kernels.response_weights is None
    for name in ("train_mse", "excess_risk", "mean_charge", "overlap"):
        a, b = traced.curves[name], free.curves[name]
        error = np.hypot(np.hypot(a.stderr, b.stderr), 2e-3 * np.abs(a.mean))
        assert np.max(np.abs(a.mean - b.mean) / np.maximum(error, 1e-12)) < 5.0, name


def test_the_charge_of_every_path_moves_as_it_must():
    """u^2 - v^2 <- (u^2 - v^2) ((1 - eta lambda)^2 - (eta g)^2) under plain descent, exactly."""
    march = marched(Problem(dynamics={**SGD, "weight_decay": 0.3}), 30)
    u, v = np.array(march.kept_parameters).transpose(1, 0, 2)
    charge, g = u**2 - v**2, np.array(march.kept_force)
    expected = charge[:-1] * ((1 - 0.1 * 0.3) ** 2 - (0.1 * g[:-1]) ** 2)
    np.testing.assert_allclose(charge[1:], expected, rtol=1e-10)


def test_schedules_scale_every_step():
    """Factors of 0 stop the weights where they are."""
    schedule = {"kind": "piecewise", "steps": [5], "factors": [0.0]}
    dynamics = {"kind": "adam", "step_size": 0.02, "schedule": schedule}
    solution = solve(Problem(dynamics=dynamics), t_max=9, n_paths=256, replicates=2)
    weights = solution.paths.weights
    assert np.all(np.diff(weights[:, :6]).any(axis=0))
    np.testing.assert_array_equal(weights[:, 6:], weights[:, [5] * 4])


# ------------------------------------------------------------------ any loss


def finite(problem: Problem, steps: int, dimension: int, seed: int) -> np.ndarray:
    """Hinge loss by SGD on one network of depth 2, plain NumPy: overlap, squared norm, loss."""
    rng = np.random.default_rng(seed)
    n = round(problem.sampling_ratio * dimension)
    x = rng.standard_normal((n, dimension)) / np.sqrt(dimension)
    teacher = np.where(np.arange(dimension) < 0.1 * dimension, rng.standard_normal(dimension), 0.0)
    teacher /= np.sqrt(np.mean(teacher**2))
    y = np.sign(x @ teacher + problem.noise_std * rng.standard_normal(n))
    dynamics = problem.dynamics
    u, v = np.full(dimension, 2**0.5 * problem.network.init_scale), np.zeros(dimension)
    rows = []
    for _ in range(steps + 1):
        w = u * v
        margin = y * (x @ w)
        rows.append([np.mean(w * teacher), np.mean(w**2), np.mean(np.maximum(0.0, 1.0 - margin))])
        batch = rng.random(n) < dynamics.batch_fraction
        g = x.T @ (-y * (margin < 1.0) * batch) / dynamics.batch_fraction
        u, v = u - dynamics.step_size * v * g, v - dynamics.step_size * u * g
    return np.array(rows)


@pytest.mark.slow
@pytest.mark.parametrize("fraction", [1.0, 0.2])
def test_hinge_is_that_of_finite_networks(fraction):
    """No curvature of the loss is used, which here is a point mass."""
    dynamics = {"kind": "sgd", "step_size": 0.05, "batch_fraction": fraction}
    problem = Problem(**SIGNS, dynamics=dynamics)
    solution = solve(problem, t_max=40, n_paths=4096, replicates=4)
    networks = np.array([finite(problem, 40, 1500, seed) for seed in range(16)])
    for index, name in enumerate(("overlap", "squared_norm", "train_loss")):
        mean = networks[..., index].mean(0)
        error = networks[..., index].std(0, ddof=1) / 4
        curve = solution.curves[name]
        # Of so few coordinates, and of the sample, biases of a percent remain.
        allowed = np.sqrt(error**2 + curve.stderr**2 + (0.02 * mean) ** 2) + 1e-9
        assert np.max(np.abs(curve.mean - mean) / allowed) < 4.0, name


@pytest.mark.slow
@pytest.mark.parametrize("sampling", ["independent", "with-replacement"])
def test_rows_of_data_answer_like_the_closed_form(sampling):
    """A Huber loss too wide to matter is the squared loss: both sides sampled, or one."""
    dynamics = {**SGD, "sampling": sampling, "label_noise_std": 0.2}
    common = {"noise_std": 0.3, "dynamics": dynamics}
    options = {"t_max": 130, "n_paths": 2048, "replicates": 6}
    closed = solve(Problem(**common), **options)
    sampled = solve(Problem(**common, loss={"kind": "huber", "width": 1e6}), **options)
    for name in ("train_mse", "excess_risk", "mean_charge", "overlap", "squared_norm"):
        a, b = closed.curves[name], sampled.curves[name]
        error = np.hypot(np.hypot(a.stderr, b.stderr), 0.01 * np.abs(a.mean))
        assert np.max(np.abs(a.mean - b.mean) / np.maximum(error, 1e-12)) < 5.0, name


# ------------------------------------------------------------------ directions


def test_folding_keeps_what_recent_rows_use():
    """Rows of low rank on many directions: functions and normals of what they span survive."""
    rng = np.random.default_rng(0)
    directions = FoldedNoise(40, 100, 50)
    functions = np.linalg.qr(rng.standard_normal((100, 30)))[0].T
    for index, function in enumerate(functions):
        directions.add(function, rng.standard_normal(50), white=index % 3 == 0)
    profile = np.zeros((3, 30))
    profile[:, directions.white[:30]] = rng.standard_normal((3, 10))
    profile[:2, ~directions.white[:30]] = rng.standard_normal((2, 20))
    rows = rng.standard_normal((12, 3)) @ profile
    before = rows @ directions.functions[:30], rows @ directions.normals[:30]
    change = directions.fold(24, rows, 6)
    assert directions.count == len(change) == 6 + 6 + 6
    after = rows @ change.T
    np.testing.assert_allclose(after @ directions.functions[:18], before[0], atol=1e-10)
    np.testing.assert_allclose(after @ directions.normals[:18], before[1], atol=1e-10)
    product = directions.functions[:18] @ directions.functions[:18].T
    np.testing.assert_allclose(product, np.eye(18), atol=1e-10)


def test_normals_after_folding_are_standard_in_every_stratum():
    """Of mean 0 and variance 1 under the weights there, and orthogonal to those still in use."""
    rng = np.random.default_rng(2)
    strata = [slice(0, 60), slice(60, 200)]
    paths = SimpleNamespace(count=200, strata=strata, probability=rng.dirichlet(np.full(200, 5.0)))
    used = rng.standard_normal((3, 200))
    supply = NormalSupply(paths, np.random.SeedSequence(3), rng.standard_normal((2, 200)))
    supply.forget()
    for _ in range(70):  # into the second block
        normal = supply.one(used)
        for stratum in strata:
            share = paths.probability[stratum] / paths.probability[stratum].sum()
            assert abs(share @ normal[stratum]) < 1e-12
            np.testing.assert_allclose(used[:, stratum] @ (share * normal[stratum]), 0, atol=1e-12)
            np.testing.assert_allclose(share @ normal[stratum] ** 2, 1.0, rtol=1e-10)


def test_fresh_normals_see_nothing_of_earlier_functions():
    """With one entry of every function, that of the noise, that is on no path."""
    rng = np.random.default_rng(1)
    directions = FoldedNoise(40, 101, 100)
    for function in np.linalg.qr(rng.standard_normal((101, 30)))[0].T:
        directions.add(function, rng.standard_normal(100))
    root = np.sqrt(rng.dirichlet(np.full(100, 5.0)))
    normal = directions.unseen(rng.standard_normal(100), root)
    averages = directions.functions[:30, :-1] @ (root * normal)
    np.testing.assert_allclose(averages, 0.0, atol=1e-12)
    # The variance stays what it was drawn with.
    assert 0.5 < np.sum((root * normal) ** 2) < 2.0


@pytest.mark.slow
def test_folding_does_not_move_the_curves(monkeypatch):
    """Twice the room, and few folds, within what replicates scatter."""
    problem = Problem(dynamics=SGD, noise_std=0.3)
    options = {"t_max": 200, "n_paths": 1024, "replicates": 4}
    wide = solve(problem, **options)
    monkeypatch.setattr(residuals, "ROOM_OF_BATCHES", residuals.ROOM)
    other = solve(problem, **options)
    for name in ("train_mse", "excess_risk", "mean_charge"):
        a, b = wide.curves[name], other.curves[name]
        error = np.hypot(np.hypot(a.stderr, b.stderr), 3e-3 * a.mean)
        assert np.max(np.abs(a.mean - b.mean) / error) < 5.0, name


# ------------------------------------------------------------------ bias


def test_the_bias_of_few_paths_is_in_the_error_bars(monkeypatch):
    """Adam's vanishing train_mse is off by four standard errors that know of scatter only."""
    problem = Problem(dynamics={"kind": "adam", "step_size": 0.03})
    found = solve(problem, t_max=100, n_paths=1024, replicates=24)
    monkeypatch.setattr(tangent_free, "fewer_paths", lambda *_: 0)
    truth = solve(problem, t_max=100, n_paths=8192, replicates=2)
    off, late = np.abs(found.train_mse - truth.train_mse), slice(90, None)
    scatter = found.replicate_train_mse.std(axis=0, ddof=1) / 24**0.5
    assert np.min((off / scatter)[late]) > 3.0
    assert np.max((off / found.train_mse_stderr)[late]) < 3.0
    assert found.train_mse_stderr[0] == pytest.approx(scatter[0], abs=1e-12)


def test_a_bias_that_passes_zero_stays_in_the_error_bars():
    """Of a curve that falls by three decades, a measured bias that changes sign at one step."""
    time = np.arange(101.0)
    curve = 10.0 ** (-0.03 * time)
    bias = 0.01 * curve * np.sign(time - 50.0) * (time > 0.0)
    bars = replicates._lately(time, bias, curve)
    assert bars[0] == 0.0 and np.all(bars >= np.abs(bias))
    assert 0.5 < bars[50] / (0.01 * curve[50]) < 2.0
    zero = np.zeros(101)
    np.testing.assert_array_equal(replicates._lately(time, zero, zero), zero)
    # Nothing is added to a steady share, and nothing depends on what comes later.
    steady = np.full(101, 3.0)
    np.testing.assert_allclose(replicates._lately(time, 0.1 * steady, steady), 0.3, rtol=1e-12)
    part = replicates._lately(time[:60], bias[:60], curve[:60])
    np.testing.assert_allclose(part, bars[:60], rtol=1e-12)


def test_what_marches_beside_changes_no_curve(monkeypatch):
    problem = Problem(dynamics={"kind": "adam", "step_size": 0.02})
    options = {"t_max": 20, "n_paths": 1024, "replicates": 2}
    measured = solve(problem, **options)
    monkeypatch.setattr(tangent_free, "fewer_paths", lambda *_: 0)
    alone = solve(problem, **options)
    for name, curve in measured.curves.items():
        np.testing.assert_array_equal(curve.runs, alone.curves[name].runs)
        assert np.all(curve.stderr >= alone.curves[name].stderr), name
    assert measured.work["steps"] == alone.work["steps"] + 20


def test_a_march_beside_that_diverges_is_left_behind(monkeypatch):
    """The error bars stay as large as it left them."""
    problem = Problem(dynamics={"kind": "adam", "step_size": 0.02})
    step = Stepwise.step

    def fails(march):
        if march.path_set.count == 256 and march.count == 12:
            raise Diverged
        step(march)

    options = {"t_max": 20, "n_paths": 1024, "replicates": 2}
    whole = solve(problem, **options)
    monkeypatch.setattr(Stepwise, "step", fails)
    left = solve(problem, **options)
    assert left.status == "done"
    for name, curve in whole.curves.items():
        np.testing.assert_array_equal(left.curves[name].mean, curve.mean)
        np.testing.assert_allclose(left.curves[name].stderr[:13], curve.stderr[:13], rtol=1e-9)
        assert np.isfinite(left.curves[name].stderr).all()
    assert left.excess_risk_stderr[-1] > 1.2 * whole.excess_risk_stderr[-1]


@pytest.mark.parametrize("polled", [50, 110])  # in replicates 1 and 2
def test_error_bars_survive_an_interruption(polled):
    problem = Problem(dynamics={"kind": "adam", "step_size": 0.02})
    options = {"t_max": 30, "n_paths": 1024, "replicates": 3}
    whole, states, polls = solve(problem, **options), [], iter(range(1, 1000))
    with pytest.raises(Interrupted):
        solve(problem, **options, checkpoint=states.append, stop=lambda: next(polls) == polled)
    assert solve(problem, **options, resume=states[-1]) == whole
    # An older state knows of no march beside a replicate.
    older = states[-1]
    older.get("march", {}).pop("beside", None)
    older["replicates"].pop("biases", None)
    plain = solve(problem, **options, resume=older)
    assert np.all(plain.train_mse_stderr >= plain.replicate_train_mse.std(0, ddof=1) / 3**0.5)
    np.testing.assert_array_equal(plain.train_mse, whole.train_mse)


def test_few_paths_have_none_beside_them():
    """And 256 paths are none that hold the directions of a long march."""
    paths = (1023, 1024, 2048, 4096)
    assert [fewer_paths(n, 500) for n in paths] == [0, 256, 256, 512]
    assert [fewer_paths(n, 501) for n in paths] == [0, 0, 512, 512]
    assert [fewer_paths(n, 500, True) for n in paths] == [0, 256, 512, 512]


# ------------------------------------------------------------------ runs


@pytest.mark.parametrize("polled", [5, 95, 330])  # in the pilot, replicates 1 and 2
@pytest.mark.parametrize("kind", ["squared", "hinge"])
def test_resuming_gives_the_same_numbers(kind, polled):
    """In the middle of a march, before and after directions were folded; on other threads."""
    problem = Problem(**(SIGNS if kind == "hinge" else {}), dynamics=SGD)
    options = {"t_max": 140, "n_paths": 256, "replicates": 2}
    whole = solve(problem, **options, threads=1)
    states, polls = [], iter(range(1, 1000))
    with pytest.raises(Interrupted):
        solve(problem, **options, checkpoint=states.append, stop=lambda: next(polls) == polled)
    resumed = solve(problem, **options, resume=states[-1], threads=2)
    for name, curve in whole.curves.items():
        np.testing.assert_array_equal(curve.mean, resumed.curves[name].mean)
    np.testing.assert_array_equal(
        whole.kernels.correlation_residual, resumed.kernels.correlation_residual
    )
    assert resumed.work == whole.work


def test_divergence_ends_a_solve(always):
    problem = Problem(dynamics={"kind": "gradient-descent", "step_size": 1.0, "momentum": 0.9})
    solution = solve(problem, t_max=50, n_paths=128, replicates=1)
    assert solution.status == "not-converged"
    assert "step_size 1 is above what is stable" in solution.reason
    assert all(np.isfinite(curve.mean).all() for curve in solution.curves.values())


def test_overshoots_of_heavy_ball_do_not_run_away():
    """Paths drawn wider did: networks train, with forces of 4.5 standard deviations planted too."""
    dynamics = {"kind": "gradient-descent", "step_size": 0.15, "momentum": 0.9}
    problem = Problem(teacher="rademacher", dynamics=dynamics)
    solution = solve(problem, t_max=60, n_paths=1024, replicates=8, seed=1)
    assert solution.status == "done"
    rows = solution.curves["train_mse"].runs
    assert np.max(np.abs(rows / np.median(rows, axis=0) - 1.0)) < 0.5


def test_words_on_what_diverged():
    """The step where the pilot diverges too, the paths of a replicate where it does not."""
    limit = "step_size 9 is too large"
    whole = Plan(np.arange(11.0), np.ones((10, 1), dtype=bool), np.eye(2))
    cut = plan_before(whole, 8, blamed(whole, limit, 512))
    assert cut.reason.startswith("diverged at step 9") and "n_paths = 512" in cut.reason
    assert limit not in cut.reason
    assert "n_paths" in blamed(cut, limit, 512)  # again, in an earlier step
    of_all = whole.cut(8, f"diverged at step 9, {limit}")
    assert blamed(of_all, limit, 512) == limit


def test_a_replicate_that_runs_away_is_reported():
    replicates = Replicates(Problem())
    risk = np.ones((4, 10)) + 0.01 * np.random.default_rng(0).standard_normal((4, 10))
    replicates.curves = {"train_mse": list(risk), "excess_risk": list(risk)}
    assert replicates.runaway() is None
    risk[2, 6:] = 5.0
    replicates.curves["excess_risk"] = list(risk)
    assert replicates.runaway() == (2, 6)
    # Of training errors, which scatter more, only what is far beyond the others and not nothing.
    train = np.geomspace(1.0, 1e-6, 10) * np.ones((4, 1))
    replicates.curves = {"train_mse": list(train), "excess_risk": list(np.ones((4, 10)))}
    train[1, 8:] = 5e-5
    replicates.curves["train_mse"] = list(train)
    assert replicates.runaway() is None
    train[1, 9] = 1e-2
    replicates.curves["train_mse"] = list(train)
    assert replicates.runaway() == (1, 9)


@pytest.mark.parametrize(
    ("dynamics", "remedy"),
    [
        ({}, "take more n_paths"),
        ({"kind": "gradient-descent", "step_size": 0.1}, "take more n_paths, or a smaller step"),
    ],
)
def test_remedies_for_a_replicate_that_runs_away_are_there(monkeypatch, dynamics, remedy):
    """A flow has no step."""
    monkeypatch.setattr(Replicates, "runaway", lambda _: (1, 3))
    problem = Problem(dynamics=dynamics)
    solution = solve(problem, t_max=2.0, n_paths=64, replicates=2, rtol=1e-2)
    assert solution.status == "not-converged"
    assert solution.reason.endswith(f"replicate 2 runs away from the others at node 3: a few paths "
                                    f"decide; {remedy}")  # fmt: skip


def test_adam_does_not_run_away():
    """Where tangents amplify single paths, and a replicate in four with them."""
    dynamics = {"kind": "adam", "step_size": 0.03, "beta2": 0.99, "epsilon": 1e-3}
    problem = Problem(
        sampling_ratio=0.6, teacher={"density": 0.2},
        network={"init_u": 0.4, "init_v": 0.1}, dynamics=dynamics,
    )  # fmt: skip
    solution = solve(problem, t_max=60, n_paths=512, replicates=16)
    assert solution.status == "done"
    rows = solution.curves["excess_risk"].runs
    assert np.max(np.abs(rows / np.median(rows, axis=0) - 1.0)) < 0.15


def test_adam_reaches_the_end():
    """Where the sampling errors of echoes used to stop it at a train_mse of 1e-4, and rise."""
    problem = Problem(dynamics={"kind": "adam", "step_size": 0.03})
    solution = solve(problem, t_max=250, n_paths=1024, replicates=3)
    train, risk = (solution.curves[name].runs for name in ("train_mse", "excess_risk"))
    assert np.max(train[:, -1]) < 1e-6
    assert np.max(np.abs(risk[:, -1] / risk[:, 150] - 1.0)) < 0.01
    assert solution.excess_risk[-1] == pytest.approx(1.165, abs=0.03)  # networks: 1.169 ± .009


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gradient-descent", "sgd"])
def test_ten_thousand_steps_cost_ten_times_a_thousand(kind):
    problem = Problem(dynamics={"kind": kind, "step_size": 0.1})
    short, long = (
        solve(problem, t_max=steps, n_paths=512, replicates=1) for steps in (1000, 10_000)
    )
    assert long.work["direction_flops"] < 20.0 * short.work["direction_flops"]
    assert len(long.time) <= 257


PAIRS = {  # curves, batches relative to the step, the time, the least difference, paths
    "descent": (("excess_risk",), {}, 500.0, 0.04, 4096),
    "batches": (("effective_alpha", "mean_charge"), {"batch_fraction": 2.0}, 100.0, 0.03, 2048),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRS)
def test_steps_are_the_flow_up_to_order_eta(name):
    """Half of the step, half of the difference to the flow, in standard errors; 10^4 of descent.

    With batch_fraction = 2 step_size the noise that its flow sees stays nearly the same.
    """
    curves, batches, end, least, paths = PAIRS[name]
    kinds = (
        ("sgd", "stochastic-gradient-flow") if batches else ("gradient-descent", "gradient-flow")
    )
    off, error = {}, {}
    for eta in (0.1, 0.05):
        noise = {key: share * eta for key, share in batches.items()}
        settings = {"step_size": eta, **noise}
        made = Problem(dynamics={"kind": kinds[0], **settings})
        flow = Problem(dynamics={"kind": kinds[1], **(settings if batches else {})})
        found = solve(made, t_max=round(end / eta), n_paths=paths, replicates=3)
        limit = solve(flow, t_max=end, n_paths=paths, replicates=3)
        assert found.status == limit.status == "done"
        for curve in curves:
            a, b = found.curves[curve], limit.curves[curve]
            off[curve, eta] = a.mean[-1] / b.mean[-1] - 1.0
            error[curve, eta] = np.hypot(a.stderr[-1] / a.mean[-1], b.stderr[-1] / b.mean[-1])
    for curve in curves:
        first, second = off[curve, 0.1], off[curve, 0.05]
        print(curve, first, error[curve, 0.1], second, error[curve, 0.05])
        assert abs(first) > max(least, 5.0 * error[curve, 0.1])
        allowed = np.hypot(error[curve, 0.1] / 2.0, error[curve, 0.05]) + 0.1 * abs(first)
        assert abs(second - first / 2.0) < 3.0 * allowed
        assert abs(second) < 0.8 * abs(first)
