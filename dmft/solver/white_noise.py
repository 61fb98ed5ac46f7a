"""The noise of stochastic gradient flow: white noise on the residuals, on the same panels.

Mini-batches add to every residual white noise of intensity I(t) = step_size N(t), N that of
docs/finite-steps.md. On a panel it is a polynomial through the stages, nu = A^(-1) B eta with
independent standard normals eta and B_ij = sqrt(Q_j - Q_(j-1)) for j <= i, Q_i = int_0^(c_i h) I:
the accumulated noise A nu then has at the stages exactly the law of a Brownian motion with
quadratic variation Q. At depth 2 noise also damps both factors (Ito),
    a = exp(p - G - lambda tau - s delta Q/2),    b = exp(q + G - lambda tau - s delta Q/2),
so that the charge 2ab falls by exp(-s delta Q), whatever the path.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from dmft.errors import InputError
from dmft.numerics.collocation import STAGES, lagrange, radau
from dmft.problem.dynamics import StochasticGradientFlow
from dmft.problem.networks import DEPTH_TWO, Network
from dmft.solver.accuracy import Accuracy, Swept
from dmft.solver.linear_samples import LinearSamples
from dmft.solver.panel_rows import PanelRows
from dmft.solver.sampling import PathSet
from dmft.solver.sides import CoordinatePaths, Damping

_LEAST_INTENSITY = 1e-300
_VANISHED = 1e-4  # of its start, below which an intensity has to be known absolutely
_SWEEPS = 14.0  # that a pilot aims at
_RESIDUAL_SHARE, _SMALL_RESIDUAL = 0.07, 0.01  # how much train_mse counts, and below which start
_GROWTH = 0.35  # largest length of a panel relative to the time where it starts
_KICKS = 0.02  # time error of excess_risk per squared share of it that a panel's noise adds


@dataclass(frozen=True)
class Kicks:
    """White noise of one panel: nu = `loading` eta, accumulated `brownian` eta.

    variation : Q at the stages. brownian : B. loading : A^(-1) B.
    """

    variation: np.ndarray
    brownian: np.ndarray
    loading: np.ndarray

    @classmethod
    def of(cls, step: float, intensity: np.ndarray) -> Kicks:
        """intensity : at the stages, shape (stages, 1)."""
        integration = step * radau().integration
        variation = np.maximum.accumulate(np.maximum(integration @ intensity[:, 0], 0.0))
        steps = np.sqrt(np.diff(variation, prepend=0.0))
        brownian: np.ndarray = np.tril(np.tile(steps, (STAGES, 1)))
        return cls(variation, brownian, np.asarray(np.linalg.solve(integration, brownian)))


class WhiteNoise:
    """Noise of mini-batches on the residuals; see `residual_noise.ResidualNoise`.

    Attributes
    ----------
    factor : rows of R_r on the noise eta of all panels, (nodes, 3 panels), t = 0 first.
    fresh_factor : the part of it that is the noise of the node's own panel.
    variation : Q since t = 0 on all nodes, shape (nodes,).
    cautious : whether many sweeps count as a time error, so that a pilot chooses panels on which
        replicates converge as well.
    """

    calibrates = False

    def __init__(
        self,
        dynamics: StochasticGradientFlow,
        path_set: PathSet,
        cautious: bool,
        paths: CoordinatePaths,
        samples: LinearSamples,
        accuracy: Accuracy,
    ) -> None:
        self.cautious = cautious
        self._dynamics = dynamics
        self._path_set, self._paths, self._samples = path_set, paths, samples
        self._accuracy = accuracy
        self._scale = path_set.coordinates.variance * samples.ratio
        self.factor: np.ndarray = np.zeros((1, 0))
        self.fresh_factor: np.ndarray = np.zeros((1, 0))
        self.variation: np.ndarray = np.zeros(1)
        self._first_mse = self._last_mse()
        self._ends = [(0.0, self._intensity_of(self._first_mse))]
        self._smooth_now = samples.force_now
        self._last_kicks: tuple[tuple[float, bytes], Kicks] | None = None

    # ------------------------------------------------------------------ kernels

    def residual_factor(self) -> np.ndarray:
        """What residuals take from noise, without the noise of the batch itself."""
        return np.hstack([self._samples.factor, self.factor - self.fresh_factor])

    def noise_response(self) -> np.ndarray:
        """R_r [L, nu] with columns in the order in which the sample's noise is drawn."""
        factor = self._samples.factor
        parts = [factor[:, :1]]
        for panel in range(len(self._ends) - 1):
            of_weights = slice(1 + panel * STAGES, 1 + (panel + 1) * STAGES)
            of_batches = slice(panel * STAGES, (panel + 1) * STAGES)
            parts += [factor[:, of_weights], self.factor[:, of_batches]]
        return np.hstack(parts)

    def charge_decay(self) -> np.ndarray:
        """exp(-s delta Q), (paths, nodes)."""
        return np.asarray(np.exp(-self._scale[:, None] * self.variation))

    def _last_mse(self) -> float:
        """train_mse at the last node."""
        return float(np.sum(self.residual_factor()[-1] ** 2))

    def _intensity_of(self, train_mse: float) -> float:
        return self._dynamics.step_size * self._dynamics.noise_variance(train_mse)

    # ------------------------------------------------------------------ one panel

    def guess(self) -> np.ndarray:
        """What it was at the end of the last panel."""
        return np.full((STAGES, 1), self._ends[-1][1])

    def added(self, drive: np.ndarray, rows: PanelRows) -> np.ndarray:
        """With sqrt(delta) nu."""
        return drive + self._white(self._kicks(rows.step, rows.intensity))

    def damping(self, step: float, intensity: np.ndarray) -> Damping:
        """s delta Q of every path."""
        return Damping(self._scale, self._kicks(step, intensity).variation)

    def intensity(self, rows: PanelRows, better: PanelRows, factor: np.ndarray) -> np.ndarray:
        """That of better rows, from the residual at the panel's end."""
        last = float(np.sum(self._residual_rows(rows, better, factor)[-1] ** 2))
        return self._on_stages(rows.step, self._intensity_of(last))[:, None]

    def commit(self, rows: PanelRows) -> None:
        """Append a panel."""
        kicks = self._kicks(rows.step, rows.intensity)
        self._smooth_now = self._samples.force_now - self._white(kicks, 0)[:, -1]
        self._path_set.use(STAGES)
        self.factor = _appended(self.factor, self._rows(rows, kicks.loading))
        fresh = np.zeros((STAGES, self.factor.shape[1]))
        fresh[:, -STAGES:] = kicks.loading
        self.fresh_factor = _appended(self.fresh_factor, fresh)
        self.variation = np.append(self.variation, self.variation[-1] + kicks.variation)
        end = self._ends[-1][0] + (rows.step * radau().nodes)[-1]
        self._ends.append((float(end), float(rows.intensity[-1, 0])))

    def _kicks(self, step: float, intensity: np.ndarray) -> Kicks:
        """Those of a panel: a sweep asks for the same ones several times."""
        key = (step, intensity.tobytes())
        if self._last_kicks is None or self._last_kicks[0] != key:
            self._last_kicks = key, Kicks.of(step, intensity)
        return self._last_kicks[1]

    def _white(self, kicks: Kicks, after: int = STAGES) -> np.ndarray:
        """sqrt(delta) nu of every path; its normals come `after` those of the data."""
        normals = self._path_set.innovations(after + STAGES)[:, after:]
        return np.asarray(math.sqrt(self._samples.ratio) * normals @ kicks.loading.T)

    def _rows(self, rows: PanelRows, loading: np.ndarray) -> np.ndarray:
        """Rows of R_r on the noise eta, known and new."""
        return np.asarray(rows.inverse @ np.hstack([rows.past @ self.factor[1:], loading]))

    def _residual_rows(self, rows: PanelRows, better: PanelRows, factor: np.ndarray) -> np.ndarray:
        """Better rows of the residual on all noise but the batch's own, that of present rows."""
        loading = self._kicks(rows.step, rows.intensity).loading
        batches = self._rows(better, loading)
        batches[:, -STAGES:] -= loading
        return np.hstack([factor, batches])

    def _on_stages(self, step: float, end: float) -> np.ndarray:
        """I at the stages, from the ends of this panel and of the last two.

        Second moments at the end of a panel are far more accurate than at the stages inside, where
        collocation lets noise act before its time.
        Parabola in log I, line in I if it vanishes.
        """
        now = self._ends[-1][0]
        times = np.array([time for time, _ in self._ends[-2:]] + [now + step])
        values = np.array([value for _, value in self._ends[-2:]] + [end])
        at = now + step * radau().nodes
        if np.all(values > 0.0):
            return np.exp(lagrange(times - now, at - now) @ np.log(values))
        return np.interp(at, times, values)

    # ------------------------------------------------------------------ what is small

    def metric(self, rows: PanelRows, probability: np.ndarray, past: np.ndarray) -> np.ndarray:
        """No residual counts, which leaves the iteration as it is: with rough paths, combining
        sweeps takes twice as many (13 to 20 a panel instead of 6 to 9, measured).
        """
        return np.zeros((1, rows.flat().size))

    def unsettled(self, rows: PanelRows, better: PanelRows) -> float:
        """A tenth of the largest relative change of the intensity, per tolerance."""
        moved = np.abs(better.intensity - rows.intensity)
        scale = better.intensity + _VANISHED * self._ends[0][1] + _LEAST_INTENSITY
        return 0.1 * float(np.max(moved / scale)) / self._accuracy.tolerance

    def time_error(self, swept: Swept, better: PanelRows, sweeps: int) -> float:
        """Relative error of excess_risk: what the displacement of paths does to their average.

        The path of a noisy coordinate is rough and no panel follows it closely, but averages do
        not need that. The embedded displacement, without the force that the panel's own noise
        leads to, counts by its correlation with the error e, as far as that is significant. What
        the noise itself adds to the risk, x, is known to a share of the part of it that has
        relaxed within the panel; measured, the error is below _KICKS x^2.
        """
        tableau, step, ratio = radau(), swept.rows.step, self._samples.ratio
        root, probability = self._paths.root_variance, self._paths.probability
        kicks_of = self._kicks(step, swept.rows.intensity)
        slope = root[:, None] * swept.slope
        noise = self._path_set.innovations(2 * STAGES)[:, STAGES:] @ kicks_of.brownian.T
        kicks = math.sqrt(ratio) * root[:, None] * slope * noise
        smooth = swept.force - self._white(kicks_of) - ratio * kicks
        difference = tableau.start_weight * self._smooth_now + smooth @ tableau.error_weights
        rate = -ratio * root * slope[:, -1]
        moved = root * slope[:, -1] * step * difference
        moved /= 1.0 + step * tableau.start_weight * rate
        product = swept.error[:, -1] * moved
        mean, square = probability @ product, probability @ product**2
        significant = max(abs(mean) - 2.0 * math.sqrt(square / self._path_set.count), 0.0)
        relaxed = probability @ (kicks[:, -1] ** 2 * np.minimum(1.0, rate * step))
        size = self._accuracy.size(swept.error) ** 2
        error_of_risk = float(significant / size + _KICKS * (relaxed / size) ** 2)
        # Of train_mse: the part y that the panel's own noise makes is known to y^4, measured on the
        # linear model. As in other flows it may be less exact, and all the more once it is small.
        residual = self._residual_rows(swept.rows, better, self._samples.residual(better))
        train = float(np.sum(residual[-1] ** 2))
        own = float(np.sum(residual[-1, -STAGES:] ** 2))
        matters = _RESIDUAL_SHARE * train / (train + _SMALL_RESIDUAL * self._first_mse)
        error_of_train = matters * (own / (train + _LEAST_INTENSITY)) ** 4
        # Curves are known at the ends of panels; they should not be too far apart. The fourth power
        # makes the control of the step choose exactly this growth, or this number of sweeps.
        now = self._ends[-1][0]
        growth = (step / (_GROWTH * now)) ** 4 if now else 0.0
        effort = (sweeps / _SWEEPS) ** 4 if self.cautious else 0.0
        rtol = self._accuracy.rtol
        return max(error_of_risk, error_of_train, rtol * growth, rtol * effort)


def _appended(factor: np.ndarray, new: np.ndarray) -> np.ndarray:
    return np.vstack([np.pad(factor, ((0, 0), (0, STAGES))), new])


def white_noise(
    network: Network, dynamics: StochasticGradientFlow, path_set: PathSet, *, cautious: bool
) -> Callable[[CoordinatePaths, LinearSamples, Accuracy], WhiteNoise]:
    """Makes the noise of a march on these paths, see `WhiteNoise`.

    Raises
    ------
    InputError : feature variances of a continuous law.
    """
    for stratum in path_set.strata:
        values = path_set.coordinates.variance[stratum]
        if network.code == DEPTH_TWO and np.ptp(values) > 1e-12 * values.max():
            raise InputError(
                "given a continuous law, must be isotropic or discrete with few values under "
                "'stochastic-gradient-flow'; 'sgd' takes any",
                "problem.features",
            )
    return partial(WhiteNoise, dynamics, path_set, cautious)
