"""Per-sample gradients of PyTorch models; skipped without PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

from dmft.errors import InputError
from dmft.symmetry import noise_equilibrium, orbit_through
from dmft.symmetry.layout import scaling, unit_rescalings

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from dmft.symmetry.pytorch import layout_of, parameters_of, per_sample_gradients  # noqa: E402


def rectifier(dtype=torch.float64):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    return net.to(dtype), torch.randn(20, 4, dtype=dtype), torch.randint(0, 3, (20,))


def gradients(net, x, y, **options):
    return per_sample_gradients(net, torch.nn.functional.cross_entropy, x, y, **options)


def test_rows_are_the_gradients_of_single_samples():
    net, x, y = rectifier()
    rows = gradients(net, x, y)
    assert rows.shape == (20, layout_of(net).parameters)
    for i in (0, 7):
        net.zero_grad()
        torch.nn.functional.cross_entropy(net(x[i : i + 1]), y[i : i + 1]).backward()
        alone = np.concatenate([p.grad.numpy().ravel() for p in net.parameters()])
        np.testing.assert_allclose(rows[i], alone, atol=1e-14)
    np.testing.assert_allclose(gradients(net, x, y, chunk_size=3), rows, atol=1e-14)
    expected = torch.cat([p.detach().ravel() for p in net.parameters()]).numpy()
    np.testing.assert_array_equal(parameters_of(net), expected)


def test_rectifier_network_has_one_symmetry_per_unit():
    net, x, y = rectifier()
    layout, theta, rows = layout_of(net), parameters_of(net), gradients(net, x, y)
    units = unit_rescalings(layout, ["0.weight", "0.bias"], ["2.weight"])
    assert max(unit.validate(theta, rows) for unit in units) < 1e-14
    found = noise_equilibrium(orbit_through(units, theta, rows, noise_strength=0.01))
    assert found.exists and found.stationarity.max() < 1e-13
    with pytest.raises(InputError, match=r"sample \d+ is the worst"):
        unit_rescalings(layout, ["0.weight"], ["2.weight"])[0].validate(theta, rows)  # no bias


def test_normalised_layer_does_not_see_its_scale():
    torch.manual_seed(1)
    net = torch.nn.Sequential(
        torch.nn.Linear(5, 8, bias=False), torch.nn.LayerNorm(8, eps=0.0), torch.nn.Linear(8, 2)
    ).double()
    x, y = torch.randn(10, 5, dtype=torch.float64), torch.randint(0, 2, (10,))
    symmetry = scaling(layout_of(net), ["0.weight"])
    assert symmetry.validate(parameters_of(net), gradients(net, x, y)) < 1e-12


def test_single_precision_and_frozen_parameters():
    net, x, y = rectifier(torch.float32)
    net[2].bias.requires_grad_(False)
    rows = gradients(net, x, y)
    assert rows.dtype == np.float32 and "2.bias" not in layout_of(net).shapes
    unit = unit_rescalings(layout_of(net), ["0.weight", "0.bias"], ["2.weight"])[0]
    assert unit.validate(parameters_of(net), rows) < 1e-5


def test_mistakes():
    net, x, y = rectifier()
    with pytest.raises(InputError, match="given 20 inputs and 19 targets"):
        gradients(net, x, y[:-1])
    with pytest.raises(InputError, match="must be a scalar"):
        per_sample_gradients(net, lambda output, _: output, x, y)
