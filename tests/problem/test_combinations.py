"""Losses, labels and dynamics that do not go together are refused in one line."""

from __future__ import annotations

import pytest

import dmft


@pytest.mark.parametrize(
    "given, message",
    [
        ({"loss": {"kind": "logistic"}}, "labels.kind: given 'linear' with loss 'logistic'"),
        (
            {"loss": {"kind": "poisson"}, "labels": {"kind": "sign"}},
            "labels.kind: given 'sign' with loss 'poisson', allowed: poisson",
        ),
        (
            {"loss": {"kind": "hinge"}, "labels": {"kind": "poisson"}},
            "allowed: sign, logit, random",
        ),
        (
            {"labels": {"kind": "sign"}, "dynamics": {"kind": "sgd", "label_noise_std": 0.1}},
            "noise on labels needs real ones",
        ),
        (
            {"loss": {"kind": "huber"}, "dynamics": {"kind": "stochastic-gradient-flow"}},
            "other losses have 'sgd'",
        ),
        ({"dynamics": {"kind": "sgd", "nesterov": True}}, "needs momentum > 0"),
        ({"dynamics": {"kind": "adam", "beta1": 1.0}}, "must be less than 1"),
    ],
)
def test_refused(given, message):
    with pytest.raises(dmft.InputError, match=message):
        dmft.Problem(**given)


def test_accepted():
    problem = dmft.Problem(loss={"kind": "logistic"}, labels={"kind": "sign"})
    assert not problem.regression
    assert dmft.Problem().regression
