"""Progress of long computations: what callbacks are given, and a bar for those who ask for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

BAR_LAYOUT = "{desc} {percentage:5.1f}%|{bar}| {elapsed} {postfix}"


@dataclass(frozen=True)
class Progress:
    """How far a computation has come.

    fraction : share of the whole work that is done, in [0, 1].
    seconds_left : estimate of the wall-clock time of the rest; None while there is none.
    stage : "pilot", "replicate 2/4", "simulation 3/8".
    replicate, replicates : finished replicates (runs of a simulation), and how many there will be.
    time, t_max : time reached by the replicate under way and its end, in units of the flow; steps
        in discrete dynamics.
    error, sweeps : of the last panel of a solve, its estimated relative time error and the sweeps
        it took; 0 elsewhere.
    """

    fraction: float
    seconds_left: float | None
    stage: str
    replicate: int
    replicates: int
    time: float
    t_max: float
    error: float = 0.0
    sweeps: int = 0

    def text(self) -> str:
        """Stage, time and what is left, as a bar shows them."""
        words = f"{self.stage}, t = {self.time:.3g}"
        return (
            words if self.seconds_left is None else f"{words}, {duration(self.seconds_left)} left"
        )


Callback = Callable[[Progress], None]


def duration(seconds: float) -> str:
    """Seconds as a reader wants them: "12 s", "3 min", "2.5 h".

    Examples
    --------
    >>> duration(11.7), duration(200.0), duration(9000.0)
    ('12 s', '3 min', '2.5 h')
    """
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"


@contextmanager
def shown(progress: Callback | bool | None, label: str) -> Iterator[Callback | None]:
    """The callback that a caller asked for: True is a bar of tqdm, of a terminal or a notebook."""
    if progress is not True:
        yield progress or None
        return
    from tqdm.auto import tqdm

    with tqdm(total=1.0, desc=label, bar_format=BAR_LAYOUT, miniters=0) as bar:

        def show(state: Progress) -> None:
            bar.set_postfix_str(state.text(), refresh=False)
            bar.update(max(0.0, state.fraction - bar.n))

        yield show
