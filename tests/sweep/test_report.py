"""Figures and the report page, looked at in a browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from urllib.parse import unquote

import matplotlib.image
import numpy as np
import pytest

from dmft.errors import InputError
from dmft.sweep.figures import plot_curves, plot_lines, plot_map, plot_phase_diagram
from dmft.sweep.report import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
browser = next(filter(None, map(shutil.which, BROWSERS)), None)
needs_browser = pytest.mark.skipif(
    browser is None, reason=f"none of {', '.join(BROWSERS)} is installed (apt-get install chromium)"
)
VIRIDIS_END = np.array([253, 231, 37]) / 255


@pytest.fixture
def collection(make_collection):
    def before(config):
        if config.problem.noise_std == 0.7 and config.problem.teacher.kind == "gaussian":
            raise InputError("x < y & 'z'", "problem")

    return make_collection(before)


def pixels(path, colour, tolerance=0.02):
    """How many pixels have a colour."""
    image = matplotlib.image.imread(path)[..., :3]
    return int((np.abs(image - colour).max(axis=-1) < tolerance).sum())


def test_map_leaves_missing_points_out(collection, tmp_path):
    plot_map(collection, tmp_path / "map.png")
    highest = pixels(tmp_path / "map.png", VIRIDIS_END)
    assert highest > 3000  # the row of noise 0.7, in one of two panels
    plot_map(collection, tmp_path / "one.png", at={"kind": "gaussian"})
    assert pixels(tmp_path / "one.png", VIRIDIS_END) < highest / 3  # the colour bar's end


def test_points_link_to_their_results(collection, tmp_path):
    (tmp_path / "a b").mkdir()
    write_report(collection, tmp_path / "a b" / "report.html")
    text = (tmp_path / "a b" / "report.html").read_text()
    links = re.findall(r'<a href="([^"]*)">file</a>', text)
    assert len(links) == int((collection.texts["file"] != "").sum()) > 0
    for link in links:
        assert (tmp_path / "a b" / unquote(link)).resolve().is_file()


def test_times_and_failures_are_in_the_page(collection, tmp_path):
    """Every point has its time, of all tries, from the logs of the workers."""
    write_report(collection, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "<th>wall-clock seconds</th>" in text and "<th>CPU seconds</th>" in text
    spent: dict[str, float] = {}
    for path in (tmp_path / "sweep" / "log").glob("*.jsonl"):
        for event in map(json.loads, path.read_text().splitlines()):
            spent[event["item"]] = spent.get(event["item"], 0.0) + event.get("seconds", 0.0)
    assert len(spent) == collection.status.size
    assert collection.values["wall_seconds"].sum() == pytest.approx(sum(spent.values()))
    assert text.count('<tr class="failed">') == int((collection.status == "failed").sum()) == 3
    assert "x &lt; y &amp; &#x27;z&#x27;" in text


def test_phase_diagram_into_given_axes(collection):
    from matplotlib.figure import Figure

    one, two = Figure().subplots(1, 2)
    at = {"kind": "rademacher"}
    assert plot_phase_diagram(collection, "excess_risk", "noise_std", "init_scale", at, one) is one
    mesh = one.collections[-1]
    drawn = np.asarray(mesh.get_array()).reshape(3, 4)
    assert np.array_equal(drawn, collection.values["final_excess_risk"][:, :, 1])
    assert mesh.colorbar.ax.get_ylabel() == "excess risk at the end"
    assert (one.get_xlabel(), one.get_ylabel()) == ("noise std", "init scale")
    plot_phase_diagram(collection, ax=two)  # the first kind, its first two dimensions
    assert two.get_title() == "kind = gaussian" and two.get_xlabel() == "init scale"
    values = two.collections[-1].get_array().reshape(4, 3)
    assert np.ma.getmaskarray(values)[3].all() and not np.ma.getmaskarray(values)[:3].any()
    assert plot_phase_diagram(collection).figure is not None
    with pytest.raises(InputError, match="needs two different dimensions"):
        plot_phase_diagram(collection, x="kind", y="kind")


def test_all_kinds_of_figures(collection, tmp_path):
    plot_lines(collection, tmp_path / "lines.pdf", x="init_scale", by="kind")
    plot_lines(collection, tmp_path / "lines.png", "excess_risk", at={"init_scale": 0.1})
    plot_curves(collection, tmp_path / "curves.svg", "train_mse", by="noise_std")
    plot_map(collection, tmp_path / "map.svg", "train_mse", "noise_std", "kind")
    assert b"<svg" in (tmp_path / "map.svg").read_bytes()


@pytest.mark.parametrize(
    "draw, message",
    [
        (lambda c, p: plot_map(c, p, "risk"), "--value: unknown key"),
        (lambda c, p: plot_map(c, p, x="scale"), "scale: unknown key, did you mean 'init_scale'?"),
        (lambda c, p: plot_map(c, p, x="kind", y="kind"), "needs two different dimensions"),
        (lambda c, p: plot_lines(c, p, at={"init_scale": 0.2}), "init_scale: given 0.2, allowed:"),
        (lambda c, p: plot_lines(c, p, x="kind", by="kind"), "must be two dimensions"),
        (lambda c, p: plot_lines(c, p, x="kind", at={"kind": "gaussian"}), "which is drawn"),
        (lambda c, p: plot_curves(c, p, "probability"), "--value: unknown key"),
    ],
)
def test_bad_requests(collection, tmp_path, draw, message):
    with pytest.raises(InputError, match=re.escape(message)):
        draw(collection, tmp_path / "figure.png")


class Page(HTMLParser):
    """Images, links and cells of a page."""

    def __init__(self, text):
        super().__init__()
        self.images, self.links, self.anchors, self.rows = [], [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.images += [values["src"]] if tag == "img" else []
        # An anchor is followed when it is clicked; anything else is loaded with the page.
        loaded = [values[name] for name in ("href", "src") if name in values]
        self.links += loaded if tag not in ("img", "a") else []
        self.anchors += loaded if tag == "a" else []
        self.rows += tag == "tr"


def test_page_holds_everything_itself(collection, tmp_path):
    write_report(collection, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text())
    assert len(page.images) == 6 and not page.links
    assert all(image.startswith("data:image/png;base64,") for image in page.images)
    assert page.anchors and all(link.startswith("sweep/results/") for link in page.anchors)
    assert page.rows == 1 + 24
    text = (tmp_path / "report.html").read_text()
    assert "x &lt; y &amp; &#x27;z&#x27;" in text and "x < y" not in text


@needs_browser
def test_page_in_a_browser(collection, tmp_path):
    """The browser draws the pictures, asks for nothing, and lays the table out."""
    write_report(collection, tmp_path / "report.html")
    options = [
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", f"--user-data-dir={tmp_path}/profile",
        # Whatever is not in the file cannot be had.
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--window-size=1100,4800", "--hide-scrollbars",
    ]  # fmt: skip
    page = (tmp_path / "report.html").as_uri()
    subprocess.run(
        [browser, *options, f"--screenshot={tmp_path}/page.png", page],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    image = matplotlib.image.imread(tmp_path / "page.png")
    assert image.shape[:2] == (4800, 1100)
    assert pixels(tmp_path / "page.png", VIRIDIS_END) > 3000  # the phase diagram
    assert pixels(tmp_path / "page.png", np.array([0xFB, 0xE3, 0xD6]) / 255) > 3000  # failed rows
    dom = subprocess.run(
        [browser, *options, "--dump-dom", page],
        check=True, capture_output=True, text=True, timeout=120,
    ).stdout  # fmt: skip
    assert dom.count('<tr class="failed">') == 3 and dom.count('<tr class="done">') == 15
