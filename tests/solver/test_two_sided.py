"""The march of both sides: against today's solve, M-estimators, its own smaller panels, twins."""

import numpy as np
import pytest
from scipy.optimize import root

import dmft
from dmft import Problem
from dmft.errors import InputError
from dmft.numerics.workers import thread_pool
from dmft.solver.echo import DriveRows
from dmft.solver.losses import loss_terms
from dmft.solver.sides import DataPaths
from dmft.solver.two_sided import PanelDrives
from dmft.solver.two_sided_flow import TwoSidedFlow
from dmft.theory import max_margin
from dmft.theory.linear import learning_curves

SIGNS = {"loss": {"kind": "logistic"}, "labels": {"kind": "sign"}}
SEPARABLE = {"sampling_ratio": 1.0, "noise_std": 0.3, "teacher": {"kind": "gaussian"}, **SIGNS}


def march_of(problem, edges, count=1024, seed=0, rtol=1e-4, threads=1):
    """A replicate over given panels, and the flow it belongs to."""
    with thread_pool(threads) as pool:
        flow = TwoSidedFlow(problem, count, pool)
        march = flow.start(count, np.random.SeedSequence(seed), None, len(edges), rtol, False)
        for step in np.diff(edges):
            attempt = march.attempt(step)
            assert attempt is not None and attempt.converged
            march.commit(attempt.rows)
        return march, flow.finish(march).observed(0.1, None)


@pytest.mark.parametrize("response", [np.zeros((3, 3)), -np.diag([0.5, 50.0, 1e6]), None])
@pytest.mark.parametrize("loss", [(1, 0.0, 1.0), (2, 1.0, 0.3), (4, 0.0, 2.0)])
def test_fields_solve_their_equations(loss, response):
    from dmft.solver.losses import solve_fields

    code, parameter, y = loss
    if response is None:
        response = -np.array([[0.4, 0.1, -0.05], [0.9, 0.8, 0.1], [1.0, 2.0, 0.7]])
    drive = 3.0 * np.random.default_rng(0).standard_normal((50, 3))
    field, slope, curvature = np.zeros((3, 50, 3))
    _, failed = solve_fields(
        code, parameter, np.full(50, y), response, drive, field, slope, curvature
    )
    assert failed == 0
    found = np.array([[loss_terms(code, parameter, h, y)[1:] for h in path] for path in field])
    np.testing.assert_allclose(found[..., 0], slope)
    np.testing.assert_allclose(found[..., 1], curvature)
    defect = field - drive - slope @ response.T
    scale = 1.0 + np.abs(curvature) @ np.abs(response.T)
    assert np.abs(defect / scale).max() < 1e-8 * (1.0 + np.abs(field).max())


SLOW = pytest.mark.slow
EQUAL = [
    pytest.param({}),
    pytest.param({"sampling_ratio": 2.0, "noise_std": 0.5}, marks=SLOW),
    pytest.param({"teacher": {"kind": "gaussian"}, "network": {"kind": "linear"}}, marks=SLOW),
    pytest.param(
        {"network": {"depth": 3, "init_scale": 0.6}, "dynamics": {"weight_decay": 0.05}},
        marks=SLOW,
    ),
    pytest.param(
        {"features": {"kind": "discrete", "values": [0.5, 1.5], "weights": [0.5, 0.5]}}, marks=SLOW
    ),
]


@pytest.mark.parametrize("values", EQUAL)
def test_squared_loss_agrees_with_its_own_solve(values):
    problem = Problem(**values)
    solution = dmft.solve(problem, t_max=8.0, n_paths=1024, replicates=4, seed=1, threads=1)
    edges = solution.time[::3]
    runs = [march_of(problem, edges, seed=seed, rtol=1e-3)[1] for seed in range(6)]
    for name in ("train_mse", "excess_risk", "overlap", "squared_norm"):
        sampled = np.array([run[name] for run in runs])[:, 1:]
        known = getattr(solution, name)[1:]
        error = np.hypot(
            sampled.std(axis=0, ddof=1) / len(runs) ** 0.5, getattr(solution, name + "_stderr")[1:]
        )
        allowance = 0.02 * np.abs(known)  # of a finite sample: about 15 / paths
        assert np.all(np.abs(sampled.mean(axis=0) - known) < 4.5 * error + allowance), name


