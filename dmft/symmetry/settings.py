"""The TOML form of the subject: [model], [data], [training], or [symmetry] for checkpoints."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field
from scipy import sparse

from dmft.config import sources_of
from dmft.errors import InputError
from dmft.resolution import Source, resolve
from dmft.symmetry.exponential import ExponentialSymmetry
from dmft.symmetry.layout import Layout, rescaling, scaling, unit_rescalings
from dmft.symmetry.models import AnyModel, SyntheticData
from dmft.symmetry.training import Training
from dmft.texts import words_of
from dmft.trajectory.readers.formats import check_sizes
from dmft.trajectory.readers.numpy import npz_tensors
from dmft.validation import Settings, register_kinds

Names = tuple[str, ...]
_PARTS = frozenset({"matrix", "diagonal", "vectors", "core"})  # of a file, the last two together
_MOST_TOLD = 6  # names in an error


class Scaling(Settings):
    """The loss does not see the common length of some tensors, as before a normalisation.

    tensors : their names.
    """

    kind: Literal["scaling"]
    tensors: Annotated[Names, Field(min_length=1)]

    def symmetries(self, layout: Layout) -> tuple[ExponentialSymmetry, ...]:
        return (scaling(layout, self.tensors),)


class Rescaling(Settings):
    """The tensors `up` grow by the factor by which those `down` shrink.

    up, down : names of tensors.
    """

    kind: Literal["rescaling"]
    up: Annotated[Names, Field(min_length=1)]
    down: Annotated[Names, Field(min_length=1)]

    def symmetries(self, layout: Layout) -> tuple[ExponentialSymmetry, ...]:
        return (rescaling(layout, self.up, self.down),)


class UnitRescaling(Settings):
    """The same for every hidden unit: rows of `up` against columns of `down`.

    up, down : names of tensors.
    """

    kind: Literal["unit-rescaling"]
    up: Annotated[Names, Field(min_length=1)]
    down: Annotated[Names, Field(min_length=1)]

    def symmetries(self, layout: Layout) -> tuple[ExponentialSymmetry, ...]:
        return unit_rescalings(layout, self.up, self.down)


class Matrix(Settings):
    """A of all parameters in the order of the tensors.

    file : .npz with `matrix` (P, P), or `diagonal` (P,), or `vectors` (P, r) and `core`; or what
        `scipy.sparse.save_npz` writes.
    """

    kind: Literal["matrix"]
    file: Path

    def symmetries(self, layout: Layout) -> tuple[ExponentialSymmetry, ...]:
        found = _read_matrix(self.file)
        if found.parameters != layout.parameters:
            raise InputError(
                f"is for {found.parameters} parameters, the tensors have {layout.parameters}",
                str(self.file),
            )
        return (found,)


class OfTransformers(Settings):
    """Those that `dmft symmetry find` lists for a model of transformers.

    config : its config.json, or the folder of it.
    families : their names, all by default.
    """

    kind: Literal["transformers"]
    config: Path
    families: Names = ()

    def symmetries(self, layout: Layout) -> tuple[ExponentialSymmetry, ...]:
        from dmft.conservation.models.configuration import model_of
        from dmft.symmetry.finding import chosen, find

        families = chosen(find(model_of(self.config).eval()), self.families)
        return tuple(member for family in families for member in family.symmetries(layout))


register_kinds("scaling", "rescaling", "unit-rescaling", "matrix", "transformers")
_One = Annotated[
    Scaling | Rescaling | UnitRescaling | Matrix | OfTransformers, Field(discriminator="kind")
]
Specified = Annotated[
    tuple[_One, ...],
    BeforeValidator(lambda given: [given] if isinstance(given, dict) else given),
    Field(min_length=1),
]


class SymmetryConfig(Settings):
    """What `dmft symmetry` works on.

    model, data : a model of this package and synthetic data.
    symmetry : of checkpoints, one or several.
    training : how the model is trained, or the checkpoints were.
    """

    model: AnyModel | None = None
    data: SyntheticData = SyntheticData()
    training: Training = Training()
    symmetry: Specified | None = None

    def to_table(self) -> dict[str, Any]:
        """The resolved settings as plain tables."""
        return self.model_dump(mode="json", exclude_none=True)


def load_symmetry_config(path: Path | None, overrides: Sequence[str] = ()) -> SymmetryConfig:
    """Read a TOML file, then `section.key=value` overrides; see `resolve`.

    Raises
    ------
    InputError : missing or unreadable file, unknown key, bad value.
    """
    return symmetry_config_of(*sources_of(SymmetryConfig, path, overrides))


def symmetry_config_of(*sources: Source) -> SymmetryConfig:
    """The configuration that sources give together, the last one winning.

    Raises
    ------
    InputError : unknown key, bad value.
    """
    return SymmetryConfig(**resolve(SymmetryConfig, sources))


def _read_matrix(path: Path) -> ExponentialSymmetry:
    try:
        if path.exists() and not path.is_file():
            raise InputError("is no file, must be .npz", str(path))
        with zipfile.ZipFile(path):
            check_sizes(npz_tensors(path), path.stat().st_size, path)
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files
            arrays = {name: archive[name] for name in _PARTS.intersection(names)}
        matrix = sparse.load_npz(path) if "format" in names else arrays.get("matrix")
    except FileNotFoundError:
        raise InputError("no such file", str(path)) from None
    except InputError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"is no .npz file of arrays ({words_of(error)})", str(path)) from None
    if matrix is not None:
        return ExponentialSymmetry.of(matrix, str(path))
    if "diagonal" in arrays:
        return ExponentialSymmetry.diagonal(arrays["diagonal"], str(path))
    if {"vectors", "core"} <= set(arrays):
        return ExponentialSymmetry.low_rank(arrays["vectors"], arrays["core"], str(path))
    found = ", ".join(names[:_MOST_TOLD]) + (", ..." if len(names) > _MOST_TOLD else "")
    raise InputError(
        f"holds {found or 'nothing'}, must hold matrix, diagonal, or vectors and core", str(path)
    )
