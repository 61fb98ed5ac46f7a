"""Run every phenomenon and write one page with their figures and numbers.

    python scripts/phenomena/reproduce.py [--full] [-o FOLDER] [--only NAME ...]

Writes FOLDER/index.html, a figure for each phenomenon, and numbers.json. The exit status is 1 if a
number lies outside of its range.
"""

from __future__ import annotations

import argparse
import html
import json
import math
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from common import Outcome, print_outcome, run_limited

NAMES = (
    "kernel_to_rich", "incremental", "collapse", "grokking", "speed", "early_stopping",
    "double_descent", "noise", "power_law", "effective_alpha", "label_noise", "trajectory_start",
    "trajectory_training", "trajectory_normalisation", "trajectory_heads", "trajectory_gpt",
    "symmetry_equilibrium",
    "symmetry_sharpening", "symmetry_alignment", "symmetry_warmup", "conservation_training",
    "conservation_optimisers", "optimisers", "optimiser_edges", "optimiser_ends",
    "optimiser_paths", "losses", "classification_descent", "margin_memory",
)  # fmt: skip
NEED_TORCH = (
    "trajectory_training", "trajectory_normalisation", "trajectory_heads", "trajectory_gpt",
    "conservation_training", "conservation_optimisers",
)  # fmt: skip

_STYLE = """
body { font-family: sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
img { max-width: 100%; } table { border-collapse: collapse; }
td, th { padding: 0.2rem 0.8rem; text-align: left; border-bottom: 1px solid #ddd; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.passed { color: #007755; } .failed { color: #c33; font-weight: bold; }
pre { background: #f6f6f6; padding: 0.5rem; overflow-x: auto; }
"""


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="full size: about an hour")
    parser.add_argument("-o", "--output", type=Path, default=Path("reproduction"), metavar="FOLDER")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes, by default 1")
    arguments = parser.parse_args()
    folder = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    outcomes: dict[str, Outcome] = {}
    names = list(arguments.only)
    if not (find_spec("torch") and find_spec("transformers")):
        for name in filter(NEED_TORCH.__contains__, arguments.only):
            print(f"{name}: left out, it needs PyTorch (the extra 'torch' of the package)")
            names.remove(name)
    with ExitStack() as stack:
        each: Callable[..., Iterable[tuple[Outcome, float]]] = map
        if arguments.jobs > 1:
            pool = ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn"))
            each = stack.enter_context(pool).map
        found = each(partial(computed, full=arguments.full, folder=folder), names)
        for name, (outcome, seconds) in zip(names, found, strict=True):
            outcomes[name] = outcome
            print_outcome(outcome)
            print(f"  {seconds:.0f} s", flush=True)
            write(outcomes, folder, arguments.full)
    failed = [name for name, outcome in outcomes.items() if not outcome.passed]
    print(
        f"page: {folder / 'index.html'}; "
        + (f"failed: {', '.join(failed)}" if failed else "all passed")
    )
    return 1 if failed else 0


def computed(name: str, full: bool, folder: Path) -> tuple[Outcome, float]:
    """A phenomenon, and the seconds it took."""
    start = time.perf_counter()
    outcome = run_limited(import_module(name).run, full, folder / f"{name}.png")
    return outcome, time.perf_counter() - start


def write(outcomes: dict[str, Outcome], folder: Path, full: bool) -> None:
    """The page and its numbers, complete after every phenomenon."""
    numbers = {
        name: {
            "passed": outcome.passed,
            "config": outcome.config,
            "checks": [{**asdict(check), "passed": check.passed} for check in outcome.checks],
        }
        for name, outcome in outcomes.items()
    }
    text = json.dumps(_plain(numbers), indent=1, allow_nan=False)
    (folder / "numbers.json").write_text(text + "\n", encoding="utf-8")
    (folder / "index.html").write_text(page(outcomes, full), encoding="utf-8")


def _plain(value: Any) -> Any:
    """What is not a finite number becomes null, as JSON wants it."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def page(outcomes: dict[str, Outcome], full: bool) -> str:
    """All phenomena as one HTML document."""
    size = "full" if full else "small"
    contents = "".join(
        f'<tr><td><a href="#{name}">{html.escape(outcome.title)}</a></td>'
        f"<td>{_mark(outcome.passed)}</td></tr>"
        for name, outcome in outcomes.items()
    )
    sections = "".join(_section(name, outcome) for name, outcome in outcomes.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>Phenomena of diagonal linear networks</title><style>{_STYLE}</style></head><body>"
        f"<h1>Phenomena of diagonal linear networks</h1><p>Each was run at {size} size by a script "
        "of <code>scripts/phenomena/</code>; formulas are explained in docs/long-times.md.</p>"
        f"<table>{contents}</table>{sections}</body></html>\n"
    )


def _section(name: str, outcome: Outcome) -> str:
    rows = "".join(
        f'<tr><td>{html.escape(check.what)}</td><td class="number">{check.value:.4g}</td>'
        f'<td class="number">{_range(check.low, check.high)}</td>'
        f"<td>{_mark(check.passed)}</td></tr>"
        for check in outcome.checks
    )
    paragraphs = outcome.paragraph.strip().split("\n\n")
    text = "".join(f"<p>{html.escape(' '.join(part.split()))}</p>" for part in paragraphs)
    config = html.escape(json.dumps(outcome.config))
    return (
        f'<h2 id="{name}">{html.escape(outcome.title)}</h2>{text}'
        f'<img src="{outcome.figure.name}" alt="{html.escape(outcome.title)}">'
        f"<table><tr><th>number</th><th>value</th><th>range</th><th></th></tr>{rows}</table>"
        f"<pre>scripts/phenomena/{name}.py  {config}</pre>"
    )


def _range(low: float, high: float) -> str:
    if low == float("-inf"):
        return f"at most {high:.4g}"
    return f"at least {low:.4g}" if high == float("inf") else f"{low:.4g} to {high:.4g}"


def _mark(passed: bool) -> str:
    return '<span class="passed">passed</span>' if passed else '<span class="failed">failed</span>'


if __name__ == "__main__":
    sys.exit(main())
