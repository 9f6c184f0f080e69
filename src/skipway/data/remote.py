"""Images at addresses, https://... or s3://..., through fsspec: the extra `remote`.

Each is read when it is needed, and tried again after a fault of the network. With SKIPWAY_REMOTE_CACHE=FOLDER what was
read is kept there. Messages and names of images leave out what may be a secret in an address: user, password and query.
Access to a bucket is configured as for every program that uses it, by AWS_ACCESS_KEY_ID, AWS_PROFILE and so on.
"""

import hashlib
import os
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from skipway.data.decode import MAX_FILE_SIZE
from skipway.download import offline
from skipway.errors import DataError

SCHEMES = ("http://", "https://", "s3://")
INSTALL = "pip install 'skipway[remote]'"
CACHE = "SKIPWAY_REMOTE_CACHE"
TRIES, PAUSE = 3, 0.5  # seconds before the second try, doubled before the third
STATUSES = {
    401: "needs a login: check the credentials",
    403: "may not be read: check the credentials",
    404: "does not exist: correct the address",
}


def is_remote(path: str) -> bool:
    """Whether a path is an address."""
    return path.lower().startswith(SCHEMES)


def shown(address: str) -> str:
    """An address without user, password, query and fragment; of one that cannot be read as such, its beginning."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return f"{address.partition('://')[0]}://..."
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@dataclass(frozen=True)
class Locations:
    """The content of images by index: of addresses, and of files among them. Usable in threads and other processes."""

    places: tuple[str | Path, ...]

    def __call__(self, index: int) -> bytes:
        """Raises DataError, naming the image, for one that cannot be read."""
        place = self.places[index]
        if isinstance(place, str):
            return read_remote(place)
        try:
            return place.read_bytes()
        except OSError as fault:
            raise DataError(f"{place} cannot be read ({fault.strerror}): check it") from None


def read_remote(address: str) -> bytes:
    """The content at an address, from the cache where that is asked for. Raises DataError."""
    folder = os.environ.get(CACHE)
    if not folder:
        return fetched(address)
    kept = Path(folder) / hashlib.sha256(address.encode(errors="surrogateescape")).hexdigest()
    try:
        if kept.is_file():
            return kept.read_bytes()
        content = fetched(address)
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_name(f"{kept.name}.{os.getpid()}.{time.monotonic_ns()}")
        part.write_bytes(content)
        part.replace(kept)
    except OSError as fault:
        raise DataError(f"{folder} ({CACHE}) cannot be used ({fault.strerror}): choose another folder") from None
    return content


def fetched(address: str) -> bytes:
    """The content at an address, in at most TRIES tries. Raises DataError."""
    name = shown(address)
    if variable := offline():
        raise DataError(f"{name} is not fetched, since {variable} is set: unset it, or use files that are here")
    require_library(address, name)
    for left in reversed(range(TRIES)):
        try:
            return content_at(address, name)
        except DataError:
            raise
        except Exception as fault:  # each library behind fsspec has its own
            why = final(fault)
            if why or not left:
                reached = f"cannot be reached ({type(fault).__name__}): check the network and the address"
                raise DataError(f"{name} {why or reached}") from None
            time.sleep(PAUSE * 2 ** (TRIES - 1 - left))
    raise AssertionError("unreachable")


def require_library(address: str, name: str) -> None:
    """Raises DataError without fsspec, or what it needs for this address."""
    own = "s3fs" if address.lower().startswith("s3:") else "aiohttp"
    if not (find_spec("fsspec") and find_spec(own)):
        raise DataError(f"{name} is an address, and what reads it is not installed: {INSTALL}")


def content_at(address: str, name: str) -> bytes:
    """Raises DataError for more than MAX_FILE_SIZE bytes, and what the libraries raise."""
    from fsspec.core import url_to_fs

    system, path = url_to_fs(address)
    content: bytes = system.cat_file(path, start=0, end=MAX_FILE_SIZE + 1)
    if len(content) > MAX_FILE_SIZE:
        raise DataError(f"{name} has more than {MAX_FILE_SIZE:,} bytes: make it smaller")
    return content


def final(fault: Exception) -> str:
    """What is wrong where another try would not help; empty for a fault of the network or the server."""
    status = getattr(fault, "status", None)
    if isinstance(fault, FileNotFoundError):
        status = 404
    elif isinstance(fault, PermissionError) or type(fault).__name__ == "NoCredentialsError":
        status = 403
    return STATUSES.get(status, "") if isinstance(status, int) else ""
