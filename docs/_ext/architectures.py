"""The pages of `skipway show NAME --html` of every network, beside the documentation's own.

Drawing takes about a second each, so pages are kept in the build folder until the code that draws them changes.
"""

import hashlib
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.display import status_iterator

from skipway import models
from skipway.reporting import architecture

FOLDER = "architecture"
SOURCE = Path(models.__file__).parent.parent


def fingerprint() -> str:
    """Of everything that the drawings depend on."""
    files = sorted([*(SOURCE / "models").rglob("*.py"), *(SOURCE / "reporting").iterdir()])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files if file.is_file())).hexdigest()


def write(app: Sphinx, fault: Exception | None) -> None:
    """Sphinx's event `build-finished`."""
    if fault is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir) / "zoo" / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    mark, current = folder / "fingerprint.txt", fingerprint()
    if not mark.is_file() or mark.read_text() != current:
        for file in folder.glob("*.html"):
            file.unlink()
        mark.write_text(current)
    missing = [name for name in models.list_models() if not (folder / f"{name}.html").is_file()]
    for name in status_iterator(missing, "drawing networks... ", "brown", len(missing), app.verbosity):
        (folder / f"{name}.html").write_text(architecture.page([name], "", None))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the event."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
