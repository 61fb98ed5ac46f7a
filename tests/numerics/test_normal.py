"""Quantiles of the normal law against SciPy."""

import numpy as np
from scipy.special import ndtri

from dmft.numerics.normal import normal_quantile


def test_sixteen_digits_everywhere():
    tails = np.geomspace(1e-300, 0.1, 400)
    p = np.concatenate([tails, np.linspace(0.0701, 0.9299, 1001), 1.0 - tails[tails > 1e-15]])
    np.testing.assert_allclose(normal_quantile(p), ndtri(p), rtol=3e-15, atol=1e-15)


def test_ends_and_shape():
    found = normal_quantile([[0.0, 0.5], [1.0, 0.5]])
    assert np.array_equal(found, [[-np.inf, 0.0], [np.inf, 0.0]])
    assert normal_quantile(0.5) == 0.0
    assert normal_quantile(0.01) == -normal_quantile(0.99)
    assert normal_quantile(np.empty(0)).shape == (0,)
