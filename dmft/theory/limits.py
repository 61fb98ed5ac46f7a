"""Where training ends for other losses and labels than the squared loss of linear ones.

| regime | when | limit of the flow |
| --- | --- | --- |
| m-estimator | no weight decay, a minimum of the loss | that minimum, whatever the network |
| interpolation | squared or Huber loss, delta < 1 | argmin psi on h = y, psi the mirror potential |
| max-margin | separable signs, linear network | direction of the largest l2 margin |
| l1-max-margin | separable signs, depth 2 | direction of the largest l1 margin |
| ridge | weight decay, linear network | argmin of loss + lambda/2 sum w^2 |
| lasso | weight decay, depth 2 | argmin of loss + lambda sum abs(w) |
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.dynamics import require_gradient_flow
from dmft.problem.networks import DEPTH_TWO, LINEAR
from dmft.results.observables import label_variance
from dmft.results.sign_error import sign_error
from dmft.theory.averages import SmoothPenalty
from dmft.theory.channels import Channels
from dmft.theory.coordinate_side import AbsoluteSide, CoordinateSide, MirrorSide, QuadraticSide
from dmft.theory.estimator import Equations, Estimator, solve_estimator
from dmft.theory.prediction import checked_channels, penalty_of
from dmft.theory.sample_side import samples_of
from dmft.theory.separability import separability_threshold

_DIRECTION = "weights grow like log t without bound: overlap and squared_norm are those at margin 1"


@dataclass(frozen=True)
class Limit:
    """The end of training.

    Units: squares of weights for overlap, squared_norm, excess_risk; angle in turns of pi;
    margins and errors are dimensionless but for the scale of the labels.

    Attributes
    ----------
    regime : see the module.
    overlap, squared_norm : E[s w w*] and E[s w^2]; of a direction at min y h = 1.
    test_error : P(y h <= 0) on a fresh sample; None where labels are no signs.
    margin : min y h over the root mean square of w (max-margin) or the mean of |w|
        (l1-max-margin); None in other regimes.
    train_loss : limit of the mean loss of a sample.
    excess_risk : E[s (w - w*)^2]; None for a direction.
    angle : of w and w* over pi, or None if either is zero.
    separability_threshold : sampling ratio below which signs are separable, or counts have no
        most likely weights; 0 for other labels.
    note : what to know about the numbers; empty if there is nothing.
    """

    regime: str
    overlap: float
    squared_norm: float
    test_error: float | None
    margin: float | None
    train_loss: float
    excess_risk: float | None
    angle: float | None
    separability_threshold: float
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """All of it as a plain table; an infinite threshold is None."""
        table = asdict(self)
        if not np.isfinite(self.separability_threshold):
            table["separability_threshold"] = None
        return table


def limit(problem: Problem) -> Limit:
    """Where the gradient flow of any loss ends, as n, d -> infinity.

    Units: those of `Limit`.

    Raises
    ------
    InputError : a dynamics that is no gradient flow, weight decay or separable signs at depth
        L >= 3 (no convex problem decides), or a problem without a limit.
    NotConverged : the fixed point equations could not be solved.

    Examples
    --------
    >>> from dmft import Problem
    >>> found = limit(Problem(sampling_ratio=4.0, noise_std=0.7, loss={"kind": "logistic"},
    ...                       labels={"kind": "sign"}))
    >>> print(found.regime, round(found.squared_norm, 2), round(found.train_loss, 5))
    m-estimator 40.94 0.24314
    """
    require_gradient_flow(problem.dynamics)
    channels = checked_channels(problem)
    threshold = separability_threshold(problem)
    if problem.dynamics.weight_decay > 0.0:
        _refuse_depth(problem, "weight decay")
        linear = problem.network.code == LINEAR
        side: CoordinateSide = QuadraticSide(channels) if linear else AbsoluteSide(channels)
        found = _solved(problem, channels, side, problem.dynamics.weight_decay, None)
        return _finite(problem, channels, found, "ridge" if linear else "lasso", threshold)
    if problem.loss.kind in ("logistic", "hinge") and problem.sampling_ratio < threshold:
        if problem.loss.kind == "hinge":
            raise InputError(
                f"given 'hinge' below the separability threshold {threshold:.4g}, where many "
                "weights have no loss; allowed: logistic, or weight decay",
                "problem.loss.kind",
            )
        _refuse_depth(problem, "separable signs")
        return max_margin(problem, "l2" if problem.network.code == LINEAR else "l1")
    regression = problem.loss.kind in ("squared", "huber")
    if regression and problem.sampling_ratio < 1.0:
        penalty = penalty_of(problem, channels)
        side = QuadraticSide(channels)
        if isinstance(penalty, SmoothPenalty):
            side = MirrorSide(penalty)
        found = _solved(problem, channels, side, 1.0, "equality")
        return _finite(problem, channels, found, "interpolation", threshold)
    least = 1.0 if regression else threshold
    if problem.sampling_ratio <= least:
        raise InputError(
            f"given {problem.sampling_ratio:g}, has no minimum of this loss, must be above "
            f"{least:.6g} or have weight decay",
            "problem.sampling_ratio",
        )
    if problem.labels.kind in ("linear", "outliers") and label_variance(problem) == 0.0:
        return _recovered(channels)
    found = _solved(problem, channels, QuadraticSide(channels), 0.0, None)
    return _finite(problem, channels, found, "m-estimator", threshold)


def max_margin(problem: Problem, potential: str | float = "l2") -> Limit:
    """The direction of least potential at min y h = 1, of separable signs.

    Units: those of `Limit`.

    Parameters
    ----------
    problem : its loss and its network do not matter.
    potential : "l2" for sum w^2/2 (largest margin for a given sum of squares; Montanari, Ruan, Sohn
        and Yan 2019), "l1" for sum |w| (Liang and Sur 2020), or mu > 0 for the hyperbolic potential
        psi' = asinh(w/mu)/2 between them, which a network of depth 2 with init_scale = alpha
        follows on the way: mu = alpha^2/log(1/train_loss) (Moroshko et al. 2020).

    Raises
    ------
    InputError : labels that are no signs or not separable at this sampling ratio, or another
        potential.
    NotConverged : the fixed point equations could not be solved.
    """
    from dmft.theory.mirror import Mirror

    if not problem.labels.signs:
        raise InputError(
            f"given '{problem.labels.kind}', a margin needs sign, logit or random labels",
            "problem.labels.kind",
        )
    threshold = separability_threshold(problem)
    if problem.sampling_ratio >= threshold:
        raise InputError(
            f"given {problem.sampling_ratio:g}, separable below {threshold:.6g}",
            "problem.sampling_ratio",
        )
    channels = checked_channels(problem)
    if potential == "l2":
        side: CoordinateSide = QuadraticSide(channels)
    elif potential == "l1":
        side = AbsoluteSide(channels)
    elif isinstance(potential, int | float) and 0.0 < potential < np.inf:
        start = np.full((len(channels), 1), float(potential) ** 0.5)
        side = MirrorSide(SmoothPenalty(channels, Mirror(DEPTH_TWO, 2, start, start)))
    else:
        raise InputError(f"given {potential!r}, allowed: l2, l1, a positive number", "potential")
    found = _solved(problem, channels, side, 1.0, "margin")
    size = found.reply.weight_size if potential == "l1" else found.reply.weight_square**0.5
    return Limit(
        regime="l1-max-margin" if potential == "l1" else "max-margin",
        overlap=found.overlap,
        squared_norm=found.squared_norm,
        test_error=_test_error(problem, channels, found),
        margin=1.0 / size,
        train_loss=0.0,
        excess_risk=None,
        angle=_angle(channels, found),
        separability_threshold=threshold,
        note=_DIRECTION,
    )


def _solved(
    problem: Problem,
    channels: Channels,
    side: CoordinateSide,
    weight_decay: float,
    constraint: str | None,
) -> Estimator:
    strength = channels.second_moment
    informed = strength > 0.0 and problem.labels.kind != "random"
    samples = samples_of(problem, strength, constraint)
    delta = problem.sampling_ratio
    return solve_estimator(Equations(samples, side, delta, weight_decay, strength, informed))


def _finite(
    problem: Problem, channels: Channels, found: Estimator, regime: str, threshold: float
) -> Limit:
    strength = channels.second_moment
    train_loss = 0.0
    if regime != "interpolation":
        samples = samples_of(problem, strength)
        train_loss = samples.train_loss(
            problem.loss, found.overlap, found.squared_norm, found.kappa
        )
    return Limit(
        regime=regime,
        overlap=found.overlap,
        squared_norm=found.squared_norm,
        test_error=_test_error(problem, channels, found),
        margin=None,
        train_loss=train_loss,
        excess_risk=found.squared_norm - 2.0 * found.overlap + strength,
        angle=_angle(channels, found),
        separability_threshold=threshold,
    )


def _recovered(channels: Channels) -> Limit:
    """Labels without noise, more samples than coordinates: the teacher itself."""
    strength = channels.second_moment
    return Limit(
        regime="m-estimator",
        overlap=strength,
        squared_norm=strength,
        test_error=None,
        margin=None,
        train_loss=0.0,
        excess_risk=0.0,
        angle=0.0 if strength else None,
        separability_threshold=0.0,
        note="without noise the teacher is found in the end",
    )


def _test_error(problem: Problem, channels: Channels, found: Estimator) -> float | None:
    if not problem.labels.signs:
        return None
    overlap, norm = np.array([found.overlap]), np.array([found.squared_norm])
    return float(sign_error(problem, overlap, norm, channels.second_moment)[0])


def _angle(channels: Channels, found: Estimator) -> float | None:
    size = found.squared_norm * channels.second_moment
    if not size > 0.0:
        return None
    return float(np.arccos(np.clip(found.overlap / size**0.5, -1.0, 1.0)) / np.pi)


def _refuse_depth(problem: Problem, what: str) -> None:
    if problem.network.code not in (LINEAR, DEPTH_TWO):
        raise InputError(
            f"given {problem.network.depth} with {what}, where the way decides among many "
            "stationary points, must be 2 or a linear network; solve this one",
            "problem.network.depth",
        )
