"""All conserved linear combinations of given quantities, by exact linear algebra.

h = sum c_m q_m is conserved if sum c_m <grad q_m(theta), X(theta)> = 0 for all theta and all
generators X. Each random theta with a random X is one linear equation for c. Over a prime field
they are solved exactly; the coefficients, rational numbers, are reconstructed and tested modulo a
prime that was not used to find them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from dmft.conservation.architectures.base import Architecture
from dmft.conservation.dynamics import size_of
from dmft.conservation.echelon import Echelon, product
from dmft.conservation.fields import Fields
from dmft.conservation.law import Law, upper
from dmft.conservation.reconstruction import modulo, reconstruct, sparse
from dmft.conservation.rings import PRIMES, PrimeField
from dmft.conservation.tensor import Tensor
from dmft.errors import InputError, NotConverged

MAX_QUANTITIES = 8000
_FAILURES = 16
_BATCH = 128

# Multi-dual points (components, batch, D) to the values of all quantities (components, batch, N).
Quantities = Callable[[Fields, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class FoundLaws:
    """A basis of the conserved combinations of some quantities.

    Attributes
    ----------
    architecture : what was searched.
    quantities : names of the N quantities.
    coefficients : one mapping {index of a quantity: rational number} for each basis vector.
    independent : how many of the laws are functionally independent at a random point.
    primes : those used to find the coefficients, then the one they were tested with.
    equations : how many random equations each prime had.
    """

    architecture: Architecture
    quantities: tuple[str, ...]
    coefficients: tuple[Mapping[int, Fraction], ...]
    independent: int
    primes: tuple[int, ...]
    equations: int

    def formulas(self) -> Iterator[str]:
        """Each law as text."""
        for law in self.coefficients:
            terms = [_term(value, self.quantities[index]) for index, value in law.items()]
            yield " ".join(terms).removeprefix("+ ")

    def to_table(self) -> dict[str, Any]:
        """A plain table, for JSON."""
        return {
            "architecture": self.architecture.describe(),
            "quantities": len(self.quantities),
            "laws": len(self.coefficients),
            "independent": self.independent,
            "formulas": list(self.formulas()),
            "certificate": {
                "primes": list(self.primes),
                "equations": self.equations,
                "tested_modulo": self.primes[-1],
            },
        }


def polynomial_laws(architecture: Architecture, degree: int, *, seed: int = 0) -> FoundLaws:
    """All polynomial laws of degree up to `degree`, without a constant term.

    Parameters
    ----------
    architecture : see `dmft.conservation.parse_architecture`.
    degree : the highest, at least 1.
    seed : of the random points.

    Raises
    ------
    InputError : degree below 1, or more monomials than `MAX_QUANTITIES`.

    Examples
    --------
    >>> from dmft.conservation import parse_architecture, polynomial_laws
    >>> found = polynomial_laws(parse_architecture({"kind": "linear", "widths": [1, 2, 1]}), 2)
    >>> for formula in found.formulas():
    ...     print(formula)
    W1[0,0]*W2[0,1] - W1[1,0]*W2[0,0]
    W1[0,0]^2 - W2[0,0]^2
    W1[0,0]*W1[1,0] - W2[0,0]*W2[0,1]
    W1[1,0]^2 - W2[0,1]^2
    """
    if degree < 1:
        raise InputError(f"given {degree}, must be at least 1", "degree")
    entries = size_of(architecture.state())
    size = math.comb(entries + degree, degree) - 1
    if size > MAX_QUANTITIES:
        raise InputError(
            f"given {degree}, which means {size} monomials of {entries} parameters,"
            f" must be at most {MAX_QUANTITIES}: take a lower degree, or the dictionary",
            "degree",
        )
    exponents = [
        combination
        for order in range(1, degree + 1)
        for combination in itertools.combinations_with_replacement(range(entries), order)
    ]
    names = parameter_names(architecture)
    labels = tuple(_monomial(combination, names) for combination in exponents)
    return _search(architecture, labels, _Monomials(exponents), seed)


def dictionary_laws(
    architecture: Architecture, dictionary: list[Law] | None = None, *, seed: int = 0
) -> FoundLaws:
    """All conserved combinations of the quantities of a dictionary.

    By default those of `gram_dictionary`; they grow with the square of the widths, not with that
    of the number of parameters.

    Parameters
    ----------
    architecture : see `dmft.conservation.parse_architecture`.
    dictionary : the quantities, as laws; see above.
    seed : of the random points.

    Raises
    ------
    InputError : more quantities than `MAX_QUANTITIES`.
    NotConverged : the coefficients are no small fractions.
    """
    laws = gram_dictionary(architecture) if dictionary is None else dictionary
    fields = Fields(architecture, PrimeField(PRIMES[0], seed), seed)
    sizes = [_evaluate(law, fields, fields.point).shape[-1] for law in laws]
    if sum(sizes) > MAX_QUANTITIES:
        raise InputError(
            f"given a dictionary of {sum(sizes)} quantities, must be at most {MAX_QUANTITIES}",
            "dictionary",
        )
    labels = tuple(
        f"{law.formula}#{i}" if size > 1 else law.formula
        for law, size in zip(laws, sizes, strict=True)
        for i in range(size)
    )

    def values(fields: Fields, points: np.ndarray) -> np.ndarray:
        parts = []
        for law in laws:
            part = _evaluate(law, fields, points)
            full = np.zeros((len(points), *part.shape[1:]), np.int64)
            full[: len(part)] = part
            parts.append(np.broadcast_to(full, (len(points), points.shape[1], part.shape[-1])))
        return np.concatenate(parts, axis=-1)

    kept = _different(fields, len(labels), values)
    return _search(
        architecture,
        tuple(labels[i] for i in kept),
        lambda fields, points: values(fields, points)[..., kept],
        seed,
    )


def gram_dictionary(architecture: Architecture) -> list[Law]:
    """Gram matrices of rows and of columns, row sums and column sums of every parameter.

    Axes before the last two are kept apart, as the heads of attention are.
    """
    laws = []
    for name, shape in architecture.state().items():
        heads = math.prod(shape[:-2])
        for head in range(heads):
            label = f"{name}[{head}]" if len(shape) > 2 else name
            laws += _matrix_entries(name, label, shape, head)
    return laws


def _matrix_entries(name: str, label: str, shape: tuple[int, ...], head: int) -> list[Law]:
    def matrix(p: Mapping[str, Any]) -> Any:
        rows, columns = (*([1, 1]), *shape)[-2:]
        return p[name].reshape(-1, rows * columns)[head].reshape(rows, columns)

    def rows(p: Mapping[str, Any]) -> Any:
        return upper(matrix(p) @ matrix(p).T)

    def columns(p: Mapping[str, Any]) -> Any:
        return upper(matrix(p).T @ matrix(p))

    entries = [
        Law(f"column sums {label}", f"column sums of {label}", "", lambda p: matrix(p).sum(0)),
        Law(f"columns {label}", f"{label}^T {label}", "", columns),
    ]
    if len(shape) > 1:
        entries += [
            Law(f"row sums {label}", f"row sums of {label}", "", lambda p: matrix(p).sum(1)),
            Law(f"rows {label}", f"{label} {label}^T", "", rows),
        ]
    return entries


class _Monomials:
    """Values of all monomials, each made from one of a degree lower."""

    def __init__(self, exponents: list[tuple[int, ...]]) -> None:
        place = {combination: i for i, combination in enumerate(exponents)}
        self._levels: list[tuple[np.ndarray, np.ndarray]] = []
        for order in range(2, len(exponents[-1]) + 1):
            mine = [combination for combination in exponents if len(combination) == order]
            self._levels.append((
                np.array([place[combination[:-1]] for combination in mine]),
                np.array([combination[-1] for combination in mine]),
            ))  # fmt: skip

    def __call__(self, fields: Fields, points: np.ndarray) -> np.ndarray:
        values = points
        for parents, factors in self._levels:
            new = fields.ring.multiply(values[:, :, parents], points[:, :, factors])
            values = np.concatenate([values, new], axis=-1)
        return values


def _search(
    architecture: Architecture, labels: tuple[str, ...], quantities: Quantities, seed: int
) -> FoundLaws:
    residues: list[np.ndarray] = []
    pivots: np.ndarray | None = None
    used: list[int] = []
    candidate: np.ndarray | None = None
    for i, prime in enumerate(PRIMES):
        fields = Fields(architecture, PrimeField(prime, seed + i), seed + i)
        echelon, equations = _equations(fields, len(labels), quantities)
        basis = echelon.null_space()
        if candidate is not None and len(basis) == len(candidate):
            tested = modulo(candidate, prime)
            if tested is not None and not product(tested, echelon.rows.T, prime).any():
                independent = _independent(fields, tested, quantities)
                laws = tuple(sparse(row) for row in candidate)
                return FoundLaws(architecture, labels, laws, independent, (*used, prime), equations)
        order = np.sort(echelon.pivots)
        if pivots is None or not np.array_equal(order, pivots):
            residues, used = [], []  # an unlucky point: start over with this prime
        pivots = order
        residues.append(basis)
        used.append(prime)
        candidate = reconstruct(residues, used)
    raise NotConverged("the coefficients of the laws could not be reconstructed as small fractions")


def _equations(fields: Fields, size: int, quantities: Quantities) -> tuple[Echelon, int]:
    """Echelon form of random equations until `_FAILURES` in a row bring nothing new."""
    ring = fields.ring
    assert isinstance(ring, PrimeField)
    echelon = Echelon(size, ring.p)
    equations = 0
    while True:
        points, draws = fields.points(_BATCH)
        along = fields.generator(draws, points)[0]
        moved = np.stack([points[0], along])
        rows = quantities(fields, moved)[1]
        equations += _BATCH
        if echelon.insert(rows) <= _BATCH - _FAILURES:
            return echelon, equations


def _different(fields: Fields, size: int, quantities: Quantities) -> np.ndarray:
    """Indices of quantities without linear relations, such as equal traces, among them."""
    ring = fields.ring
    assert isinstance(ring, PrimeField)
    rng = np.random.default_rng(fields.key)
    echelon = Echelon(size, ring.p)
    while True:
        moved = ring.random(rng, (2, _BATCH, fields.dimension))
        if echelon.insert(quantities(fields, moved)[1]) <= _BATCH - _FAILURES:
            return np.sort(echelon.pivots)


def _independent(fields: Fields, laws: np.ndarray, quantities: Quantities) -> int:
    """Rank of the gradients of the laws at one random point."""
    ring = fields.ring
    assert isinstance(ring, PrimeField)
    echelon = Echelon(len(laws), ring.p)
    point = fields.point[0]
    for start in range(0, fields.dimension, _BATCH):
        directions = np.eye(fields.dimension, dtype=np.int64)[start : start + _BATCH]
        moved = np.stack([np.broadcast_to(point, directions.shape), directions])
        slopes = quantities(fields, moved)[1]
        echelon.insert(product(slopes, np.ascontiguousarray(laws.T), ring.p))
    return echelon.rank


def _evaluate(law: Law, fields: Fields, points: np.ndarray) -> np.ndarray:
    tensors = {name: Tensor(fields.ring, part) for name, part in fields.split(points).items()}
    return law.evaluate(tensors).reshape(-1).data


def parameter_names(architecture: Architecture) -> list[str]:
    """A name for every entry of the flattened parameters, or of the state of the flow."""
    return [
        f"{name}[{','.join(map(str, index))}]" if index else name
        for name, shape in architecture.state().items()
        for index in itertools.product(*map(range, shape))
    ]


def _monomial(combination: tuple[int, ...], names: list[str]) -> str:
    parts = []
    for index, group in itertools.groupby(combination):
        power = len(list(group))
        parts.append(names[index] + (f"^{power}" if power > 1 else ""))
    return "*".join(parts)


def _term(value: Fraction, name: str) -> str:
    sign = "-" if value < 0 else "+"
    size = "" if abs(value) == 1 else f"{abs(value)} "
    return f"{sign} {size}{name}"
