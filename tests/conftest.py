"""For tests of several folders: results with made-up numbers, commands, scripts, and a browser."""

from __future__ import annotations

import base64
import importlib
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dmft.problem import Problem
from dmft.results.curves import Curve
from dmft.results.simulation import Simulation
from dmft.results.solution import Kernels, SamplePaths, Solution
from dmft.settings import SimulationSettings, SolverSettings

SCRIPTS = Path(__file__).parents[1] / "scripts" / "phenomena"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe",
    "--disable-background-networking", "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip


def _curves(
    rng: np.random.Generator, runs: int, points: int, names: tuple[str, ...]
) -> dict[str, Curve]:
    return {
        name: Curve(
            rng.random(points), rng.random(points) if runs > 1 else None, rng.random((runs, points))
        )
        for name in names
    }


def _with(kind, given, changes):
    """A result with some fields or curves changed; curves by name, `None` takes one out."""
    own = {name for name in changes if name in kind.__dataclass_fields__}
    result = kind(**{**given, **{name: changes[name] for name in own}})
    curves = dict(result.curves)
    for name, values in changes.items():
        if name in own:
            continue
        base = name.removeprefix(kind.runs_prefix).removesuffix("_stderr")
        part = "runs" if name.startswith(kind.runs_prefix) else "stderr"
        part = "mean" if name == base else part
        if part == "mean" and values is None:
            curves.pop(base, None)
        elif base in curves:
            curves[base] = replace(curves[base], **{part: values})
        elif part == "mean":
            curves[base] = Curve(values)
    return replace(result, curves=curves)


@pytest.fixture(scope="session")
def change():
    """Change curves and fields of a result, as `make_solution` does."""
    return lambda result, **changes: _with(
        type(result), {own.name: getattr(result, own.name) for own in fields(result)}, changes
    )


@pytest.fixture(scope="session")
def make_solution() -> Callable[..., Solution]:
    def make(nodes: int = 12, replicates: int = 3, **changes: object) -> Solution:
        rng = np.random.default_rng(7)
        square = (nodes, nodes)
        fields = {
            "problem": Problem(),
            "settings": SolverSettings(replicates=replicates),
            "time": np.concatenate([[0.0], np.geomspace(0.1, 100.0, nodes - 1)]),
            "panel": np.arange(nodes) // 3 - 1,
            "curves": _curves(rng, replicates, nodes, ("train_mse", "excess_risk", "mean_charge")),
            "kernels": Kernels(*rng.random((5, *square)), rng.random(nodes)),
            "paths": SamplePaths(*rng.random((2, 4)), *rng.random((2, 4, nodes))),
            "work": {"panels": 4, "sweeps": 17, "flops": 1.5e9},
        }
        return _with(Solution, fields, changes)

    return make


