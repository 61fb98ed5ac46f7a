"""The built site in a browser without network; it is built by `scripts/docs`."""

from __future__ import annotations

from pathlib import Path

import pytest

SITE = Path(__file__).parents[2] / "build" / "site"
PAGES = (
    "index.html", "method.html", "gallery/index.html", "gallery/plot_07_phase_diagram.html",
    "api/index.html", "api/dmft.solve.html", "api/dmft.Solution.html", "commands/sweep.html",
    "settings.html", "notebooks/tutorial.html", "phenomena.html", "glossary.html",
)  # fmt: skip

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (SITE / "index.html").exists(), reason="scripts/docs has not run"),
]


@pytest.mark.parametrize("width", [400, 1400])
def test_pages_fit_and_nothing_is_missing(browse, width):
    page = browse()
    for name in PAGES:
        page.open((SITE / name).as_uri(), width=width)
        page.wait("window.MathJax === undefined || MathJax.startup.promise.then(() => true)")
        page.wait("[...document.images].every(image => image.complete || image.loading == 'lazy')")
        broken = "[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
        assert page.run(broken) == [], name
        assert page.run("document.documentElement.scrollWidth") <= width, name
        assert page.run("document.querySelectorAll('mjx-merror, .MathJax_Error').length") == 0, name
    assert page.console == [], page.console


def test_formulas_are_drawn(browse):
    page = browse()
    page.open((SITE / "method.html").as_uri())
    page.wait("window.MathJax && MathJax.startup.promise.then(() => true)")
    assert page.run("document.querySelectorAll('mjx-container svg').length") > 100
    assert page.run("document.body.innerText.includes('\\\\frac')") is False


def test_the_notebook_has_its_figures(browse):
    page = browse()
    page.open((SITE / "notebooks" / "tutorial.html").as_uri())
    assert page.run("document.querySelectorAll('.cell_output img').length") >= 4


@pytest.mark.parametrize("words", ["grokking", "replicate", "dmft.theory.predict"])
def test_search_finds(browse, words):
    page = browse()
    page.open(f"{(SITE / 'search.html').as_uri()}?q={words}")
    page.wait("document.querySelectorAll('#search-results li a').length > 0")
    assert page.console == [], page.console
