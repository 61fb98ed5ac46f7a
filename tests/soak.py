"""A soak: commands that are killed, starved and doubled at random, until the time is over.

    python -m tests.soak FOLDER --seconds 3600

Whatever happens on the way, in the end every file holds the bits of a run without disturbance,
every complaint was one line, and nothing is left behind.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import h5py
import numpy as np

from dmft.store import read_header

ROOT = Path(__file__).parents[1]
SMALL = [
    *("--set=solver.n_paths=128", "--set=solver.replicates=4", "--set=solver.rtol=1e-2"),
    *("--set=solver.t_max=20", "--set=simulation.dimension=150", "--set=simulation.seeds=6"),
]
GRID = """
tasks = ["solve", "simulate"]
[base.solver]
t_max = 5.0
n_paths = 64
replicates = 2
rtol = 1e-2
[base.simulation]
dimension = 60
seeds = 3
[axes]
problem.noise_std = [0.1, 0.2, 0.3]
"""
OUTPUTS = {"solve": "out.h5", "extension": "grown.h5", "simulate": "sim.h5",
           "more seeds": "seeds.h5", "trajectory": "map.h5"}  # fmt: skip


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "dmft", *map(str, words)]


class Soak:
    """One folder with a reference, and a copy of it that suffers."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.reference, self.place = folder / "reference", folder / "place"
        self.counts: Counter[str] = Counter()
        self.waiting: list[str] = []
        for where in (self.reference, self.place):
            where.mkdir(parents=True)
            (where / "grid.toml").write_text(GRID, encoding="utf-8")
            (where / "part.toml").write_text(GRID.replace(", 0.3]", "]"), encoding="utf-8")
            (where / "walk").mkdir()
            rng = np.random.default_rng(0)
            walk = np.cumsum(rng.normal(size=(12, 2000)), axis=0)
            for number, point in enumerate(walk):
                np.save(where / "walk" / f"step{number}.npy", point)
        self.stages: dict[str, list[dict[str, bytes]]] = {}  # of an output, after each step
        for name, steps in self.works().items():
            for step in steps:
                done = self.run(self.next(step), self.reference)
                assert done[0] == 0, done
                if name in OUTPUTS:
                    self.stages.setdefault(name, []).append(
                        _content(self.reference / OUTPUTS[name])
                    )

    def works(self) -> dict[str, list[list[object]]]:
        """What is done, each a list of commands one after another."""
        return {
            "solve": [["solve", "-o", "out.h5", "--checkpoint-seconds=0.05", *SMALL]],
            "extension": [["solve", "-o", "grown.h5", *SMALL],
                          ["resume", "grown.h5", "--set=solver.t_max=200",
                           "--checkpoint-seconds=0.05"]],
            "simulate": [["simulate", "-o", "sim.h5", *SMALL]],
            "more seeds": [["simulate", "-o", "seeds.h5", *SMALL, "--set=simulation.seeds=3"],
                           ["resume", "seeds.h5", "--set=simulation.seeds=9"]],
            "sweep": [["sweep", "init", "part.toml", "study"],
                      ["sweep", "run", "study", "--jobs=2", "--checkpoint-seconds=0.05"],
                      ["sweep", "collect", "study", "-o", "all.h5", "--no-packed"],
                      ["sweep", "init", "grid.toml", "study"],
                      ["sweep", "run", "study", "--jobs=2", "--checkpoint-seconds=0.05"],
                      ["sweep", "collect", "study", "-o", "all.h5", "--packed"]],
            "trajectory": [["trajectory", "map", *(f"walk/step{k}.npy" for k in range(8)),
                            "-o", "map.h5"],
                           ["trajectory", "map", "walk", "-o", "map.h5"]],
        }  # fmt: skip

    # ------------------------------------------------------------------ disturbances

    def run(self, words: list[object], where: Path, disturb: str = "none") -> tuple[int, str]:
        """Exit status and complaints of a command, disturbed while it runs."""
        before: Callable[[], None] | None = None
        if disturb == "full disk":
            most = self.random.choice((1000, 5000, 20_000, 60_000))
            before = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))  # noqa: E731
        words_of_all = command(*words)
        if disturb in ("no permission", "permission lost"):
            if disturb == "no permission":
                self.allow(where, 0o555)
            if os.geteuid() == 0:  # who may write anywhere
                words_of_all = ["setpriv", "--bounding-set=-dac_override", *words_of_all]
        process = subprocess.Popen(
            words_of_all, cwd=where, preexec_fn=before, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1",
                 "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        numbers = {"kill": signal.SIGKILL, "stop": signal.SIGTERM, "interrupt": signal.SIGINT}
        if disturb in numbers:
            try:
                process.wait(self.random.uniform(0.5, 1.2) * self.length)
            except subprocess.TimeoutExpired:
                process.send_signal(numbers[disturb])
        elif disturb == "second driver":
            other = subprocess.run(
                command(*words), cwd=where, env={**os.environ, "PYTHONPATH": str(ROOT)},
                capture_output=True, text=True, check=False, timeout=600,
            )  # fmt: skip
            self.check(other.returncode, other.stderr, words)
        elif disturb == "clock":
            self.jump(where)
        elif disturb == "permission lost":
            with suppress(subprocess.TimeoutExpired):
                process.wait(self.random.uniform(0.3, 1.0) * self.length)
            self.allow(where, 0o555)
        complaints = process.communicate(timeout=600)[1]
        self.allow(where, 0o755)
        return process.returncode, complaints

    length = 4.0  # seconds after which signals come, about

    def allow(self, where: Path, mode: int) -> None:
        """Let folders be written, or not."""
        for path in [where, *where.rglob("*")]:
            if path.is_dir():
                path.chmod(mode)

    def jump(self, where: Path) -> None:
        """Times of change of all files move by hours, as the clock of a server may."""
        shift = self.random.choice((-7200.0, 7200.0, -1e6))
        for path in list(where.rglob("*")):
            try:
                found = path.stat()
                os.utime(path, (found.st_atime + shift, found.st_mtime + shift))
            except OSError:
                continue

    def check(self, status: int, complaints: str, words: list[object]) -> None:
        """A known status, and no traceback."""
        allowed = {0, 1, 2, 130, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}
        assert status in allowed, (status, words, complaints)
        assert "Traceback" not in complaints, (words, complaints)
        errors = [line for line in complaints.splitlines() if line.startswith("dmft: error")]
        assert len(errors) <= 1, (words, complaints)
        assert status in (0, *(number for number in allowed if number < 0)) or errors, words

    # ------------------------------------------------------------------ rounds

    def round(self) -> None:
        """One work, disturbed a few times, then finished and compared."""
        if not self.waiting:  # all in turn
            self.waiting = self.random.sample(list(self.works()), k=len(self.works()))
        name = self.waiting.pop()
        kinds = ("kill", "kill", "stop", "interrupt", "full disk", "no permission",
                 "permission lost", "second driver", "clock")  # fmt: skip
        self.finished = False
        for disturb in self.random.choices(kinds, k=self.random.randint(1, 3)):
            start = time.monotonic()
            for step in self.works()[name]:
                status, complaints = self.run(self.next(step), self.place, disturb)
                self.check(status, complaints, step)
                self.stays_finished(name)
            self.counts[f"{name}, {disturb}"] += 1
            self.length = 0.7 * self.length + 0.3 * max(1.0, time.monotonic() - start)
        for step in self.works()[name]:
            status, complaints = self.run(self.next(step), self.place)
            assert status == 0, (status, step, complaints)
        self.compare(name)

    def stays_finished(self, name: str) -> None:
        """What has been finished can be read from then on: as it was, or extended."""
        path = self.place / OUTPUTS.get(name, "-")
        if not path.exists():
            assert not self.finished, path
        elif name == "trajectory" or read_header(path).status != "running":
            self.finished = True
            assert _content(path) in self.stages[name], path
        else:
            assert not self.finished, path

    def next(self, step: list[object]) -> list[object]:
        """A step, or what goes on with it where its output is there already."""
        if step[0] in ("solve", "simulate"):
            return ["resume", step[2]] if (self.place / str(step[2])).exists() else step
        if step[1] in ("collect", "map"):
            return [*step, "--overwrite"]
        return step

    def compare(self, name: str) -> None:
        """Same bits as the reference; nothing else is left."""
        results = (self.reference / "study" / "results").iterdir()
        names = [OUTPUTS[name]] if name in OUTPUTS else [
            "all.h5", *(f"study/results/{path.name}" for path in results)
        ]  # fmt: skip
        for each in names:
            assert _content(self.place / each) == _content(self.reference / each), each
        left = sorted(
            str(path.relative_to(self.place)) for path in self.place.rglob("*")
            if path.name.endswith((".lock", ".part", ".tmp", ".tmp.h5", ".tmp.part", ".tmp.json",
                                   ".tmp.toml"))
            or ".claim-" in path.name or path.name.startswith((".stop", ".clock"))
        )  # fmt: skip
        killed = any("kill" in kind for kind in self.counts)
        # A killed process cannot clean up after itself; its lock and claim hold nobody up.
        left = [each for each in left if not (killed and _of_a_killed_process(each))]
        assert not left, left
        self.clear()

    def clear(self) -> None:
        for path in self.place.iterdir():
            if path.name not in ("walk", "grid.toml", "part.toml"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _of_a_killed_process(name: str) -> bool:
    return name.endswith(".lock") or Path(name).name.startswith((".stop", ".clock"))


def _content(path: Path) -> dict[str, bytes]:
    """All datasets of a file; attributes hold times and command lines."""
    found: dict[str, bytes] = {}

    def note(name: str, item: object) -> None:
        timed = name in ("cpu_seconds", "wall_seconds")  # what points of a sweep took
        if isinstance(item, h5py.Dataset) and not timed and not name.startswith("checkpoint/"):
            found[name] = repr(item[()]).encode() if item.dtype.kind == "O" else item[()].tobytes()

    with h5py.File(path) as file:
        file.visititems(note)
    assert found
    return found


def soak(folder: Path, seconds: float, seed: int = 0) -> Counter[str]:
    """Rounds until the time is over; what was done, by work and disturbance."""
    found = Soak(folder, seed)
    end = time.monotonic() + seconds  # beside what the reference takes
    while time.monotonic() < end:
        found.round()
    return found.counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    for kind, count in sorted(soak(given.folder, given.seconds, given.seed).items()):
        print(f"{count:5}  {kind}")
