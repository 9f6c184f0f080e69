"""Download published weights: announced, cached, resumable, and verified each time they are used."""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from skipway.download import Notice, announce, cache_folder, digest, fetch, matches, offline, reachable
from skipway.errors import SkipwayError, first_line
from skipway.models.pretrained import embedded
from skipway.models.pretrained.registry import Weights

METADATA_SECONDS = 10.0  # timeout for a file's size, as in the hub's own client


class Place(NamedTuple):
    """A file in a repository on the hub; `revision` is a branch, tag or commit, None for the latest."""

    repository: str
    file: str
    revision: str | None

    def __str__(self) -> str:
        return f"hf:{self.repository}{f'@{self.revision}' if self.revision else ''}/{self.file}"


def parse(text: str) -> Place:
    """`hf:owner/repository[@revision][/file]`; the file is model.safetensors unless given. Raises SkipwayError."""
    found = re.fullmatch(r"hf:([^/@\s]+/[^/@\s]+)(?:@([^/\s]+))?(?:/(\S+))?", text)
    if not found:
        raise SkipwayError(f"{text} is not a valid hub name: write hf:owner/repository or hf:owner/repository/file")
    repository, revision, file = found.groups()
    file = file or "model.safetensors"
    if not file.endswith(".safetensors"):
        raise SkipwayError(f"{text} is not a safetensors file: only such files are loaded from the hub")
    return Place(repository, file, revision)


def cached(place: Place, revision: str | None = None) -> Path | None:
    """The file of `place` (at commit `revision`, if given) in the hub's cache; None if it is not cached."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(place.repository, place.file, revision=revision or place.revision)
    return Path(found) if isinstance(found, str) else None


def download(place: Place, notice: Notice) -> Path:
    """The latest file of `place`, announced before it is downloaded; the cached one if the server is unreachable.

    Raises what the hub's client raises.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    local = cached(place)
    if local and not reachable(constants.ENDPOINT):
        return local
    url = hf_hub_url(place.repository, place.file, revision=place.revision)
    try:
        metadata = get_hf_file_metadata(url, timeout=METADATA_SECONDS)
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError):
        raise
    except Exception:  # as in `fetch_place`
        if local:
            return local
        raise
    if not cached(place, metadata.commit_hash):
        megabytes = metadata.size / 2**20 if metadata.size else notice.megabytes
        announce(Notice(notice.what, megabytes, notice.terms), url, Path(constants.HF_HUB_CACHE))
    return Path(hf_hub_download(place.repository, place.file, revision=place.revision))


def fetch_place(place: Place, notice: Notice | None = None) -> Path:
    """The file of `place`, in the hub's cache, shared with other programs. Raises SkipwayError in one line."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        if variable := offline():
            # hf_hub_download contacts the server even with local_files_only
            local = cached(place)
            if local is None:
                raise SkipwayError(
                    f"{place} is not in the hub's cache and {variable} is set: unset it to download, or give a file"
                )
            file = local
        else:
            file = download(place, notice or Notice(str(place), None, "licence: see its page"))
    except SkipwayError:
        raise
    except LocalEntryNotFoundError as error:
        reason = first_line(error.__cause__ or error)
        raise SkipwayError(
            f"{place} is not in the hub's cache and cannot be downloaded ({reason}): go online and try again"
        ) from None
    except GatedRepoError:
        raise SkipwayError(
            f"{place} requires you to accept its terms: accept them on its page, then log in to the hub"
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError, HFValidationError):
        raise SkipwayError(
            f"{place} does not exist on the hub, or you have no access: check owner, repository, revision and file"
        ) from None
    except Exception as error:  # the hub's client passes on exceptions of its HTTP library
        raise SkipwayError(
            f"cannot download {place} ({first_line(error)}): check the connection and try again (the download resumes)"
        ) from None
    require_content(file, str(place))
    return file


def require_content(file: Path, where: str) -> None:
    """Remove a file in the hub's cache and raise SkipwayError if its checksum is wrong.

    The cache names contents by checksum: SHA-256 for large files, git's SHA-1 of header and content for small ones.
    """
    content = file.resolve()
    expected = content.name
    if re.fullmatch(r"[0-9a-f]{64}", expected):
        correct = digest(content, "sha256") == expected
    elif re.fullmatch(r"[0-9a-f]{40}", expected):
        data = content.read_bytes()
        correct = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest() == expected
    else:
        raise SkipwayError(f"{file} cannot be verified: the hub's cache has no checksum for it on this system")
    if not correct:
        content.unlink()
        file.unlink(missing_ok=True)
        raise SkipwayError(f"{where} does not have the checksum {expected}: the file was removed; download it again")


def fetch_named(weights: Weights) -> Path:
    """The file of registered weights, downloaded once and verified each time. Raises SkipwayError in one line."""
    notice = Notice(f"{weights.name} weights", weights.megabytes, weights.terms())
    if weights.url.startswith("hf:"):
        return fetch_place(parse(weights.url), notice)
    if not weights.url:
        return packaged(weights)
    file = fetch(weights.url, local_path(weights), weights.checksum, notice)
    if not matches(file, weights.checksum):
        file.unlink()
        raise SkipwayError(f"{file} does not have the checksum {weights.checksum}: it was removed; download it again")
    return file


def packaged(weights: Weights) -> Path:
    """The file of the weights in the package. Raises SkipwayError if it is missing or changed."""
    file = embedded.file()
    if not file.is_file() or not matches(file, weights.checksum):
        raise SkipwayError(f"{file} is missing or changed: install skipway again")
    return file


def local_path(weights: Weights) -> Path:
    """Where the file of registered weights that are not on the hub is stored."""
    if not weights.url:
        return embedded.file()
    return cache_folder() / "weights" / weights.url.rsplit("/", 1)[1]


def is_cached(weights: Weights) -> bool:
    """Whether the file of registered weights is on this machine."""
    if weights.url.startswith("hf:"):
        return cached(parse(weights.url)) is not None
    return local_path(weights).is_file()


def host_of(weights: Weights | None) -> str:
    """An address on the host of registered weights; the hub's for None."""
    from huggingface_hub import constants

    return constants.ENDPOINT if weights is None or weights.url.startswith("hf:") else weights.url