def m_estimator(ratio, noise_std):
    """Overlap, squared norm, angle and loss of argmin sum log(1 + exp(-y h)), y noisy signs.

    Sur and Candes (2019): with folded v the field is a v + s z, the prediction its proximal point.
    """
    from scipy.stats import norm

    z, weight = np.polynomial.hermite_e.hermegauss(80)
    weight = weight / weight.sum()
    v = np.linspace(-8, 8, 801)
    of_v = 2.0 * norm.pdf(v) * norm.cdf(v / noise_std)
    both = (of_v / of_v.sum())[:, None] * weight

    def state(x):
        a, s, kappa = x[0], np.exp(x[1]), np.exp(x[2])
        drive = a * v[:, None] + s * z
        h = drive.copy()
        for _ in range(60):
            r = -1.0 / (1.0 + np.exp(h))
            h -= np.clip((h + kappa * r - drive) / (1.0 - kappa * r * (1.0 + r)), -2, 2)
        r = -1.0 / (1.0 + np.exp(h))
        slope = -r * (1.0 + r)
        response = (both * slope / (1.0 + kappa * slope)).sum()
        equations = [
            (both * r * v[:, None]).sum(),
            s * s * ratio * response**2 - (both * r * r).sum(),
            kappa * ratio * response - 1.0,
        ]
        return equations, (both * np.logaddexp(0.0, -h)).sum()

    x = root(lambda x: state(x)[0], [1.0, 0.0, 0.0], tol=1e-11).x
    a, s = x[0], np.exp(x[1])
    return a, a * a + s * s, state(x)[1]


def test_non_separable_flow_ends_at_the_m_estimator():
    problem = Problem(
        **{**SEPARABLE, "sampling_ratio": 6.0, "noise_std": 1.0}, network={"kind": "linear"}
    )
    overlap, norm, loss = m_estimator(6.0, 1.0)
    solution = dmft.solve(problem, t_max=1e3, n_paths=2048, replicates=4, threads=1)
    assert solution.status == "done"
    for name, exact in (("overlap", overlap), ("squared_norm", norm), ("train_loss", loss)):
        found, error = getattr(solution, name)[-1], getattr(solution, name + "_stderr")[-1]
        assert error < 0.03 * exact
        assert abs(found - exact) < 4.0 * error, name


def test_separable_flow_reaches_the_largest_margin():
    problem = Problem(**SEPARABLE, network={"kind": "linear"})
    edges = np.concatenate([[0.0, 0.1, 0.4], np.geomspace(1.0, 1e7, 29)])
    march, curves = march_of(problem, edges, 2048, rtol=1e-3)
    velocity = -march.times[-1] * march.forces[:, -1]  # dw/dlog t
    size = np.sqrt(march.probability @ velocity**2)
    overlap = march.probability @ (velocity * march.teacher)
    # l2 margin of Montanari, Ruan, Sohn and Yan (2019) at this ratio and noise
    assert abs(1.0 / size / 0.74936 - 1.0) < 0.005
    assert abs(np.arccos(overlap / size) / np.pi - 0.28321) < 0.002
    assert abs(curves["train_loss"][-1] * 1e7 / 1.777 - 1.0) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "end", "norm", "allowed"), [(100.0, 3e4, "l2", 0.005), (1.0, 1e6, "l1", 0.03)]
)
def test_diagonal_network_grows_by_the_largest_margin(start, end, norm, allowed):
    """-dlog(loss)/d|w| late in a separable problem against the margins of theory."""
    problem = Problem(
        sampling_ratio=1.5, noise_std=0.0, network={"init_scale": start}, **SIGNS,
        teacher={"kind": "bernoulli-gauss", "density": 0.2},
    )  # fmt: skip
    solution = dmft.solve(problem, t_max=end, n_paths=2048, replicates=1, threads=1)
    times = np.array([0.1 * end, end])
    growth = -np.diff(np.log(solution.curve_at("train_loss", times)))
    curve = solution.curve_at("l1_norm" if norm == "l1" else "squared_norm", times)
    size = np.diff(curve if norm == "l1" else np.sqrt(curve))
    assert abs(growth / size / max_margin(problem, norm).margin - 1.0) < allowed


def test_panel_ends_are_of_order_five():
    """Squared loss of the linear network: moments of linear paths are exact, nothing is sampled."""
    problem = Problem(
        sampling_ratio=1.5, noise_std=0.3, teacher={"kind": "gaussian"}, network={"kind": "linear"}
    )
    exact = learning_curves(problem, np.array([0.0, 3.0]))
    errors = []
    for panels in (2, 4, 8):
        curves = march_of(problem, np.linspace(0.0, 3.0, panels + 1), 256, rtol=1e-8)[1]
        names = ("train_mse", "excess_risk")
        errors.append([curves[name][-1] / getattr(exact, name)[-1] - 1.0 for name in names])
    orders = -np.diff(np.log2(np.abs(errors)), axis=0)
    assert np.all(np.abs(errors[-1]) < 2e-7)
    assert np.all(orders > 4.8)


