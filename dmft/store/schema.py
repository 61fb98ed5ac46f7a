"""The layout of the files: which dataset holds what, along which dimensions.

A file is opened by `xarray.open_datatree(path, engine="h5netcdf")` with labelled axes. The two
axes of a kernel must have different names there, so the columns s of a kernel K(t, s) run along
a second scale, `time_other`, with the same values as `time`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dmft.results.observables import OBSERVABLES, PRINCIPAL

SOLUTION = "dmft-solution"
SIMULATION = "dmft-simulation"
COLLECTION = "dmft-collection"
FAMILY = "dmft-"

# A reader accepts every minor version of the majors that it knows.
MAJOR, MINOR = 2, 2
VERSION = f"{MAJOR}.{MINOR}"

RUNNING = "running"
STATUSES = ("done", "not-converged", RUNNING)
CHECKPOINT = "checkpoint"
WORK = "work"
RTOL = "rtol"  # root attribute of a solution: the tolerance that was used

# Where the scale of each dimension lives: in the topmost group that uses it.
SCALES = {
    "time": "time",
    "time_other": "kernels/time_other",
    "replicate": "replicates/replicate",
    "path": "paths/path",
    "seed": "seed",
    "block": "kernels/blocks/block",
    "step": "step",
    "run": "run",
    "symmetry": "symmetry",
    "parameter": "parameter",
}


@dataclass(frozen=True)
class Variable:
    """One dataset.

    path : where it is in the file.
    attribute : where it is in the result, dotted.
    dimensions : names of its axes.
    long_name, units : what a reader or a plot calls it.
    optional : may be absent, the attribute is then None.
    """

    path: str
    attribute: str
    dimensions: tuple[str, ...]
    long_name: str
    units: str = "1"
    optional: bool = False


TIME_UNITS, STEP_UNITS = "units of the flow", "steps"


def in_steps(variables: tuple[Variable, ...]) -> tuple[Variable, ...]:
    """The same variables of discrete dynamics, whose time counts steps."""
    return tuple(
        replace(variable, units=STEP_UNITS) if variable.units == TIME_UNITS else variable
        for variable in variables
    )


_KERNEL = ("time", "time_other")


def _with_error(
    path: str, long_name: str, dimensions: tuple[str, ...], owner: str = ""
) -> tuple[Variable, ...]:
    """A variable and its standard error; `owner` is the attribute of the result that has them."""
    attribute = owner + path.rpartition("/")[2]
    return (
        Variable(path, attribute, dimensions, long_name),
        Variable(
            f"{path}_stderr",
            f"{attribute}_stderr",
            dimensions,
            f"standard error of the {long_name}",
            optional=True,
        ),
    )


# Sums over the replicates (or runs) of a block; readers of version 2.0 ignore the group.
BLOCK_VARIABLES = (
    Variable(
        "kernels/blocks/size", "blocks.sizes", ("block",), "number of replicates in the block"
    ),
    Variable(
        "kernels/blocks/overlap",
        "blocks.weights",
        ("block", *_KERNEL),
        "sum of the weight overlap E[w(t) w(s)] over a block of replicates",
    ),
    Variable(
        "kernels/blocks/parameter_overlap",
        "blocks.parameters",
        ("block", *_KERNEL),
        "sum of the overlap E[u(t) u(s) + v(t) v(s)] over a block of replicates",
        optional=True,
    ),
)

_TIME = Variable("time", "time", ("time",), "time", TIME_UNITS)


def curve_variables(
    name: str, words: str, runs: str, prefix: str, *, group: str = "", needed: bool = False
) -> tuple[Variable, ...]:
    """A curve, its standard error and its runs.

    runs : dimension of the runs, "replicate" or "seed". prefix : of the attribute of the runs.
    """
    mean, error = _with_error(f"{group}{name}", words, ("time",))
    of_runs = Variable(
        f"{group}{runs}s/{name}",
        f"{prefix}{name}",
        (runs, "time"),
        f"{words} of each {'run' if runs == 'seed' else runs}",
        optional=not needed,
    )
    return replace(mean, optional=not needed), error, of_runs


def _curves(runs: str, prefix: str) -> tuple[Variable, ...]:
    """All rows of the table of observables; what a problem does not have is absent."""
    return tuple(
        variable
        for row in OBSERVABLES.values()
        for variable in curve_variables(
            row.name, row.words, runs, prefix, needed=row.name in PRINCIPAL
        )
    )


SOLUTION_VARIABLES = (
    _TIME,
    Variable("panel", "panel", ("time",), "panel number of the node, -1 for t = 0"),
    *_curves("replicate", "replicate_"),
    *_with_error("kernels/correlation_error", "error correlation C_w(t, s)", _KERNEL, "kernels."),
    *_with_error(
        "kernels/correlation_residual", "residual correlation C_r(t, s)", _KERNEL, "kernels."
    ),
    *_with_error("kernels/overlap", "weight overlap E[w(t) w(s)]", _KERNEL, "kernels."),
    Variable(
        "kernels/response_weights",
        "kernels.response_weights",
        _KERNEL,
        "weight response R_w(t, s) times quadrature weight of s",
        optional=True,
    ),
    Variable(
        "kernels/response_residual",
        "kernels.response_residual",
        _KERNEL,
        "residual response R_r(t, s) times quadrature weight of s",
        optional=True,
    ),
    Variable(
        "kernels/quadrature_weights",
        "kernels.quadrature_weights",
        ("time_other",),
        "quadrature weight of the node",
        TIME_UNITS,
        optional=True,
    ),
)

PATH_VARIABLES = (
    Variable("paths/teacher", "paths.teacher", ("path",), "teacher coefficient"),
    Variable(
        "paths/probability", "paths.probability", ("path",), "weight of the path in the population"
    ),
    Variable("paths/weights", "paths.weights", ("path", "time"), "weight w(t)"),
    Variable("paths/force", "paths.force", ("path", "time"), "force g(t)"),
)

SIMULATION_VARIABLES = (
    _TIME,
    Variable("seed", "seed", ("seed",), "identity of the run"),
    *_curves("seed", "seed_"),
    *_with_error("kernels/correlation_error", "error correlation C_w(t, s)", _KERNEL, "kernels."),
    *_with_error(
        "kernels/correlation_residual", "residual correlation C_r(t, s)", _KERNEL, "kernels."
    ),
    *_with_error("kernels/overlap", "weight overlap", _KERNEL, "kernels."),
)
