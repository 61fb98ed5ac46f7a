"""The Lie algebra that the gradient fields generate, at one point over a prime field."""

from __future__ import annotations

from dataclasses import dataclass

from dmft.conservation.echelon import Echelon
from dmft.conservation.fields import Fields
from dmft.conservation.rings import PrimeField

_SMALLEST_BATCH = 32
_LARGEST_BATCH = 256


@dataclass(frozen=True)
class Trace:
    """The values at one point of all brackets up to a level.

    Attributes
    ----------
    fields : the generators and the point.
    echelon : basis of the span.
    dimensions : dimension by level; level n has brackets of up to n generators.
    closed : whether brackets of one generator more were tried without a new direction.
    tried : how many of them.
    """

    fields: Fields
    echelon: Echelon
    dimensions: tuple[int, ...]
    closed: bool
    tried: int

    @property
    def prime(self) -> int:
        return self.echelon.p


def generate(fields: Fields, *, failures: int = 16, max_level: int = 8) -> Trace:
    """Span of the generators and their right-normed brackets at the point of `fields`.

    Right-normed brackets [X_n, [.. [X_2, X_1]]] span a Lie algebra. If those of n + 1 generators
    add nothing at a generic point to those of up to n, no longer ones do: near such a point, each
    is a combination of a basis with functions as coefficients, and so are its brackets.

    Parameters
    ----------
    fields : of an architecture over a prime field.
    failures : a level ends when a batch of random brackets has this many dependent ones more than
        it has new directions missing; nothing is known of an expected dimension.
    max_level : give up closing beyond brackets of so many generators.
    """
    assert isinstance(fields.ring, PrimeField)
    echelon = Echelon(fields.dimension, fields.ring.p)
    dimensions: list[int] = []
    closed, tried = False, 0
    for level in range(1, max_level + 1):
        tried = _extend(fields, echelon, level, failures)
        if level > 1 and echelon.rank == dimensions[-1]:
            closed = True
            break
        dimensions.append(echelon.rank)
        if echelon.rank == fields.dimension:
            closed, tried = True, 0
            break
    return Trace(fields, echelon, tuple(dimensions), closed, tried)


def _extend(fields: Fields, echelon: Echelon, level: int, failures: int) -> int:
    """Add random brackets of `level` generators until `failures` of them are dependent."""
    batch = min(fields.dimension, _LARGEST_BATCH) if level == 1 else _SMALLEST_BATCH
    batch += failures
    tried = 0
    while echelon.rank < fields.dimension:
        generators = [fields.generators(batch) for _ in range(level)]
        rows = fields.bracket(generators, fields.point)[0]
        tried += batch
        if echelon.insert(rows) <= batch - failures:
            break
        batch = min(2 * batch, _LARGEST_BATCH)
    return tried
