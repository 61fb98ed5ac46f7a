"""Save and load results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.config import Config
from dmft.errors import InputError
from dmft.results.curves import Curve
from dmft.results.observables import OBSERVABLES
from dmft.results.overlaps import OverlapBlocks
from dmft.results.solution import Kernels, SamplePaths, Solution
from dmft.store.checkpoint import write_state
from dmft.store.hdf5 import read_variables, write_variable
from dmft.store.header import Header, parse_header
from dmft.store.kinds import check_kind
from dmft.store.migrate import opened
from dmft.store.output import whole_of
from dmft.store.saving import saving
from dmft.store.schema import (
    BLOCK_VARIABLES,
    PATH_VARIABLES,
    RTOL,
    RUNNING,
    SIMULATION,
    SIMULATION_VARIABLES,
    SOLUTION,
    SOLUTION_VARIABLES,
    WORK,
    Variable,
    curve_variables,
    in_steps,
)

USER = "observables"  # the group of the user's own

if TYPE_CHECKING:
    import h5py

    from dmft.results.simulation import Simulation


def save(
    path: str | Path,
    result: Solution | Simulation,
    *,
    overwrite: bool = False,
    command_line: str | None = None,
    config: Config | None = None,
    state: Mapping[str, Any] | None = None,
) -> None:
    """Write a result to an HDF5 file, which appears whole or not at all.

    Parameters
    ----------
    path : the file.
    result : what `dmft.solve` or `dmft.simulate` returned.
    overwrite : replace an existing file.
    command_line : stored as the origin of the file; that of this process by default.
    config : where the sections that the result does not know come from.
    state : the last one that the computation gave its `checkpoint`, kept to extend the result.

    Raises
    ------
    InputError : `path` cannot be written, or the result holds NaN or infinity.
    DmftError : writing failed half-way, for instance on a full disk; `path` is as before.
    """
    config = config or Config()
    if isinstance(result, Solution):
        config = config.model_copy(update={"problem": result.problem, "solver": result.settings})
        variables = SOLUTION_VARIABLES + (PATH_VARIABLES if result.paths else ())
        schema, seed, status, reason = (
            SOLUTION, result.settings.seed, result.status, result.reason,
        )  # fmt: skip
        work: Mapping[str, float] = result.work
    else:
        config = config.model_copy(
            update={"problem": result.problem, "simulation": result.settings}
        )
        variables = SIMULATION_VARIABLES
        schema, seed, status, reason, work = SIMULATION, result.settings.seed, "done", "", {}
    variables += _user_variables(result.curves, schema)
    if result.blocks is not None:
        variables += BLOCK_VARIABLES
    if result.problem.dynamics.discrete:
        variables = in_steps(variables)
    with saving(
        path, schema, config, overwrite=overwrite, seeds=(seed,), command_line=command_line,
        status=status, reason=reason,
    ) as file:  # fmt: skip
        _write_variables(file, result, variables)
        _write_work(file, work)
        if isinstance(result, Solution) and result.rtol is not None:
            file.attrs[RTOL] = result.rtol
        if state:
            write_state(file, state)


def load(path: str | Path) -> Solution | Simulation:
    """Read a result; files of older schema versions are migrated in memory.

    Parameters
    ----------
    path : a file written by `dmft.save` or by a command.

    Raises
    ------
    InputError : missing, damaged or foreign file, a newer schema, or an unfinished solve.
    """
    path = Path(path)
    with opened(path) as file:
        header = parse_header(file)
        check_kind(header.schema, (SOLUTION, SIMULATION))
        if header.status == RUNNING:
            name = quote(str(whole_of(path) or path))
            raise InputError(f"is an unfinished solve, continue it with: dmft resume {name}")
        if header.schema == SOLUTION:
            return _read_solution(file, header)
        return _read_simulation(file, header)


def _user_variables(names: Iterable[str], kind: str) -> tuple[Variable, ...]:
    """Curves of the user's own observables, in a group of their own."""
    runs = ("seed", "seed_") if kind == SIMULATION else ("replicate", "replicate_")
    return tuple(
        variable
        for name in names
        if name not in OBSERVABLES
        for variable in curve_variables(name, name, *runs, group=f"{USER}/")
    )


