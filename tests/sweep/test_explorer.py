"""The chart of the report in a browser: every control moved, values read under the mouse."""

from __future__ import annotations

import json
import re

import html5lib
import numpy as np
import pytest

from dmft.sweep import run
from dmft.sweep.collect import collect
from dmft.sweep.collection import Collection
from dmft.sweep.explorer import explorer
from dmft.sweep.report import write_report

DOTS = "[...document.querySelectorAll('#grid-chart circle')]"


@pytest.fixture
def collection(make_collection):
    return make_collection()


def read(page, number):
    """What the page says of its dot `number` under a real mouse, and which point that is."""
    dot = f"{DOTS}[{number}]"
    page.hover(dot)
    place = page.run(f"{dot}.dataset.place")
    return int(place), page.run("document.getElementById('grid-hover').textContent")


def check_reading(collection, place, words):
    """The number, its error, the labels and the state are those of the file."""
    name = next(name for name in collection.values if name.endswith("excess_risk"))
    value = collection.values[name].ravel()[place]
    error = collection.values[f"{name}_stderr"].ravel()[place]
    shown = re.match(r"(\S+) ± (\S+) \(standard error\)\n", words)
    assert shown is not None, words
    assert float(shown[1]) == float(f"{value:.5g}")
    assert float(shown[2]) == float(f"{error:.1e}")
    where = np.unravel_index(place, collection.shape)
    for at, name in zip(where, collection.dimensions, strict=True):
        label = collection.coordinates[name][1][at]
        assert f"{name} = {label if isinstance(label, str) else f'{label:g}'}" in words
    *_, status, took = words.split("\n")
    reason = collection.reason[where]
    assert status == collection.status[where] + (f": {reason}" if reason else "")
    seconds = float(re.fullmatch(r"took (\S+) s", took)[1])
    assert seconds == pytest.approx(collection.values["wall_seconds"][where], rel=0.01)


@pytest.mark.browser
def test_every_control_moves_and_values_are_those_of_the_file(collection, browse, tmp_path):
    write_report(collection, tmp_path / "report.html")
    html5lib.HTMLParser(strict=True).parse((tmp_path / "report.html").read_text())
    page = browse()
    page.open((tmp_path / "report.html").as_uri())
    page.run("document.getElementById('grid-chart').scrollIntoView()")
    assert page.run(f"{DOTS}.length") == 12  # along four noises, a colour for each of three starts
    page.choose("grid-by", "-1")
    for axis, place in ((0, 1.0), (2, 1.0), (0, 0.5)):
        before = page.run(f"{DOTS}.map(dot => dot.dataset.place)")
        page.drag(f"#grid-at-{axis}", place)
        labels = collection.coordinates[collection.dimensions[axis]][1]
        label = labels[round(place * (len(labels) - 1))]
        shown = page.run(f"document.querySelector('#grid-at-{axis} + output').textContent").strip()
        assert shown == (label if isinstance(label, str) else f"{label:g}")
        assert page.run(f"{DOTS}.map(dot => dot.dataset.place)") != before
        for number in range(4):
            check_reading(collection, *read(page, number))
    for control in ("grid-value", "grid-x", "grid-by"):
        for option in page.run(
            f"[...document.getElementById('{control}').options].map(o => o.value)"
        ):
            page.choose(control, option)
            assert page.run(f"{DOTS}.length") > 0
    page.choose("grid-x", "1")
    ticks = "document.querySelectorAll('#grid-chart line').length"
    before = page.run(f"{DOTS}.map(dot => dot.getAttribute('cx'))")
    page.click("#grid-log-x")
    assert page.run(f"{DOTS}.map(dot => dot.getAttribute('cx'))") != before
    page.click("#grid-log-y")
    assert page.run(f"{DOTS}.length") > 0 and page.run(ticks) > 0
    assert page.console == []


@pytest.mark.slow
@pytest.mark.browser
def test_a_report_of_200_points_is_small_and_opens_at_once(
    make_sweep, fake_solve, browse, tmp_path
):
    folder = make_sweep(
        "[axes]\nproblem.network.init_scale = { geomspace = [0.01, 1.0, 20] }\n"
        "problem.noise_std = { linspace = [0.1, 0.9, 10] }\n"
    )
    run(folder)
    large = collect(folder, tmp_path / "large.h5")
    write_report(large, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 10_000_000
    page = browse()
    assert page.open((tmp_path / "report.html").as_uri()) < 3.0
    assert page.run(f"{DOTS}.length") == 200 and page.console == []


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
