"""The laws of the catalogue on PyTorch tensors: the same values, and differentiable."""

from __future__ import annotations

import numpy as np
import pytest

from dmft.conservation import parse_architecture
from dmft.conservation.table import SECTIONS

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")


@pytest.mark.parametrize("section", SECTIONS)
def test_laws_of_tensors(section):
    for settings, _ in SECTIONS[section]:
        architecture = parse_architecture(settings)
        rng = np.random.default_rng(0)
        arrays = {name: rng.standard_normal(s) for name, s in architecture.state().items()}
        for law in architecture.laws():
            tensors = {
                name: torch.tensor(array, requires_grad=True) for name, array in arrays.items()
            }
            values = law.evaluate(tensors).reshape(-1)
            np.testing.assert_allclose(
                values.detach().numpy(), law.value(arrays).reshape(-1), rtol=1e-12
            )
            values[0].backward()
            gradient = law.gradient(arrays)
            for name, tensor in tensors.items():
                found = np.zeros(tensor.shape) if tensor.grad is None else tensor.grad.numpy()
                np.testing.assert_allclose(found, gradient[name][0], atol=1e-12)
