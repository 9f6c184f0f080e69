"""Trained networks on the Hugging Face hub: `hf:owner/name[@revision]`, wherever the folder of a run can be given.

The files of the bundle, and no others, are downloaded into the cache that the hub's client shares with other programs.
They are data: JSON, Markdown and safetensors, none of which is run.
"""

import os
import re
import sys
from pathlib import Path
from typing import NamedTuple

from skipway.bundle import FILES, SUMS, sha256
from skipway.download import Notice, announce, offline
from skipway.errors import BundleError, first_line

RECORDS = "metrics.jsonl"
WANTED = (*FILES, SUMS, RECORDS)


class Place(NamedTuple):
    """A run on the hub; `revision` is a branch, tag or commit, None for the latest."""

    repository: str
    revision: str | None

    def __str__(self) -> str:
        return f"hf:{self.repository}{f'@{self.revision}' if self.revision else ''}"


def is_on_hub(run: str | os.PathLike[str]) -> bool:
    """Whether `run` names a run on the hub rather than a folder."""
    return os.fspath(run).startswith("hf:")


def parse(run: str | os.PathLike[str]) -> Place:
    """`hf:owner/name[@revision]`. Raises BundleError."""
    text = os.fspath(run).replace("\\", "/")  # as a path of Windows
    found = re.fullmatch(r"hf:(\w[\w.-]*/\w[\w.-]*)(?:@(\w[^\s@]*))?", text, re.ASCII)
    if not found or ".." in text:
        raise BundleError(f"{text} is not a valid hub name of a run: write hf:owner/name or hf:owner/name@revision")
    return Place(*found.groups())


def local_folder(run: str | os.PathLike[str]) -> Path:
    """The folder of a run: `run` itself, or, for `hf:owner/name[@revision]`, the folder of its files in the hub's
    cache, downloaded where they are missing, and verified.

    Raises BundleError, in one line, for a run on the hub that cannot be had, or whose files are not those it was
    published with.
    """
    if not is_on_hub(run):
        return Path(run)
    place = parse(run)
    folder = fetch(place)
    verify(place, folder)
    return folder


def output_folder(folder: Path) -> Path:
    """Where reports and exports of the run in `folder` go unless they are told elsewhere: into the folder itself; for
    one in the hub's cache, which is not a place for them, into runs/OWNER-NAME below the working directory."""
    repository = folder.parent.parent.name
    if folder.parent.name == "snapshots" and repository.startswith("models--"):
        return Path("runs", repository.removeprefix("models--").replace("--", "-"))
    return folder


def without_bars() -> None:
    """Keep the progress bars of the hub's client out of logs and pipes."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()


def fetch(place: Place) -> Path:
    """The folder of `place` in the hub's cache, downloaded if necessary; the cached one where the hub is out of reach.

    Raises BundleError.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    without_bars()
    variable = offline()
    known = Path(constants.HF_HUB_CACHE) / f"models--{place.repository.replace('/', '--')}"
    if not variable and not known.exists():
        announce(Notice(str(place), terms="licence: see its page"), constants.ENDPOINT, Path(constants.HF_HUB_CACHE))
    try:
        return Path(
            snapshot_download(
                place.repository,
                revision=place.revision,
                allow_patterns=list(WANTED),
                local_files_only=variable is not None,
            )
        )
    except GatedRepoError:
        raise BundleError(
            f"{place} requires you to accept its terms: accept them on its page, then log in with `hf auth login`"
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError):
        raise BundleError(
            f"{place} does not exist on the hub, or you have no access: check owner, name and revision, and log in "
            "with `hf auth login` if it is private"
        ) from None
    except Exception as error:  # the hub's client passes on exceptions of its HTTP library
        reason = f"{variable} is set" if variable else first_line(error.__cause__ or error)
        raise BundleError(
            f"{place} is not in the hub's cache and cannot be downloaded ({reason}): go online and try again"
        ) from None


def verify(place: Place, folder: Path) -> None:
    """Raises BundleError unless the files of a bundle are in `folder` with the checksums that they were published with.
    A file in the cache that has another is removed, so that the next attempt downloads it again."""
    missing = [name for name in (SUMS, *FILES) if not (folder / name).is_file()]
    if missing:
        raise BundleError(
            f"{place} is no run that skipway published ({missing[0]} is missing): weights alone are used with "
            "--pretrained, or made a run of with `skipway weights bundle`"
        )
    sums = (folder / SUMS).read_text(errors="replace").splitlines()
    for name in FILES:
        if f"{sha256(folder / name)}  {name}" not in sums:
            content = (folder / name).resolve()
            content.unlink()
            (folder / name).unlink(missing_ok=True)
            raise BundleError(
                f"{place}: {name} does not have the checksum in its {SUMS}: it was removed from the cache; try again, "
                "and if that does not help, tell the owner"
            )
