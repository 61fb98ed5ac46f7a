"""What is solved: the statistical problem, its teacher, features, network and dynamics."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from dmft.errors import InputError
from dmft.problem.dynamics import Dynamics, GradientFlow
from dmft.problem.features import Features, Isotropic
from dmft.problem.labels import Labels, LinearLabels, PoissonLabels
from dmft.problem.losses import Hinge, Logistic, Loss, Poisson, Squared
from dmft.problem.networks import TRUNCATED, Diagonal, Network
from dmft.problem.teachers import BernoulliGauss, Empirical, Teacher
from dmft.resolution import Source, resolve
from dmft.validation import Settings


class Problem(Settings):
    """Learning labels of h* = X w* by a diagonal network, in the limit n, d -> infinity.

    X has independent entries of mean 0 and variance s_j/d in column j. The labels are
    y = h* + eps with eps ~ N(0, noise_std^2) unless `labels` says otherwise.

    Units: weights, labels and noise share one scale, which is free; time is that of the flow u'
    = -dL/du, in descent the number of steps.

    Parameters
    ----------
    sampling_ratio : delta = n/d, the number of samples per coordinate.
    noise_std : sigma, the standard deviation of the label noise.
    teacher : law of w*_j.
    network : parametrisation of w and its start.
    features : law of the feature variances s_j.
    loss : l(h, y) of one sample with prediction h = (X w)_i; L = sum_i l(h_i, y_i).
    labels : law of a label given h*.
    dynamics : how the weights move: gradient flow, descent by steps, SGD or an adaptive optimiser.

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
    loss: Loss = Squared()
    labels: Labels = LinearLabels()
    dynamics: Dynamics = GradientFlow()

    def replace(self, **changes: Any) -> Problem:
        """Another problem with some settings changed, by dotted names, validated.

        A changed `kind` keeps the keys that were given to this problem and that the new kind has
        too; a key given that it lacks is an error. A table or the name of a kind changes some
        keys of a table, an object (`GradientFlow()`) all of them.

        Raises
        ------
        InputError : a key that is unknown to the final kind, a value that is not allowed.

        Examples
        --------
        >>> from dmft import Problem
        >>> Problem(noise_std=0.2).replace(**{"network.init_scale": 0.01}).noise_std
        0.2
        """
        before = Source(self.given(), "in the problem", "replace the whole table by an object")
        changed = resolve(type(self), [before, Source(changes, "to replace()")])
        return type(self)(**changed)

    @model_validator(mode="after")
    def _consistent(self) -> Problem:
        paired = isinstance(self.teacher, Empirical) and self.teacher.feature_variances
        if paired and not isinstance(self.features, Isotropic):
            raise InputError(
                f"given kind '{self.features.kind}' beside teacher.feature_variances, "
                "must be left isotropic",
                "features",
            )
        if self.network.depth > 2 and self.dynamics.diffusive:
            raise InputError(
                f"given '{self.dynamics.kind}' of a network of depth {self.network.depth}, must be "
                "of depth 2 or linear; deeper networks have 'sgd'",
                "dynamics.kind",
            )
        if self.network.code == TRUNCATED:
            self._check_truncated()
        return self

    def _check_truncated(self) -> None:
        """Refuse what a truncated network has no closed form for, or no rotation to (u, v)."""
        plain = ("gradient-flow", "gradient-descent", "sgd")
        if self.dynamics.kind not in plain:
            raise InputError(
                f"given '{self.dynamics.kind}' of a '{self.network.kind}' network, allowed: "
                f"{', '.join(plain)}",
                "dynamics.kind",
            )
        decay = self.dynamics.weight_decay
        if decay and not self.dynamics.discrete:
            raise InputError(
                f"given {decay:g} with the flow of a '{self.network.kind}' network, must be 0; or "
                "take steps, dynamics.kind = 'gradient-descent'",
                "dynamics.weight_decay",
            )

    @model_validator(mode="after")
    def _labels_of_loss(self) -> Problem:
        """Refuse labels for which the loss has no meaning."""
        allowed = ""
        if isinstance(self.loss, Hinge | Logistic) and not self.labels.signs:
            allowed = "sign, logit, random"
        if isinstance(self.loss, Poisson) and not isinstance(self.labels, PoissonLabels):
            allowed = "poisson"
        if allowed:
            raise InputError(
                f"given '{self.labels.kind}' with loss '{self.loss.kind}', allowed: {allowed}",
                "labels.kind",
            )
        fresh = getattr(self.dynamics, "label_noise_std", 0.0)
        if fresh and (self.labels.signs or isinstance(self.loss, Poisson)):
            raise InputError(
                f"given {fresh:g} with labels '{self.labels.kind}' and loss '{self.loss.kind}', "
                "noise on labels needs real ones",
                "dynamics.label_noise_std",
            )
        if self.dynamics.diffusive and not self.regression:
            raise InputError(
                f"given '{self.dynamics.kind}' with loss '{self.loss.kind}' and labels "
                f"'{self.labels.kind}', its noise is known for the squared loss of linear labels; "
                "other losses have 'sgd'",
                "dynamics.kind",
            )
        return self

    def _repr_html_(self) -> str:
        from dmft.problem.display import problem_html

        return problem_html(self)

    @property
    def regression(self) -> bool:
        """Squared loss of linear labels, where the residual is a linear functional."""
        return isinstance(self.loss, Squared) and isinstance(self.labels, LinearLabels)


def require_squared(problem: Problem) -> None:
    """Refuse what is known for the squared loss of linear labels only.

    Raises
    ------
    InputError : another loss or other labels.
    """
    if not problem.regression:
        what, given = (
            ("labels.kind", problem.labels.kind)
            if isinstance(problem.loss, Squared)
            else ("loss.kind", problem.loss.kind)
        )
        raise InputError(
            f"given '{given}', known here for the squared loss of linear labels", f"problem.{what}"
        )
