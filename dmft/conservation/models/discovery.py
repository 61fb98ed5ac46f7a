"""`discover`: laws of a model from its gradients alone, by a null space in float64.

A combination sum_j c_j q_j of candidate quantities is conserved if sum_j c_j <grad q_j, g> = 0 for
all parameters and all gradients g of the loss. Each random point and batch gives one equation. The
rank is a choice, so the singular values on both sides of it are returned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.linalg import qr

from dmft.conservation.models.dictionary import LawTerm, along, dictionary, values
from dmft.conservation.models.fields import Fields, LossFunction, evaluate_all
from dmft.conservation.models.forms import ModelLaw
from dmft.conservation.models.survey import ModelLaws
from dmft.conservation.models.walk import laws as structural_laws
from dmft.errors import InputError

if TYPE_CHECKING:
    import torch

MAX_CANDIDATES = 4000
_INDEPENDENT = 1e-9  # relative size below which a candidate is a combination of others
_ROUNDING = 1e-12  # relative size below which derivatives are rounding
_SAME = 1e-6  # sine of the angle below which a law lies in a span
_CLEAR_GAP = 1e3
_EXTRA_EQUATIONS = 30


@dataclass(frozen=True)
class Discovery:
    """Laws among combinations of the dictionary, against those known from the structure.

    Attributes
    ----------
    candidates, equations : size of the linear problem, after removing dependent candidates.
    found : dimension of the null space.
    above, below : singular values at the cut, relative to the largest.
    structural : dimension of the span of the structural laws.
    products : dimensions of the null space that products of linear laws add to it.
    missed : formulas of laws that the structure does not explain, leading terms only.
    refuted : names of structural laws that the gradients contradict.
    """

    candidates: int
    equations: int
    found: int
    above: float
    below: float
    structural: int
    products: int
    missed: tuple[str, ...]
    refuted: tuple[str, ...]

    @property
    def clear(self) -> bool:
        """Whether the gap leaves no doubt about the rank."""
        return self.above > _CLEAR_GAP * self.below

    @property
    def same_span(self) -> bool:
        """Null space and structural laws, with the products of linear ones, agree exactly."""
        return not self.missed and not self.refuted

    def to_table(self) -> dict[str, Any]:
        """A plain table, for JSON."""
        return {**vars(self), "clear": self.clear, "same_span": self.same_span}


def discover(
    model: torch.nn.Module,
    loss: LossFunction,
    batches: Sequence[Any],
    *,
    laws: ModelLaws | None = None,
    seed: int = 0,
) -> Discovery:
    """Find all laws among combinations of entries and Gram entries of the parameters.

    Units: parameters as they are in the model; coefficients are dimensionless.

    Parameters
    ----------
    model : in float64, small; its parameters are as before afterwards.
    loss : function of model and batch that returns a scalar.
    batches : must exercise all of the model: what they never use counts as conserved.
    laws : to compare with; by default those of `laws(model)`.
    seed : of the random parameters.

    Raises
    ------
    InputError : another precision, no batches, more than 4000 candidates, or a gradient that is not
        finite.
    """
    fields = Fields(model, loss, batches)
    known = structural_laws(model) if laws is None else laws
    shapes = {name: tuple(p.shape) for name, p in fields.parameters.items()}
    candidates: list[Any] = [*dictionary(shapes)]
    size = sum(each.size for each in candidates)
    if size > MAX_CANDIDATES:
        raise InputError(
            f"given a model with {size} candidate quantities, must be at most {MAX_CANDIDATES}"
            " (take a smaller one of the same kind)",
            "model",
        )
    rng = np.random.default_rng(seed)
    with fields.unchanged():
        quantities, lawful = _values(fields, candidates, known, size, rng)
        more = _outside(known, lawful, quantities)
        if more:
            candidates += [LawTerm(law, term) for law in more for term in law.terms]
            size = sum(each.size for each in candidates)
            quantities, lawful = _values(fields, candidates, known, size, rng)
        kept = _independent(quantities)
        rows, count = [], len(kept) + _EXTRA_EQUATIONS
        for batch in rng.integers(len(batches), size=count):
            theta = fields.random(rng)
            fields.set(theta)
            gradient = fields.gradient(int(batch))
            if not bool(gradient.isfinite().all()):
                raise InputError(
                    f"batch {batch} has a gradient with NaN or infinity at random parameters, "
                    "must be finite",
                    "loss",
                )
            row = along(candidates, fields.split(theta), fields.split(gradient))
            rows.append(row[kept])
    basis, above, below = _null_space(np.array(rows))
    spanned = quantities[:, kept] @ basis
    return _compare(
        known, lawful, spanned, basis, [each.labels() for each in candidates], kept,
        {"candidates": len(kept), "equations": count, "above": above, "below": below},
    )  # fmt: skip


def _values(
    fields: Fields, candidates: Sequence[Any], known: ModelLaws, size: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Candidates and structural laws at random points, as columns."""
    import torch

    linear = sum(law.entries for law in known if law.degree == 1)
    points = size + linear * (linear + 1) // 2 + _EXTRA_EQUATIONS
    quantities, lawful = [], []
    with torch.no_grad():
        for _ in range(points):
            theta = fields.split(fields.random(rng))
            quantities.append(values(candidates, theta))
            lawful.append(evaluate_all(known.laws, theta))
    return np.array(quantities), np.array(lawful)


