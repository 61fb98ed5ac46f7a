"""What the page asks for: controls and copies of its settings, curves, finite networks.

A request that is no longer the newest of its page is given up at the next panel of its solve.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from dmft.config import Config, parse_config
from dmft.errors import DmftError, InputError, Interrupted
from dmft.explore.controls import changed_table, controls_of
from dmft.explore.copies import copies
from dmft.plotting.curves import dense, main_errors
from dmft.plotting.style import VANISHED, half_width, time_label, time_scale, words_of
from dmft.progress import Progress
from dmft.results.curves import Curves
from dmft.results.observables import is_counted, is_positive
from dmft.results.solution import Solution
from dmft.simulation import simulate
from dmft.solver import solve
from dmft.solver.time_limit import WORDS as LIMIT

Answer = dict[str, Any]  # as JSON can hold it
Send = Callable[[Answer], None]

# With so few paths a second thread only gets in the way.
QUICK: dict[str, Any] = {"n_paths": 256, "replicates": 3, "rtol": 0.03, "threads": 1}
FIRST_LOOK = 1.8  # seconds; what takes longer is shown up to an earlier time, and then as a whole
NETWORKS: dict[str, Any] = {"seeds": 4, "points": 12, "rtol": 1e-3}
_EVERY = 0.2  # seconds between two words of progress
# Compiled code that the page may need first is loaded while its reader looks at the first curves.
_WARM = (
    {"problem.loss.kind": "logistic", "problem.labels.kind": "sign"},
    {"dynamics.kind": "gradient-descent", "solver.t_max": 2},
    {"dynamics.kind": "sgd", "solver.t_max": 2},
    {"dynamics.kind": "adam", "solver.t_max": 2},
    {"dynamics.kind": "stochastic-gradient-flow"},
)


class Session:
    """The settings that a page begins with, and the one computation that may be under way."""

    def __init__(self, config: Config) -> None:
        self._base = config.to_table()
        self._working = threading.Lock()
        self._newest: dict[str, int] = {}
        self._closed = False

    def close(self) -> None:
        """Give up whatever is under way."""
        self._closed = True

    def settings(self, request: Mapping[str, Any]) -> Answer:
        """Controls; copies of the settings, or in one line why they are refused."""
        page, number, changes = _parts(request)
        self._newest[page] = max(number, self._newest.get(page, 0))
        answer: Answer = {"number": number}
        try:
            table = changed_table(self._base, changes)
            answer["controls"] = controls_of(table)
            answer["copies"] = copies(parse_config(table))
        except DmftError as error:
            answer["error"] = _line(error)
        return answer

    def curves(self, request: Mapping[str, Any], send: Send) -> None:
        """Send progress, then the curves of a quick solve; those of a first look before."""

        def work(config: Config, report: Report, stop: Stop) -> Iterator[Answer]:
            settings = {**QUICK, "t_max": config.solver.t_max, "seed": config.solver.seed}
            settings |= {"progress": report, "stop": stop}
            for limit in (FIRST_LOOK, None):
                began = time.perf_counter()
                solution = solve(config.problem, time_limit=limit, **settings)
                answer = {**drawable(solution), "seconds": time.perf_counter() - began}
                early = LIMIT in solution.reason
                yield {**answer, "how": _how(solution), "first_look": early}
                if not early:
                    return

        self._answer(request, send, work)

    def networks(self, request: Mapping[str, Any], send: Send) -> None:
        """Send progress, then the curves of a few finite networks."""
        dimension = request.get("dimension")
        if not isinstance(dimension, int) or not 2 <= dimension <= 2000:
            raise InputError(f"given {dimension!r}, must be from 2 to 2000", "dimension")

        def work(config: Config, report: Report, stop: Stop) -> Iterator[Answer]:
            given = config.simulation
            settings = {**NETWORKS, "t_max": config.solver.t_max, "dimension": dimension}
            settings |= {"seed": given.seed, "design": given.design}
            settings["stratified"] = given.stratified
            began = time.perf_counter()
            found = simulate(config.problem, progress=report, stop=stop, **settings)
            words = f"{found.runs} networks of dimension {dimension}, {given.design} design"
            seconds = time.perf_counter() - began
            yield {**drawable(found), "seconds": seconds, "how": words}

        self._answer(request, send, work)

    def warm(self) -> None:
        """Load the compiled code of other dynamics and losses; a request waits for one at most."""
        for changes in _WARM:
            if self._closed:
                return
            config = parse_config(changed_table(Config().to_table(), changes))
            t_max = config.solver.t_max if config.problem.dynamics.discrete else 0.1
            with self._working:
                solve(config.problem, t_max=t_max, n_paths=64, replicates=1, rtol=0.1)

    def _answer(self, request: Mapping[str, Any], send: Send, work: Work) -> None:
        page, number, changes = _parts(request)

        def outdated() -> bool:
            return self._closed or number < self._newest.get(page, 0)

        try:
            config = parse_config(changed_table(self._base, changes))
            with self._working:
                if outdated():
                    raise Interrupted("outdated")
                for answer in work(config, _throttled(send), outdated):
                    send({"number": number, **answer})
        except Interrupted:
            send({"number": number, "outdated": True})
        except DmftError as error:
            send({"number": number, "error": _line(error)})


Stop = Callable[[], bool]
Report = Callable[[Progress], None]
Work = Callable[[Config, Report, Stop], Iterator[Answer]]


def drawable(result: Curves) -> Answer:
    """Curves at the nodes and, of a mean field, between them, with half of their 95 % intervals."""
    times = dense(result) if isinstance(result, Solution) else result.time
    return {
        "time": result.time.tolist(),
        "times": times.tolist(),
        "time_label": time_label(result.problem),
        "time_log": time_scale(result.time) == "log",
        "main": main_errors(result),
        "curves": {name: _curve(result, name, times) for name in result.curves},
        "status": getattr(result, "status", "done"),
        "reason": getattr(result, "reason", ""),
    }


def _curve(result: Curves, name: str, times: np.ndarray) -> Answer:
    mean, half = result.curves[name].mean, half_width(result, name)
    smooth = isinstance(result, Solution) and not (is_counted(name) or name == "test_error")
    if isinstance(result, Solution) and smooth:
        line = np.asarray(result.curve_at(name, times))
    else:
        line = np.interp(times, result.time, mean)
    return {
        "words": words_of(name),
        "positive": is_positive(name),
        "floor": VANISHED * float(np.abs(mean).max(initial=0.0)),
        "mean": _numbers(mean),
        "error": None if half is None else _numbers(half),
        "line": _numbers(line),
        "line_error": None if half is None else _numbers(np.interp(times, result.time, half)),
    }


def _numbers(values: np.ndarray) -> list[float | None]:
    """None where there is no number."""
    return [value if np.isfinite(value) else None for value in values.tolist()]


def _how(solution: Solution) -> str:
    settings = solution.settings
    return (
        f"quick: {settings.n_paths} paths, {solution.runs} replicates, "
        f"time error {settings.rtol:g}; bands are 95 % intervals"
    )


def _throttled(send: Send) -> Report:
    last = -np.inf

    def report(state: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            send({"progress": state.fraction, "stage": state.stage})

    return report


def _parts(request: Mapping[str, Any]) -> tuple[str, int, Mapping[str, Any]]:
    page, number, changes = (request.get(name) for name in ("page", "number", "changes"))
    known = isinstance(page, str) and isinstance(number, int) and isinstance(changes, dict)
    if not known:
        raise InputError("must have page, number and changes", "request")
    return page, number, changes  # type: ignore[return-value]


def _line(error: DmftError) -> str:
    return " ".join(str(error).split())
