"""Laws of finite networks: bias, variance and seconds of a run against its dimension d.

They are fitted to pools of runs. Bias and variance fall like 1/d unless the pools clearly say
otherwise, then like another power of 1/d. Fluctuations at the times of one curve are all but one
number: of those of excess_risk a single shape holds nine tenths. So misfits are averaged over
times, not summed, as if there were one time. That bounds what noise can gain whatever the
correlations, since it is exact for those that are complete.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_POWERS = np.linspace(1.0, 0.3, 71)  # of 1/d in the bias
_CLEAR_GAIN = 6.63  # in the misfit of a law: chi-squared of one degree, 99 %
_CLEAR = _CLEAR_GAIN**0.5  # standard errors
_BETWEEN = np.arange(1.0, 2.0, 0.2)  # dimensions from each pool to the next, round ones
_DOUBLINGS = 24  # of the largest pool's dimension


@dataclass(frozen=True)
class Pool:
    """Runs of one dimension.

    mean, variance : the curves of one run relative to the reference, (curve, time).
    seconds : CPU seconds of one run.
    """

    dimension: int
    count: int
    mean: np.ndarray
    variance: np.ndarray
    seconds: float

    @property
    def spread(self) -> np.ndarray:
        """Mean over times of the relative variance of one run, (curve,)."""
        return np.asarray(np.mean(self.variance, axis=-1))


@dataclass(frozen=True)
class PowerOfDimension:
    """size * d^-power for each curve; all of shape (curve,).

    stderr, power_stderr : standard errors of the size at this power, and of the power; the latter
        is 0 where the pools do not tell the power from 1.
    """

    size: np.ndarray
    power: np.ndarray
    stderr: np.ndarray
    power_stderr: np.ndarray

    def __call__(self, dimension: float) -> np.ndarray:
        return np.asarray(self.size * float(dimension) ** -self.power)

    def __str__(self) -> str:
        rows = zip(self.size, self.stderr, self.power, self.power_stderr, strict=True)
        return " and ".join(
            f"({size:.3g} ± {stderr:.1g})/d"
            + (f"^({power:.2g} ± {power_stderr:.1g})" if power_stderr else "")
            for size, stderr, power, power_stderr in rows
        )


@dataclass(frozen=True)
class Law:
    """What a run of any dimension is like.

    Beyond the largest pool its variance falls like 1/d and its seconds grow like d^2, the least
    that a product with the features can take.
    """

    pools: tuple[Pool, ...]
    bias: PowerOfDimension
    variance: PowerOfDimension

    def spread(self, dimension: float) -> np.ndarray:
        """Mean over times of the relative variance of one run, (curve,)."""
        known = min(dimension, self.pools[-1].dimension)
        return np.asarray(self.variance(known) * known / dimension)

    def seconds(self, dimension: float) -> float:
        """CPU seconds of one run; a power of d from each pool to the next."""
        known = min(dimension, self.pools[-1].dimension)
        x = np.log([pool.dimension for pool in self.pools])
        y = np.log([pool.seconds for pool in self.pools])
        return float(np.exp(np.interp(np.log(known), x, y))) * (dimension / known) ** 2

    def error(self, count: int, dimension: int) -> float:
        """Of the mean over `count` runs: relative, root mean square over times, the worst curve."""
        return float(np.hypot(self.bias(dimension), np.sqrt(self.spread(dimension) / count)).max())

    def cheapest(self, target: float) -> tuple[float, int, int]:
        """CPU seconds, runs N and dimension d of the cheapest ensemble with an error of `target`.

        Dimensions between those of the pools are tried, too, all as round as these: at others the
        rounding of n and of the teacher's sparsity adds to the bias.
        """
        last = self.pools[-1].dimension
        starts = [pool.dimension for pool in self.pools[:-1]]
        starts += [last * 2**doubling for doubling in range(_DOUBLINGS)]
        found = []
        for dimension in (round(start * factor) for start in starts for factor in _BETWEEN):
            room = target**2 - self.bias(dimension) ** 2
            if np.all(room > 0.0):
                count = max(1, int(np.ceil(np.max(self.spread(dimension) / room))))
                found.append((count * self.seconds(dimension), count, dimension))
        return min(found)


def fitted(pools: list[Pool]) -> Law:
    """The law of pools in order of dimension."""
    variance = fitted_variance(pools)
    return Law(tuple(pools), fitted_bias(pools, variance), variance)


def fitted_variance(pools: list[Pool]) -> PowerOfDimension:
    """v d^-b by least squares in the logarithms; b = 1 within its error.

    A measured variance is taken to have the error of a normal variable's, sqrt(2/count).
    """
    x = np.log([pool.dimension for pool in pools])
    y = np.log(np.maximum([pool.spread for pool in pools], 1e-30))  # (pool, curve)
    weight = np.array([pool.count / 2.0 for pool in pools])
    share = weight / weight.sum()
    x_mean, y_mean = share @ x, share @ y
    information = weight @ (x - x_mean) ** 2
    power = -(weight * (x - x_mean)) @ y / information
    power_stderr = np.full(len(power), information**-0.5)
    plain = np.abs(power - 1.0) < _CLEAR * power_stderr
    power = np.where(plain, 1.0, power)
    size = np.exp(y_mean + power * x_mean)
    return PowerOfDimension(
        size, power, size * weight.sum() ** -0.5, np.where(plain, 0.0, power_stderr)
    )


def fitted_bias(pools: list[Pool], variance: PowerOfDimension) -> PowerOfDimension:
    """c d^-a at each time, with one a for all times of a curve; root mean square over times.

    All times count alike, as they do in the error of a curve: where noise is small so is the bias,
    and its precise power there is no better guide to where it is large. Noise of the pools is
    taken off the size.
    """
    dimension = np.array([[float(pool.dimension)] for pool in pools])
    error = np.array([pool.mean - 1.0 for pool in pools])  # (pool, curve, time)
    # Of the mean over a pool: inverse variance, (pool, curve).
    weight = np.array([pool.count / variance(pool.dimension) for pool in pools])
    squares, noises, misfits = [], [], []
    for power in _POWERS:
        law = dimension**-power
        noise = 1.0 / np.sum(weight * law**2, axis=0)
        size = noise[:, None] * np.sum((weight * law)[..., None] * error, axis=0)
        misfit = np.mean((error - size * law[..., None]) ** 2, axis=-1)
        squares.append(np.mean(size**2, axis=-1) - noise)
        noises.append(noise)
        misfits.append(np.sum(weight * misfit, axis=0))
    gain = misfits[0] - np.array(misfits)  # over 1/d, listed first
    curve = np.arange(gain.shape[1])
    best = gain.argmax(axis=0)
    best[gain[best, curve] < _CLEAR_GAIN] = 0
    size = np.sqrt(np.maximum(np.array(squares)[best, curve], 0.0))
    power, stderr = _POWERS[best], np.sqrt(np.array(noises)[best, curve])
    power_stderr = _power_stderr(dimension, weight, size, power)
    return PowerOfDimension(size, power, stderr, np.where(best == 0, 0.0, power_stderr))


def _power_stderr(
    dimension: np.ndarray, weight: np.ndarray, size: np.ndarray, power: np.ndarray
) -> np.ndarray:
    """Error of a power fitted together with the size, (curve,)."""
    weight = weight * dimension ** (-2.0 * power)
    x = np.log(dimension)
    x = x - np.sum(weight * x, axis=0) / np.sum(weight, axis=0)
    information = size**2 * np.sum(weight * x**2, axis=0)
    return np.asarray(np.maximum(information, 1e-30) ** -0.5)
