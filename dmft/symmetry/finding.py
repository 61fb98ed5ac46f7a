"""Exponential symmetries of PyTorch models, from the quadratic conservation laws of their traces.

A law theta^T A theta of gradient flow that holds for every loss of the outputs is the charge of the
symmetry theta -> exp(lambda A) theta. Here A is read off the views that a law is a sum over: the
positions of the parameters in theta are sent through them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy import sparse

from dmft.errors import InputError
from dmft.symmetry.exponential import ExponentialSymmetry
from dmft.symmetry.layout import Layout

if TYPE_CHECKING:
    import torch

    from dmft.conservation.models.forms import ModelLaw

Kind = Literal["scale", "rescaling", "rotation"]


@dataclass(frozen=True)
class Family:
    """Symmetries of one kind that the same tensors have.

    Units: generators are dimensionless, charges in squared parameters.

    name : unique within a model.
    kind : "scale" of what is normalised afterwards, "rescaling" of one part against another, or
        "rotation", all symmetric generators between two factors of a product, which do not commute.
    formula : the charges, in the names of the parameters.
    count : number of independent charges.
    """

    name: str
    kind: Kind
    formula: str
    count: int
    law: ModelLaw

    def symmetries(self, layout: Layout) -> tuple[ExponentialSymmetry, ...]:
        """Every member, for parameters that lie as in `layout`.

        Raises
        ------
        InputError : a tensor that the layout does not have.
        """
        return tuple(
            ExponentialSymmetry.of(matrix, f"{self.name} {label}")
            for label, matrix in _generators(self.law, layout)
        )


def find(model: torch.nn.Module, **how: Any) -> tuple[Family, ...]:
    """The exponential symmetries of a model, so that no generator A need be written by hand.

    Units: generators are dimensionless, charges in squared parameters.

    Parameters
    ----------
    model : as in `dmft.conservation.laws`; so are the options `how`.

    Raises
    ------
    InputError : as in `dmft.conservation.laws`.

    Examples
    --------
    >>> import pytest
    >>> torch = pytest.importorskip("torch")
    >>> net = torch.nn.Sequential(
    ...     torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> (family,) = find(net)
    >>> family.kind, family.count
    ('rescaling', 8)
    """
    from dmft.conservation import laws

    return tuple(
        Family(law.name, _kind(law), law.formula, law.count, law)
        for law in laws(model, **how)
        if law.degree == 2
    )


def chosen(families: Sequence[Family], names: Sequence[str]) -> tuple[Family, ...]:
    """The families of these names, all of them if none is given.

    Raises
    ------
    InputError : an unknown name.
    """
    from dmft.validation import nearest_key

    known = {family.name: family for family in families}
    for name in names:
        if name not in known:
            raise InputError(f"given '{name}', " + nearest_key(name, list(known)), "families")
    return tuple(known[name] for name in names or known)


def _kind(law: ModelLaw) -> Kind:
    if law.form == "gram" and law.shape[1] > 1:
        return "rotation"
    return "scale" if len({weight > 0 for weight in law.weights}) == 1 else "rescaling"


def _generators(law: ModelLaw, layout: Layout) -> Iterator[tuple[str, sparse.csr_array]]:
    """Labels and matrices A, one for each quantity of the law in its order."""
    import torch

    size = layout.parameters
    parts = [
        (term.weight, term.slot.view(torch.as_tensor(layout.places(term.slot.name))).numpy())
        for term in law.terms
    ]
    if law.form == "squares":
        for index in np.ndindex(*law.shape):
            pairs = [(w, places[index].ravel(), places[index].ravel()) for w, places in parts]
            yield _label(index), _matrix(pairs, size)
        return
    families, rows = law.shape
    for family in range(families):
        for i in range(rows):
            for j in range(i, rows):
                pairs = [
                    (w, places[family, :, i].ravel(), places[family, :, j].ravel())
                    for w, places in parts
                ]
                yield _label((family, i, j)[families == 1 :]), _matrix(pairs, size)


def _label(index: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, index))}]"


def _matrix(pairs: list[tuple[float, np.ndarray, np.ndarray]], size: int) -> sparse.csr_array:
    """The symmetric A with theta^T A theta = sum over pairs of weight theta_i . theta_j."""
    rows = np.concatenate([i for _, i, _ in pairs])
    columns = np.concatenate([j for _, _, j in pairs])
    values = np.concatenate([np.full(len(i), weight) for weight, i, _ in pairs])
    half = sparse.coo_array((values / 2.0, (rows, columns)), shape=(size, size)).tocsr()
    return sparse.csr_array(half + half.T)
