"""What must hold for the built pages: no dead link, nothing from a network, no name left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "srcset"),
           ("img", "srcset"), ("link", "href"), ("video", "src"), ("audio", "src")}  # fmt: skip
_NOT_LOADED = {"canonical", "next", "prev", "search", "index", "license", "alternate"}


class _Page(HTMLParser):
    """Anchors and links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[tuple[bool, str]] = []  # whether the browser loads it by itself
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        for name in ("href", "src"):
            if name in values:
                loaded = (tag, name) in _LOADED and values.get("rel") not in _NOT_LOADED
                self.links.append((loaded, values[name]))
        for entry in values.get("srcset", "").split(","):
            if entry.strip():
                self.links.append((True, entry.split()[0]))


def problems_of(site: Path, names: Sequence[str]) -> list[str]:
    """One line for everything that is wrong with a built site, which must have all `names`."""
    pages = {
        path.resolve(): _Page(path.read_text(encoding="utf-8"))
        for path in site.rglob("*.html")
        if "_static" not in path.parts  # templates of the theme
    }
    found: list[str] = []
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        found += [f"{name}: {problem}" for problem in _dead_links(path, page, pages)]
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        loads = re.findall(r"(?:url\(|@import )[\"']?((?:https?:)?//[^\"')]+)", text)
        found += [f"{style.relative_to(site)}: loads {address}" for address in loads]
    anchors = {anchor for page in pages.values() for anchor in page.anchors}
    found += [f"no page has {name}" for name in names if not {name, f"module-{name}"} & anchors]
    return found


def _dead_links(path: Path, page: _Page, pages: dict[Path, _Page]) -> Iterator[str]:
    for loaded, link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            if loaded and parts.scheme != "data":
                yield f"loads {link}"
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if target.is_dir():
            target /= "index.html"
        if not target.exists():
            yield f"dead link {link}"
        elif parts.fragment and target in pages:
            anchors = pages[target].anchors
            if unquote(parts.fragment) not in anchors:
                yield f"no such place {link}"
