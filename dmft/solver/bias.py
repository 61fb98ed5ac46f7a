"""What error bars allow for that all replicates of steps share and none of them measures.

Echoes of sampled rows are biased by a share of 1/n_paths. Directions of batches that are folded are
forgotten in part, whatever the number of paths.
"""

from __future__ import annotations

from dmft.problem import Problem
from dmft.solver.support import Support, first_speed

# Relative bias times n_paths that error bars allow for, above what runs of 1024 against 8192 paths
# showed: flows to t = 16 to 100 (huber 71(23), poisson -9(10), logistic 3(7) of the excess risk).
_BIAS = {"squared": 20.0, "logistic": 10.0, "huber": 75.0, "poisson": 20.0}
# Weights of deep networks grow from small ones by the force of a few coordinates: logistic at depth
# 3 to t = 10, 151(40) of the squared norm, 64(20) of the l1 norm, 50(20) of overlap and loss.
_DEEP, _SQUARES = 75.0, ("squared_norm", "excess_risk")
# After small starts a sample with too few rows is as biased as a network with as few coordinates:
# logistic loss, signs, ratio 10 from 0.001 to t = 30, 21 % (1024 paths) and 14 % (2048) of the
# loss of networks of 400 coordinates.
_SMALL = 30.0
# Relative to a curve, what folding changed on the linear network, whose exact curves are known: 300
# steps of .05, batches of a fifth. A step adds two directions of 96.
FIRST_FOLD, _FOLDED_LOSS, _FOLDED = 45.0, 5e-3, 1.5e-3


def folded_share(name: str) -> float:
    """The relative error of a curve once directions were folded."""
    return _FOLDED_LOSS if name in ("train_mse", "train_loss") else _FOLDED


def bias_share(problem: Problem, name: str, n_paths: int) -> float:
    """The relative bias of a curve; of a loss that has not been measured the largest of all."""
    share = _BIAS.get(problem.loss.kind, max(_BIAS.values()))
    if problem.network.depth > 2:
        share = max(share, _DEEP) * (2.0 if name in _SQUARES else 1.0)
    if Support(n_paths, first_speed(problem)).small:
        share = max(share, _SMALL * max(1.0, problem.sampling_ratio))
    return share / n_paths
