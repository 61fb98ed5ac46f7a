"""The noise equilibrium of an orbit: where the Noether flow of all charges vanishes.

It is the minimum of the convex function Phi(lam) = sum_j c_j exp(v_j . lam) with c_j > 0. One
symmetry is a scalar root; several that share no eigenvectors are solved one by one, the rest
together by Newton's method. Where Phi has no minimum its infimum lies at infinity: a linear program
finds the terms that vanish there and which lam_k diverge.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from scipy import optimize, sparse
from scipy.special import logsumexp

from dmft.errors import InputError, NotConverged
from dmft.symmetry.noether import Orbit

FINITE, INFINITE, UNDETERMINED = "finite", "infinite", "undetermined"
_CERTAIN = 1e-10  # largest stationarity of a result that is returned
_NULL = 1e-9  # components of unit vectors that count as zero
_SWEEPS, _STEPS = 5, 20_000


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """The point of an orbit where noise and decay leave its charges in balance.

    lam : group parameters lam*, shape (K,); infinite where noise drives the orbit away for ever,
        zero where it is undetermined.
    kinds : of each: "finite", "infinite", or "undetermined", where the flow is zero identically.
    stationarity : |G_k| over the sum of the absolute values of its terms, shape (K,): the
        certificate of what is finite, zero elsewhere.
    theta : the point, shape (P,), or None where some lam is infinite.
    charges : C_k there, shape (K,), or None.
    rates : rates of return per unit of time, ascending; None where there is no single point, or
        where the charges depend on each other.
    names : of the symmetries.
    """

    lam: np.ndarray
    kinds: tuple[str, ...]
    stationarity: np.ndarray
    theta: np.ndarray | None
    charges: np.ndarray | None
    rates: np.ndarray | None
    names: tuple[str, ...]

    @property
    def exists(self) -> bool:
        """Whether the equilibrium is a single point of the orbit."""
        return all(kind == FINITE for kind in self.kinds)


@dataclass
class _Found:
    """Part of a result, for the symmetries of a block."""

    lam: np.ndarray
    kinds: list[str]
    stationarity: np.ndarray


def noise_equilibrium(orbit: Orbit) -> Equilibrium:
    """Find the noise equilibrium of an orbit.

    Units: lambda is dimensionless, rates are in inverse time of the flow.

    Raises
    ------
    NotConverged : the minimum could not be certified.
    """
    count = orbit.values.shape[1]
    exponents, logs = _terms(orbit)
    whole = _Found(np.zeros(count), [UNDETERMINED] * count, np.zeros(count))
    for members, rows in _blocks(exponents):
        inner = exponents[np.ix_(rows, members)]
        solve = _scalar_root if len(members) == 1 else _joint_minimum
        part = solve(inner, logs[rows])
        whole.lam[members], whole.stationarity[members] = part.lam, part.stationarity
        for place, kind in zip(members, part.kinds, strict=True):
            whole.kinds[place] = kind
    worst = int(whole.stationarity.argmax())
    if whole.stationarity[worst] > _CERTAIN:
        reached = f"{whole.stationarity[worst]:.1e}, must be below {_CERTAIN:.0e}"
        raise NotConverged(
            f"{orbit.names[worst]}: equilibrium found to a stationarity of {reached}"
        )
    bounded = np.isfinite(whole.lam).all()
    rates = None
    if all(kind == FINITE for kind in whole.kinds):
        with suppress(InputError):
            rates = orbit.rates(whole.lam)
    return Equilibrium(
        whole.lam, tuple(whole.kinds), whole.stationarity,
        theta=orbit.point(whole.lam) if bounded else None,
        charges=orbit.charge(whole.lam) if bounded else None,
        rates=rates,
        names=orbit.names,
    )  # fmt: skip


def _terms(orbit: Orbit) -> tuple[np.ndarray, np.ndarray]:
    """v_j and log c_j of the terms with c_j > 0 and v_j not zero, shapes (J, K) and (J,)."""
    weights = np.concatenate(
        [2.0 * orbit.penalty * orbit.squares, 0.5 * orbit.noise_strength * orbit.powers]
    )
    exponents = 2.0 * np.concatenate([orbit.values, -orbit.values])
    kept = (weights > 0.0) & exponents.any(axis=1)
    return exponents[kept], np.log(weights[kept])


def _blocks(exponents: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Symmetries that share terms, directly or through others, and the terms they share."""
    pattern = sparse.csr_array(exponents != 0.0)
    shared = (pattern.T.astype(np.int64) @ pattern.astype(np.int64)).tocsr()
    _, label = sparse.csgraph.connected_components(shared, directed=False)
    owner = label[np.abs(exponents).argmax(axis=1)] if len(exponents) else np.zeros(0, dtype=int)
    rows = np.argsort(owner, kind="stable")
    for block in np.unique(label):
        low, high = np.searchsorted(owner[rows], [block, block + 1])
        yield np.flatnonzero(label == block), rows[low:high]


