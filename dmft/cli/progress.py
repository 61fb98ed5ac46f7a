"""Progress bars on stderr."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(
    arguments: argparse.Namespace, label: str
) -> Iterator[Callable[[float, str], None] | None]:
    """Yield a function of the fraction done and a text; None if nobody would look at it."""
    wanted = arguments.progress or (sys.stderr.isatty() and not arguments.quiet)
    if not wanted:
        yield None
        return
    from tqdm import tqdm

    layout = "{desc} {percentage:5.1f}%|{bar}| {elapsed} {postfix}"
    with tqdm(
        total=1.0, desc=label, file=sys.stderr, bar_format=layout, leave=False, miniters=0
    ) as bar:

        def show(fraction: float, text: str) -> None:
            bar.set_postfix_str(text, refresh=False)
            bar.update(max(0.0, min(fraction, 1.0) - bar.n))

        yield show
