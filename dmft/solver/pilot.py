"""The pilot: a small solve that decides what all replicates share.

It chooses the panels, adaptively, and finds which combinations of noise directions move the
weights most. Replicates then march on the same panels, so that they can be averaged, and give the
best low-discrepancy dimensions to the directions that matter (sampling.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from dmft.numerics.collocation import STAGES
from dmft.problem import Problem
from dmft.solver.panel_rows import Attempt
from dmft.solver.plan import Plan

PILOT_PATHS = 1024
_ORDER = 4.0  # the embedded estimate falls like the fourth power of the panel's length
_LARGEST_GROWTH, _SMALLEST_GROWTH = 4.0, 0.2
_LARGEST_TREND = 1.75
# Of rtol: a smaller time error that falls means that all has come to rest, and panels may grow
# faster and faster; then it may also rise, as long as it is nothing but rounding.
_STILL, _STILL_GROWTH, _ROUNDING = 1e-6, 512.0, 1e-11
_LARGEST_WEIGHT = 20.0  # mu h: beyond it the weights e^(mu h) of a panel lose digits
_AFTER_FAILURE = 0.3
# Panels that take more sweeps per digit of rtol are too long: shorter ones cost less in all.
_MANY_SWEEPS = 6.5
_TOO_MANY = 1.2  # times that: replicates may not settle on such a panel at all
_ACCEPTED = 2.0
_SHORTEST = 1e-9  # relative to the time reached
_MOST_PANELS = 1000
# Panels that fail while all is at rest, before time has grown by so much.
_MOST_STUCK, _FAR = 8, 10.0
_RESTS = 1e-3  # of all that excess_risk has changed: less still to come is none
_VANISHED_RISK = 1e-8  # relative to the start: a smaller excess risk decides nothing


class PanelMarch(Protocol):
    """A march over panels: what a pilot and a replicate ask of it.

    time : the end of the last committed panel. times : all nodes, (nodes,), t = 0 first.
    rows : the unknowns of every committed panel; committing them again repeats the march.
    root_variance, first_slope : sqrt(s) and dw/dG at the start, of every path.
    work : counters.
    """

    time: float
    times: np.ndarray
    rows: list[Any]
    root_variance: np.ndarray
    first_slope: np.ndarray
    work: dict[str, float]

    @property
    def risk(self) -> np.ndarray:
        """excess_risk on all nodes."""
        ...

    def attempt(self, step: float, active: np.ndarray | None = None) -> Attempt | None:
        """Solve the panel of length `step`; None when its equations have no solution."""
        ...

    def commit(self, rows: Any) -> None:
        """Append the panel with these rows: a pure function of the state and the rows."""
        ...


class RotatedMarch(PanelMarch, Protocol):
    """A march whose noise can be rotated: it knows how weights respond to noise."""

    @property
    def response(self) -> np.ndarray:
        """R_w on the nodes without t = 0."""
        ...

    def noise_response(self) -> np.ndarray:
        """What the residual of each node takes from each column of the sample's noise."""
        ...


class StepControl:
    """Chooses panel lengths from the embedded error estimates.

    Attributes: `step`, the length to try next, `reason`, why the march had to end early, and
    `rtol`, the loosest tolerance of a panel so far.
    """

    def __init__(self, problem: Problem, march: PanelMarch, rtol: float) -> None:
        self._rtol = self.rtol = rtol
        self.reason = ""
        self._last: tuple[float, float] | None = None  # step and error of the last kept panel
        self._growth = _LARGEST_GROWTH
        # The fastest rate at the start: largest data eigenvalue times the slope of the weights.
        edge = (1.0 + problem.sampling_ratio**0.5) ** 2
        steepest = np.max(march.root_variance**2 * np.abs(march.first_slope))
        growth = abs(problem.network.growth(problem.dynamics.weight_decay))
        self._longest = _LARGEST_WEIGHT / growth if growth else np.inf
        self.step = min(self._longest, 0.05 / (edge * max(1.0, float(steepest))))

    def state(self) -> dict[str, float]:
        """What decides the next steps; a last step of 0 means that there was none."""
        step, error = self._last or (0.0, 0.0)
        found = {"step": self.step, "last_step": step, "last_error": error}
        return {**found, "growth": self._growth, "rtol": self.rtol}

    def restore(self, state: Mapping[str, float]) -> None:
        """The inverse of `state`."""
        self.step = state["step"]
        self._growth = state.get("growth", _LARGEST_GROWTH)  # both absent in older files
        self.rtol = state.get("rtol", self._rtol)
        self._last = (state["last_step"], state["last_error"]) if state["last_step"] else None

    @property
    def at_rest(self) -> bool:
        """Whether panels may grow without end, as nothing moves any more."""
        return self._growth > _LARGEST_GROWTH

    def judge(self, attempt: Attempt | None) -> bool:
        """Whether to keep an attempt of length `step`; sets the length of the next one."""
        if attempt is None or not attempt.converged:
            self.step *= _AFTER_FAILURE
            return False
        error, rtol = max(attempt.time_error, 1e-300), max(self._rtol, attempt.rtol)
        ratio = (rtol / error) ** (1.0 / _ORDER)
        many = _MANY_SWEEPS * np.log10(1.0 / rtol)
        accepted = error <= _ACCEPTED * rtol and attempt.sweeps <= _TOO_MANY * many
        rounding = self.at_rest and error < _ROUNDING
        falls = self._last is not None and (rounding or error <= self._last[1])
        still = error < _STILL * rtol and falls
        if accepted:
            self.rtol = max(self.rtol, rtol)
            # Panels that grow with time keep an error below the target unless the trend is
            # continued (predictive control, Gustafsson 1994).
            if self._last is not None:
                step, last_error = self._last
                trend = (self.step / step) * (last_error / error) ** (1.0 / _ORDER)
                ratio *= min(_LARGEST_TREND, max(1.0, trend))
            self._last = (self.step, error)
        if still:
            self._growth = min(_STILL_GROWTH, self._growth * _LARGEST_GROWTH)
        else:
            self._growth = _LARGEST_GROWTH
            ratio = min(ratio, many / attempt.sweeps)
        self.step *= min(self._growth, max(_SMALLEST_GROWTH, ratio))
        self.step = min(self.step, self._longest)
        return accepted


