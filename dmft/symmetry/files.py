"""Charges of runs and noise equilibria in HDF5, with labelled axes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.errors import InputError
from dmft.store.hdf5 import numbers_of, read_variables, reading, write_variable
from dmft.store.kinds import check_kind
from dmft.store.saving import saving
from dmft.store.schema import Variable
from dmft.symmetry.report import Report
from dmft.texts import parse_json

if TYPE_CHECKING:
    import h5py

SCHEMA = "dmft-symmetry"
EQUILIBRIUM_SCHEMA = "dmft-noise-equilibrium"

_CHARGES = ("step", "run", "symmetry")
_VARIABLES = (
    Variable("step", "step", ("step",), "training step"),
    Variable("charge", "charge", _CHARGES, "charge theta^T A theta"),
    Variable("predicted_charge", "predicted", _CHARGES, "charge predicted from the first one"),
    Variable("charge_size", "size", _CHARGES, "scale of the charge"),
    Variable("loss", "loss", ("step", "run"), "training loss", optional=True),
    Variable("sharpness", "sharpness", ("step", "run"), "trace of the Hessian", optional=True),
)


def save_report(
    path: str | Path, report: Report, *, overwrite: bool = False, command_line: str | None = None
) -> None:
    """Write the charges of runs to a file, which appears whole or not at all.

    Raises
    ------
    InputError : `path` cannot be written.
    DmftError : writing failed; `path` is as before.
    """
    seed = report.settings.get("training", {}).get("seed", 0)
    with saving(
        path, SCHEMA, report.settings, overwrite=overwrite, seeds=(seed,),
        command_line=command_line, status=report.status, reason=report.reason,
    ) as file:  # fmt: skip
        for variable in _VARIABLES:
            values = getattr(report, variable.attribute)
            if values is not None:
                write_variable(file, variable, values)
        if report.ends is not None:
            for name, values in zip(("start", "end"), report.ends, strict=True):
                what = f"parameters at the {name}"
                variable = Variable(f"parameters_{name}", name, ("run", "parameter"), what)
                write_variable(file, variable, values)
        _write_names(file, "method", report.methods, "run")
        _write_names(file, "name", report.names, "symmetry")


def load_report(path: str | Path) -> Report:
    """Read the charges of runs back.

    Raises
    ------
    InputError : missing, damaged or foreign file.
    """
    with reading(Path(path)) as file:
        schema = file.attrs.get("schema")
        check_kind(schema, (SCHEMA,))
        found: dict[str, Any] = read_variables(file, _VARIABLES)
        ends = None
        if "parameters_start" in file:
            ends = np.array([numbers_of(file[f"parameters_{name}"]) for name in ("start", "end")])
        methods, names = (tuple(file[name].asstr()[()]) for name in ("method", "name"))
        if found["charge"].shape[1:] != (len(methods), len(names)):
            raise InputError(f"holds charges of shape {found['charge'].shape}, damaged?")
        settings = parse_json(file.attrs["config"])
        tables = (settings, *(settings.get(name, {}) for name in ("model", "training")))
        if not all(isinstance(table, dict) for table in tables):
            raise InputError("attribute 'config' is of the wrong kind, damaged?")
        return Report(
            methods=methods, names=names,
            ends=ends, status=file.attrs["status"], reason=file.attrs.get("reason", ""),
            settings=settings, **found,
        )  # fmt: skip


def save_equilibrium(
    path: str | Path,
    found: dict[str, Any],
    settings: dict[str, Any],
    *,
    overwrite: bool = False,
    command_line: str | None = None,
) -> None:
    """Write what `dmft symmetry equilibrium` found; what is infinite is zero and named in `kind`.

    Raises
    ------
    InputError : `path` cannot be written.
    DmftError : writing failed; `path` is as before.
    """
    seed = settings.get("training", {}).get("seed", 0)
    with saving(
        path, EQUILIBRIUM_SCHEMA, settings, overwrite=overwrite, seeds=(seed,),
        command_line=command_line,
    ) as file:  # fmt: skip
        lam = None
        if found["lam"] is not None:
            lam = np.nan_to_num(np.asarray(found["lam"], dtype=float), posinf=0.0, neginf=0.0)
        entries = {
            "lam": (lam, "symmetry", "group parameter"),
            "charge_before": (found["charge_before"], "symmetry", "charge of the given point"),
            "charge": (found["charge"], "symmetry", "charge at the equilibrium"),
            "parameters_before": (found["parameters_before"], "parameter", "the given point"),
            "parameters": (found["parameters"], "parameter", "the equilibrium"),
        }
        for name, (values, dimension, what) in entries.items():
            if values is not None:
                write_variable(file, Variable(name, name, (dimension,), what), np.asarray(values))
        _write_names(file, "kind", found["kinds"], "symmetry")
        _write_names(file, "name", found["symmetries"], "symmetry")


def _write_names(file: h5py.File, name: str, values: Sequence[str], scale: str) -> None:
    """Text along an axis that other datasets have already."""
    file[name] = list(values)
    file[name].dims[0].attach_scale(file[scale])
