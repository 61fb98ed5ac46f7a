"""Files that somebody made to do harm, or that a disk has damaged, and what reads them."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import struct
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from dmft.config import Config, load_config, read_toml
from dmft.conservation import parse_architecture
from dmft.errors import InputError
from dmft.store import describe, load, load_checkpoint, save, save_checkpoint
from dmft.sweep.grid import load_grid
from dmft.trajectory.readers.formats import read_file, shards
from dmft.trajectory.readers.tensor import FLOATS

SECONDS, BYTES = 2, 200e6  # of processor and memory that a file may cost
_FINE, _REFUSED, _TRACEBACK, _FULL = 0, 3, 4, 5


def read_tensors(path: Path) -> None:
    """Every number of a checkpoint."""
    for tensor in read_file(path)[0]:
        if tensor.dtype in FLOATS:
            count = min(tensor.size, 1000)
            tensor.read(0, count, np.empty(8 * 1000, np.uint8))


def read_store(path: Path) -> None:
    """What the commands do with a file of this package."""
    if describe(path).get("status") == "running":
        load_checkpoint(path)
    else:
        load(path)


def read_network(path: Path) -> None:
    """What is counted by `dmft conservation count file`."""
    parse_architecture(read_toml(path))


READERS: dict[str, Callable[[Path], object]] = {
    ".toml": load_config, ".grid": load_grid, ".net": read_network, ".json": shards,
    ".out": read_store,
    **dict.fromkeys((".safetensors", ".npy", ".npz", ".h5", ".pt"), read_tensors),
}  # fmt: skip


def outcome(path: Path) -> str:
    """What reading the file comes to, in a process of its own: "fine", "refused" or a complaint."""
    reader = READERS[path.suffix]
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        os._exit(_in_child(reader, path))
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"ended by signal {os.WTERMSIG(status)}"
    code = os.WEXITSTATUS(status)
    return {_FINE: "fine", _REFUSED: "refused", _FULL: "took too much memory"}.get(
        code, "ended in a traceback"
    )


def _in_child(reader: Callable[[Path], object], path: Path) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code = _FINE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            reader(path)
        except InputError as error:
            text = str(error)
            code = _REFUSED if "\n" not in text and len(text) < 2000 else _TRACEBACK
        except BaseException as error:
            os.write(2, f"\n{path}: {type(error).__name__}: {error}\n"[:500].encode())
            return _TRACEBACK
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    return _FULL if grown > BYTES else code


# ---------------------------------------------------------------------- good files, to be damaged


def good_files(folder: Path, solution, simulation) -> list[Path]:
    """One small file of every format."""
    rng = np.random.default_rng(0)
    arrays = {"a.weight": rng.normal(size=(6, 5)), "b": rng.normal(size=7).astype(np.float32)}
    write_safetensors(folder / "a.safetensors", arrays)
    np.save(folder / "a.npy", arrays["a.weight"])
    np.savez(folder / "stored.npz", **arrays)
    np.savez_compressed(folder / "deflated.npz", **arrays)
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("a", data=arrays["a.weight"], chunks=True, compression="gzip")
        file.create_dataset("inner/b", data=arrays["b"])
    (folder / "a.json").write_text(json.dumps({"weight_map": {"a": "a.npy", "b": "stored.npz"}}))
    (folder / "a.toml").write_text(Config().to_toml(), encoding="utf-8")
    (folder / "a.grid").write_text(
        '[base.solver]\nt_max = 1.0\n[axes]\n"problem.noise_std" = {geomspace = [0.1, 1.0, 3]}\n'
        "problem.sampling_ratio = [0.5, 0.8]\n"
    )
    save(folder / "solution.out", solution)
    save(folder / "simulation.out", simulation)
    save_checkpoint(folder / "check.out", Config(), {"splits": 0, "a": np.arange(9.0)})
    names = ["a.safetensors", "a.npy", "stored.npz", "deflated.npz", "a.h5", "a.json", "a.toml",
             "a.grid", "solution.out", "simulation.out", "check.out"]  # fmt: skip
    try:
        import torch

        torch.save({"model": {"a": torch.ones(3, 4), "b": torch.arange(5.0)}}, folder / "a.pt")
        names.append("a.pt")
    except ImportError:
        pass
    return [folder / name for name in names]


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Bytes changed, cut, doubled, or overwritten by what looks like a huge number."""
    data = bytearray(content)
    place = int(rng.integers(len(data)))
    kind = rng.integers(5)
    if kind == 0:
        for _ in range(int(rng.integers(1, 9))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
    elif kind == 1:
        del data[place:]
    elif kind == 2:
        data[place:place] = data[place : place + int(rng.integers(1, 200))]
    elif kind == 3:
        huge = (
            b"\xff" * 8,
            b"\x7f" + b"\xff" * 7,
            b"\x00" * 8,
            b"99999999",
            b"[[[[[[[[",
            b"-1e308",
        )
        data[place : place + 8] = huge[int(rng.integers(len(huge)))]
    else:
        del data[place : place + int(rng.integers(1, 50))]
    return bytes(data)


def as_of_strangers(good: Path, path: Path) -> bytes:
    """The content of a result without its digest: the damage reaches what reads it."""
    shutil.copy(good, path)
    with h5py.File(path, "r+") as file:
        del file.attrs["digest"]
    return path.read_bytes()


# ---------------------------------------------------------------------- made to do harm


def write_safetensors(path: Path, arrays) -> None:
    header, data = {}, b""
    for name, array in arrays.items():
        kind = {"float64": "F64", "float32": "F32"}[array.dtype.name]
        header[name] = {"dtype": kind, "shape": array.shape,
                        "data_offsets": [len(data), len(data) + array.nbytes]}  # fmt: skip
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def _safetensors(text: str | bytes, size: int | None = None) -> bytes:
    text = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(text) if size is None else size) + text + bytes(64)


