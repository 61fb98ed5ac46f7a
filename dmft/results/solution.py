"""What a solve returns: curves with error bars, two-time kernels, status and work done."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from dmft.errors import InputError
from dmft.problem import Problem
from dmft.results.arrays import lock, same
from dmft.results.curves import Curves
from dmft.results.observables import is_positive
from dmft.results.overlaps import OverlapBlocks
from dmft.settings import SolverSettings

if TYPE_CHECKING:
    from dmft.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class Kernels:
    """Two-time kernels on the nodes of `Solution.time`, shape (time, time).

    Row t, column s. Responses hold their quadrature weight: R[t, s] is the change at t caused by
    a unit force that acts during the node s, so sums over s need no further weight. Divide column
    s by `quadrature_weights[s]` for the continuous kernel (past panels only; inside a panel the
    nodes of the collocation method are coupled). The node t = 0 carries no weight.

    Attributes
    ----------
    correlation_error : C_w(t, s) = E[s_j (w - w*)(t) (w - w*)(s)].
    correlation_residual : C_r(t, s), the covariance of the residual of one sample.
    overlap : E[w(t) w(s)], without the feature variance.
    response_weights : R_w, response of the weights to a force added to the gradient.
    response_residual : R_r, response of the residual of a sample to its own field; (I - R_w)^(-1)
        with the squared loss. Responses are None where they were not computed, as of networks.
    quadrature_weights : shape (time,), or None without responses.
    correlation_error_stderr, correlation_residual_stderr, overlap_stderr : standard errors over
        replicates, or None with one replicate.
    """

    correlation_error: np.ndarray
    correlation_residual: np.ndarray
    overlap: np.ndarray
    response_weights: np.ndarray | None = None
    response_residual: np.ndarray | None = None
    quadrature_weights: np.ndarray | None = None
    correlation_error_stderr: np.ndarray | None = None
    correlation_residual_stderr: np.ndarray | None = None
    overlap_stderr: np.ndarray | None = None

    def __post_init__(self) -> None:
        lock(self)

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        there = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        return f"Kernels on {len(self.overlap)} nodes: {', '.join(there)}"


@dataclass(frozen=True, eq=False)
class SamplePaths:
    """A few paths of the effective process of the first replicate.

    Attributes: teacher (path,), weights w(t) and force g(t) of shape (path, time), and
    `probability` (path,), the weight each path has in the population.
    """

    teacher: np.ndarray
    probability: np.ndarray
    weights: np.ndarray
    force: np.ndarray

    def __post_init__(self) -> None:
        lock(self)

    def __eq__(self, other: object) -> bool:
        return same(self, other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "SamplePaths: {} paths on {} nodes".format(*self.weights.shape)


@dataclass(frozen=True, eq=False, repr=False)
class Solution(Curves):
    """Mean-field learning curves of a problem.

    Attributes
    ----------
    problem, settings : what was solved, and how.
    time : nodes, shape (time,), starting at 0, in units of the flow; in discrete dynamics steps.
    panel : panel number of each node, shape (time,), -1 for t = 0.
    curves : every observable of the problem by name, see `dmft.results.observables`; each is also
        an attribute, `solution.overlap`, with its standard error, `solution.overlap_stderr`, and
        its replicates, `solution.replicate_overlap`, (replicate, time). Standard errors contain the
        time discretisation's share in quadrature (docs/accuracy.md); None with one replicate.
    kernels : two-time kernels, means over replicates.
    blocks : overlaps of groups of replicates, for errors of what is no mean; None if not kept.
    status : "done" or "not-converged".
    reason : one line that explains any other status than "done".
    rtol : the tolerance of the time discretisation, looser than settings.rtol where the paths do
        not support that (docs/accuracy.md); None where there is none, or where it is not known.
    work : counters of the work done (panels, nodes, sweeps, flops, ...).
    """

    runs_prefix = "replicate_"

    problem: Problem
    settings: SolverSettings
    panel: np.ndarray
    kernels: Kernels
    paths: SamplePaths | None = None
    blocks: OverlapBlocks | None = None
    status: str = "done"
    reason: str = ""
    rtol: float | None = None
    work: dict[str, float] = field(default_factory=dict, compare=False)

    @property
    def note(self) -> str:
        """What to know about a solve that did what it could, one line; empty if nothing."""
        asked = self.settings.rtol
        if self.rtol is None or self.rtol <= asked:
            return ""
        return (
            f"rtol {self.rtol:.2g} instead of {asked:g}: {self.settings.n_paths} paths do not "
            "support a finer one (take more)"
        )

    def curve_at(self, name: str, times: ArrayLike) -> Any:
        """A curve between its nodes, by the collocation polynomial of each panel.

        Parameters
        ----------
        name : of one of `curves`, or that with "_stderr".
        times : in [0, time[-1]], units of the flow; one number gives a number.

        Raises
        ------
        InputError : an unknown curve, one that this solution does not have, or a time outside.
        """
        from dmft.results.interpolation import curve_at, curve_error_at

        curve = self._curve(name.removesuffix("_stderr"))
        if name.endswith("_stderr"):
            if curve.stderr is None:
                raise InputError("one replicate has no error bar, take at least two", name)
            found = curve_error_at(self.time, curve.stderr, times)
        else:
            positive = is_positive(name)
            found = curve_at(self.time, self.panel, curve.mean, times, positive=positive)
        return float(found[0]) if np.ndim(times) == 0 else found

    @property
    def replicates(self) -> int:
        """How many replicates the curves are means of."""
        return self.runs

    def trajectory_map(
        self,
        of: Literal["weights", "parameters"] = "weights",
        times: ArrayLike | None = None,
    ) -> Trajectory:
        """Maps, angles, lengths and similarity of the trajectory in infinite dimension.

        Norms and lengths are per coordinate, sqrt(E[w(t)^2]). Error bars come from the replicates.

        Parameters
        ----------
        of : "weights" for w, "parameters" for (u, v) of a network of depth 2.
        times : increasing, in [0, time[-1]]; 0 and the ends of the panels by default. In discrete
            dynamics stored steps, all of them by default.

        Raises
        ------
        InputError : an unknown `of`, times outside, or kernels that this solution does not hold.
        """
        from dmft.trajectory.kernels import of_overlaps

        if times is None:  # the nodes inside a panel are unevenly spaced
            last = np.append(np.flatnonzero(np.diff(self.panel)), len(self.time) - 1)
            change = np.eye(len(self.time))[last]
        else:
            from dmft.results.interpolation import interpolation_matrix

            if self.problem.dynamics.discrete:
                self._check_steps(times)
            change = interpolation_matrix(self.time, self.panel, times)
        return of_overlaps(self.time, self.kernels.overlap, self.blocks, of, change)

    def _check_steps(self, times: ArrayLike) -> None:
        """Between steps there is nothing."""
        given = np.atleast_1d(np.asarray(times, dtype=float))
        missing = given[~np.isin(given, self.time)]
        if len(missing):
            raise InputError(
                f"given {missing[0]:g}, must be stored steps of discrete dynamics, as in "
                "`Solution.time`",
                "times",
            )
