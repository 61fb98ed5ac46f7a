"""A conservation law: a named quantity with its formula, a callable and its gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from dmft.conservation.rings import Ring
    from dmft.conservation.tensor import Tensor

Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Law:
    """A family of conserved quantities.

    Units: degree 2 has those of a squared parameter.

    Attributes
    ----------
    name : short name, unique within a list of laws.
    formula : plain text, in the names of the parameters.
    latex : the same for print.
    evaluate : function of a mapping from names to arrays, which returns a vector (or a scalar).
        It uses operators, `.T`, `.sum(axis)` and indexing only, so that NumPy arrays, PyTorch
        tensors and the tensors of this package all serve.
    degree : 1 or 2 for a linear or quadratic form, None for anything else.

    Examples
    --------
    >>> import numpy as np
    >>> law = Law("norms", "|u|^2 - |v|^2", "|u|^2 - |v|^2",
    ...           lambda p: (p["u"] * p["u"]).sum() - (p["v"] * p["v"]).sum())
    >>> law.value({"u": np.array([1.0, 2.0]), "v": np.array([1.0])})
    array([4.])
    """

    name: str
    formula: str
    latex: str
    evaluate: Callable[[Parameters], Any]
    degree: int | None = 2

    def value(self, parameters: Parameters) -> np.ndarray:
        """The quantities as a vector, for NumPy arrays."""
        return np.atleast_1d(self.evaluate(parameters))

    def gradient(self, parameters: Parameters) -> dict[str, np.ndarray]:
        """Gradients in float64, with axes (quantity, *shape of the parameter)."""
        from dmft.conservation.rings import Reals
        from dmft.conservation.tensor import Tensor

        tensors = {
            name: Tensor(Reals(), np.asarray(array, float)[None, None], tracked=True)
            for name, array in parameters.items()
        }
        gradients = _jacobian(self, tensors)
        return dict(zip(tensors, (g[0] for g in gradients), strict=True))


def jacobian(laws: Sequence[Law], parameters: Mapping[str, np.ndarray], ring: Ring) -> np.ndarray:
    """Gradients of all quantities of all laws at one point: (quantities, D).

    `parameters` are arrays of the ring, in the order in which they are flattened.
    """
    from dmft.conservation.tensor import Tensor

    blocks = []
    dimension = sum(array.size for array in parameters.values())
    for law in laws:
        tensors = {
            name: Tensor(ring, array[None, None], tracked=True)
            for name, array in parameters.items()
        }
        parts = _jacobian(law, tensors)
        # A law may leave out parameters.
        blocks.append(np.concatenate([part[0].reshape(part.shape[1], -1) for part in parts], 1))
    return np.concatenate(blocks) if blocks else np.zeros((0, dimension), ring.dtype)


def _jacobian(law: Law, tensors: Mapping[str, Tensor]) -> list[np.ndarray]:
    from dmft.conservation.tensor import backward

    output = law.evaluate(tensors).reshape(-1)
    size = output.shape[0]
    seed = np.eye(size, dtype=output.ring.dtype)[None]
    return backward(output, seed, list(tensors.values()))


def upper(matrix: Any) -> Any:
    """Entries on and above the diagonal of a square matrix, as a vector."""
    rows, columns = np.triu_indices(matrix.shape[-1])
    return matrix[rows.tolist(), columns.tolist()]


def squares(array: Any, axis: int | None = None) -> Any:
    """Sum of squares over one axis, or of all entries."""
    return (array * array).sum() if axis is None else (array * array).sum(axis)
