"""Finite-dimensional data sets: coordinates of the population, features, labels.

Stratified data have even coordinates (`sampling`) and noise of exact variance. Labels that are not
real numbers with noise, and with outliers, are drawn independently.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.population import Coordinates
from dmft.results.observables import observables_of
from dmft.settings import SimulationSettings
from dmft.simulation.sampling import random_coordinates, stratified_coordinates

_SPARSE_DENSITY = 0.25
# Components of one digit image; those left out hold 3 % of its variance in rare outliers.
_DIGIT_COMPONENTS = 40


@dataclass(frozen=True)
class DataSet:
    """Features X (n, d), labels y (n,) of h* = X w*, and the coordinates' draws (d,)."""

    features: np.ndarray
    labels: np.ndarray
    coordinates: Coordinates


def sample_count(problem: Problem, dimension: int) -> int:
    """n = sampling_ratio * dimension to the nearest integer.

    Raises
    ------
    InputError : if that is no sample at all.
    """
    count = int(problem.sampling_ratio * dimension + 0.5)
    if count < 1:
        raise InputError(
            f"given {dimension} at sampling ratio {problem.sampling_ratio:g}, must give at least "
            f"one sample: at least {int(np.ceil(0.5 / problem.sampling_ratio))}",
            "dimension",
        )
    return count


def draw_data(
    problem: Problem, settings: SimulationSettings, sequence: np.random.SeedSequence
) -> DataSet:
    """One data set; coordinates, features and noise have independent streams of `sequence`.

    Raises
    ------
    InputError : no sample, a dimension too small for the teacher's support, a design that needs
        a package which is not installed.
    """
    n, d = sample_count(problem, settings.dimension), settings.dimension
    for_coordinates, for_design, for_noise = map(np.random.default_rng, sequence.spawn(3))
    draw = stratified_coordinates if settings.stratified else random_coordinates
    coordinates = draw(problem, d, for_coordinates)
    _check_support(problem, coordinates.teacher)
    features = standardised_design(settings.design, n, d, for_design)
    features *= np.sqrt(coordinates.variance / d)
    fields = features @ coordinates.teacher
    labels = problem.labels.draw(
        fields, problem.noise_std, for_noise, exact_noise=settings.stratified
    )
    return DataSet(features, labels, coordinates)


def _check_support(problem: Problem, teacher: np.ndarray) -> None:
    """Rates on and off the support of a sparse teacher are shares of coordinates of either kind."""
    if "true_positive_rate" not in observables_of(problem):
        return
    for kind, found in {"nonzero": teacher != 0.0, "zero": teacher == 0.0}.items():
        if not found.any():
            raise InputError(
                f"given {len(teacher)}, too small for this teacher: none of its coordinates would "
                f"be {kind}",
                "dimension",
            )


def standardised_design(kind: str, n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """Features of shape (n, d) with independent rows of mean 0 and covariance 1.

    gaussian, rademacher : independent entries.
    sparse : independent entries, zero with probability 3/4, else +2 or -2; excess kurtosis 1.
    digits : a row is a string of handwritten digits, each drawn from scikit-learn's 1797 images
        of 8x8 pixels and replaced by its 40 leading principal components, whitened; the last
        digit is cut where d is no multiple of 40. Features of one image are dependent and not
        Gaussian, rows are independent, and the covariance is exactly 1 whatever n and d are.

    Raises
    ------
    InputError : 'digits' without scikit-learn.
    """
    if kind == "gaussian":
        return rng.standard_normal((n, d))
    if kind == "rademacher":
        return 2.0 * rng.integers(0, 2, (n, d)) - 1.0
    if kind == "sparse":
        signs = 2.0 * rng.integers(0, 2, (n, d)) - 1.0
        signs[rng.random((n, d)) >= _SPARSE_DENSITY] = 0.0
        return signs / np.sqrt(_SPARSE_DENSITY)
    images = whitened_digits()
    digits = -(-d // _DIGIT_COMPONENTS)
    chosen = rng.integers(0, len(images), (n, digits))
    return np.ascontiguousarray(images[chosen].reshape(n, -1)[:, :d])


@lru_cache(maxsize=1)
def whitened_digits() -> np.ndarray:
    """Leading principal components of scikit-learn's digits, whitened, shape (1797, 40).

    Raises
    ------
    InputError : scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError(
            "given 'digits', needs scikit-learn: install dmft[real]", "design"
        ) from None
    pixels = load_digits().data
    left, _, _ = np.linalg.svd(pixels - pixels.mean(axis=0), full_matrices=False)
    whitened = left[:, :_DIGIT_COMPONENTS] * np.sqrt(len(pixels))
    whitened.setflags(write=False)
    return whitened
