"""Optimisers of the user's own: the mean field and networks of a rule, its checks, its files."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import dmft
from dmft import InputError, Interrupted, Problem
from dmft.cli.main import main
from dmft.config import Config, load_config
from dmft.problem import UserOptimiser


def adam(p, gradient, memory, step, step_size, beta1, beta2, epsilon):
    memory[0] = beta1 * memory[0] + (1.0 - beta1) * gradient
    memory[1] = beta2 * memory[1] + (1.0 - beta2) * gradient * gradient
    root = math.sqrt(memory[1] / (1.0 - beta2 ** (step + 1))) + epsilon
    return p - step_size / (1.0 - beta1 ** (step + 1)) * (memory[0] / root)


def lion(p, gradient, memory, step, step_size, beta1, beta2):
    """Chen et al. 2023 (arXiv 2302.06675)."""
    move = np.sign(beta1 * memory[0] + (1.0 - beta1) * gradient)
    memory[0] = beta2 * memory[0] + (1.0 - beta2) * gradient
    return p - step_size * move


OWN = UserOptimiser(rule=adam, memory=2, hyperparameters=(0.9, 0.999, 1e-8), step_size=0.02)
SCHEDULE = {"kind": "cosine", "total_steps": 20, "warmup_steps": 3}
CASES = {
    "depth 2": {},
    "linear": {"network": "linear"},
    "depth 3": {"network": {"depth": 3}},
    "hinge": {"loss": "hinge", "labels": "sign"},
}


@pytest.fixture
def saved(tmp_path):
    """A file of a short solve."""
    solution = dmft.solve(Problem(dynamics=OWN), t_max=3, n_paths=64, replicates=2)
    dmft.save(tmp_path / "own.h5", solution)
    return tmp_path / "own.h5", solution


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_own_adam_is_adam(case):
    """Bit for bit in the mean field, where the formulas are the same; to rounding in networks."""
    shared = {"schedule": SCHEDULE, "batch_fraction": 0.5}
    own = Problem(**case, dynamics=OWN.model_copy(update=shared))
    known = Problem(**case, dynamics={"kind": "adam", "step_size": 0.02, **shared})
    ours, theirs = (
        dmft.solve(problem, t_max=12, n_paths=128, replicates=2) for problem in (own, known)
    )
    for name, curve in theirs.curves.items():
        np.testing.assert_array_equal(ours.curves[name].mean, curve.mean, err_msg=name)
    ours, theirs = (
        dmft.simulate(problem, dimension=50, seeds=2, t_max=12) for problem in (own, known)
    )
    for name, curve in theirs.curves.items():
        np.testing.assert_allclose(ours.curves[name].mean, curve.mean, rtol=1e-12, err_msg=name)


def test_a_rule_with_jumps_is_that_of_networks():
    """Lion moves by signs; no derivative is taken of a rule."""
    own = UserOptimiser(rule=lion, memory=1, hyperparameters=(0.9, 0.99), step_size=0.01)
    problem = Problem(dynamics=own)
    solution = dmft.solve(problem, t_max=40, n_paths=2048)
    networks = dmft.simulate(problem, dimension=1500, seeds=8, times=[5, 10, 20, 40])
    for name in ("train_mse", "excess_risk", "mean_charge", "overlap"):
        a, b = solution.curves[name], networks.curves[name]
        at = networks.time.astype(int)
        error = np.sqrt(a.stderr[at] ** 2 + b.stderr**2 + (0.01 * b.mean) ** 2)
        assert np.max(np.abs(a.mean[at] - b.mean) / np.maximum(error, 1e-12)) < 4.0, name


def test_resuming_gives_the_same_numbers():
    problem, options = Problem(dynamics=OWN), {"t_max": 9, "n_paths": 64, "replicates": 2}
    whole, states, polls = dmft.solve(problem, **options), [], iter(range(100))
    with pytest.raises(Interrupted):
        dmft.solve(problem, **options, checkpoint=states.append, stop=lambda: next(polls) == 13)
    resumed = dmft.solve(problem, **options, resume=states[-1])
    np.testing.assert_array_equal(whole.excess_risk, resumed.excess_risk)


# ------------------------------------------------------------------ files


def test_files_keep_the_name_and_not_the_rule(saved):
    path, solution = saved
    read = dmft.load(path)
    assert read.problem.dynamics.name == "adam" and read.problem.dynamics.rule is None
    assert read.problem == solution.problem
    assert json.dumps(read.problem.model_dump(mode="json"))
    np.testing.assert_array_equal(read.excess_risk, solution.excess_risk)
    with pytest.raises(InputError, match="the name 'adam' without its function"):
        dmft.solve(read.problem, t_max=3)
    with pytest.raises(InputError, match="the name 'adam' without its function"):
        dmft.simulate(read.problem, t_max=3, dimension=40, seeds=1)


def test_a_rule_is_given_back_and_no_other(saved):
    problem = dmft.load(saved[0]).problem
    again = problem.replace(**{"dynamics.rule": adam})
    assert again == saved[1].problem and again.dynamics.rule is adam

    def other(p, gradient, memory, step, step_size, beta1, beta2, epsilon):
        return p - step_size * gradient

    with pytest.raises(InputError, match="does not do what the saved 'adam' did"):
        problem.replace(**{"dynamics.rule": other})
    changed = saved[1].problem.replace(noise_std=0.2)
    assert changed.dynamics.rule is adam
    assert OWN.model_copy(update={"hyperparameters": (0.8, 0.999, 1e-8)}) != OWN


def test_commands_refuse_what_they_cannot_rebuild(saved, capsys, tmp_path):
    path = saved[0]
    assert main(["info", str(path)]) == 0
    capsys.readouterr()
    given = ["--set", "dynamics.kind=user", "--set", "dynamics.name=mine"]
    for command in (
        ["solve", "-o", str(tmp_path / "new.h5"), *given],
        ["simulate", "-o", str(tmp_path / "new.h5"), *given],
        ["resume", str(path), "--set", "solver.replicates=3"],
    ):
        assert main(command) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "new.h5").exists()
    assert main(["solve", "-o", str(tmp_path / "new.h5"), "--set", "dynamics.kind=user",
                 "--set", "dynamics.name=mine", "--set", "dynamics.rule=adam"]) == 2  # fmt: skip
    assert "must be a Python function" in capsys.readouterr().err


def test_configuration_feeds_back(tmp_path):
    text = Config(problem=Problem(dynamics=OWN)).to_toml()
    assert "# rule = (not in files)" in text
    (tmp_path / "own.toml").write_text(text)
    assert load_config(tmp_path / "own.toml").problem == Problem(dynamics=OWN)


# ------------------------------------------------------------------ rules that cannot be used


def few(p, gradient):
    return p


def zero_over_zero(p, gradient, memory, step, step_size):
    return p - step_size * gradient / abs(gradient)


def beyond_memory(p, gradient, memory, step, step_size):
    memory[0] += gradient
    return p


def words(p, gradient, memory, step, step_size):
    return "no number"


def keyword(p, gradient, memory, step, step_size, *, beta=0.9):
    return p


REFUSED = {
    few: "must be a function of",
    keyword: "must be a function of",
    zero_over_zero: "makes nan of the parameter 0.4 and the gradient 0 in step 0",
    beyond_memory: "fails in step 0: IndexError",
    words: "fails in step 0: ValueError",
    3.0: "must be a Python function",
    max: "must be a Python function",
}


@pytest.mark.parametrize("rule", REFUSED, ids=lambda rule: getattr(rule, "__name__", str(rule)))
def test_rules_that_cannot_be_used(rule):
    with pytest.raises(InputError, match=REFUSED[rule]) as error:
        UserOptimiser(name="mine", rule=rule)
    assert "\n" not in str(error.value)


def test_names_and_sizes():
    with pytest.raises(InputError, match="name"):
        UserOptimiser(rule=lambda p, gradient, memory, step, step_size: p)
    with pytest.raises(InputError, match="name: required"):
        UserOptimiser()
    with pytest.raises(InputError, match="memory"):
        UserOptimiser(name="mine", memory=99)


def test_what_numba_cannot_compile_is_one_line():
    def formatted(p, gradient, memory, step, step_size):
        return p - step_size * eval("gradient")

    own = UserOptimiser(rule=formatted)
    with pytest.raises(InputError, match="which Numba cannot compile") as error:
        dmft.solve(Problem(dynamics=own), t_max=2, n_paths=64)
    assert "\n" not in str(error.value)


def test_a_step_outside_of_the_memory_is_no_crash():
    """Only on gradients that were not tried: bounds are checked in every step."""

    def late(p, gradient, memory, step, step_size):
        memory[0 if step < 6 else 7] = gradient
        return p - step_size * gradient

    own = UserOptimiser(rule=late, memory=1)
    with pytest.raises(InputError, match="fails in step 6"):
        dmft.solve(Problem(dynamics=own), t_max=9, n_paths=64)
