"""Finite-dimensional data sets: coordinates of the population, features, labels.

Stratified draws put the coordinates at the population's quantiles and give the teacher's second
moment, the mean feature variance and the noise variance their exact values. That removes most of
the fluctuation between seeds that the mean field does not have. Labels that are not real numbers
with noise, and with outliers, are drawn independently.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtr

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.problem.population import Coordinates, Stratum, strata
from dmft.settings import SimulationSettings

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
    InputError : no sample, a dimension too small for the teacher's density, a design that needs
        a package which is not installed.
    """
    n, d = sample_count(problem, settings.dimension), settings.dimension
    for_coordinates, for_design, for_noise = map(np.random.default_rng, sequence.spawn(3))
    draw = stratified_coordinates if settings.stratified else random_coordinates
    coordinates = draw(problem, d, for_coordinates)
    features = standardised_design(settings.design, n, d, for_design)
    features *= np.sqrt(coordinates.variance / d)
    fields = features @ coordinates.teacher
    labels = problem.labels.draw(
        fields, problem.noise_std, for_noise, exact_noise=settings.stratified
    )
    return DataSet(features, labels, coordinates)


def random_coordinates(problem: Problem, d: int, rng: np.random.Generator) -> Coordinates:
    """d independent draws from the population."""
    mixture = strata(problem)
    probabilities = np.array([stratum.probability for stratum in mixture])
    counts = rng.multinomial(d, probabilities / probabilities.sum())
    uniforms = [
        np.maximum(rng.random((count, stratum.random_dimensions)), 2.0**-54)
        for stratum, count in zip(mixture, counts, strict=True)
    ]
    return _shuffled(_join(mixture, uniforms), rng)


def stratified_coordinates(problem: Problem, d: int, rng: np.random.Generator) -> Coordinates:
    """d draws with every stratum's share and at midpoint quantiles, independently permuted.

    Strata get their shares of d by largest remainder; a continuous component takes its midpoints
    over all the strata it appears in, so that small strata do not all sit at medians. Then the
    continuous teacher values are scaled by one factor so that the second moment of w* is exactly
    the population's, and the continuous variances so that the mean of s is. Empirical teachers
    paired with variances are left as they are.

    Raises
    ------
    InputError : if every teacher value comes out zero although the population's do not.
    """
    mixture = strata(problem)
    counts = _largest_remainder([stratum.probability for stratum in mixture], d)
    uniforms = _pooled_midpoints(mixture, counts, rng)
    draws = _join(mixture, uniforms)
    if mixture[0].pairs is not None:
        return _shuffled(draws, rng)
    teacher = _with_moment(draws.teacher, mixture, counts, component=0, power=2)
    variance = _with_moment(draws.variance, mixture, counts, component=1, power=1)
    if not teacher.any() and _population_moment(mixture, 0, 2) > 0.0:
        raise InputError(
            f"given {d}, too small for this teacher: none of its coordinates would be nonzero",
            "dimension",
        )
    return _shuffled(Coordinates(teacher, variance, draws.a0, draws.b0), rng)


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


def _join(mixture: tuple[Stratum, ...], uniforms: list[np.ndarray]) -> Coordinates:
    parts = [stratum.draw(points) for stratum, points in zip(mixture, uniforms, strict=True)]
    names = ("teacher", "variance", "a0", "b0")
    return Coordinates(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _shuffled(draws: Coordinates, rng: np.random.Generator) -> Coordinates:
    order = rng.permutation(len(draws.teacher))
    return Coordinates(
        draws.teacher[order], draws.variance[order], draws.a0[order], draws.b0[order]
    )


def _pooled_midpoints(
    mixture: tuple[Stratum, ...], counts: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """Uniforms (count, random_dimensions) of every stratum, midpoints within each component."""
    totals: dict[tuple[int, int], int] = {}
    keys = [
        [(place, id(law)) for place, law in enumerate(stratum.components) if not law.atom]
        for stratum in mixture
    ]
    for places, count in zip(keys, counts, strict=True):
        for key in places:
            totals[key] = totals.get(key, 0) + int(count)
    pools = {key: rng.permutation((np.arange(m) + 0.5) / max(m, 1)) for key, m in totals.items()}
    uniforms = []
    for places, count in zip(keys, counts, strict=True):
        points = np.empty((count, len(places)))
        for column, key in enumerate(places):
            points[:, column], pools[key] = pools[key][:count], pools[key][count:]
        uniforms.append(points)
    return uniforms


def _largest_remainder(probabilities: list[float], total: int) -> np.ndarray:
    shares = total * np.asarray(probabilities) / sum(probabilities)
    counts = np.floor(shares + 1e-9).astype(np.int64)
    remainders = shares - counts
    counts[np.argsort(-remainders, kind="stable")[: total - counts.sum()]] += 1
    return counts


def _with_moment(
    values: np.ndarray,
    mixture: tuple[Stratum, ...],
    counts: np.ndarray,
    *,
    component: int,
    power: int,
) -> np.ndarray:
    """Scale the values that are no atoms so that the mean of values^power is the population's."""
    continuous = np.repeat([not stratum.components[component].atom for stratum in mixture], counts)
    needed = len(values) * _population_moment(mixture, component, power)
    needed -= np.sum(values[~continuous] ** power)
    present = np.sum(values[continuous] ** power)
    if present <= 0.0 or needed <= 0.0:
        return values
    return np.where(continuous, values * (needed / present) ** (1.0 / power), values)


def _population_moment(mixture: tuple[Stratum, ...], component: int, power: int) -> float:
    """E[value^power] by the trapezoidal rule in x, value = quantile(Phi(x)).

    Spectrally accurate for normal components and to about 1e-5 for quantiles with jumps.
    """
    x = np.linspace(-8.0, 8.0, 100_001)
    density = np.exp(-0.5 * x**2)
    density /= density.sum()
    uniforms = np.minimum(ndtr(x), 1.0 - 2.0**-53)
    total = 0.0
    for stratum in mixture:
        law = stratum.components[component]
        if law.atom:
            moment = float(law.quantile(np.array([0.5]))[0] ** power)
        else:
            moment = float(density @ law.quantile(uniforms) ** power)
        total += stratum.probability * moment
    return total
