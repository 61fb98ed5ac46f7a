"""Measuring the bias of steps without tangents: beside a replicate marches one of fewer paths.

Sampled echoes bias all replicates alike, by a share of 1/n_paths that grows without bound in what
vanishes and that their scatter does not show. From n_paths/k to n_paths a curve changes by k - 1
times the bias that it has left. Every second replicate is accompanied, as small marches cost more
a path: a fifth of the whole solve.
"""

from __future__ import annotations

from contextlib import suppress

from dmft.solver.scheme import Saved, Tree
from dmft.solver.stepping import Diverged
from dmft.solver.stepwise import Stepwise

_FEWER, _LEAST_FEWER = 8, 4  # times fewer paths; where there are few already
_ENOUGH, _FEWEST = 256, 128  # paths that do for that; that a march can say anything with


def fewer_paths(n_paths: int) -> int:
    """Paths of the march beside a replicate; 0 if these are too few to make one."""
    fewer = max(n_paths // _FEWER, min(n_paths // _LEAST_FEWER, _ENOUGH))
    return fewer if fewer >= _FEWEST else 0


def accompanied(index: int) -> bool:
    """Whether replicate `index`, from 1 on, has a march beside it."""
    return index % 2 == 1


def lever(n_paths: int) -> float:
    """What the bias of n_paths is of the difference between fewer paths and these."""
    return 1.0 / (n_paths / fewer_paths(n_paths) - 1.0)


class Accompanied:
    """A march of steps and, left behind where it diverges, one beside it.

    count : steps made. work : counters of the work done by both.
    """

    def __init__(self, main: Stepwise, beside: Stepwise | None) -> None:
        self.main, self.beside = main, beside

    @property
    def count(self) -> int:
        return self.main.count

    @property
    def work(self) -> dict[str, float]:
        more = {} if self.beside is None else self.beside.work
        return {name: value + more.get(name, 0.0) for name, value in self.main.work.items()}

    def step(self) -> None:
        """See `StepMarch`."""
        before = self.main.count
        self.main.step()
        if self.beside is not None and self.beside.count == before:
            with suppress(Diverged):
                self.beside.step()

    def saved(self) -> Tree:
        """Everything needed to continue."""
        more = {} if self.beside is None else {"beside": self.beside.saved()}
        return {**self.main.saved(), **more}

    def restore(self, state: Saved) -> None:
        """The inverse of `saved`; a state of an older version has one march only.

        Raises
        ------
        InputError : a state of another version.
        """
        self.main.restore(state)
        if self.beside is not None and "beside" in state:
            self.beside.restore(state["beside"])
        else:
            self.beside = None
