"""Fixed points of convex problems with any loss: the scalar equations of an M-estimator.

Let w minimise sum_i l(h_i, y_i) + lambda sum_j psi_j(w_j), h = Xw, or psi alone under a constraint
on every sample. As n, d -> infinity a sample and a coordinate know each other by five numbers:

    sample:      xi = h* O/rho2 + sqrt(C - O^2/rho2) z,  h + kappa r = xi,  r = l'(h, y),
                 R_r = E[dr/dxi],   E[r h*] = O R_r + rho2 R_*,
    coordinate:  x = gain sqrt(s) w* + tau z,  sqrt(s) w = prox of psi at x, strength theta,
                 gain = -R_*/R_r,  tau = sqrt(E r^2/delta)/R_r,  theta = lambda/(delta R_r),
    and          O = E[s w w*],  C = E[s w^2],  kappa = E[d sqrt(s) w/dx]/(delta R_r).

Sur and Candes 2019 (arXiv 1803.06964) for logistic regression without a penalty; Salehi, Abbasi and
Hassibi 2019 (arXiv 1906.03761) with one. A constraint has lambda = 1 and the projection for prox;
kappa and r are then known up to a common scale with psi.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dmft.errors import NotConverged
from dmft.theory.coordinate_side import CoordinateSide, Reply
from dmft.theory.sample_side import Samples

_ACCEPTED = 1e-8
_STARTS = ((0.5, 0.5, 1.0), (1.0, 0.1, 0.3), (0.1, 1.0, 1.0), (2.0, 2.0, 5.0), (0.1, 0.1, 0.1),
           (0.01, 1e-4, 0.01), (1e-3, 1e-6, 1e-3), (30.0, 1e3, 100.0))  # fmt: skip
_SWEEPS = 60


@dataclass(frozen=True)
class Estimator:
    """A solution: O, C, kappa, the coordinates' reply and their gain, tau and theta."""

    overlap: float
    squared_norm: float
    kappa: float
    reply: Reply
    gain: float
    tau: float
    theta: float


@dataclass(frozen=True)
class Equations:
    """The problem: its two sides, delta, lambda and rho2 = E[s w*^2].

    informed : whether labels depend on the teacher; otherwise O = 0.
    """

    samples: Samples
    coordinates: CoordinateSide
    delta: float
    weight_decay: float
    strength: float
    informed: bool

    def update(self, overlap: float, squared_norm: float, kappa: float) -> Estimator:
        """What the coordinates become, given what the samples see."""
        answer = self.samples.answer(overlap, squared_norm, kappa)
        rate = max(answer.response, 1e-300)
        gain = -answer.teacher_response / rate if self.informed else 0.0
        tau = max(answer.square / self.delta, 1e-300) ** 0.5 / rate
        theta = self.weight_decay / (self.delta * rate)
        reply = self.coordinates.reply(gain, tau, theta)
        return Estimator(
            overlap=reply.overlap if self.informed else 0.0,
            squared_norm=reply.squared_norm,
            kappa=reply.slope / (self.delta * rate),
            reply=reply,
            gain=gain,
            tau=tau,
            theta=theta,
        )


def solve_estimator(equations: Equations) -> Estimator:
    """The fixed point; convex problems have one.

    Raises
    ------
    NotConverged : none was found.
    """
    from scipy.optimize import root

    strength = equations.strength

    def numbers(logs: np.ndarray) -> tuple[float, float, float]:
        cosine = float(np.clip(logs[0], -1e60, 1e60))  # overlap over its scale, of any sign
        rest, kappa = np.exp(np.clip(logs[1:], -60.0, 60.0))
        overlap = cosine * strength if equations.informed else 0.0
        explained = overlap**2 / strength if strength else 0.0
        return overlap, explained + float(rest), float(kappa)

    def logs_of(found: Estimator) -> np.ndarray:
        gain = found.overlap / strength if equations.informed else 0.0
        explained = found.overlap**2 / strength if strength else 0.0
        rest = max(found.squared_norm - explained, 1e-26)
        return np.array([gain, np.log(rest), np.log(max(found.kappa, 1e-26))])

    def residual(logs: np.ndarray) -> np.ndarray:
        change = logs_of(equations.update(*numbers(logs))) - logs
        change[0] /= np.hypot(logs[0], np.exp(0.5 * min(logs[1], 60.0))) + 1e-12
        return np.asarray(change)

    scale = max(strength, 1e-12)
    with np.errstate(all="ignore"):
        for cosine, rest, kappa in _STARTS:
            logs = np.array([cosine * equations.informed, np.log(rest * scale), np.log(kappa)])
            for sweeps in (0, _SWEEPS):
                try:
                    for _ in range(sweeps):
                        logs = 0.5 * (logs + logs_of(equations.update(*numbers(logs))))
                    found = root(residual, logs, tol=1e-13, options={"maxfev": 400})
                except (ValueError, ArithmeticError):
                    break  # out of bounds: another start
                if np.isfinite(found.fun).all() and np.abs(found.fun).max() < _ACCEPTED:
                    overlap, squared_norm, kappa = numbers(found.x)
                    there = equations.update(overlap, squared_norm, kappa)
                    return Estimator(
                        overlap, squared_norm, kappa, there.reply, there.gain, there.tau,
                        there.theta,
                    )  # fmt: skip
    raise NotConverged("the fixed point equations of this loss could not be solved")
