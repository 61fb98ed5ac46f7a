"""What is solved: teacher, features, network, loss, labels, dynamics, and their population."""

from dmft.problem.dynamics import SGD, GradientDescent, GradientFlow, StochasticGradientFlow
from dmft.problem.features import DiscreteFeatures, EmpiricalFeatures, Isotropic, PowerLaw
from dmft.problem.labels import (
    LinearLabels,
    LogitLabels,
    Outliers,
    PoissonLabels,
    RandomLabels,
    SignLabels,
)
from dmft.problem.losses import Hinge, Huber, Logistic, Poisson, Squared
from dmft.problem.networks import Diagonal, Linear, Truncated
from dmft.problem.optimisers import Adagrad, Adam, AdamW, RMSprop, SignDescent
from dmft.problem.problem import Problem
from dmft.problem.schedules import Constant, Cosine, Exponential, LinearDecay, Piecewise
from dmft.problem.teachers import BernoulliGauss, Discrete, Empirical, Gaussian, Rademacher
from dmft.problem.user_optimiser import UserOptimiser

__all__ = [
    "SGD", "Adagrad", "Adam", "AdamW", "BernoulliGauss", "Constant", "Cosine", "Diagonal",
    "Discrete", "DiscreteFeatures", "Empirical", "EmpiricalFeatures", "Exponential", "Gaussian",
    "GradientDescent", "GradientFlow", "Hinge", "Huber", "Isotropic", "Linear", "LinearDecay",
    "LinearLabels", "Logistic", "LogitLabels", "Outliers", "Piecewise", "Poisson",
    "PoissonLabels", "PowerLaw", "Problem", "RMSprop", "Rademacher", "RandomLabels", "SignDescent",
    "SignLabels", "Squared", "StochasticGradientFlow", "Truncated", "UserOptimiser",
]  # fmt: skip
