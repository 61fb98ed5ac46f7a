"""The product that sweeps spend most time on against NumPy's."""

import numpy as np
import pytest

from dmft.solver.kernels import tangent_moments


@pytest.mark.parametrize("precision", [np.float32, np.float64])
@pytest.mark.parametrize(("paths", "used"), [(1, 9), (7, 27), (64, 2500)])
def test_moments_are_the_product(precision, paths, used):
    generator = np.random.default_rng(0)
    weighted = generator.standard_normal((paths, 9)).astype(precision)
    packed = generator.standard_normal((paths, used + 5)).astype(precision)
    result = np.full((9, used), np.nan, dtype=precision)
    tangent_moments(weighted, packed, used, result)
    exact = weighted.T.astype(float) @ packed[:, :used].astype(float)
    size = np.abs(weighted.T).astype(float) @ np.abs(packed[:, :used]).astype(float)
    assert np.abs(result - exact).max() <= 4 * paths * np.finfo(precision).eps * size.max()