def _write_variables(
    file: h5py.File, result: Solution | Simulation, variables: tuple[Variable, ...]
) -> None:
    for variable in variables:
        values: Any = result
        for name in variable.attribute.split("."):
            values = getattr(values, name)
        if values is None and variable.optional:
            continue
        write_variable(file, variable, values)


def _write_work(file: h5py.File, work: Mapping[str, float]) -> None:
    group = file.create_group(WORK)
    for name, value in work.items():
        if not np.isfinite(float(value)):
            raise InputError(f"given {value}, must be a finite number", f"work.{name}")
        fits = isinstance(value, int) and abs(value) < 2**63
        group.attrs[name] = value if fits else float(value)


def _read_solution(file: h5py.File, header: Header) -> Solution:
    variables = SOLUTION_VARIABLES + (PATH_VARIABLES if "paths" in file else ())
    fields = _fields(file, variables, SOLUTION)
    if "paths" in fields:
        fields["paths"] = SamplePaths(**fields["paths"])
    work = file[WORK].attrs if WORK in file else {}
    return Solution(
        problem=header.config.problem,
        settings=header.config.solver,
        status=header.status,
        reason=header.reason,
        rtol=_rtol(file),
        work={name: value.item() for name, value in work.items() if hasattr(value, "item")},
        **fields,
    )


def _rtol(file: h5py.File) -> float | None:
    """The tolerance that was used, None in older files and where there is none."""
    value = file.attrs.get(RTOL)
    if value is None:
        return None
    known = isinstance(value, int | float | np.integer | np.floating)
    if not known or not 0.0 < float(value) < np.inf:
        raise InputError(f"attribute '{RTOL}' is {str(value)[:40]!r}, must be a positive number")
    return float(value)


def _read_simulation(file: h5py.File, header: Header) -> Simulation:
    # Only now: what simulates takes long to import, and most readers do not need it.
    from dmft.results.simulation import Simulation

    return Simulation(
        problem=header.config.problem,
        settings=header.config.simulation,
        **_fields(file, SIMULATION_VARIABLES, SIMULATION),
    )


def _fields(file: h5py.File, variables: tuple[Variable, ...], kind: str) -> dict[str, Any]:
    """Arrays by attribute of the result; curves, kernels and blocks as objects."""
    group = file.get(USER, {})
    own = [name for name, kept in group.items() if hasattr(kept, "ndim") and name[-7:] != "_stderr"]
    for name in own:
        if not name.isidentifier():
            raise InputError(f"dataset /{USER}/{name!r} is no name of an observable")
    variables += _user_variables(own, kind)
    variables += BLOCK_VARIABLES if "kernels/blocks" in file else ()
    fields = _nested(read_variables(file, variables))
    if "blocks" in fields:
        fields["blocks"] = OverlapBlocks(**fields["blocks"])
    fields["kernels"] = Kernels(**fields["kernels"])
    fields["curves"] = _take_curves(fields, [*OBSERVABLES, *own], kind)
    return fields


def _take_curves(fields: dict[str, Any], names: Sequence[str], kind: str) -> dict[str, Curve]:
    """Move the arrays of the curves that are there out of the fields."""
    prefix = "seed_" if kind == SIMULATION else "replicate_"
    parts = {
        name: [fields.pop(key) for key in (name, f"{name}_stderr", f"{prefix}{name}")]
        for name in names
    }
    return {name: Curve(*part) for name, part in parts.items() if part[0] is not None}


def _nested(found: Mapping[str, np.ndarray | None]) -> dict[str, Any]:
    """Group "kernels.overlap" under "kernels"."""
    fields: dict[str, Any] = {}
    for name, values in found.items():
        outer, _, inner = name.rpartition(".")
        (fields.setdefault(outer, {}) if outer else fields)[inner] = values
    return fields
