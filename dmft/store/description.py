"""What any file of this package holds, also of schemas that other modules define."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

from dmft.store.bounds import plain_attributes
from dmft.store.hdf5 import reading
from dmft.store.integrity import verify
from dmft.store.migrate import schema_version
from dmft.texts import parse_json


def describe(path: str | Path) -> dict[str, Any]:
    """Root attributes and the shapes of all datasets, as plain values ready for JSON.

    Keys: the root attributes, with `schema_version` as it is on the disk and `config` and `seeds`
    parsed, `verified`: whether the file has a checksum, which then fits, and `datasets`, which maps
    the path of each dataset to its shape.

    Raises
    ------
    InputError : missing, damaged or foreign file, or a newer schema.
    """
    import h5py

    with reading(Path(path)) as file:
        described: dict[str, Any] = {}
        for name, value in plain_attributes(file):
            value = value.tolist() if hasattr(value, "tolist") else value
            described[name] = value if isinstance(value, str | int | float | list) else str(value)
        described["schema_version"] = schema_version(file)
        for name in ("config", "seeds"):
            with suppress(TypeError, ValueError):
                described[name] = parse_json(described.get(name, "null"))
        datasets: dict[str, list[int]] = {}

        def note(path: bytes, thing: h5py.h5o.ObjInfo) -> None:
            if thing.type == h5py.h5o.TYPE_DATASET:
                name = path.decode("utf-8", "surrogateescape")
                datasets[f"/{name}"] = list(h5py.h5d.open(file.id, path).shape or ())

        h5py.h5o.visit(file.id, note, info=True)
        return {**described, "verified": verify(Path(path)), "datasets": datasets}
