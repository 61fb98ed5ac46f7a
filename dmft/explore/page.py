"""The page itself: markup, styles and scripts in one text that loads nothing."""

from __future__ import annotations

from importlib import resources

from dmft.explore.session import FIRST_LOOK, NETWORKS, QUICK
from dmft.plotting.scripts import chart_script

_QUICK = (
    f"Quick settings: {QUICK['n_paths']} paths, {QUICK['replicates']} replicates, time error "
    f"{QUICK['rtol']:g}; what takes more than {FIRST_LOOK:g} seconds is first shown up to an "
    f"earlier time. Networks: {NETWORKS['seeds']} seeds. Copies keep the accuracy of a full solve."
)


def page(nonce: str) -> str:
    """The page, whose style and scripts carry the nonce of its security policy."""
    texts = {
        name: resources.files("dmft.explore").joinpath(f"page.{name}").read_text(encoding="utf-8")
        for name in ("html", "css", "js")
    }
    script = f"{chart_script()}{texts['js']}"
    made = texts["html"].replace("{{quick}}", _QUICK).replace("{{nonce}}", nonce)
    return made.replace("{{style}}", texts["css"]).replace("{{script}}", script)
