"""Exponential symmetries: their charges, noise equilibria, and both along a training run.

Of a model of this package, CONFIG.toml with [model], [data] and [training]; or of checkpoints of
any training with per-sample gradients beside them, CONFIG.toml with [symmetry] and [training]."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmft.cli import parser as options

if TYPE_CHECKING:
    from dmft.symmetry.checkpoints import Points
    from dmft.symmetry.exponential import ExponentialSymmetry
    from dmft.symmetry.settings import SymmetryConfig

_SHOWN = 12  # symmetries that `check` prints
# Those of dmft.symmetry.training, which takes long to import.
METHODS = ("sgd", "gd", "injected-noise")
PLACE = 110
SUMMARY = "symmetries of losses, their charges and noise equilibria"
EXAMPLES = """\
  dmft symmetry find gpt2/config.json
  dmft symmetry check model.toml
  dmft symmetry equilibrium model.toml --plot balance.png
  dmft symmetry track model.toml -o run.h5 --method sgd --method gd --plot run.png
  dmft symmetry plot run.h5 -o run.png
  dmft symmetry check layers.toml --checkpoints step10.safetensors --gradients grad10.npz
  dmft symmetry track layers.toml --checkpoints run/ --gradients grads/ -o run.h5"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    find = actions.add_parser(
        "find", help="list the symmetries of a model", description=_find.__doc__
    )
    find.add_argument(
        "model", type=Path, metavar="CONFIG.json", help="of transformers, or the folder of it"
    )
    options.add_json(find)
    find.set_defaults(act=_find)
    check = actions.add_parser("check", help="test symmetries", description=_check.__doc__)
    _add_subject(check)
    options.add_json(check)
    check.set_defaults(act=_check)
    equilibrium = actions.add_parser(
        "equilibrium", help="find the noise equilibrium", description=_equilibrium.__doc__
    )
    _add_subject(equilibrium)
    equilibrium.add_argument(
        "--at", choices=["start", "end"], default="end",
        help="of a model: the orbit of its start, or of the end of its training (default)",
    )  # fmt: skip
    equilibrium.add_argument("-o", "--output", type=Path, metavar="OUT.h5", help="file to write")
    _add_plot(equilibrium)
    options.add_overwrite(equilibrium)
    options.add_running(equilibrium)
    equilibrium.set_defaults(act=_equilibrium)
    track = actions.add_parser(
        "track", help="follow charges along training", description=_track.__doc__
    )
    _add_subject(track)
    track.add_argument(
        "--method", action="append", dest="methods", choices=METHODS,
        help="instead of training.method; repeatable, for a comparison",
    )  # fmt: skip
    options.add_output(track, "RUN.h5")
    _add_plot(track)
    options.add_running(track)
    track.set_defaults(act=_track)
    plot = actions.add_parser("plot", help="draw charges again", description=_plot.__doc__)
    plot.add_argument("file", type=Path, metavar="RUN.h5", help="of `dmft symmetry track`")
    options.add_output(plot, "FIG.png")
    options.add_json(plot)
    plot.set_defaults(act=_plot)


def run(arguments: argparse.Namespace) -> int:
    status: int = arguments.act(arguments)
    return status


def _add_subject(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser)
    parser.add_argument(
        "--checkpoints", type=Path, metavar="PATH", help="a checkpoint, or a folder of them"
    )
    parser.add_argument(
        "--gradients", type=Path, metavar="PATH",
        help="per-sample gradients: the same tensors with the samples along a first axis",
    )  # fmt: skip
    parser.add_argument(
        "--tolerance", type=options.positive_number, metavar="X",
        help="largest |theta^T A grad| / |A theta| |grad| of a sample; default: square root of the"
        " precision of the gradients",
    )  # fmt: skip


