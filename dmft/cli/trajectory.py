"""Maps, angles and redundancy of optimisation trajectories.

Of checkpoints of any training, or of a solution or a simulation of this package."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmft.cli import parser as options

if TYPE_CHECKING:
    from dmft.trajectory.engine import Progress
    from dmft.trajectory.report import Report

# Those of dmft.trajectory.groups, which takes long to import.
GROUPINGS = ("tensor", "module", "layer", "projection", "head")
_MOST_MEMORY = 1 << 62  # bytes
# Options that say how files of checkpoints are read.
_OF_FILES = ("include", "exclude", "heads", "kv_heads", "steps", "key", "sketch")
PLACE = 130
SUMMARY = "maps and angles of checkpoints"
EXAMPLES = """\
  dmft trajectory inspect checkpoints/
  dmft trajectory map checkpoints/ -o run.h5
  dmft trajectory map checkpoints/ -o run.h5 --by layer --exclude '*.bias' --csv layers.csv
  dmft trajectory map checkpoints/ -o heads.h5 --by head --heads 12
  dmft trajectory map out.h5 -o mean-field.h5
  dmft trajectory compare run.h5 other.h5 --plot comparison.png
  dmft trajectory plot run.h5 -o run.png"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_map(actions.add_parser("map", help="measure a trajectory", description=_map.__doc__))
    inspect = actions.add_parser(
        "inspect", help="show what a run is taken for", description=_inspect.__doc__
    )
    _add_run(inspect)
    options.add_json(inspect)
    inspect.set_defaults(act=_inspect)
    compare = actions.add_parser(
        "compare", help="compare two trajectories", description=_compare.__doc__
    )
    compare.add_argument("first", type=Path, metavar="RUN.h5", help="of `dmft trajectory map`")
    compare.add_argument("second", type=Path, metavar="OTHER.h5", help="another")
    compare.add_argument("--plot", type=Path, metavar="FIG.png", help="also draw both")
    options.add_overwrite(compare)
    options.add_json(compare)
    compare.set_defaults(act=_compare)
    plot = actions.add_parser("plot", help="draw a trajectory", description=_plot.__doc__)
    plot.add_argument("file", type=Path, metavar="RUN.h5", help="of `dmft trajectory map`")
    options.add_output(plot, "FIG.png")
    options.add_json(plot)
    plot.set_defaults(act=_plot)


def run(arguments: argparse.Namespace) -> int:
    arguments.act(arguments)
    return 0


def _add_map(parser: argparse.ArgumentParser) -> None:
    _add_run(parser)
    options.add_output(parser, "OUT.h5")
    parser.add_argument(
        "--of", choices=["weights", "parameters"], default="weights",
        help="of a solution or simulation: w (default), or (u, v)",
    )  # fmt: skip
    parser.add_argument("--csv", type=Path, metavar="FILE.csv", help="also the table of all groups")
    parser.add_argument(
        "--cache", type=Path, metavar="FILE.h5",
        help="where Gram matrices are kept for the next time; default OUT.cache.h5",
    )  # fmt: skip
    parser.add_argument("--no-cache", action="store_true", help="keep nothing")
    parser.add_argument(
        "--sketch", action="store_true", default=None,
        help="random projections with error bars, for many checkpoints or a growing folder; the "
        "default above 1000 checkpoints",
    )  # fmt: skip
    parser.add_argument(
        "--memory", type=options.positive_number, default=1.0, metavar="GB",
        help="memory to use (default 1)",
    )  # fmt: skip
    options.add_running(parser)
    parser.set_defaults(act=_map)


