"""How many independent conservation laws an architecture has, with a certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dmft.conservation.architectures.base import Architecture
from dmft.conservation.closure import Trace, generate
from dmft.conservation.dynamics import size_of
from dmft.conservation.echelon import Echelon, product
from dmft.conservation.fields import Fields
from dmft.conservation.law import Law, jacobian
from dmft.conservation.rings import PRIMES, PrimeField

_TRACE = (
    "a rank over a prime field at one point, for some of the data, bounds the generic rank from"
    " below, so laws <= parameters - rank"
)
_LAWS = (
    "the gradients of the explicit laws are orthogonal to the whole trace, and independent, at"
    " random points modulo the primes (polynomial identity test), so laws >= their rank"
)


@dataclass(frozen=True)
class LawCheck:
    """What the exact tests found about one family of laws.

    entries : quantities in the family. conserved : whether every one of them is.
    new : by how much the family raises the number of independent laws.
    """

    law: Law
    entries: int
    conserved: bool
    new: int


@dataclass(frozen=True)
class Certificate:
    """What a count rests on.

    Attributes
    ----------
    primes, seeds : of the points.
    ranks : dimension of the trace at each point; the largest counts.
    closed : whether longer brackets were tried and gave nothing.
    tried : how many longer brackets, in the run that tried fewest.
    assumptions : what is taken for granted; empty if the bounds are proved by arithmetic alone.
    upper_bound : of the number of laws, from the rank.
    lower_bound : from the explicit laws.
    checks : one for each family of explicit laws.
    """

    primes: tuple[int, ...]
    seeds: tuple[int, ...]
    ranks: tuple[int, ...]
    closed: bool
    tried: int
    assumptions: tuple[str, ...]
    upper_bound: int
    lower_bound: int
    checks: tuple[LawCheck, ...] = field(repr=False)

    @property
    def exact(self) -> bool:
        """The bounds meet: every law is explained."""
        return self.upper_bound == self.lower_bound

    def to_table(self) -> dict[str, Any]:
        proved = [_TRACE] + ([_LAWS] if self.checks else [])
        return {
            "exact": self.exact,
            "upper_bound": self.upper_bound,
            "lower_bound": self.lower_bound,
            "closed": self.closed,
            "longer_brackets_tried": self.tried,
            "primes": list(self.primes),
            "seeds": list(self.seeds),
            "ranks": list(self.ranks),
            "proved": proved,
            "assumed": list(self.assumptions),
        }


@dataclass(frozen=True)
class Count:
    """The number of laws of an architecture.

    Attributes
    ----------
    parameters : D.
    trace_dimensions : dimension of the span of brackets of up to 1, 2, .. generators, the largest
        found. Each is a lower bound; the last is exact if the certificate is.
    laws : D minus the last of them, the number of independent laws near a generic point. With
        momentum or weight decay, the entries of the state take the place of D.
    """

    architecture: Architecture
    parameters: int
    trace_dimensions: tuple[int, ...]
    laws: int
    certificate: Certificate

    def to_table(self) -> dict[str, Any]:
        """A plain table, for JSON."""
        return {
            "architecture": self.architecture.describe(),
            "parameters": self.parameters,
            "state": size_of(self.architecture.state()),
            "trace_dimensions": list(self.trace_dimensions),
            "laws": self.laws,
            "explained": self.certificate.lower_bound,
            "families": [
                {
                    "name": check.law.name,
                    "formula": check.law.formula,
                    "entries": check.entries,
                    "independent": check.new,
                    "conserved": check.conserved,
                }
                for check in self.certificate.checks
            ],
            "certificate": self.certificate.to_table(),
        }


def count(
    architecture: Architecture,
    *,
    points: int = 2,
    seed: int = 0,
    failures: int = 16,
    max_level: int = 8,
    laws: Sequence[Law] | None = None,
) -> Count:
    """Count the independent conservation laws of the gradient flow, exactly.

    Parameters
    ----------
    architecture : see `dmft.conservation.parse_architecture`.
    points : random points, each modulo another prime.
    seed : of the first point; the others follow.
    failures : see `closure.generate`.
    max_level : brackets of at most so many generators.
    laws : explicit laws to explain the count with; by default those of the catalogue.

    Raises
    ------
    NotConverged : no random data on which its conditions can be met were found.

    Examples
    --------
    >>> from dmft.conservation import count, parse_architecture
    >>> result = count(parse_architecture({"kind": "linear", "widths": [2, 5, 2]}))
    >>> result.trace_dimensions, result.laws, result.certificate.exact
    ((4, 6), 14, True)
    """
    catalogue = architecture.laws() if laws is None else tuple(laws)
    traces: list[Trace] = []
    checks: list[tuple[LawCheck, ...]] = []
    for i in range(points):
        prime = PRIMES[i % len(PRIMES)]
        fields = Fields(architecture, PrimeField(prime, key=seed + i), seed + i)
        trace = generate(fields, failures=failures, max_level=max_level)
        traces.append(trace)
        checks.append(check_laws(catalogue, trace))
    dimensions = _largest([trace.dimensions for trace in traces])
    best = max(traces, key=lambda trace: trace.echelon.rank)
    certificate = Certificate(
        primes=tuple(trace.prime for trace in traces),
        seeds=tuple(range(seed, seed + points)),
        ranks=tuple(trace.echelon.rank for trace in traces),
        closed=best.closed,
        tried=best.tried,
        assumptions=tuple(sorted(set().union(*(trace.fields.assumptions for trace in traces)))),
        upper_bound=traces[0].fields.dimension - dimensions[-1],
        lower_bound=min(sum(check.new for check in found) for found in checks),
        checks=tuple(_worst(*together) for together in zip(*checks, strict=True)),
    )
    return Count(
        architecture,
        architecture.dimension,
        dimensions,
        certificate.upper_bound,
        certificate,
    )


def _largest(runs: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The largest dimension at each level, up to the level where the last of them is reached."""
    levels = range(max(len(run) for run in runs))
    largest = [max(run[min(level, len(run) - 1)] for run in runs) for level in levels]
    return tuple(largest[: largest.index(largest[-1]) + 1])


def check_laws(laws: Sequence[Law], trace: Trace) -> tuple[LawCheck, ...]:
    """Whether each law is orthogonal to the trace, and how many independent ones it adds."""
    point = {name: part[0, 0] for name, part in trace.fields.split(trace.fields.point).items()}
    independent = Echelon(trace.fields.dimension, trace.prime)
    checks = []
    for law in laws:
        gradients = jacobian([law], point, trace.fields.ring)
        along = product(gradients, trace.echelon.rows.T, trace.prime)
        conserved = ~along.any(axis=1)
        new = independent.insert(gradients[conserved])
        checks.append(LawCheck(law, len(gradients), bool(conserved.all()), new))
    return tuple(checks)


def _worst(*checks: LawCheck) -> LawCheck:
    return LawCheck(
        checks[0].law,
        checks[0].entries,
        all(check.conserved for check in checks),
        int(np.min([check.new for check in checks])),
    )