def _add_plot(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plot", type=Path, metavar="FIG.png", help="also draw it")


def _find(arguments: argparse.Namespace) -> int:
    """List the exponential symmetries of a model of transformers, from its configuration alone.

    Their names serve in [symmetry] with kind = "transformers". Of other models of PyTorch:
    `dmft.symmetry.find`."""
    from dmft.cli.output import print_json
    from dmft.conservation.models.configuration import model_of
    from dmft.symmetry.finding import find

    families = find(model_of(arguments.model).eval())
    if arguments.json:
        keys = ("name", "kind", "count", "formula")
        rows = [{key: getattr(family, key) for key in keys} for family in families]
        print_json({"model": str(arguments.model), "families": rows})
        return 0
    width = max((len(family.name) for family in families), default=0)
    for family in families:
        print(f"{family.name:<{width}}  {family.kind:<9}  {family.count:>6}  {family.formula}")
    print(f"{sum(family.count for family in families)} symmetries in {len(families)} families")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    """Test the symmetries sample by sample, and the exact law of one step.

    A loss without them is an error that names the worst sample."""
    from dmft.cli.output import print_json
    from dmft.symmetry.checking import check_model, check_points

    config, points = _subject(arguments)
    tolerance = arguments.tolerance
    if points is None:
        rows = check_model(config, tolerance)
    else:
        rows = check_points(points, _specified(config, points), config.training, tolerance)
    rows.sort(key=lambda row: -row["violation"])
    if arguments.json:
        print_json({"symmetries": rows})
        return 0
    shown = rows[:_SHOWN]
    width = max(len(row["name"]) for row in shown)
    print(f"{'symmetry':<{width}}  {'charge':>11}  {'violation':>9}  {'one step':>9}")
    for row in shown:
        print(
            f"{row['name']:<{width}}  {row['charge']:>11.4e}  {row['violation']:>9.1e}"
            f"  {row['step_error']:>9.1e}"
        )
    if len(rows) > _SHOWN:
        print(f"... and {len(rows) - _SHOWN} more, none worse")
    print(f"all {len(rows)} hold")
    return 0


def _equilibrium(arguments: argparse.Namespace) -> int:
    """Find where noise and weight decay leave the charges in balance, and how fast they return.

    The two-layer linear network has a closed form for all its symmetries together."""
    from dmft.cli.files import prepare_figure, prepare_output
    from dmft.cli.output import print_json
    from dmft.store import replacing
    from dmft.symmetry.files import save_equilibrium

    if arguments.output is not None:
        prepare_output(arguments.output, arguments.overwrite, inputs=[arguments.config])
    if arguments.plot is not None:
        prepare_figure(arguments.plot, arguments.overwrite)
    config, points = _subject(arguments)
    from threadpoolctl import threadpool_limits

    from dmft.symmetry import summary
    from dmft.symmetry.checkpoints import check_optimizer

    with threadpool_limits(arguments.threads):
        if points is None:
            found, draw = summary.of_model(
                config, arguments.tolerance, at_end=arguments.at == "end"
            )
        else:
            check_optimizer(points, config.training)
            *_, last = points
            found, draw = summary.of_point(
                last, _specified(config, points), config.training, arguments.tolerance
            )
    if arguments.output is not None:
        save_equilibrium(
            arguments.output, found, config.to_table(), overwrite=True,
            command_line=arguments.command_line,
        )  # fmt: skip
    if arguments.plot is not None:
        with replacing(arguments.plot) as temporary:
            draw(temporary)
    if arguments.json:
        print_json({**found, "file": None if arguments.output is None else str(arguments.output)})
    elif not arguments.quiet:
        print(summary.table(found))
        for what, path in (("saved in", arguments.output), ("figure in", arguments.plot)):
            if path is not None:
                print(f"{what} {path}")
    return 0


def _track(arguments: argparse.Namespace) -> int:
    """Follow charges along a run, with what the symmetry predicts for them and the difference."""
    from dmft.cli.files import prepare_figure, prepare_output
    from dmft.cli.output import print_json
    from dmft.store import locked, replacing
    from dmft.symmetry.files import save_report

    path, figure = arguments.output, arguments.plot
    prepare_output(path, arguments.overwrite, inputs=[arguments.config])
    if figure is not None:
        prepare_figure(figure, arguments.overwrite)
    config, points = _subject(arguments)
    from threadpoolctl import threadpool_limits

    with locked(path), threadpool_limits(arguments.threads):
        report = _tracked(config, points, arguments)
        save_report(path, report, overwrite=True, command_line=arguments.command_line)
    if figure is not None:
        from dmft.symmetry.figures import plot_report

        with replacing(figure) as temporary:
            plot_report(report, temporary)
    if arguments.json:
        files = {"file": str(path), "figure": None if figure is None else str(figure)}
        print_json({**files, **report.to_dict()})
    elif not arguments.quiet:
        print(report.table())
        if report.reason:
            print(f"{report.status}: {report.reason}")
        print(f"saved in {path}")
        if figure is not None:
            print(f"figure in {figure}")
    return 0 if report.status == "done" else 3


def _plot(arguments: argparse.Namespace) -> int:
    """Draw the charges of a file, as `track --plot` does, as .png, .pdf or .svg."""
    from dmft.cli.files import draw_saved
    from dmft.symmetry.figures import plot_report
    from dmft.symmetry.files import load_report

    draw_saved(arguments, load_report, plot_report)
    return 0


def _tracked(config: SymmetryConfig, points: Points | None, arguments: argparse.Namespace) -> Any:
    from dmft.cli.progress import progress_bar
    from dmft.symmetry.checkpoints import check_optimizer
    from dmft.symmetry.report import of_points, of_runs
    from dmft.symmetry.training import train

    settings = config.to_table()
    if points is not None:
        check_optimizer(points, config.training)
        symmetries = _specified(config, points)
        return of_points(points, symmetries, config.training, settings, arguments.tolerance)
    assert config.model is not None
    x, y = config.data.draw(*config.model.widths)
    runs = []
    for method in dict.fromkeys(arguments.methods or [config.training.method]):
        training = config.training.model_copy(update={"method": method})
        with progress_bar(arguments, method) as show:
            runs.append(train(config.model, x, y, training, progress=show))
    return of_runs(runs, settings)


def _subject(arguments: argparse.Namespace) -> tuple[SymmetryConfig, Points | None]:
    """The configuration, and the checkpoints if it is about such."""
    from dmft.errors import InputError
    from dmft.symmetry.settings import load_symmetry_config

    given = (arguments.checkpoints is not None, arguments.gradients is not None)
    config = load_symmetry_config(arguments.config, arguments.overrides)
    where = str(arguments.config or "")
    if not any(given):
        if config.model is None:
            raise InputError(
                "has no section [model]; give one, or --checkpoints and --gradients", where
            )
        return config, None
    if not all(given):
        missing = "--gradients" if given[0] else "--checkpoints"
        raise InputError("required beside the other one, but not given", missing)
    if config.symmetry is None:
        raise InputError("has no section [symmetry], needed for checkpoints", where)
    if config.model is not None:
        raise InputError("has a section [model], allowed only without --checkpoints", where)
    from dmft.symmetry.checkpoints import open_points

    return config, open_points(arguments.checkpoints, arguments.gradients)


def _specified(config: SymmetryConfig, points: Points) -> tuple[ExponentialSymmetry, ...]:
    assert config.symmetry is not None
    return tuple(found for entry in config.symmetry for found in entry.symmetries(points.layout))