def adaptive_panels(
    march: PanelMarch, control: StepControl, t_max: float, times: Sequence[float] = ()
) -> Iterator[Attempt]:
    """March to t_max, yielding after each adaptive panel; `control.reason` tells a failure.

    times : of which each is the end of a panel.
    """
    stuck, since = 0, 0.0
    while march.time < t_max * (1.0 - 1e-12):
        end = next((time for time in times if time > march.time * (1.0 + 1e-12)), t_max)
        wanted = control.step
        control.step = min(wanted, end - march.time)
        cut = control.step < wanted and end < t_max
        attempt = march.attempt(control.step)
        if control.judge(attempt) and attempt is not None:
            march.commit(attempt.rows)
            if cut:  # how short it had to be says nothing of the next one
                control.step = max(control.step, wanted)
            yield attempt
            if len(march.rows) >= _MOST_PANELS:
                control.reason = f"stopped at t = {march.time:.6g} after {_MOST_PANELS} panels"
                return
            continue
        if control.at_rest and _rests(march):
            stuck, since = (stuck, since) if march.time < _FAR * since else (0, march.time)
            stuck += 1
        if stuck >= _MOST_STUCK:
            control.reason = (
                f"stopped at t = {march.time:.6g}, where all has come to rest and longer panels do "
                "not converge: what follows is constant"
            )
            return
        if control.step < _SHORTEST * max(march.time, 1e-6):
            control.reason = f"no panel converged beyond t = {march.time:.6g}, however short"
            return


def _rests(march: PanelMarch) -> bool:
    """Whether twice the time would change excess_risk by next to nothing of what has changed it.

    A time error that vanishes does not say so: at a small start weights that are exponentials or
    straight lines in time have none either.
    """
    risk, times = march.risk, march.times
    slope = (risk[-1] - risk[-1 - STAGES]) / (times[-1] - times[-1 - STAGES])
    return bool(abs(slope) * times[-1] <= _RESTS * np.max(np.abs(risk - risk[0])))


def make_plan(march: PanelMarch, control: StepControl, t_max: float, rotation: np.ndarray) -> Plan:
    """What a finished pilot has found; `rotation` is that of the noise."""
    edges = march.times[::STAGES].copy()
    if not control.reason:
        edges[-1] = t_max
    directions = np.array([rows.active for rows in march.rows])
    return Plan(edges, directions, rotation, control.reason, control.rtol)


def noise_rotation(march: RotatedMarch) -> np.ndarray:
    """Rotate noise directions into those that move the weights most, relative to their error.

    The mean response of sqrt(s) w(t) to direction k is sqrt(delta) (R_w R_r L)_tk. Its right
    singular vectors, over log-spaced times, order the directions by their effect.
    """
    response = march.response @ march.noise_response()[1:]
    size = np.sqrt(march.risk[1:, None] + _VANISHED_RISK * march.risk[0])
    scaled = response / np.where(size > 0.0, size, 1.0)  # zero where nothing is to be learnt
    return np.linalg.svd(scaled, full_matrices=True)[2]