@pytest.fixture(scope="session")
def make_simulation() -> Callable[..., Simulation]:
    def make(points: int = 9, seeds: int = 3, **changes: object) -> Simulation:
        rng = np.random.default_rng(8)
        square = (points, points)
        several = seeds > 1
        fields = {
            "problem": Problem(),
            "settings": SimulationSettings(dimension=50, seeds=seeds),
            "time": np.concatenate([[0.0], np.geomspace(0.1, 100.0, points - 1)]),
            "curves": _curves(rng, seeds, points, ("train_mse", "excess_risk")),
            "seed": np.arange(seeds),
            "kernels": Kernels(
                *rng.random((3, *square)),
                correlation_error_stderr=rng.random(square) if several else None,
                correlation_residual_stderr=rng.random(square) if several else None,
                overlap_stderr=rng.random(square) if several else None,
            ),
        }
        return _with(Simulation, fields, changes)

    return make


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must be refused: exit 2, and one line with some words on stderr."""

    def refused(arguments: list[str], *words: str) -> str:
        from dmft.cli.main import main

        capsys.readouterr()
        assert main([*arguments]) == 2
        stdout, stderr = capsys.readouterr()
        assert stdout == "" and stderr.startswith("dmft: error: ") and stderr.count("\n") == 1
        for word in words:
            assert word in stderr
        return stderr

    return refused


@pytest.fixture
def phenomenon(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports one of the scripts of phenomena, by name."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module


class Page:
    """One page of Chromium without a window, driven in the protocol of its developer tools.

    console : what it complained of: errors, warnings, refused loads.
    """

    def __init__(self, profile: Path) -> None:
        path = next(filter(None, map(shutil.which, BROWSERS)))
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # The protocol is spoken on the descriptors 3 and 4.
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}', str(path),
             *OPTIONS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(to_browser, from_browser), stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._number, self._buffer, self._session = 0, b"", None
        self.console: list[str] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(each for each in targets if each["type"] == "page")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> Any:
        """One call of the protocol."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self) -> Any:
        while b"\0" not in self._buffer:
            assert select.select([self._read], [], [], 120.0)[0], "the browser does not answer"
            read = os.read(self._read, 1 << 20)
            assert read, "the browser has ended"
            self._buffer += read
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        method, parameters = message.get("method"), message.get("params", {})
        if method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
            self.console.append(str(parameters["args"]))
        if method == "Runtime.exceptionThrown":
            self.console.append(str(parameters["exceptionDetails"]))
        if method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.console.append(str(parameters["entry"]))
        return message

    def open(self, address: str, width: int = 1200, height: int = 900) -> float:
        """Go there; the seconds until it was loaded."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)  # fmt: skip
        began = time.perf_counter()
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")
        return time.perf_counter() - began

    def run(self, script: str) -> Any:
        """The value of an expression."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, script: str, seconds: float = 120.0) -> Any:
        """The value of an expression as soon as it is true."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.run(script)
            if value:
                return value
            time.sleep(0.05)
        raise AssertionError(f"never true: {script}")

    def mouse(self, x: float, y: float, kind: str = "mouseMoved") -> None:
        """Move or press the mouse."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def click(self, selector: str) -> None:
        """Click in the middle of an element."""
        x, y = self.middle(selector)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.mouse(x, y, kind)

    def middle(self, selector: str) -> tuple[float, float]:
        """Where an element is, scrolled into view."""
        x, y = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center', behavior: 'instant'});"
            "const r = e.getBoundingClientRect();"
            "return [r.left + r.width / 2, r.top + r.height / 2]; })()"
        )
        return x, y

    def drag(self, selector: str, part: float) -> None:
        """Take a slider by the mouse to a part of its length."""
        self.middle(selector)
        left, top, width, height, now = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "const r = e.getBoundingClientRect();"
            "return [r.left, r.top, r.width, r.height,"
            "(e.value - e.min) / (e.max - e.min)]; })()"
        )
        x, y = left + 8 + now * (width - 16), top + height / 2
        self.mouse(x, y, "mousePressed")
        self.mouse(left + 8 + part * (width - 16), y)
        self.mouse(left + 8 + part * (width - 16), y, "mouseReleased")

    def choose(self, name: str, value: str) -> None:
        """Choose in a list."""
        self.run(
            f"(() => {{ const box = document.getElementById('{name}'); box.value = '{value}';"
            "box.dispatchEvent(new Event('change')); })()"
        )

    def hover(self, element: str) -> None:
        """Come with the mouse, from afar, to the middle of an element, given as an expression."""
        x, y = self.run(
            f"(() => {{ const box = {element}.getBoundingClientRect();"
            "return [box.left + box.width / 2, box.top + box.height / 2]; })()"
        )
        self.mouse(1.0, 1.0)
        self.mouse(x, y)

    def screenshot(self, path: Path) -> None:
        """The whole page as a picture."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def close(self) -> None:
        """End the browser."""
        self._process.terminate()
        self._process.wait(30)
        os.close(self._write)
        os.close(self._read)


@pytest.fixture
def browse(tmp_path: Path) -> Iterator[Callable[[], Page]]:
    """Opens browsers that end with the test."""
    if not any(map(shutil.which, BROWSERS)):
        pytest.skip("no Chromium is installed")
    opened: list[Page] = []

    def browse() -> Page:
        opened.append(Page(tmp_path / f"profile-{len(opened)}"))
        return opened[-1]

    yield browse
    for page in opened:
        page.close()
