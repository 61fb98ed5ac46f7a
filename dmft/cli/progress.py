"""Progress on stderr: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dmft.progress import BAR_LAYOUT, Progress

Show = Callable[[float, str], None]
_LINE_SECONDS = 10.0  # between the lines of a log


@contextmanager
def progress_bar(arguments: argparse.Namespace, label: str) -> Iterator[Show | None]:
    """Yield a function of the fraction done and a text; None if nobody would look at it."""
    terminal = sys.stderr.isatty()
    if not (arguments.progress or (terminal and not arguments.quiet)):
        yield None
    elif terminal:
        with _bar(label) as show:
            yield show
    else:
        yield _lines(label)


@contextmanager
def progress_callback(
    arguments: argparse.Namespace, label: str
) -> Iterator[Callable[[Progress], None] | None]:
    """As `progress_bar`, for what reports by `Progress`."""
    with progress_bar(arguments, label) as show:
        yield None if show is None else lambda state: show(state.fraction, state.text())


@contextmanager
def _bar(label: str) -> Iterator[Show]:
    from tqdm import tqdm

    with tqdm(
        total=1.0, desc=label, file=sys.stderr, bar_format=BAR_LAYOUT, leave=False, miniters=0
    ) as bar:

        def show(fraction: float, text: str) -> None:
            bar.set_postfix_str(text, refresh=False)
            bar.update(max(0.0, min(fraction, 1.0) - bar.n))

        yield show


def _lines(label: str) -> Show:
    """Whole lines, the first at once and then one every few seconds, and at the end."""
    last: float | None = None

    def show(fraction: float, text: str) -> None:
        nonlocal last
        now = time.monotonic()
        if last is None or now - last >= _LINE_SECONDS or fraction >= 1.0:
            last = now
            print(f"{label} {fraction:6.1%}  {text}", file=sys.stderr, flush=True)

    return show