def _outside(known: ModelLaws, lawful: np.ndarray, quantities: np.ndarray) -> list[ModelLaw]:
    """Laws that are no combination of the candidates, such as those of groups of channels."""
    spanned = _orthonormal(quantities)
    rest = np.linalg.norm(lawful - spanned @ (spanned.T @ lawful), axis=0)
    bad = rest > _SAME * np.linalg.norm(lawful, axis=0)
    owners = [law for law in known.laws for _ in range(law.entries)]
    return list({owners[i].name: owners[i] for i in np.flatnonzero(bad)}.values())


def _products(known: ModelLaws, lawful: np.ndarray) -> np.ndarray:
    """Products of linear laws: conserved, too, but nothing new."""
    degrees = [law.degree for law in known for _ in range(law.entries)]
    linear = lawful[:, [degree == 1 for degree in degrees]]
    rows, columns = np.triu_indices(linear.shape[1])
    return linear[:, rows] * linear[:, columns]


def _independent(quantities: np.ndarray) -> np.ndarray:
    """Columns that span all, by pivoted QR: traces are shared by the two Gram matrices."""
    scaled = quantities / np.linalg.norm(quantities, axis=0)
    _, r, pivots = qr(scaled, mode="economic", pivoting=True)
    sizes = np.abs(np.diag(r))
    return np.sort(pivots[sizes > _INDEPENDENT * sizes[0]])


def _null_space(rows: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Coefficients (candidates, laws), and the singular values around the widest gap."""
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
    scale = np.linalg.norm(rows, axis=0)
    used = scale > _ROUNDING * scale.max()
    scale = np.where(used, scale, 1.0)
    _, singular, right = np.linalg.svd(rows / scale)
    singular = singular / singular[0]
    floor = np.finfo(float).eps
    padded = np.maximum(np.append(singular, floor), floor)
    cut = int(np.argmax(padded[:-1] / padded[1:]))
    return right[cut + 1 :].T / scale[:, None], float(singular[cut]), float(padded[cut + 1])


def _compare(
    known: ModelLaws, lawful: np.ndarray, spanned: np.ndarray, basis: np.ndarray,
    labels: Sequence[list[str]], kept: np.ndarray, numbers: dict[str, Any],
) -> Discovery:  # fmt: skip
    found, structural = _orthonormal(spanned), _orthonormal(lawful)
    outside = lawful - found @ (found.T @ lawful)
    bad = np.linalg.norm(outside, axis=0) > _SAME * np.linalg.norm(lawful, axis=0)
    owners = [law.name for law in known.laws for _ in range(law.entries)]
    refuted = tuple(dict.fromkeys(owners[i] for i in np.flatnonzero(bad)))
    explained = _orthonormal(np.concatenate([lawful, _products(known, lawful)], axis=1))
    texts = [text for part in labels for text in part]
    missed = _missed(explained, spanned, basis, texts, kept)
    return Discovery(
        found=basis.shape[1], structural=structural.shape[1],
        products=basis.shape[1] - len(missed) - structural.shape[1],
        missed=missed, refuted=refuted, **numbers,
    )  # fmt: skip


def _orthonormal(columns: np.ndarray) -> np.ndarray:
    """An orthonormal basis of what the columns span."""
    if not columns.size:
        return np.zeros((len(columns), 0))
    left, singular, _ = np.linalg.svd(
        columns / np.linalg.norm(columns, axis=0), full_matrices=False
    )
    return left[:, singular > _INDEPENDENT * singular[0]]


def _missed(
    structural: np.ndarray, spanned: np.ndarray, basis: np.ndarray, labels: list[str],
    kept: np.ndarray,
) -> tuple[str, ...]:  # fmt: skip
    """Laws beyond the structural ones, as sparse as a pivoted elimination makes them."""
    beyond = spanned - structural @ (structural.T @ spanned)
    _, singular, right = np.linalg.svd(beyond / np.linalg.norm(spanned, 2), full_matrices=False)
    count = int(np.sum(singular > _SAME))
    if not count:
        return ()
    coefficients = basis @ right[:count].T
    _, _, pivots = qr(coefficients.T, pivoting=True)
    reduced = coefficients @ np.linalg.inv(coefficients[pivots[:count]])
    return tuple(_formula(column, labels, kept) for column in reduced.T)


def _formula(column: np.ndarray, labels: list[str], kept: np.ndarray) -> str:
    order = [i for i in np.argsort(-np.abs(column)) if abs(column[i]) > 1e-6]
    terms = [f"{column[i]:+.4g} {labels[kept[i]]}" for i in order[:6]]
    return " ".join(terms) + (" + .." if len(order) > 6 else "")
