"""Deep networks from small starts, whose weights leave zero abruptly."""

import math

import numpy as np
import pytest

import dmft
from dmft.problem import Problem
from dmft.solver.flow import PlainFlow
from dmft.solver.support import Support
from dmft.theory import predict


def starting(network, **settings):
    flow = PlainFlow(Problem(network=network, **settings), 1024, None)
    return flow, flow.start(1024, np.random.SeedSequence(1), None, 4, 1e-3, True)


def test_small_starts_of_deep_networks_trace_all_paths():
    for network, decay, traced in (
        ({"init_scale": 0.1, "depth": 3}, 0.0, 1024),
        ({"init_scale": 0.1, "depth": 3}, 0.1, 512),
        ({"init_scale": 0.3, "depth": 3}, 0.0, 512),
        ({"init_scale": 1e-3}, 0.0, 512),
    ):
        flow, march = starting(network, dynamics={"weight_decay": decay})
        assert len(march.tracers.index) == traced
        # Per path that is traced 9 numbers of 4 bytes for each of 10 times 11 / 2 panels.
        assert flow.memory(1024, 10) == pytest.approx(traced * 36 * 55 + 1024 * 64 * 30)


def test_what_deep_networks_are_allowed_depends_on_their_start():
    small, large = (Support(64, 2.0 * start**4, deep=True) for start in (0.1, 0.3))
    assert small.abrupt
    assert not large.abrupt
    assert not Support(64, 1e-6).abrupt
    assert small.escape_share < Support(64, 1e-6).escape_share
    assert large.escape_share == Support(64, math.inf).escape_share
    assert large.foreseen == 0.0
    assert small.foreseen > Support(64, small.first_speed).foreseen


def test_depth_three_ends_at_the_fixed_point_with_few_nodes():
    problem = Problem(network={"init_scale": 0.15, "depth": 3})
    limit = predict(problem)
    time = 6.0 / limit.relaxation_rate
    solution = dmft.solve(problem, t_max=time, n_paths=1024, replicates=3)
    assert solution.status == "done"
    decades = np.floor(np.log10(solution.time[1:]))
    assert max(np.sum(decades == decade) for decade in set(decades)) <= 27
    assert solution.excess_risk[-1] == pytest.approx(limit.excess_risk, rel=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 2])
def test_replicates_of_depth_three_agree(seed):
    """Measured in docs/accuracy.md."""
    problem = Problem(network={"init_scale": 0.1, "depth": 3})
    limit = predict(problem)
    time = 6.0 / limit.relaxation_rate
    solution = dmft.solve(problem, t_max=time, replicates=8, seed=seed)
    ends = solution.replicate_excess_risk[:, -1] / limit.excess_risk - 1.0
    print(ends.mean(), ends.std(ddof=1))
    assert abs(ends.mean()) < 0.003
    assert ends.std(ddof=1) < 0.005
