"""Losses and labels that mean nothing, alone or together: one line each says what is allowed."""

from __future__ import annotations

from typing import Any

import pytest

import dmft

NAN, INF = float("nan"), float("inf")
KINDS = ("linear", "sign", "logit", "poisson", "random", "outliers")
SIGNS = ("sign", "logit", "random")
Case = tuple[dict[str, Any], str]


def pairs() -> list[Case]:
    """Labels that a loss has no meaning for; flows that a loss has none of."""
    cases: list[Case] = []
    for loss, allowed in (("logistic", SIGNS), ("hinge", SIGNS), ("poisson", ("poisson",))):
        for kind in KINDS:
            if kind not in allowed:
                words = f"labels.kind: given '{kind}' with loss '{loss}', allowed: "
                cases.append(({"loss": loss, "labels": kind}, words + ", ".join(allowed)))
    cases += [({"loss": "hinge", "labels": kind}, "loss.kind: given 'hinge'") for kind in SIGNS]
    for loss, kind in (
        *(("squared", kind) for kind in KINDS[1:]),
        *(("logistic", kind) for kind in SIGNS),
        ("huber", "outliers"),
        ("poisson", "poisson"),
    ):
        given = {"loss": loss, "labels": kind}
        flow = "stochastic-gradient-flow"
        cases.append(({**given, "dynamics": flow}, f"dynamics.kind: given '{flow}'"))
    for loss, kind in (("logistic", "sign"), ("hinge", "logit"), ("poisson", "poisson"),
                       ("squared", "random"), ("huber", "logit")):  # fmt: skip
        noisy = {"kind": "adam", "label_noise_std": 0.1}
        given = {"loss": loss, "labels": kind, "dynamics": noisy}
        cases.append((given, "dynamics.label_noise_std: given 0.1"))
    return cases


def values() -> list[Case]:
    """Settings of one loss or one law of labels."""
    cases: list[Case] = []
    for number, words in ((0, "greater than 0"), (-1, "greater than 0"), (NAN, "a finite number"),
                          (INF, "a finite number"), ("wide", "a number")):  # fmt: skip
        cases += [
            ({"loss": {"kind": "huber", "width": number}}, f"loss.width: given {number!r}"),
            ({"loss": {"kind": "hinge", "margin": number}, "labels": "sign"}, words),
            ({"labels": {"kind": "logit", "slope": number}}, f"labels.slope: given {number!r}"),
            ({"labels": {"kind": "poisson", "slope": number}, "loss": "poisson"}, words),
        ]
    outliers = [("fraction", 1.5), ("fraction", -0.1), ("fraction", NAN), ("outlier_std", -1),
                ("outlier_std", INF), ("outlier_std", "large")]  # fmt: skip
    for name, value in outliers:
        words = f"labels.{name}: given {value!r}, must be"
        cases.append(({"labels": {"kind": "outliers", name: value}}, words))
    return cases


def keys() -> list[Case]:
    """Keys of another kind, kinds that do not exist, and no tables at all."""
    cases: list[Case] = []
    for kind, key in (("squared", "width"), ("logistic", "width"), ("hinge", "width"),
                      ("huber", "margin"), ("poisson", "slope"), ("huber", "widht")):  # fmt: skip
        cases.append(({"loss": {"kind": kind, key: 1}}, f"loss.{key}: unknown key"))
    for kind, key in (("linear", "slope"), ("sign", "slope"), ("random", "fraction"),
                      ("outliers", "std"), ("logit", "slop"), ("poisson", "rate")):  # fmt: skip
        cases.append(({"labels": {"kind": kind, key: 1}}, f"labels.{key}: unknown key"))
    for table in ("loss", "labels"):
        cases += [
            ({table: {"kind": kind}}, f"{table}: given kind '{kind}', allowed")
            for kind in ("cross-entropy", "", "Logit", 3)
        ]
        cases += [
            ({table: value}, f"{table}: given {value!r}, must be a table of keys")
            for value in (None, 7, [], True)
        ]
    return cases


CASES = pairs() + values() + keys()


@pytest.mark.parametrize(("given", "words"), CASES, ids=[str(given) for given, _ in CASES])
def test_one_line(given, words):
    with pytest.raises(dmft.InputError) as error:
        dmft.solve(dmft.Problem(**given), t_max=1.0, n_paths=64, replicates=1)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_sixty_and_more():
    assert len(CASES) >= 60 and len({str(given) for given, _ in CASES}) == len(CASES)