def _entry(shape: object, offsets: object = (0, 64), dtype: object = "F64") -> str:
    return json.dumps({"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}})


def _npy(shape: str, descr: str = "'<f8'", data: bytes = bytes(80)) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", min(len(text), 65535)) + text[:65535] + data


def crafted(folder: Path) -> list[Path]:
    """Files that are meant to hang a reader, to fill memory, or to end in a traceback."""
    folder.mkdir()
    deep, large = 5000, 2**62
    texts: dict[str, bytes | str] = {
        "deep_list.safetensors": _safetensors('{"a":' + "[" * 10**5 + "]" * 10**5 + "}"),
        "deep_table.safetensors": _safetensors('{"a":' * 10**5 + "1" + "}" * 10**5),
        "many.safetensors": _safetensors("{" + '"a":{},' * 10**6 + '"b":{}}'),
        "lists.safetensors": _safetensors('{"a":[' + "[]," * 10**6 + "[]]}"),
        "zeros.safetensors": _safetensors(bytes(10**7)),
        "beyond.safetensors": _safetensors("{}", 2**63),
        "huge.safetensors": _safetensors(_entry([large, 4])),
        "overflow.safetensors": _safetensors(_entry([2**32, 2**32], [0, 0])),
        "negative.safetensors": _safetensors(_entry([-8, -1])),
        "backwards.safetensors": _safetensors(_entry([8], [64, 0])),
        "infinite.safetensors": _safetensors(_entry([1e308])),
        "nan.safetensors": _safetensors(_entry([np.nan])),
        "dims.safetensors": _safetensors(_entry([1] * 10**5)),
        "type.safetensors": _safetensors(_entry([8], dtype=["F64"])),
        "strings.safetensors": _safetensors('{"a":[' + '"ab",' * 3 * 10**6 + "1]}"),
        "number.safetensors": _safetensors("9" * 10**5),
        "empty.safetensors": b"",
        "huge.npy": _npy(f"({large}, 4)"), "negative.npy": _npy("(-1, 10)"),
        "overflow.npy": _npy("(4294967296, 4294967296)"), "deep.npy": _npy("(" * 5000 + ")" * 5000),
        "true.npy": _npy("(True, 10)"), "record.npy": _npy("(1,)", "[('a', '<f8', (9999999999,))]"),
        "object.npy": _npy("(10,)", "'|O'"), "float.npy": _npy("(1.5,)"),
        "code.npy": _npy("(__import__('os').system('true'),)"),
        "long.npy": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{" * 100,
        "huge_string.npy": _npy("(1,)", "'|S2147483647'"),
        "deep.json": "[" * 10**5, "deep_table.json": '{"weight_map":' * deep + "1" + "}" * deep,
        "outside.json": '{"weight_map": {"a": "../../../../../../etc/passwd"}}',
        "absolute.json": '{"weight_map": {"a": "/etc/passwd"}}',
        "list.json": '{"weight_map": [1, 2]}', "latin.json": b"\xff\xfe\x00",
        "deep.toml": "x = " + "[" * deep + "]" * deep, "tables.toml": "x = " + "{a=" * deep,
        "key.toml": ".".join("a" * deep) + " = 1", "section.toml": f"[{'.'.join('a' * deep)}]",
        "quoted.toml": ".".join(['"a"'] * 10**5) + " = 1", "spaces.toml": "a . " * 10**5 + "b = 1",
        "number.toml": "[solver]\nt_max = " + "9" * 10**5, "long.toml": "[problem]\n" + "#" * 2**25,
        "word.toml": "a" * 10**6, "dots.toml": "." * 10**6, "unclosed.toml": '"' + "a." * 10**6,
        "million.toml": "[solver]\ntimes = [" + "1, " * 10**6 + "1]",
        "numbers.toml": "x = [" + "1," * 10**6 + "1]",
        "lists.toml": "x = [" + "[]," * 800_000 + "]",
        "headers.toml": "[[x]]\n" * 350_000, "lines.toml": "#\n" * 1_200_000 + "x = 1",
        "paths.toml": f"[{'.'.join('a' * 16)}]\n{'.'.join('a' * 16)} = 1\n" * 30_000,
        "hex.toml": f"[solver]\nseed = 0x{'f' * 5000}", "digits.toml": f"x = {'1' * 2_400_000}",
        "kind.toml": f"[problem]\nloss = '{'a' * 10**6}'",
        "steps.toml": "[dynamics]\nkind = 'gradient-descent'\n[solver]\nt_max = 1e308\n",
        "many.grid": "[axes]\nproblem.noise_std = {geomspace = [0.1, 1.0, 1000000000]}\n",
        "crossed.grid": "[axes]\nproblem.noise_std = {linspace = [0.1, 1.0, 10000]}\n"
        "solver.rtol = {linspace = [0.001, 0.01, 10000]}\n",
        "wide.grid": "[axes]\nproblem.noise_std = {linspace = [-1e308, 1e308, 10]}\n",
        "deep.grid": f"[axes]\n\"{'.'.join('a' * deep)}\" = [1]\n",
        "tasks.grid": "tasks = [{a = 1}]\n[axes]\nproblem.noise_std = [0.1]\n",
        "zip.grid": "zip = [[{a = 1}]]\n[axes]\nproblem.noise_std = [0.1]\n",
        "count.grid": f"[axes]\nproblem.noise_std = {{linspace = [0, 1, {'9' * 400}]}}\n",
        "end.grid": f"[axes]\nproblem.noise_std = {{linspace = [0, {'9' * 400}, 3]}}\n",
        "kind.net": "kind = []", "table.net": "kind = {}", "empty.net": "",
        "lists.json": "[" + "[]," * 10**6 + "[]]", "numbers.json": "[" + "0.5," * 4 * 10**6 + "1]",
        "noise.pt": bytes(100), "text.h5": "\x89HDF\r\n\x1a\n" + "\x00" * 100,
    }  # fmt: skip
    for name, content in texts.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / name).write_bytes(data)
    for make in (_archives, _datasets, _pickles):
        make(folder)
    with (folder / "sparse.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 99_999_999))
        file.truncate(100_000_008)
    with (folder / "sparse.npy").open("wb") as file:
        file.write(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1))
        file.truncate(2**32 + 100)
    return sorted(path for path in folder.iterdir() if path.suffix in READERS)


def _archives(folder: Path) -> None:
    good = _npy("(10,)")
    for name, content, kind in [
        ("huge.npz", _npy(f"({large_shape()},)"), zipfile.ZIP_STORED),
        ("bomb.npz", _npy("(100000000,)", data=bytes(10**6)), zipfile.ZIP_DEFLATED),
        ("zeros.npz", _npy("(30000000,)", data=bytes(240_000_000)), zipfile.ZIP_DEFLATED),
        ("bzip.npz", good, zipfile.ZIP_BZIP2), ("lzma.npz", good, zipfile.ZIP_LZMA),
        ("object.npz", _npy("(10,)", "'|O'"), zipfile.ZIP_STORED),
        ("negative.npz", _npy("(-10,)"), zipfile.ZIP_STORED),
    ]:  # fmt: skip
        with zipfile.ZipFile(folder / name, "w", kind) as archive:
            archive.writestr("a.npy", content)
    whole = (folder / "negative.npz").read_bytes().replace(b"(-10,)", b"( 10,)")
    (folder / "wrong_sum.npz").write_bytes(whole)
    end = b"PK\x06\x06" + bytes(52) + b"PK\x06\x07" + struct.pack("<IQI", 1, 0, 7)
    tail = whole.index(b"PK\x05\x06")
    for suffix in ("npz", "pt"):  # that says to have parts on seven disks
        (folder / f"disks.{suffix}").write_bytes(whole[:tail] + end + whole[tail:])
    with zipfile.ZipFile(folder / "names.npz", "w") as archive:
        archive.writestr("a" * 2000 + ".npy", good)
    named = (folder / "names.npz").read_bytes().replace(b"a" * 2000, b"\xff" * 2000, 1)
    (folder / "names.npz").write_bytes(named)
    encrypted = bytearray(whole)
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        encrypted[encrypted.index(mark) + place] |= 1
    (folder / "encrypted.npz").write_bytes(encrypted)


def large_shape() -> int:
    return 2**61


def _datasets(folder: Path) -> None:
    with h5py.File(folder / "other.hdf", "w") as file:
        file["a"] = np.ones(3)
    os.mkfifo(folder / "pipe.hdf")
    with h5py.File(folder / "unwritten.h5", "w") as file:
        file.create_dataset("a", shape=(2**40,), dtype="f8", chunks=(2**16,))
    with h5py.File(folder / "string.h5", "w") as file:
        file.create_dataset("a", shape=(4,), dtype="S2147483647", chunks=(1,))
    for name, link in {
        "external.h5": h5py.ExternalLink("other.hdf", "/a"),
        "fifo.h5": h5py.ExternalLink("pipe.hdf", "/a"),
        "soft.h5": h5py.SoftLink("/b"), "dangling.h5": h5py.SoftLink("/nowhere"),
    }.items():  # fmt: skip
        with h5py.File(folder / name, "w") as file:
            file["b"] = h5py.SoftLink("/a")
            file["a"] = link
    with h5py.File(folder / "cycle.h5", "w") as file:
        file.create_group("a")["again"] = file["/"]
    with h5py.File(folder / "raw.h5", "w") as file:
        file.create_dataset("a", shape=(10,), dtype="u1", external=[("/etc/passwd", 0, 10)])
    layout = h5py.VirtualLayout((2**40,), "f8")
    layout[:3] = h5py.VirtualSource("pipe.hdf", "a", shape=(3,))
    with h5py.File(folder / "virtual.h5", "w") as file:
        file.create_virtual_dataset("a", layout)
    with h5py.File(folder / "deep.h5", "w") as file:
        file["/".join("g" * 2000)] = np.ones(3)
    for name, text in {"deep.out": "[" * 10**4, "long.out": "[" + "1," * 30000 + "1]"}.items():
        with h5py.File(folder / name, "w") as file:
            file.attrs.update(schema="dmft-solution", schema_version="2.2", status="done")
            for key in ("package_version", "created", "host", "command_line", "reason"):
                file.attrs[key] = ""
            file.attrs["config"], file.attrs["seeds"] = text, text


def _pickles(folder: Path) -> None:
    try:
        import torch
    except ImportError:
        return
    laughing: list[object] = [torch.ones(1)]
    for _ in range(50):
        laughing = [laughing, laughing]
    torch.save({"model": laughing}, folder / "laughing.pt")
    cycle: dict[str, object] = {}
    cycle["model"] = cycle
    torch.save(cycle, folder / "cycle.pt")
    deep: list[object] = []
    for _ in range(300):
        deep = [deep]
    torch.save({"model": deep}, folder / "deep.pt")
    torch.save({"a": torch.ones(1).expand(2**20, 2**20)}, folder / "expanded.pt")
    sparse = torch.sparse_coo_tensor(torch.zeros(2, 1, dtype=torch.long), [1.0], (2**30, 2**30))
    torch.save({"a": sparse}, folder / "sparse.pt")
    for name, program in {"stack.pt": b".", "memory.pt": b"\x80\x02r\xff\xff\xff\xff."}.items():
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("archive/data.pkl", program)
            archive.writestr("archive/version", "3\n")
    torch.save({"a": torch.ones(3)}, folder / "good.pt")
    with (
        zipfile.ZipFile(folder / "good.pt") as archive,
        zipfile.ZipFile(folder / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in archive.namelist():
            end = bytes(3 * 10**8) if name.endswith("data.pkl") else b""
            bomb.writestr(name, archive.read(name) + end)
    (folder / "good.pt").unlink()
