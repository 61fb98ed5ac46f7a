"""The page of the benchmarks: tables in Markdown, with pictures in a folder of its name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from dmft.bench.figures import STYLES, draw_growth, draw_race
from dmft.bench.ledger import Ledger, Record
from dmft.store.output import replacing

_HEAD = """\
# Benchmarks

How much work a curve of given accuracy takes: this solver against the textbook algorithm and
against simulation, how its work grows, and how near it comes to what the machine can do. Written by

    dmft bench -o bench.json --report docs/benchmarks.md

Seconds are CPU seconds of one thread of {processor} ({product_gflops:.0f} GFlop/s in a product of
double matrices; {python_line}). They change from machine to machine and by tens of percent from
run to run; ratios of one run change less, counters and exponents not at all.
"""

_RACE = """\
## Time to accuracy

CPU seconds until the relative error of `excess_risk`, root mean square over 20 log-spaced times and
over seeds, is 1 % and 0.5 %. Contestants:

- **this solver**: one replicate, pilot included; a ladder of `n_paths` and `rtol`, several seeds on
  each rung. Stated is the cheapest rung that meets the target, its seconds are the median of three
  more solves.
- **classical algorithm** (`dmft/solver/classical.py`): uniform grid, explicit Euler, plain Monte
  Carlo, global iteration; memory and tangents are blocked matrix products. The square of its error
  is (bias · step)² + noise²/`n_paths`, its work `n_paths` T³/6 for each sweep over T nodes. The
  constants are measured; the best step and `n_paths` follow.
- **ensemble of finite networks**: the mean of N runs at dimension d, in whichever is faster of an
  implicit and an explicit adaptive integrator. Teachers are stratified, one value at a random point
  of each of equally likely intervals; midpoints would lack the tails, which more than doubles the
  bias. The square of the error is bias(d)² + variance(d)/N. Both are fitted to pools of runs of
  several d and fall like 1/d unless the pools tell another power at the level of 99 %, where all
  times of a curve, correlated as they are, count as one; the best d and N follow.
  Extrapolation from d/2 and d to infinite d is not used: by the variances of the pools it would
  cost 0.7 to 2 times as much, and what it leaves of the bias is not known well enough. Nor are
  control variates of known mean, such as |Xw*|² and |XᵀXw*|², which by pools of P0 would save
  three quarters of the runs.

*Law* marks seconds that follow from a contestant's law, where a run would take more than
{budget:g} s or more memory than there is; other seconds are medians of three runs. Where t_max is
out of the classical algorithm's reach, its error and its number of sweeps are taken to stay what
they are up to t = 24, in its favour.
"""

_CLASSIFICATION = """\
## Time to accuracy in classification

As above, to an error of 1 % of each of `train_loss`, `test_error` and `squared_norm`: the worst
of the three counts. Rows of *loss* ask for `train_loss` alone, of the same runs: it hardly
depends on d, and small networks are cheap. Both sides are sampled by the solver
([losses.md](losses.md)) and by the classical algorithm, whose work is `n_paths` T³/6 for the
tangents of either side; it raced only to t = 100 from the default start. The bias of networks in
test error and the variance of their norm, where a few coordinates lead, fall more slowly than 1/d;
beyond the largest d variance and work follow the laws above, in the networks' favour.
"""

_GROWTH = """\
## Growth

Counters of one solve (pilot and one replicate) of *{case}*, {n_paths} paths and `rtol` = 1e-3
unless varied; paths and `rtol` from init_scale = {large_start:g} to t = 100, where any number of
paths supports any tolerance.
"""

_CEILING = """\
## Ceiling

The pass over stored tangents that every sweep makes: once through all numbers, 18 operations for
each. In the same run on one core: a product of double matrices makes {product:.1f} GFlop/s, a copy
in main memory moves {stream:.1f} GB/s, a scalar product reads {read:.1f} GB/s. The roofline is the
smaller of the product's rate and 18 operations for each number read.
"""


_CHECKPOINTS = """\
## Checkpoints

