"""A network, dynamics or law that some place does not know raises there, not taken for another."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import pytest

import dmft
from dmft import InputError, Problem
from dmft.problem.networks import Diagonal
from dmft.problem.optimisers import Adaptive
from dmft.results.sign_error import sign_error
from dmft.solver.classical import classical_solve
from dmft.theory.label_nodes import label_nodes
from dmft.theory.mirror import Mirror
from dmft.theory.sample_side import samples_of
from dmft.validation import Settings

SMALL = {"t_max": 1.0, "n_paths": 64, "replicates": 1}
RUN = {"dimension": 20, "seeds": 1, "times": [1.0]}


class Cubic(Diagonal):
    """Looks like a diagonal network, but has a code of its own."""

    @property
    def code(self) -> int:
        return 7


class Bare(Settings):
    kind: Literal["bare"] = "bare"
    weight_decay: float = 0.0


class Flow(Bare):
    discrete: ClassVar[Literal[False]] = False
    diffusive: ClassVar[Literal[False]] = False


class Leap(Adaptive):
    kind: Literal["leap"] = "leap"
    step_size: float = 0.1
    weight_decay: float = 0.0


class Loss(Settings):
    kind: Literal["new"] = "new"


class Labels(Settings):
    signs: ClassVar[bool] = True
    kind: Literal["new"] = "new"


def with_(problem: Problem | None = None, **members: Settings) -> Problem:
    """A problem with members that no union knows yet."""
    found = (problem or Problem()).replace()
    found.__dict__.update(members)
    return found


@pytest.mark.parametrize(
    "dynamics", [{}, {"weight_decay": 0.1}, {"kind": "gradient-descent"}, {"kind": "adam"}]
)
def test_networks(dynamics):
    problem = with_(Problem(dynamics=dynamics), network=Cubic())
    with pytest.raises(ValueError, match="unknown network"):
        dmft.solve(problem, **SMALL)
    if not problem.dynamics.discrete:  # in steps finite networks bring their parametrisation
        with pytest.raises(ValueError, match="unknown network"):
            dmft.simulate(problem, **RUN)
        with pytest.raises(ValueError, match="unknown network"):
            dmft.theory.predict(problem)
        with pytest.raises(ValueError, match="unknown network"):
            classical_solve(problem, t_max=1.0, step=0.5, n_paths=16)


def test_curves_of_networks():
    one = np.ones((1, 1))
    for ask in ("at", "parameter_of"):
        with pytest.raises(ValueError, match="unknown network 7"):
            getattr(Mirror(7, 2, one, one), ask)(one)
    with pytest.raises(ValueError, match="unknown network 7"):
        Mirror(7, 2, one, one).slowest()


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_dynamics():
    with pytest.raises(AttributeError, match="discrete"):  # has to say what it is like
        dmft.solve(with_(dynamics=Bare()), **SMALL)
    with pytest.raises(TypeError, match="no scheme"):
        dmft.solve(with_(dynamics=Flow()), **SMALL)
    with pytest.raises(AttributeError, match="compiled"):  # no rule, and brings none
        dmft.solve(with_(dynamics=Leap()), **SMALL)
    with pytest.raises(NotImplementedError):
        dmft.simulate(with_(dynamics=Leap()), **RUN)
    with pytest.raises(InputError, match="no finite network"):
        dmft.simulate(with_(dynamics=Flow()), **RUN)
    with pytest.raises(InputError, match="gradient-flow"):
        dmft.theory.predict(with_(dynamics=Flow()))


def test_losses_and_labels():
    with pytest.raises(TypeError, match="unknown loss"):
        samples_of(with_(loss=Loss()), 1.0)
    with pytest.raises(TypeError, match="unknown labels"):
        label_nodes(with_(labels=Labels()), 1.0)
    with pytest.raises(TypeError, match="no signs"):
        sign_error(with_(labels=Labels()), np.ones(1), np.ones(1), 1.0)
