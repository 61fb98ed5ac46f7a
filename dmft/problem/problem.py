"""What is solved: the statistical problem, its teacher, features, network and dynamics."""

from __future__ import annotations

from pydantic import Field, model_validator

from dmft.errors import InputError
from dmft.problem.dynamics import Dynamics, GradientFlow, StochasticGradientFlow
from dmft.problem.features import Features, Isotropic
from dmft.problem.networks import Diagonal, Network
from dmft.problem.teachers import BernoulliGauss, Empirical, Teacher
from dmft.validation import Settings


class Problem(Settings):
    """Learning y = X w* + eps by a diagonal network, in the limit n, d -> infinity.

    X has independent entries of mean 0 and variance s_j/d in column j; eps ~ N(0, noise_std^2).

    Parameters
    ----------
    sampling_ratio : delta = n/d, the number of samples per coordinate.
    noise_std : sigma, the standard deviation of the label noise.
    teacher : law of w*_j.
    network : parametrisation of w and its start.
    features : law of the feature variances s_j.
    dynamics : gradient flow, gradient descent or SGD, and the weight decay.

    Examples
    --------
    >>> from dmft import Problem
    >>> Problem(sampling_ratio=0.5, teacher={"kind": "gaussian"}).teacher.std
    1.0
    """

    sampling_ratio: float = Field(0.5, gt=0)
    noise_std: float = Field(0.1, ge=0)
    teacher: Teacher = BernoulliGauss()
    network: Network = Diagonal()
    features: Features = Isotropic()
    dynamics: Dynamics = GradientFlow()

    @model_validator(mode="after")
    def _consistent(self) -> Problem:
        paired = isinstance(self.teacher, Empirical) and self.teacher.feature_variances
        if paired and not isinstance(self.features, Isotropic):
            raise InputError(
                f"given kind '{self.features.kind}' beside teacher.feature_variances, "
                "must be left isotropic",
                "features",
            )
        deep = self.network.depth > 2
        if deep and isinstance(self.dynamics, StochasticGradientFlow):
            raise InputError(
                f"given '{self.dynamics.kind}' of a network of depth {self.network.depth}, must be "
                "of depth 2 or linear; deeper networks have 'sgd'",
                "dynamics.kind",
            )
        return self