Gram matrices of {checkpoints} checkpoints of {parameters} parameters in half precision, from files
that the system holds in memory: reading them takes {read:.1f} s, products of double matrices of the
same shape {product:.1f} s, `trajectory.of_checkpoints` {seconds:.1f} s: **{ratio:.0%}** of the rate
of reading and product alone (median over tensors {median_ratio:.0%}), {single_ratio:.0%} of reading
and a product of single matrices, whose rounding small differences do not survive.
"""


def write(ledger: Ledger, path: Path) -> None:
    """Write the page of all results in the ledger, and its pictures into a folder beside it."""
    pictures = path.with_suffix("")
    pictures.mkdir(exist_ok=True)
    results = ledger.results
    machine = ledger.head["machine"]
    line = f"Python {machine['python']}, NumPy {machine['numpy']}"
    parts = [_HEAD.format(**machine, python_line=line)]
    for suite, picture, head in (
        ("time-to-accuracy", "race.png", _RACE),
        ("classification", "classification.png", _CLASSIFICATION),
    ):
        if race := results.get(suite):
            with replacing(pictures / picture) as temporary:
                draw_race(race, temporary)
            parts += _race_part(race, head, f"{pictures.name}/{picture}")
    if growth := results.get("growth"):
        with replacing(pictures / "growth.png") as temporary:
            draw_growth(growth, temporary)
        parts += _growth_part(growth, pictures.name)
    if ceiling := results.get("ceiling"):
        parts += _ceiling_part(ceiling)
    found = results.get("checkpoints", {})
    if "single_ratio" in found:  # not of earlier versions
        parts.append(_CHECKPOINTS.format(**found))
    with replacing(path) as temporary:
        temporary.write_text("\n".join(parts), encoding="utf-8")


def race_table(race: Record) -> str:
    """One line for each problem, target and contestant."""
    return "\n".join(_table(("problem", "error", "contestant", "configuration", "CPU s",
                             "", "times this solver"), _race_rows(race)))  # fmt: skip


def _race_rows(race: Record) -> Iterator[tuple[str, ...]]:
    for name, result in race.items():
        for target in result["contestants"]["mean-field"]["reached"]:
            for contestant, outcome in result["contestants"].items():
                rung = outcome["reached"][target]
                ratio = result["ratios"].get(contestant, {}).get(target)
                yield (
                    name,
                    f"{float(target):.1%}",
                    STYLES[contestant][0],
                    rung["label"],
                    seconds(rung["seconds"]),
                    "measured" if rung["measured"] else "law",
                    "" if ratio is None else f"{ratio:.2g}" if ratio < 10 else seconds(ratio),
                )


def _race_part(race: Record, head: str, picture: str) -> Iterator[str]:
    yield head.format(budget=min(result["rival_seconds"] for result in race.values()))
    yield race_table(race)
    yield f"\n![error against CPU seconds]({picture})\n"
    for name, result in race.items():
        yield f"- {name}, {result['title']}: reference known to {result['reference_error']:.2%}."
    rows = [
        (name, STYLES[contestant][0], outcome["law"])
        for name, result in race.items()
        for contestant, outcome in result["contestants"].items()
        if contestant != "mean-field"
    ]
    yield "\nThe laws:\n"
    yield from _table(("problem", "contestant", "law"), rows)
    yield ""


def _growth_part(growth: Record, folder: str) -> Iterator[str]:
    yield _GROWTH.format(**growth)
    names = ("nodes", "panels", "sweeps", "path_iterations", "tangent_flops", "tangent_bytes")
    for part, variable in (("by_time", "t_max"), ("by_paths", "n_paths"), ("by_tolerance", "rtol")):
        rows = [
            (f"{row[variable]:g}", *(f"{row[name]:.4g}" for name in names)) for row in growth[part]
        ]
        yield from _table((variable, *(name.replace("_", " ") for name in names)), rows)
        yield ""
    late = ", ".join(f"{count:.0f}" for count in growth["nodes_per_late_decade"])
    yield f"Nodes for each decade beyond t = 100: {late}. Exponents of the powers:\n"
    rows = []
    for variable, found in growth["exponents"].items():
        for name, fit in found.items():
            error = "" if fit["stderr"] is None else f" ± {fit['stderr']:.2f}"
            rows.append((name.replace("_", " "), variable, f"{fit['exponent']:.2f}{error}"))
    yield from _table(("counter", "in", "exponent"), rows)
    yield f"\n![growth of the counters]({folder}/growth.png)\n"


def _ceiling_part(ceiling: Record) -> Iterator[str]:
    yield _CEILING.format(
        product=ceiling["product_flops"] / 1e9,
        stream=ceiling["stream_bytes"] / 1e9,
        read=ceiling["read_bytes"] / 1e9,
    )
    rows = [
        (
            f"{row['panels']}",
            f"{row['bytes'] / 1e6:.0f}",
            f"{row['flops'] / row['seconds'] / 1e9:.1f}",
            f"{row['of_product']:.0%}",
            f"{row['bytes'] / row['seconds'] / 1e9:.1f}",
            f"{row['of_stream']:.0%}",
            f"{row['of_roofline']:.0%}",
        )
        for row in ceiling["rows"]
    ]
    yield from _table(
        ("panels", "MB", "GFlop/s", "of the product", "GB/s", "of reading", "of the roofline"), rows
    )
    yield ""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "| " + " | ".join("---" for _ in head) + " |"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def seconds(value: float) -> str:
    """A positive number with three digits, large ones as a power of ten."""
    if value >= 1e5:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
