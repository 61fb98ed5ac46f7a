"""A file of another kind is called by its name, whatever the command."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import pytest

import dmft
from dmft.cli.main import main
from dmft.errors import InputError
from dmft.store.kinds import KINDS
from dmft.store.schema import VERSION


def test_every_schema_that_is_written_has_a_name():
    package = Path(dmft.__file__).parent
    written = set()
    for source in package.rglob("*.py"):
        written.update(re.findall(r'"(dmft-[a-z-]*[a-z])"', source.read_text()))
    assert written == set(KINDS)


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A file of every HDF5 kind, with the settings of its own subject."""
    monkeypatch.chdir(tmp_path)
    for schema, kind in KINDS.items():
        with h5py.File(f"{schema}.h5", "w") as file:
            file.attrs["schema"], file.attrs["schema_version"] = schema, VERSION
            file.attrs["config"] = "{}" if kind.solved else '{"model": {"kind": "deep-linear"}}'
            for name in ("package_version", "created", "host", "command_line", "reason"):
                file.attrs[name] = ""
            file.attrs["seeds"], file.attrs["status"] = "[0]", "done"


OTHERS = [schema for schema in KINDS if schema not in ("dmft-solution", "dmft-simulation")]


@pytest.mark.parametrize("schema", OTHERS)
@pytest.mark.parametrize(
    "words", ["plot {} -o x.png", "compare {} {}", "resume {}"], ids=["plot", "compare", "resume"]
)
def test_wrong_kind_is_called_by_its_name(written, refused, schema, words):
    given = words.replace("{}", f"{schema}.h5").split()
    kind = KINDS[schema]
    stderr = refused(given, f"{schema}.h5: is {kind.name}")
    if given[0] != "resume":
        assert "must be a solution or a simulation" in stderr
        assert kind.command in stderr
    assert not Path("x.png").exists()


@pytest.mark.parametrize("schema", OTHERS)
def test_load_and_info(written, capsys, schema):
    with pytest.raises(InputError, match=re.escape(f"is {KINDS[schema].name}")):
        dmft.load(f"{schema}.h5")
    assert main(["info", f"{schema}.h5"]) == 0
    assert f"kind      {KINDS[schema].name}" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["sweep plot", "trajectory plot"])
def test_plots_of_other_subjects(written, capsys, words):
    assert main([*words.split(), "dmft-solution.h5", "-o", "x.png"]) == 2
    assert "is a solution (`dmft plot` is for it), must be a" in capsys.readouterr().err


def test_a_file_of_measurements_is_no_hdf5(tmp_path, capsys):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps({"schema": "dmft-bench", "version": 1}))
    assert main(["plot", str(path), "-o", "x.png"]) == 2
    assert "is a file of measurements, which is JSON, and not an HDF5 file" in (
        capsys.readouterr().err
    )
