"""Files of weights from where they are published: cached, resumed, checked whole each time they are used."""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from skipway.download import cache_folder, digest, fetch, matches, offline
from skipway.errors import SkipwayError, first_line
from skipway.models.catalogue import Weights


class Place(NamedTuple):
    """A file in a repository on the hub; `revision` is a branch, tag or commit, None for the newest."""

    repository: str
    file: str
    revision: str | None


def parse(text: str) -> Place:
    """`hf:owner/repository[@revision][/file]`; the file is model.safetensors unless given. Raises SkipwayError."""
    found = re.fullmatch(r"hf:([^/@\s]+/[^/@\s]+)(?:@([^/\s]+))?(?:/(\S+))?", text)
    if not found:
        raise SkipwayError(f"{text} is no place on the hub: write hf:owner/repository or hf:owner/repository/file")
    repository, revision, file = found.groups()
    file = file or "model.safetensors"
    if not file.endswith(".safetensors"):
        raise SkipwayError(f"{text} is not in safetensors: only such files are taken from the hub")
    return Place(repository, file, revision)


def fetch_place(place: Place) -> Path:
    """The file of `place`, in the hub's own cache, which other programs share. Raises SkipwayError in one line."""
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"hf:{place.repository}{f'@{place.revision}' if place.revision else ''}/{place.file}"
    try:
        if variable := offline():
            # hf_hub_download asks its server for something else even where it may use local files alone
            cached = try_to_load_from_cache(place.repository, place.file, revision=place.revision)
            if not isinstance(cached, str):
                raise SkipwayError(
                    f"{where} is not in the hub's cache and {variable} is set: unset it to download, or give a file"
                )
            file = Path(cached)
        else:
            file = Path(hf_hub_download(place.repository, place.file, revision=place.revision))
    except SkipwayError:
        raise
    except LocalEntryNotFoundError as fault:
        reason = first_line(fault.__cause__ or fault)
        raise SkipwayError(
            f"{where} is neither in the hub's cache nor within reach ({reason}): go online and try again"
        ) from None
    except GatedRepoError:
        raise SkipwayError(
            f"{where} asks for its terms to be accepted: do so on its page, then log in to the hub"
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError, HFValidationError):
        raise SkipwayError(
            f"{where} does not exist on the hub, or is not open to you: check owner, repository, revision and file"
        ) from None
    except Exception as fault:  # the hub's client raises what its own client for HTTP does, whichever that is
        raise SkipwayError(
            f"cannot download {where} ({first_line(fault)}): try again (it continues where it stopped)"
        ) from None
    require_content(file, where)
    return file


def require_content(file: Path, where: str) -> None:
    """Raises SkipwayError, after removing it, when a file of the hub's cache has another checksum than the hub named.

    The cache names a content by it: SHA-256 for large files, git's SHA-1 of header and content for small ones.
    """
    content = file.resolve()
    named = content.name
    if re.fullmatch(r"[0-9a-f]{64}", named):
        right = digest(content, "sha256") == named
    elif re.fullmatch(r"[0-9a-f]{40}", named):
        data = content.read_bytes()
        right = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == named
    else:
        raise SkipwayError(f"{file} cannot be checked: the hub's cache keeps no checksum for it on this system")
    if not right:
        content.unlink()
        file.unlink(missing_ok=True)
        raise SkipwayError(f"{where} has another checksum than {named}: the file was removed; fetch it again")


def fetch_named(weights: Weights) -> Path:
    """The file of named weights, downloaded once and checked whole each time. Raises SkipwayError in one line."""
    if weights.url.startswith("hf:"):
        return fetch_place(parse(weights.url))
    file = fetch(weights.url, place_of(weights), weights.checksum)
    if not matches(file, weights.checksum):
        file.unlink()
        raise SkipwayError(f"{file} had another checksum than {weights.checksum}: it was removed; fetch it again")
    return file


def place_of(weights: Weights) -> Path:
    """Where the file of named weights that are not on the hub is kept."""
    return cache_folder() / "weights" / weights.url.rsplit("/", 1)[1]
