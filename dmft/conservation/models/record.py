"""What tracking yields: drifts of every law by step, as a file, a figure and a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dmft.errors import InputError

SCHEMA = "dmft-model-laws"

# In the order in which they are measured.
CURVES = {
    "drift": "mean change since the start, over the mean size of what the law subtracts",
    "relative_drift": "mean of |h(t) - h(0)| / |h(0)|",
    "explained": "mean sum of 2 B(theta, u) + h(u) over the applied changes u, over that size",
    "unexplained": "largest change minus what is explained since the start, over the same size",
    "adjusted_drift": "the drift after division by the weight decay so far",
    "baseline_drift": "the drift of equally shaped quantities that are not conserved",
    "baseline_relative_drift": "their relative drift",
    "residual": "largest change minus 2 B(theta, u) + h(u) in one step, over the same size",
    "forecast": "mean change forecast from settings and gradients alone, over the same size",
    "forecast_residual": "largest change minus forecast in one step, over the same size",
}


@dataclass(frozen=True)
class Record:
    """Laws by step; the curves of `CURVES` have the axes (record, law).

    Attributes
    ----------
    steps : of the optimiser, before each record.
    names, formulas, counts : of the laws.
    mixed : laws whose parameters belong to groups with different settings.
    precision : of the parameters.
    """

    steps: np.ndarray
    names: tuple[str, ...]
    formulas: tuple[str, ...]
    counts: np.ndarray
    model: str
    optimizer: str
    settings: list[dict[str, Any]]
    mixed: tuple[str, ...]
    precision: str
    drift: np.ndarray = field(repr=False)
    relative_drift: np.ndarray = field(repr=False)
    explained: np.ndarray = field(repr=False)
    unexplained: np.ndarray = field(repr=False)
    adjusted_drift: np.ndarray = field(repr=False)
    baseline_drift: np.ndarray = field(repr=False)
    baseline_relative_drift: np.ndarray = field(repr=False)
    residual: np.ndarray = field(repr=False)
    forecast: np.ndarray = field(repr=False)
    forecast_residual: np.ndarray = field(repr=False)

    def table(self) -> str:
        """The last record as text, one line for each law."""
        head = f"{'drift':>9} {'forecast':>9} {'residual':>9} {'baseline':>9}  law"
        lines = [f"after {self.steps[-1]} steps of {self.optimizer}, {self.precision}", head]
        worst = self.residual.max(axis=0)
        for i, name in enumerate(self.names):
            mark = "   (groups with different settings)" if name in self.mixed else ""
            lines.append(
                f"{self.drift[-1, i]:>9.1e} {self.forecast[-1, i]:>9.1e} {worst[i]:>9.1e}"
                f" {self.baseline_drift[-1, i]:>9.1e}  {name}{mark}"
            )
        return "\n".join(lines)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write an HDF5 file, whole or not at all.

        Raises
        ------
        InputError : `path` cannot be written, or there are values that are no numbers.
        """
        import h5py

        from dmft.store.saving import saving

        _check(self)
        config = {
            "model": self.model, "optimizer": self.optimizer, "settings": self.settings,
            "mixed": list(self.mixed), "precision": self.precision,
        }  # fmt: skip
        with saving(path, SCHEMA, config, overwrite=overwrite) as file:
            text = h5py.string_dtype()
            file.create_dataset("step", data=self.steps).make_scale("step")
            file.create_dataset("law", data=list(self.names), dtype=text).make_scale("law")
            file["step"].attrs["long_name"] = "steps of the optimiser"
            file.create_dataset("formula", data=list(self.formulas), dtype=text)
            file.create_dataset("count", data=self.counts)
            for name in ("formula", "count"):
                file[name].dims[0].attach_scale(file["law"])
            for name, meaning in CURVES.items():
                curve = file.create_dataset(name, data=getattr(self, name))
                curve.dims[0].attach_scale(file["step"])
                curve.dims[1].attach_scale(file["law"])
                curve.attrs["long_name"] = meaning
                curve.attrs["units"] = "1"

    def plot(self, path: str | Path) -> None:
        """Drift, prediction and baseline of every law against steps."""
        from dmft.conservation.models.figures import plot_record

        plot_record(self, Path(path))


def load_record(path: str | Path) -> Record:
    """Read a record back.

    Raises
    ------
    InputError : missing, damaged or foreign file.
    """
    from dmft.store.hdf5 import numbers_of, reading
    from dmft.store.kinds import check_kind
    from dmft.texts import parse_json

    with reading(Path(path)) as file:
        schema = file.attrs.get("schema")
        check_kind(schema, (SCHEMA,), path)
        config = parse_json(file.attrs["config"])
        record = Record(
            steps=numbers_of(file["step"]),
            names=tuple(file["law"].asstr()[()]),
            formulas=tuple(file["formula"].asstr()[()]),
            counts=numbers_of(file["count"]),
            **{**config, "mixed": tuple(config["mixed"])},
            **{name: file[name][()] for name in CURVES},
        )
        _check(record)
        return record


def _check(record: Record) -> None:
    """Refuse curves of other shapes, and values that are no numbers.

    A law of which no equally shaped quantity is measured has no baseline: NaN at all steps.
    """
    laws = len(record.names)
    if not len(record.formulas) == len(record.counts) == laws:
        raise InputError(f"holds {laws} laws and other numbers of formulas or counts, damaged?")
    for name in CURVES:
        curve = getattr(record, name)
        if curve.dtype.kind != "f" or curve.shape != (len(record.steps), laws):
            raise InputError(f"dataset /{name} has shape {curve.shape}, damaged?")
        absent = np.isnan(curve).all(axis=0) & name.startswith("baseline")
        if not np.isfinite(curve[:, ~absent]).all():
            raise InputError(f"dataset /{name} holds NaN or infinity, refused")
