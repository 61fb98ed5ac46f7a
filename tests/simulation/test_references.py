"""Finite networks of this package against those of an independent program, other draws each."""

import json
from pathlib import Path

import numpy as np
import pytest

from dmft import Problem
from dmft.simulation import simulate

REFERENCE = Path(__file__).parents[2] / "benchmarks" / "reference"
TWO_SIDED = json.loads((REFERENCE / "two_sided.json").read_text())
OPTIMISERS = json.loads((REFERENCE / "optimisers.json").read_text())
LABELS = {"real": "linear", "outlier": "outliers"}


def assert_agree(found, error, expected, stderr):
    """Within four standard errors and 1 % for the dimension; where neither scatters, equal."""
    expected, stderr = np.array(expected), np.array(stderr)
    spread = np.hypot(error, stderr)
    difference = np.maximum(np.abs(found - expected) - 0.01 * np.abs(expected), 0.0)
    exact = spread < 1e-12
    assert difference[exact].max(initial=0.0) < 1e-10
    assert np.max(difference[~exact] / spread[~exact]) < 4.0


def problem_of(p):
    linear = p["L"] == 1
    return Problem(
        sampling_ratio=p["delta"],
        noise_std=p["sigma"],
        teacher={"kind": "bernoulli-gauss", "density": p["rho"]},
        network={"kind": "linear"} if linear else {"depth": p["L"], "init_scale": p["a0"]},
        loss={"kind": p["loss"]},
        labels={"kind": LABELS.get(p["labels"], p["labels"])},
        dynamics={
            "kind": "gradient-descent",
            "step_size": p["eta"],
            "weight_decay": p.get("lam", 0.0),
        },
    )


@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("name", TWO_SIDED)
def test_losses_and_labels(name, stratified):
    reference = TWO_SIDED[name]
    found = simulate(
        problem_of(reference["problem"]),
        dimension=500,
        seeds=12,
        times=reference["steps"],
        stratified=stratified,
        seed=5,
    )
    names = {"train_loss": "train_loss", "overlap": "overlap", "squared_norm": "norm2"}
    if found.problem.labels.signs:
        names["train_error"] = "train_error"
    for ours, theirs in names.items():
        curve = found.curves[ours]
        assert_agree(curve.mean, curve.stderr, reference[theirs], reference[theirs + "_se"])
    kernels = found.kernels
    for ours, theirs in (("overlap", "Cw"), ("correlation_residual", "Cr")):
        error = getattr(kernels, ours + "_stderr")
        expected, stderr = reference[theirs], reference[theirs + "_se"]
        assert_agree(getattr(kernels, ours), error, expected, stderr)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_optimisers(name):
    reference = OPTIMISERS[name]
    p = reference["problem"]
    problem = Problem(
        sampling_ratio=p["delta"],
        noise_std=p["sigma"],
        teacher={"kind": "bernoulli-gauss", "density": p["rho"]},
        network={"init_u": p["u0"], "init_v": p["v0"]},
        dynamics=reference["dynamics"],
    )
    found = simulate(
        problem, dimension=500, seeds=12, times=reference["steps"], stratified=False, seed=5
    )
    mean, stderr = np.array(reference["mean"]), np.array(reference["se"])
    for column, curve in enumerate(reference["names"]):
        ours = found.curves[curve]
        assert_agree(ours.mean, ours.stderr, mean[:, column], stderr[:, column])