def _scalar_root(exponents: np.ndarray, logs: np.ndarray) -> _Found:
    """The root of G for one symmetry.

    Rising and falling terms are compared by the logarithms of their sums. The difference h has a
    slope of at least m, the smallest rising plus the smallest falling exponent, so the root is
    within |h(0)| / m of zero: a bracket without search, and no overflow.
    """
    v = exponents[:, 0]
    up, down = v > 0.0, v < 0.0
    if not up.any() or not down.any():
        lam = 0.0 if len(v) == 0 else -np.inf if up.any() else np.inf
        return _Found(np.array([lam]), [INFINITE if lam else UNDETERMINED], np.zeros(1))
    sized = logs + np.log(np.abs(v))

    def difference(x: float) -> float:
        return float(logsumexp((sized + v * x)[up]) - logsumexp((sized + v * x)[down]))

    steepness = v[up].min() - v[down].max()
    end = -difference(0.0) / steepness
    end += np.sign(end) * (1e-12 * abs(end) + 1e-12)  # beyond the root in spite of rounding
    lam = float(optimize.brentq(difference, 0.0, end, xtol=1e-15)) if end else 0.0
    return _Found(np.array([lam]), [FINITE], np.array([np.tanh(abs(difference(lam)) / 2.0)]))


def _joint_minimum(exponents: np.ndarray, logs: np.ndarray) -> _Found:
    """The minimum of Phi over several lam, which may lie at infinity in some of them."""
    count = exponents.shape[1]
    scaled = exponents / np.abs(exponents).max()
    escape = _escape(scaled)
    kept = scaled @ escape > -0.5
    lam = np.zeros(count)
    if kept.any():
        lam = _minimise(exponents[kept], logs[kept])
    left = _imbalance(exponents[kept], logs[kept], lam)
    free = _touches_null_space(scaled[kept])
    kinds = [FINITE] * count
    for k in range(count):
        if abs(escape[k]) > _NULL:
            kinds[k], lam[k], left[k] = INFINITE, np.copysign(np.inf, escape[k]), 0.0
        elif free[k]:
            kinds[k], lam[k], left[k] = UNDETERMINED, 0.0, 0.0
    return _Found(lam, kinds, left)


def _escape(scaled: np.ndarray) -> np.ndarray:
    """A direction in which no term grows and as many as possible vanish; zero if there is none.

    Scaled so that v_j . d <= -1 for all terms that vanish. Among such directions the one with the
    smallest sum of absolute values, so that no lam_k diverges needlessly.
    """
    terms, count = scaled.shape
    # Variables d (free) and t in [0, 1] with v_j . d <= -t_j; maximise the sum of t.
    cost = np.concatenate([np.zeros(count), -np.ones(terms)])
    constraint = sparse.hstack([sparse.csr_array(scaled), sparse.eye_array(terms)])
    bounds = [(None, None)] * count + [(0.0, 1.0)] * terms
    first = optimize.linprog(cost, constraint, np.zeros(terms), bounds=bounds)
    vanishing = first.x[count:] > 0.5
    if not vanishing.any():
        return np.zeros(count)
    both = sparse.csr_array(np.hstack([scaled, -scaled]))
    rest = ~vanishing
    second = optimize.linprog(
        np.ones(2 * count), both[vanishing], -np.ones(vanishing.sum()),
        A_eq=both[rest] if rest.any() else None, b_eq=np.zeros(rest.sum()) if rest.any() else None,
    )  # fmt: skip
    return np.asarray(second.x[:count] - second.x[count:])


def _minimise(exponents: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """Roots one coordinate at a time for a start, then damped Newton steps.

    A sum of exponentials is generalised self-concordant: with r the largest change of an exponent
    in a full step, the fraction log(1 + r) / r always descends (Bach, arXiv:0910.4627, prop. 1).
    The step of least norm leaves lam at zero where Phi does not depend on it.
    """
    lam = np.zeros(exponents.shape[1])
    for _ in range(_SWEEPS):
        for k in range(len(lam)):
            active = exponents[:, k] != 0.0
            found = _scalar_root(exponents[active][:, [k]], (logs + exponents @ lam)[active])
            if found.kinds[0] == FINITE:
                lam[k] += found.lam[0]
    best, best_left = lam, np.inf
    for _ in range(_STEPS):
        left = _imbalance(exponents, logs, lam).max()
        if left < best_left:
            best, best_left = lam, left
        elif best_left < _CERTAIN:
            break  # rounding is reached
        weights = np.exp(logs + exponents @ lam - (logs + exponents @ lam).max())
        gradient = exponents.T @ weights
        hessian = (exponents.T * weights) @ exponents
        scale = 1.0 / np.sqrt(np.maximum(np.diag(hessian), np.finfo(float).tiny))
        step = -scale * (
            np.linalg.pinv(scale[:, None] * hessian * scale, rcond=1e-13, hermitian=True)
            @ (scale * gradient)
        )
        reach = np.abs(exponents @ step).max()
        if reach == 0.0:
            break
        lam = lam + np.log1p(reach) / reach * step
    return best


def _imbalance(exponents: np.ndarray, logs: np.ndarray, lam: np.ndarray) -> np.ndarray:
    """|dPhi/dlam_k| over the sum of the absolute values of its terms, shape (K,)."""
    if not len(exponents):
        return np.zeros(len(lam))
    heights = logs + exponents @ lam
    found = np.zeros(len(lam))
    for k in range(len(lam)):
        active = exponents[:, k] != 0.0
        if active.any():
            top = heights[active].max()
            terms = exponents[active, k] * np.exp(heights[active] - top)
            found[k] = abs(terms.sum()) / np.abs(terms).sum()
    return found


def _touches_null_space(scaled: np.ndarray) -> np.ndarray:
    """Which coordinates take part in directions that change no term, shape (K,)."""
    from scipy.linalg import null_space

    if not len(scaled):
        return np.ones(scaled.shape[1], dtype=bool)
    return np.asarray(np.abs(null_space(scaled, rcond=_NULL)).max(axis=1, initial=0.0) > _NULL)
