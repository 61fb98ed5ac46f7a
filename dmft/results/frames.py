"""Results as frames of xarray and pandas."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from dmft.errors import InputError
from dmft.results.observables import OBSERVABLES

if TYPE_CHECKING:
    import pandas
    import xarray

    from dmft.results.curves import Curves


def to_dataframe(result: Curves) -> pandas.DataFrame:
    """Curves and standard errors as columns, the time as index; see `Curves.to_dataframe`."""
    frame = _package("pandas")
    columns = {}
    for name, curve in result.curves.items():
        columns[name] = curve.mean
        if curve.stderr is not None:
            columns[f"{name}_stderr"] = curve.stderr
    return frame.DataFrame(columns, index=frame.Index(result.time, name="time"))


def to_xarray(result: Curves) -> xarray.DataTree:
    """Curves, runs and kernels with labelled axes; see `Curves.to_xarray`."""
    frame = _package("xarray")
    runs = result.runs_prefix.rstrip("_")
    time = {"time": result.time}
    curves: dict[str, Any] = {}
    of_runs: dict[str, Any] = {}
    for name, curve in result.curves.items():
        words = OBSERVABLES[name].words if name in OBSERVABLES else name
        curves[name] = ("time", curve.mean, {"long_name": words})
        if curve.stderr is not None:
            curves[f"{name}_stderr"] = ("time", curve.stderr)
        if curve.runs is not None:
            of_runs[name] = ((runs, "time"), curve.runs, {"long_name": words})
    kernels = {
        field.name: (("time", "time_other")[-np.ndim(values) :], values)
        for field in fields(result.kernels)
        if (values := getattr(result.kernels, field.name)) is not None
    }
    return frame.DataTree.from_dict(
        {
            "/": frame.Dataset(curves, coords=time),
            f"/{runs}s": frame.Dataset(of_runs, coords=time),
            "/kernels": frame.Dataset(kernels, coords={**time, "time_other": result.time}),
        }
    )


def _package(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise InputError(f"needs {name}, installed by: pip install 'dmft[xarray]'") from None
