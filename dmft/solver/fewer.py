"""Measuring the bias of steps without tangents: beside a replicate marches one of fewer paths.

Sampled echoes bias all replicates alike, by a share of 1/n_paths that grows without bound in what
vanishes and that their scatter does not show. From n_paths/k to n_paths a curve changes by k - 1
times the bias that it has left. Every second replicate is accompanied, as small marches cost more
a path: a tenth of the work of the whole.
"""

from __future__ import annotations

from contextlib import suppress

from dmft.solver.scheme import Saved, Tree
from dmft.solver.stepping import Diverged
from dmft.solver.stepwise import Stepwise

_FEWER, _LEAST_FEWER = 8, 4  # times fewer paths, and where there are few already
# Paths that hold directions as long as a march makes few of them, and for good: SGD of 256 paths
# runs away after a thousand steps.
_ENOUGH, _ENOUGH_FOR_GOOD, _SHORT = 256, 512, 500


def fewer_paths(n_paths: int, steps: int, crowded: bool = False) -> int:
    """Paths of the march beside a replicate of so many steps; 0 if it would have too few.

    crowded : whether directions are many (residuals.py). Normals of a stratum of 128 paths are then
        not orthogonal to each other, and the bias of 256 paths is above 1/n_paths: 117 % of a
        train_mse that 512 and 1024 miss by 18 and 8 %. They serve where there are no more.
    """
    enough = _ENOUGH if steps <= _SHORT else _ENOUGH_FOR_GOOD
    if crowded and n_paths >= _LEAST_FEWER * _ENOUGH_FOR_GOOD:
        enough = _ENOUGH_FOR_GOOD
    return max(n_paths // _FEWER, enough) if n_paths >= _LEAST_FEWER * enough else 0


def accompanied(index: int) -> bool:
    """Whether replicate `index`, from 1 on, has a march beside it."""
    return index % 2 == 1


class Accompanied:
    """A march of steps and, left behind where it diverges, one beside it.

    count : steps made. work : counters of the work done by both.
    lever : what the bias of the first is of the difference between both.
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

    @property
    def lever(self) -> float:
        if self.beside is None:
            return 0.0
        return 1.0 / (self.main.path_set.count / self.beside.path_set.count - 1.0)

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