def test_shorter_panels_converge():
    """Errors of a sampled side fall, too, until other noise of other panels is all that is left."""
    problem = Problem(**SEPARABLE, network={"kind": "linear"})
    ends = []
    for panels in (1, 2, 8):
        edges = np.linspace(0.0, 2.0, panels + 1)
        ends.append(march_of(problem, edges, 1024, rtol=1e-6)[1]["overlap"][-1])
    first, second = np.abs(np.diff(ends))
    assert second < first / 4.0
    assert second < 5e-5


def test_replay_threads_and_checkpoint_form_give_the_same_bits():
    from dataclasses import asdict

    problem = Problem(**SIGNS)
    edges = np.array([0.0, 0.3, 1.0, 2.0, 4.0])
    march, curves = march_of(problem, edges, rtol=1e-3)
    again, same = march_of(problem, edges, rtol=1e-3, threads=2)
    assert all(np.array_equal(curves[name], same[name]) for name in curves)
    with thread_pool(1) as pool:
        flow = TwoSidedFlow(problem, 1024, pool)
        replay = flow.start(1024, np.random.SeedSequence(0), None, 4, 1e-3, False)
        for rows in march.rows:
            replay.commit(PanelDrives(**asdict(rows)))
    assert np.array_equal(replay.weights, again.weights)
    assert np.array_equal(replay.fields, again.fields)


def test_first_guesses_are_nearer_than_the_last_fields(monkeypatch):
    """Fields continued in log time save sweeps: by three at least, beyond the first panels."""
    guesses, kept = [], DataPaths.guess

    def guess(self, last, change):
        stages = kept(self, last, change)
        guesses.append(stages.unknown.copy())
        return stages

    monkeypatch.setattr(DataPaths, "guess", guess)
    march, _ = march_of(Problem(**SEPARABLE), np.append(0.0, np.geomspace(0.5, 30.0, 12)), 256)
    committed = guesses[1::2]  # an attempt guesses, and then the commit
    for panel in range(4, 12):
        stages = slice(1 + 3 * panel, 4 + 3 * panel)
        solved, last = march.fields[:, stages], march.fields[:, 3 * panel, None]
        moved, missed = np.abs(solved - last).mean(), np.abs(solved - committed[panel]).mean()
        assert missed < moved / 3.0, panel


def test_drive_rows_are_a_vector_and_back():
    parts = np.random.default_rng(1).standard_normal((3, 14))
    rows = DriveRows(parts[:, :4], parts[:, 4:7], parts[:, 7:11], parts[:, 11:])
    back = rows.like(rows.flat())
    assert all(np.array_equal(getattr(rows, name), getattr(back, name)) for name in vars(rows))


@pytest.mark.parametrize(
    ("values", "words"),
    [({**SIGNS, "loss": {"kind": "hinge"}}, "given 'hinge' with dynamics 'gradient-flow'")],
)
def test_refused(values, words):
    with pytest.raises(InputError, match=words):
        dmft.solve(Problem(**values), t_max=1.0, n_paths=64, replicates=1)


@pytest.mark.parametrize(
    "values",
    [
        {**SIGNS},
        {"loss": {"kind": "huber"}, "labels": {"kind": "outliers"}},
        {"loss": {"kind": "poisson"}, "labels": {"kind": "poisson", "slope": 0.5}},
        {"labels": {"kind": "sign"}},
        {"loss": {"kind": "logistic"}, "labels": {"kind": "random"}},
        {**SIGNS, "network": {"init_u": 0.5, "init_v": {"kind": "gaussian"}}},
        {**SIGNS, "teacher": {"kind": "discrete", "values": [0.0]}},
    ],
)
def test_every_loss_descends(values):
    solution = dmft.solve(Problem(**values), t_max=5.0, n_paths=512, replicates=2, threads=1)
    assert solution.status == "done"
    loss = solution.train_loss
    assert np.all(np.diff(loss) < 1e-3 * loss[0])
    assert all(np.isfinite(curve.mean).all() for curve in solution.curves.values())
    assert solution.kernels.response_weights is None
