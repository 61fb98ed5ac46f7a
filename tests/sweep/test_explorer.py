"""The chart of the report in a browser: every control moved, values read under the mouse."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from dmft.sweep import run
from dmft.sweep.collect import collect
from dmft.sweep.collection import Collection
from dmft.sweep.explorer import explorer
from dmft.sweep.report import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
browser = next(filter(None, map(shutil.which, BROWSERS)), None)
needs_browser = pytest.mark.skipif(browser is None, reason="no Chromium is installed")
GRID = """
[axes]
problem.network.init_scale = { geomspace = [0.01, 1.0, 3] }
problem.noise_std = [0.1, 0.2, 0.5, 0.7]
problem.teacher.kind = ["gaussian", "rademacher"]
"""
# Moves every control through all its choices; what is seen goes into an attribute of the page.
MOVES = """
const seen = [], change = (control) => control.dispatchEvent(new Event("change"));
const count = () => document.querySelectorAll("#grid-chart circle").length;
for (const control of document.querySelectorAll("#explorer select")) {
  const before = control.value;
  for (const option of control.options) {
    control.value = option.value; change(control); seen.push([control.id, option.value, count()]);
  }
  control.value = before; change(control);
}
for (const control of document.querySelectorAll("#explorer input")) {
  control.click(); seen.push([control.id, control.checked, count()]); control.click();
}
const read = [];
for (const dot of document.querySelectorAll("#grid-chart circle")) {
  dot.dispatchEvent(new Event("mouseenter"));
  read.push([Number(dot.dataset.place), document.getElementById("grid-hover").textContent]);
}
document.body.setAttribute("data-seen", JSON.stringify({ seen, read }));
"""


@pytest.fixture
def collection(make_sweep, fake_solve, tmp_path):
    folder = make_sweep(GRID)
    run(folder)
    return collect(folder, tmp_path / "all.h5")


def opened(page, folder):
    """The page after its scripts, and what the console said."""
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", f"--user-data-dir={folder}/profile",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr",
    ]  # fmt: skip
    done = subprocess.run(
        [browser, *options, "--dump-dom", page.as_uri()],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)


@needs_browser
def test_every_control_moves_and_values_are_those_of_the_file(collection, tmp_path):
    write_report(collection, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text().replace("</body>", f"<script>{MOVES}</script>")
    page = tmp_path / "moved.html"
    page.write_text(text)
    dom, console = opened(page, tmp_path)
    assert not console
    found = re.search(r'data-seen="([^"]*)"', dom)
    assert found is not None
    seen = json.loads(found[1].replace("&quot;", '"').replace("&amp;", "&"))
    moved = {control for control, _, _ in seen["seen"]}
    assert moved >= {"grid-value", "grid-x", "grid-by", "grid-log-x", "grid-log-y"}
    assert {f"grid-at-{number}" for number in range(3)} <= moved
    assert all(count > 0 for _, _, count in seen["seen"])
    name = next(name for name in collection.values if name.endswith("excess_risk"))
    assert len(seen["read"]) == 12  # along the four noises, a colour for each of three starts
    for place, words in seen["read"]:
        value = collection.values[name].ravel()[place]
        error = collection.values[f"{name}_stderr"].ravel()[place]
        shown = re.match(r"(\S+) ± (\S+) \(standard error\)\n", words)
        assert float(shown[1]) == pytest.approx(value, rel=1e-4)
        assert float(shown[2]) == pytest.approx(error, rel=0.06)
        where = np.unravel_index(place, collection.shape)
        noise = collection.coordinates["noise_std"][1][where[1]]
        assert f"noise_std = {noise:g}" in words and words.endswith(collection.status[where])


def test_data_cannot_end_the_script_and_hold_no_nan(collection):
    axes = dict(collection.coordinates)
    axes["kind"] = ("kind", np.array(["</script><b>", "b"], dtype=object))
    values = {name: array.copy() for name, array in collection.values.items()}
    name = next(name for name in values if name.endswith("excess_risk"))
    values[name][0, 0, 0] = np.nan
    changed = Collection(**{**vars(collection), "coordinates": axes, "values": values})
    text = explorer(changed)
    assert text.count("</script>") == 2 and "<b>" not in text and "NaN" not in text
    data = json.loads(re.search(r'id="grid-data">(.*?)</script>', text, re.S)[1])
    assert data["values"][name]["mean"][0] is None
    assert data["axes"][2]["labels"] == ["</script><b>", "b"]
    nothing = {name: np.full(collection.shape, np.nan) for name in values}
    assert explorer(Collection(**{**vars(collection), "values": nothing})) == ""