def _add_run(parser: argparse.ArgumentParser) -> None:
    """What to read, and as what."""
    parser.add_argument(
        "paths", nargs="+", type=Path, metavar="FOLDER",
        help="folder of checkpoints; or checkpoints; or OUT.h5 or SIM.h5 of dmft",
    )  # fmt: skip
    parser.add_argument("--by", choices=GROUPINGS, help="also measure every group of tensors")
    for name, what in (("include", "only tensors"), ("exclude", "no tensors")):
        parser.add_argument(
            f"--{name}", action="append", default=[], metavar="PATTERN",
            help=f"{what} whose name matches, as in a shell; repeatable",
        )  # fmt: skip
    parser.add_argument(
        "--heads", type=options.integer(1, options.MOST), metavar="N",
        help="attention heads, to split queries, keys and values",
    )  # fmt: skip
    parser.add_argument(
        "--kv-heads", type=options.integer(1, options.MOST), metavar="N",
        help="heads of keys and values, if they are fewer",
    )  # fmt: skip
    parser.add_argument(
        "--steps", metavar="PATTERN",
        help="names with {step} (or {epoch}, {date}) for the number and * for anything; 'order' "
        "takes files as they are given",
    )  # fmt: skip
    parser.add_argument(
        "--key", metavar="KEY", help="entry of the files that is the model, as in state_dict_ema"
    )


def _map(arguments: argparse.Namespace) -> None:
    """Measure the trajectory of checkpoints, of a solution or of a simulation."""
    from dmft.cli.files import prepare_output
    from dmft.cli.output import command, print_json
    from dmft.store import check_output, locked, replacing
    from dmft.trajectory.files import save_report

    path, csv = arguments.output, arguments.csv
    prepare_output(path, arguments.overwrite, inputs=arguments.paths)
    if csv is not None:
        check_output(csv, overwrite=arguments.overwrite)
    _apart(arguments)
    _outside(path, arguments.paths)
    with locked(path):
        report = _of_result(arguments) if _is_result(arguments.paths) else _of_files(arguments)
        save_report(path, report, overwrite=True, command_line=arguments.command_line)
    if csv is not None:
        with replacing(csv) as temporary:
            temporary.write_text(report.csv(), encoding="utf-8")
    if arguments.json:
        print_json({"file": str(path), **report.to_dict()})
    elif not arguments.quiet:
        print(report.table())
        if report.notes.get("steps_from"):
            print(f"steps from {report.notes['steps_from']}")
        for what, names in _left_out(report):
            print(f"{what}: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}")
        print(f"saved in {path}")
        print("next:", command("dmft", "trajectory", "plot", path, "-o", path.with_suffix(".png")))


def _left_out(report: Report) -> Iterator[tuple[str, list[str]]]:
    """Files and tensors that were not taken, with the reason."""
    files = report.notes.get("left_out", {})
    for what, found in (("files left out", files), ("left out", report.skipped)):
        if found:
            yield what, [f"{name} ({why})" if why else name for name, why in found.items()]
    if report.tied:
        yield "tied to others", list(report.tied)


def _inspect(arguments: argparse.Namespace) -> None:
    """Show what a folder is taken for: files, steps, tensors left out, groups and heads.

    Reads no tensor data."""
    from dmft.cli.output import print_json
    from dmft.trajectory.inspection import inspected

    paths = arguments.paths[0] if len(arguments.paths) == 1 else arguments.paths
    names = ("include", "exclude", "heads", "kv_heads", "steps", "key", "by")
    found = inspected(paths, **{name: getattr(arguments, name) for name in names})
    if arguments.json:
        print_json(found.to_dict())
    else:
        print(found.table())


def _compare(arguments: argparse.Namespace) -> None:
    """Compare two trajectories; exits with 0 whether or not they agree."""
    from dmft.cli.files import prepare_figure
    from dmft.cli.output import print_json
    from dmft.store import replacing
    from dmft.trajectory.comparison import compare_trajectories
    from dmft.trajectory.files import load_report

    if arguments.plot is not None:
        prepare_figure(arguments.plot, arguments.overwrite)
    first, second = load_report(arguments.first), load_report(arguments.second)
    comparison = compare_trajectories(first.path, second.path)
    if arguments.plot is not None:
        from dmft.trajectory.figures import plot_comparison

        names = (arguments.first.stem, arguments.second.stem)
        with replacing(arguments.plot) as temporary:
            plot_comparison(first, second, names, temporary)
    if arguments.json:
        figure = None if arguments.plot is None else str(arguments.plot)
        files = {"first": str(arguments.first), "second": str(arguments.second)}
        print_json({**files, **comparison.to_dict(), "figure": figure})
        return
    print(comparison.table())
    if arguments.plot is not None:
        print(f"figure in {arguments.plot}")


