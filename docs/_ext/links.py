"""Every internal link of the finished pages leads somewhere: files and anchors are checked after a build."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.util import logging

log = logging.getLogger(__name__)


class Page(HTMLParser):
    """The links of a page, those among them that a browser loads to show it, and the anchors in it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.add(value)
                if name == "src" or tag == "link":
                    self.loaded.add(value)
            elif name in ("id", "name") and value:
                self.anchors.add(value)


def broken(folder: Path) -> tuple[list[str], int]:
    """What is wrong with the links of the pages in `folder`, a line each, and how many links were followed.

    A link to another host is not followed. It is wrong where it is loaded: pages are shown without a network.
    """
    pages = {file.resolve(): Page(file) for file in sorted(folder.rglob("*.html"))}
    wrong, followed = [], 0
    for file, page in pages.items():
        for link in sorted(page.links):
            place = urlsplit(link)
            if place.netloc and link in page.loaded:
                wrong.append(f"{file.relative_to(folder.resolve())}: {link} is loaded from another host")
            if place.scheme or place.netloc or link == "#":
                continue
            followed += 1
            target = (file.parent / unquote(place.path)).resolve() if place.path else file
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                wrong.append(f"{file.relative_to(folder.resolve())}: {link} leads nowhere")
            elif place.fragment and target in pages and unquote(place.fragment) not in pages[target].anchors:
                wrong.append(f"{file.relative_to(folder.resolve())}: {link} has no such anchor")
    return wrong, followed


def check(app: Sphinx, fault: Exception | None) -> None:
    """Sphinx's event `build-finished`: a broken link is a warning, and with -W an error."""
    if fault is None and app.builder.format == "html":
        wrong, followed = broken(Path(app.outdir))
        for line in wrong:
            log.warning(line)
        log.info(f"{followed} internal links checked")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the event, after those that write pages of their own."""
    app.connect("build-finished", check, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
