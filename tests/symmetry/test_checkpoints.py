"""Checkpoints with per-sample gradients: named tensors, files, and what a report makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from dmft.errors import InputError
from dmft.symmetry import Training
from dmft.symmetry.checkpoints import open_points
from dmft.symmetry.layout import Layout, rescaling, scaling, unit_rescalings
from dmft.symmetry.models import SyntheticData, TwoLayerLinear
from dmft.symmetry.report import of_points
from tests.trajectory.conftest import as_safetensors

MODEL = TwoLayerLinear(inputs=3, outputs=2, hidden=2)
STEP_SIZE = 0.01


def trained(steps=(0, 10, 20, 30), seed=0):
    """Checkpoints of SGD on single samples, with the gradients of all samples, as tensors."""
    x, y = SyntheticData(samples=12, noise_std=1.0).draw(3, 2)
    rng = np.random.default_rng(seed)
    theta = MODEL.start(rng)
    found = []
    for step in range(steps[-1] + 1):
        if step in steps:
            rows = MODEL.per_sample(theta, x, y)
            found.append((step, *(_tensors(values) for values in (theta, rows))))
        chosen = rng.integers(12, size=1)
        theta = theta - STEP_SIZE * MODEL.gradient(theta, x[chosen], y[chosen])
    return found


def _tensors(values):
    first, second = MODEL.split(values)
    return {"hidden.weight": first, "output.weight": second}


@pytest.fixture
def folders(tmp_path):
    """run/ and grads/ with the files step-N of one training, in any format."""

    def write(ending=".npz", dtype=np.float64):
        for folder in ("run", "grads"):
            (tmp_path / folder).mkdir()
        for step, weights, gradients in trained():
            for folder, arrays in (("run", weights), ("grads", gradients)):
                arrays = {name: values.astype(dtype) for name, values in arrays.items()}
                path = tmp_path / folder / f"step-{step}{ending}"
                if ending == ".npz":
                    np.savez(path, **arrays)
                elif ending == ".safetensors":
                    as_safetensors(path, arrays)
                else:
                    import h5py

                    with h5py.File(path, "w") as file:
                        for name, values in arrays.items():
                            file[name] = values
        return tmp_path / "run", tmp_path / "grads"

    return write


@pytest.mark.parametrize("ending", [".npz", ".safetensors", ".h5"])
def test_every_format_gives_the_same_points(folders, ending):
    points = open_points(*folders(ending))
    assert points.step.tolist() == [0, 10, 20, 30] and len(points) == 4
    for point, (step, weights, gradients) in zip(points, trained(), strict=True):
        assert point.step == step
        np.testing.assert_array_equal(point.theta, points.layout.flatten(weights))
        np.testing.assert_array_equal(
            point.gradients, points.layout.flatten(gradients, samples=True)
        )


def test_single_files(folders):
    run, grads = folders()
    (point,) = open_points(run / "step-10.npz", grads / "step-10.npz")
    np.testing.assert_array_equal(point.theta, list(open_points(run, grads))[1].theta)


def test_report_of_checkpoints(folders):
    points = open_points(*folders())
    symmetries = unit_rescalings(points.layout, ["hidden.weight"], ["output.weight"])
    report = of_points(points, symmetries, Training(step_size=STEP_SIZE, batch_size=1), {})
    assert report.charge.shape == (4, 1, 2) and report.names == ("unit 0", "unit 1")
    first = np.stack([weights["hidden.weight"] for _, weights, _ in trained()])
    second = np.stack([weights["output.weight"] for _, weights, _ in trained()])
    expected = (first**2).sum(axis=2) - (second**2).sum(axis=1)
    np.testing.assert_allclose(report.charge[:, 0], expected, atol=1e-13)
    moved = np.abs(report.charge[-1] - report.charge[0]).max()
    assert 0.0 < moved < 1.0
    assert np.abs(report.residual).max() < 0.2


def test_float32_passes_with_its_own_tolerance(folders):
    points = open_points(*folders(dtype=np.float32))
    symmetries = unit_rescalings(points.layout, ["hidden.weight"], ["output.weight"])
    report = of_points(points, symmetries, Training(), {})
    assert report.charge.dtype == np.float64


def test_layout():
    layout = Layout({"w": (2, 3), "b": (2,), "v": (4, 2)})
    assert layout.parameters == 16
    assert layout.places("b").tolist() == [6, 7]
    arrays = {
        name: np.arange(np.prod(shape)).reshape(shape) for name, shape in layout.shapes.items()
    }
    theta = layout.flatten(arrays)
    np.testing.assert_array_equal(theta[layout.places("v")], arrays["v"])
    theta = np.random.default_rng(0).standard_normal(16)
    w, b, v = (theta[layout.places(name)] for name in ("w", "b", "v"))
    whole = rescaling(layout, ["w", "b"], ["v"])
    assert whole.charge(theta) == pytest.approx((w**2).sum() + (b**2).sum() - (v**2).sum())
    assert scaling(layout, ["v"]).charge(theta) == pytest.approx((v**2).sum())
    units = unit_rescalings(layout, ["w", "b"], ["v"])
    for j, unit in enumerate(units):
        expected = (w[j] ** 2).sum() + b[j] ** 2 - (v[:, j] ** 2).sum()
        assert unit.charge(theta) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: f.flatten({"w": np.ones((2, 3))}), "tensor 'v' is missing"),
        (lambda f: f.flatten({"w": np.ones((3, 3)), "v": 1}), r"'w' has shape \(3, 3\), must be"),
        (
            lambda f: f.flatten({"w": np.ones((5, 2, 3)), "v": np.ones((4, 4, 2))}, samples=True),
            "tensor 'v' has 4 samples, must be 5",
        ),
        (lambda f: f.places("W"), "given 'W', unknown key, allowed: v, w"),
        (lambda f: rescaling(f, [], []), "given no tensors"),
        (lambda f: rescaling(f, ["w"], ["w"]), "given a tensor twice"),
        (lambda f: unit_rescalings(f, ["v"], ["w"]), r"the tensors have \[3, 4\] units"),
        (lambda f: unit_rescalings(Layout({"b": (2,)}), [], ["b"]), "must have two axes"),
    ],
)  # fmt: skip
def test_layout_mistakes(make, message):
    with pytest.raises(InputError, match=message):
        make(Layout({"w": (2, 3), "v": (4, 2)}))


def test_files_that_do_not_fit(folders, tmp_path):
    run, grads = folders()
    with pytest.raises(
        InputError, match=r"grads: holds steps 0, 10, 20, 30, the checkpoints have 0"
    ):
        open_points(run / "step-0.npz", grads)
    np.savez(tmp_path / "few.npz", **{"hidden.weight": np.ones((12, 2, 4))})
    message = r"tensor 'hidden.weight' has shape \(12, 2, 4\), must be \(samples, 2, 3\)"
    with pytest.raises(InputError, match=message):
        open_points(run / "step-0.npz", tmp_path / "few.npz")
    np.savez(tmp_path / "other.npz", other=np.ones((12, 2)))
    with pytest.raises(InputError, match="tensor 'other' is not in"):
        open_points(run / "step-0.npz", tmp_path / "other.npz")
    np.savez(tmp_path / "whole.npz", count=np.arange(3))
    with pytest.raises(InputError, match="no floating-point arrays"):
        open_points(run / "step-0.npz", tmp_path / "whole.npz")
    points = open_points(run / "step-0.npz", grads / "step-0.npz")
    with pytest.raises(InputError, match="given 1 checkpoint, must be at least 2"):
        of_points(points, [scaling(points.layout, ["hidden.weight"])], Training(), {})


def test_a_loss_without_the_symmetry_names_checkpoint_and_sample(folders):
    points = open_points(*folders())
    wrong = scaling(points.layout, ["hidden.weight"], "scale of the first layer")
    with pytest.raises(
        InputError, match=r"step-0.npz: scale of the first layer: .*sample \d+ is the worst"
    ):
        of_points(points, [wrong], Training(), {})
