"""What an HDF5 file declares beyond what it has is refused before it is read."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from dmft.errors import InputError
from dmft.store import describe
from dmft.store.bounds import plain_attributes
from dmft.store.hdf5 import reading
from dmft.texts import LONGEST

TEXT = h5py.string_dtype()


@pytest.fixture
def path(tmp_path):
    """A file that is read."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs.update(schema="dmft-solution", schema_version="2.2")
        file["a"] = np.arange(3.0)
    assert describe(path)["datasets"] == {"/a": [3]}
    return path


def changed(path, change):
    with h5py.File(path, "r+", libver="latest") as file:
        change(file)
    return path


def long_text(file):
    file.attrs.create("schema", "x" * (LONGEST + 1), dtype=TEXT)


def texts(file):
    file.attrs.create("b", np.full(2, "x", object), dtype=TEXT)


def compound(file):
    file.attrs["b"] = np.zeros((), [("x", "f8")])


def many_attributes(file):
    for number in range(3999):
        file.attrs[f"b{number}"] = 1


def soft(file):
    file["b"] = h5py.SoftLink("/a")


def hard(file):
    file["b"] = file["a"]


def cycle(file):
    file["b/c"] = file["/"]


def unwritten(file):
    for number in range(9):
        file.create_dataset(f"b{number}", shape=(2**14,), chunks=(2**14,), dtype="f8")


def compressed(file):
    for number in range(3):
        file.create_dataset(f"b{number}", data=np.zeros(2**21), compression="gzip")


def chunks(file):
    file.create_dataset("b", data=np.zeros(20_001), chunks=(1,))


REFUSED = [
    (long_text, "holds a text of"), (texts, "attribute 'b' of / must be a text or numbers"),
    (compound, "must be a text or numbers"), (many_attributes, "4001 attributes"),
    (soft, "a link /b to what has a name"), (hard, "a link /b to what has a name"),
    (cycle, "a link /b/c to what has a name"),
    (unwritten, "declares 131072 bytes and has 0"), (compressed, "declares 16777216 bytes"),
    (chunks, "in too many chunks, allowed: 20000"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"), REFUSED, ids=lambda value: getattr(value, "__name__", "")
)
def test_what_grows_when_it_is_read_is_refused(path, change, said):
    with pytest.raises(InputError) as caught:
        describe(changed(path, change))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_too_many_things_are_refused(path, monkeypatch):
    monkeypatch.setattr("dmft.store.bounds._MOST_THINGS", 50)
    with h5py.File(path, "r+") as file:
        for number in range(47):
            file.create_group(f"b/{number}")
    assert len(describe(path)["datasets"]) == 1
    with h5py.File(path, "r+") as file:
        file.create_group("b/last")
    with pytest.raises(InputError, match="more than 50 groups and datasets"):
        describe(path)


@pytest.mark.parametrize("chunk", [None, (20_000,)])
def test_texts_that_share_their_bytes_are_refused(path, chunk):
    def text(file):
        values = np.full(20_000, "x", object)
        values[0] = "x" * 10_000
        file.create_dataset("b", data=values, dtype=TEXT, chunks=chunk)

    with h5py.File(changed(path, text)) as file:
        start = file["b"].id.get_offset()
        if start is None:
            start = file["b"].id.get_chunk_info(0).byte_offset
        else:
            assert describe(path)["datasets"]["/b"] == [20_000]
    content = bytearray(path.read_bytes())
    content[start : start + 320_000] = bytes(content[start : start + 16]) * 20_000
    path.write_bytes(content)
    with pytest.raises(InputError, match="/b declares more than the file can hold"):
        describe(path)


def test_texts_in_chunks_are_read(path):
    def text(file):
        file.create_dataset("b", data=np.full(500, "x", object), dtype=TEXT, chunks=(1,))

    assert describe(changed(path, text))["datasets"]["/b"] == [500]


def test_a_file_of_holes_is_refused(path):
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match="is said to have 1099511627776 bytes, of which"):
        describe(path)


def test_files_of_others_may_have_links(path):
    with reading(changed(path, soft), own=False) as file:
        assert "b" in file


def test_a_file_of_another_program_is_called_so_whatever_it_holds(path):
    def foreign(file):
        del file.attrs["schema"]
        soft(file)
        texts(file)

    with pytest.raises(InputError, match="has no schema, must be a file written by dmft"):
        describe(changed(path, foreign))


def test_only_plain_attributes_are_read(path):
    with h5py.File(changed(path, compound)) as file:
        assert dict(plain_attributes(file)) == {"schema": "dmft-solution", "schema_version": "2.2"}
        assert dict(plain_attributes(file, ["b", "schema"])) == {"schema": "dmft-solution"}
