"""Generated parts of pages: a line `<!-- generated: NAME -->` is replaced by what GENERATED[NAME] returns.

Nothing is written into the sources: the text exists only while a page is read.
"""

import re
from collections.abc import Iterable
from typing import Any

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

from docs._ext.generated import GENERATED

MARK = re.compile(r"^<!-- generated: ([\w-]+)((?: [\w-]+)*) -->$", flags=re.MULTILINE)


def expanded(text: str) -> str:
    """`text` with its generated parts. Raises KeyError for a name that nothing generates."""
    return MARK.sub(lambda found: GENERATED[found[1]](*found[2].split()), text)


def read(app: Sphinx, page: str, source: list[str]) -> None:
    """Sphinx's event `source-read`."""
    source[0] = expanded(source[0])


def changed(app: Sphinx, env: BuildEnvironment, added: set, changed: set, removed: set) -> Iterable[str]:
    """Pages with generated parts are read again in each build, since the source that these come from may differ."""
    return [page for page in env.found_docs if MARK.search(env.doc2path(page).read_text())]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the events."""
    app.connect("source-read", read)
    app.connect("env-get-outdated", changed)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