def _plot(arguments: argparse.Namespace) -> None:
    """Draw a trajectory as .png, .pdf or .svg."""
    from dmft.cli.files import draw_saved
    from dmft.trajectory.figures import plot_report
    from dmft.trajectory.files import load_report

    draw_saved(arguments, load_report, plot_report)


def _apart(arguments: argparse.Namespace) -> None:
    """Refuse two outputs in one file, and a cache that is given and not wanted."""
    from dmft.errors import InputError

    if arguments.no_cache and arguments.cache is not None:
        raise InputError("given together with --no-cache, must be one of them", "--cache")
    outputs = [
        ("--output", arguments.output),
        ("--cache", arguments.cache),
        ("--csv", arguments.csv),
    ]
    seen: dict[Path, str] = {}
    for option, path in outputs:
        if path is not None and (other := seen.setdefault(path.resolve(), option)) != option:
            raise InputError(f"given for {other} and {option}, must be two files", str(path))


def _outside(output: Path, paths: list[Path]) -> None:
    """Refuse an output that would be taken for a checkpoint the next time."""
    from dmft.errors import InputError

    if len(paths) == 1 and paths[0].resolve() == output.resolve().parent:
        raise InputError("lies among the checkpoints, must be outside their folder", str(output))


def _is_result(paths: list[Path]) -> bool:
    return len(paths) == 1 and paths[0].is_file() and paths[0].suffix not in (".npy", ".npz")


def _of_result(arguments: argparse.Namespace) -> Report:
    from dmft.errors import InputError
    from dmft.store import load
    from dmft.trajectory.report import Report

    (path,) = arguments.paths
    for name in (*_OF_FILES, "by", "cache", "no_cache"):
        if getattr(arguments, name):
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"given for {path}, which is not a run of checkpoints", option)
    result = load(path)
    try:
        trajectory = result.trajectory_map(arguments.of)
    except InputError as error:
        raise InputError(error.message, str(path)) from None
    names = tuple(f"t = {time:.6g}" for time in trajectory.step)
    return Report(trajectory, str(path), names, settings={"of": arguments.of})


def _of_files(arguments: argparse.Namespace) -> Report:
    from dmft.trajectory.opening import of_checkpoints
    from dmft.trajectory.report import report_of

    paths = arguments.paths[0] if len(arguments.paths) == 1 else arguments.paths
    cache = arguments.cache or arguments.output.with_suffix(".cache.h5")
    settings = {name: getattr(arguments, name) for name in _OF_FILES}
    with _stoppable(arguments) as hooks:
        grams = of_checkpoints(
            paths,
            **settings,
            by=arguments.by,
            cache=None if arguments.no_cache else cache,
            memory=int(min(arguments.memory * 1e9, _MOST_MEMORY)),
            threads=arguments.threads,
            **hooks,
        )
    source = " ".join(str(path) for path in arguments.paths)
    return report_of(grams, source, arguments.by, **settings)


@contextmanager
def _stoppable(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Progress and interruption of a pass; what was finished is in the cache."""
    from dmft.cli.progress import progress_bar
    from dmft.errors import Interrupted

    try:
        with progress_bar(arguments, "read") as show:
            yield {"progress": None if show is None else _progress(show)}
    except (Interrupted, KeyboardInterrupt):
        kept = "" if arguments.no_cache else ", the same command continues"
        raise Interrupted(f"interrupted{kept}") from None


def _progress(show: Callable[[float, str], None]) -> Callable[[Progress], None]:
    def update(state: Progress) -> None:
        text = f"{state.done / 1e9:.2f} of {state.total / 1e9:.2f} GB"
        if state.seconds_left is not None:
            text += f", {state.seconds_left:.0f} s left"
        show(state.done / state.total, text)

    return update
