"""A folder with an export in it: what stands there, and that nobody changed it since it was proven."""

import json
from pathlib import Path

from skipway.bundle import sha256
from skipway.errors import BundleError, first_line

SUMS, CARD, EVIDENCE = "SHA256SUMS", "card.json", "evidence.json"


def usual_folder(run: Path, form: str, variant: str = "") -> Path:
    """Where `skipway export` puts what it makes of `run`; variant: "int8", "nms" or neither."""
    from skipway.bundle.hub import output_folder  # the hub, which reading an export does not need

    return output_folder(run) / "exports" / (f"{form}-{variant}" if variant else form)


def exported_int8(run: Path) -> Path:
    """Where the int8 engine of `run` is, once it was exported."""
    return usual_folder(run, "openvino", "int8")


def write_sums(folder: Path) -> None:
    """SHA256SUMS of every file in `folder`, in the form that `sha256sum -c` takes."""
    lines = [f"{sha256(file)}  {file.name}\n" for file in sorted(folder.iterdir()) if file.name != SUMS]
    (folder / SUMS).write_text("".join(lines))


def verify(folder: Path, weights: str) -> None:
    """Raises BundleError unless every file is as it was written, and was made of the weights of SHA-256 `weights`."""
    again = "remove the folder and export again"
    try:
        lines = [line.split("  ", 1) for line in (folder / SUMS).read_text().splitlines()]
        digests = {name: digest for digest, name in lines}
        written = {file.name for file in folder.iterdir() if not file.name.startswith(".")} - {SUMS}
        for name in sorted(written | set(digests)):
            if sha256(folder / name) != digests.get(name):
                raise BundleError(f"{folder / name} was changed since it was proven: {again}")
        of = json.loads((folder / CARD).read_bytes())["weights_sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as fault:
        raise BundleError(f"{folder} is no whole export ({first_line(fault)}): {again}") from None
    if of != weights:
        raise BundleError(f"{folder} was made of other weights than those of the run now: {again}")
