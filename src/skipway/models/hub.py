"""Files of weights from where they are published: said, cached, resumed, checked whole each time they are used."""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from skipway.download import Notice, announce, cache_folder, digest, fetch, matches, offline, reachable
from skipway.errors import SkipwayError, first_line
from skipway.models import embedded_weights
from skipway.models.catalogue import Weights

METADATA_SECONDS = 10.0  # to wait for a file's size, as the hub's own client waits


class Place(NamedTuple):
    """A file in a repository on the hub; `revision` is a branch, tag or commit, None for the newest."""

    repository: str
    file: str
    revision: str | None

    def __str__(self) -> str:
        return f"hf:{self.repository}{f'@{self.revision}' if self.revision else ''}/{self.file}"


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


def cached(place: Place, revision: str | None = None) -> Path | None:
    """The file of `place` (of the commit `revision`, where it is given) in the hub's cache; None when not there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(place.repository, place.file, revision=revision or place.revision)
    return Path(found) if isinstance(found, str) else None


def download(place: Place, notice: Notice) -> Path:
    """The newest file of `place`, which is announced before it is downloaded; without a server, the cached one.

    Raises what the hub's client raises.
    """
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    old = cached(place)
    if old and not reachable(constants.ENDPOINT):
        return old
    url = hf_hub_url(place.repository, place.file, revision=place.revision)
    try:
        found = get_hf_file_metadata(url, timeout=METADATA_SECONDS)
    except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError):
        raise
    except Exception:  # as in `fetch_place`
        if old:
            return old
        raise
    if not cached(place, found.commit_hash):
        megabytes = found.size / 2**20 if found.size else notice.megabytes
        announce(Notice(notice.what, megabytes, notice.terms), url, Path(constants.HF_HUB_CACHE))
    return Path(hf_hub_download(place.repository, place.file, revision=place.revision))


def fetch_place(place: Place, notice: Notice | None = None) -> Path:
    """The file of `place`, in the hub's own cache, which other programs share. Raises SkipwayError in one line."""
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
            # hf_hub_download asks its server for something else even where it may use local files alone
            local = cached(place)
            if local is None:
                raise SkipwayError(
                    f"{place} is not in the hub's cache and {variable} is set: unset it to download, or give a file"
                )
            file = local
        else:
            file = download(place, notice or Notice(str(place), None, "licence as its page says"))
    except SkipwayError:
        raise
    except LocalEntryNotFoundError as fault:
        reason = first_line(fault.__cause__ or fault)
        raise SkipwayError(
            f"{place} is neither in the hub's cache nor within reach ({reason}): go online and try again"
        ) from None
    except GatedRepoError:
        raise SkipwayError(
            f"{place} asks for its terms to be accepted: do so on its page, then log in to the hub"
        ) from None
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError, HFValidationError):
        raise SkipwayError(
            f"{place} does not exist on the hub, or is not open to you: check owner, repository, revision and file"
        ) from None
    except Exception as fault:  # the hub's client raises what its own client for HTTP does, whichever that is
        raise SkipwayError(
            f"cannot download {place} ({first_line(fault)}): go online and try again (it continues where it stopped)"
        ) from None
    require_content(file, str(place))
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
    notice = Notice(f"{weights.name} weights", weights.megabytes, weights.terms())
    if weights.url.startswith("hf:"):
        return fetch_place(parse(weights.url), notice)
    if not weights.url:
        return packaged(weights)
    file = fetch(weights.url, place_of(weights), weights.checksum, notice)
    if not matches(file, weights.checksum):
        file.unlink()
        raise SkipwayError(f"{file} had another checksum than {weights.checksum}: it was removed; fetch it again")
    return file


def packaged(weights: Weights) -> Path:
    """The file of the weights in the package. Raises SkipwayError when it was changed."""
    file = embedded_weights.file()
    if not file.is_file() or not matches(file, weights.checksum):
        raise SkipwayError(f"{file} is not as it was packed: install skipway again")
    return file


def place_of(weights: Weights) -> Path:
    """Where the file of named weights that are not on the hub is kept."""
    if not weights.url:
        return embedded_weights.file()
    return cache_folder() / "weights" / weights.url.rsplit("/", 1)[1]


def is_cached(weights: Weights) -> bool:
    """Whether the file of named weights is on this machine."""
    if weights.url.startswith("hf:"):
        return cached(parse(weights.url)) is not None
    return place_of(weights).is_file()


def host_of(weights: Weights | None) -> str:
    """An address on the host that sends named weights; the hub's for None."""
    from huggingface_hub import constants

    return constants.ENDPOINT if weights is None or weights.url.startswith("hf:") else weights.url
