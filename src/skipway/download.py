"""Download a file over HTTP: announced, resumable, verified by its checksum before it gets its final name."""

import errno
import hashlib
import http.client
import os
import stat
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from skipway.errors import SkipwayError, printable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

CHUNK = 1 << 18  # bytes
# of a file that is opened: neither through a link nor as a pipe; on Windows, which has no such flags, as bytes
OWN_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
REACHABLE_TIMEOUT = 3.0  # seconds to wait for the response that decides whether a host is reachable
PROXY_ERRORS = (407, 502, 503, 504)  # status codes that a proxy sends when it cannot reach the host


@dataclass(frozen=True)
class Notice:
    """What is printed before a download: its name, its size in megabytes of 2^20 bytes if known, and its licence and
    terms."""

    what: str
    megabytes: float | None = None
    terms: str = ""


def cache_folder() -> Path:
    """Where downloads are stored: $SKIPWAY_CACHE, or `skipway` in the user's cache folder."""
    if own := os.environ.get("SKIPWAY_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "skipway"


def offline() -> str | None:
    """The environment variable that turns the network off (SKIPWAY_OFFLINE or HF_HUB_OFFLINE); None if none is set."""
    variables = ("SKIPWAY_OFFLINE", "HF_HUB_OFFLINE")
    return next((v for v in variables if os.environ.get(v, "").lower() in ("1", "true", "yes", "on")), None)


def digest(file: Path, kind: str) -> str:
    """The checksum of a file, in hexadecimal; `kind` is md5 or sha256."""
    with file.open("rb") as stream:
        return file_digest(stream, kind)


def file_digest(stream: BinaryIO, kind: str) -> str:
    return hashlib.file_digest(stream, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()  # type: ignore[arg-type]


def matches(file: Path, checksum: str) -> bool:
    """Whether a file has `checksum`: "md5:..." or "sha256:..."; the leading digits are enough."""
    kind, digits = checksum.split(":")
    return digest(file, kind).startswith(digits)


def reachable(url: str) -> bool:
    """Whether the host of `url` responds within REACHABLE_TIMEOUT; asked once per process. False when offline."""
    parts = urlsplit(url)
    return offline() is None and host_responds(f"{parts.scheme}://{parts.netloc}/")


@cache
def host_responds(address: str) -> bool:
    """Whether a server at `address`, or the proxy for it, responds within REACHABLE_TIMEOUT."""
    responses: list[bool] = []
    # In a thread, because resolving a host name has no timeout
    thread = threading.Thread(target=lambda: responses.append(send_head(address)), daemon=True)
    thread.start()
    thread.join(REACHABLE_TIMEOUT)
    return responses == [True]


def send_head(address: str) -> bool:
    """Whether a HEAD request to `address` gets a response; an HTTP error from the server itself counts as one."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=REACHABLE_TIMEOUT):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return error.code not in PROXY_ERRORS
    except (OSError, http.client.HTTPException, ValueError, OverflowError):
        return False


def announce(notice: Notice, url: str, folder: Path) -> None:
    """Print one line to standard error on what is about to be downloaded from `url` into `folder`."""
    size = f"{notice.megabytes:.1f} MB " if notice.megabytes else ""
    terms = f", {notice.terms}" if notice.terms else ""
    home = Path.home()
    place = Path("~") / folder.relative_to(home) if folder.is_relative_to(home) else folder
    Console(stderr=True, highlight=False).print(
        f"downloading {notice.what}: {size}from {urlsplit(url).hostname}{terms}; once, to {place}",
        soft_wrap=True,
        markup=False,
    )


def fetch(url: str, file: Path, checksum: str, notice: Notice | None = None) -> Path:
    """Download `url` to `file` unless it exists, after printing `notice` (None: the file's name only); returns `file`.

    An interrupted download is left as `<name>.part` and resumed next time; `file` is created only once the content
    `matches` the checksum. Of several processes one downloads, and the others wait for it. Raises SkipwayError when
    offline, when the checksum differs, and for a server or disk that does not do its part.
    """
    if file.is_file():
        return file
    if file.exists():
        raise SkipwayError(f"{file} is no file, and the file from {url} belongs there: remove it, or rename it")
    if variable := offline():
        raise SkipwayError(
            f"{file} does not exist and {variable} is set: unset it to download {url}, or put the file there"
        )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SkipwayError(
            f"{file.parent} cannot be created ({error.strerror}): set SKIPWAY_CACHE to another folder"
        ) from None
    part = file.with_name(file.name + ".part")
    with locked(part, file) as stream:
        if file.is_file():  # another process has downloaded it meanwhile
            return file
        announce(notice or Notice(file.name), url, file.parent)
        download(url, stream, file)
        stream.seek(0)
        kind, digits = checksum.split(":")
        if not file_digest(stream, kind).startswith(digits):
            part.unlink()
            raise SkipwayError(f"the file from {url} does not have the checksum {checksum}: it was removed; try again")
        try:
            part.replace(file)
        except OSError as error:
            raise SkipwayError(f"{file} cannot be written ({error.strerror}): remove what is there") from None
    return file


@contextmanager
def locked(part: Path, file: Path) -> Iterator[BinaryIO]:
    """`part`, the beginning of `file`, created if it is missing and open for reading and writing; other processes wait
    for it. It is removed where it stays empty. Raises SkipwayError as `open_part`."""
    waited = False
    while True:
        with os.fdopen(open_part(part), "r+b") as stream:
            descriptor = stream.fileno()
            if not try_lock(descriptor, wait=False):
                if not waited:
                    waiting = f"waiting for another process that downloads {file}"
                    Console(stderr=True, highlight=False).print(waiting, soft_wrap=True, markup=False)
                waited = True
                try_lock(descriptor, wait=True)
            if not is_at(part, descriptor) and not file.is_file():
                continue  # the other process has removed it
            try:
                yield stream
            finally:
                if not os.fstat(descriptor).st_size and is_at(part, descriptor):
                    part.unlink()
            return


def open_part(part: Path) -> int:
    """A descriptor of the file `part`. Raises SkipwayError for what is no file of its own: a link names another one,
    which would be written, and a pipe would be waited for."""
    try:
        flags = os.O_RDWR | os.O_CREAT | OWN_FLAGS
        descriptor = os.open(part, flags, 0o644)
    except OSError as error:
        why = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise SkipwayError(
            f"{part} cannot be written ({why}): remove it, or set SKIPWAY_CACHE to another folder"
        ) from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(descriptor)
        raise SkipwayError(f"{part} is no file of its own: remove it, and try again")
    return descriptor


def try_lock(descriptor: int, wait: bool) -> bool:
    """Lock an open file until it is closed; returns whether it is locked. Where the file system or the system has no
    such locks, it is taken to be."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        return error.errno not in (errno.EACCES, errno.EAGAIN)
    return True


def is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is still the one at `path`."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except OSError:
        return False


def download(url: str, stream: BinaryIO, file: Path) -> None:
    """Append what is missing in `stream`, the beginning of the file from `url`, which `file` will be.

    Raises SkipwayError where that fails.
    """
    received = stream.seek(0, os.SEEK_END)
    request = urllib.request.Request(url, headers={"Range": f"bytes={received}-"} if received else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            if response.status != 206:
                received = stream.seek(0)
                stream.truncate()
            receive(response, stream, received, file.name)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and received:  # nothing is left to send, so the part may be complete
            return
        raise SkipwayError(
            f"{url} responded with HTTP {error.code}: try again later, or put the file at {file}"
        ) from None
    # of the network, of a full or read-only disk, or of headers that mean nothing, such as a port that is no number
    except (OSError, http.client.HTTPException, ValueError, OverflowError) as error:
        reason = printable(str(getattr(error, "reason", error)))
        raise SkipwayError(
            f"cannot download {url} ({reason}): check the connection and try again (the download resumes), "
            f"or put the file at {file}"
        ) from None


def receive(response: "urllib.request._UrlopenRet", stream: BinaryIO, received: int, name: str) -> None:
    """Append `response` to the first `received` bytes of `stream`. Raises ConnectionError if it ends early, ValueError
    for a length that is no number."""
    left = response.headers.get("Content-Length")
    if left is not None and not (left.isascii() and left.isdigit()):
        raise ValueError("the response has no valid Content-Length")
    total = received + int(left) if left else None
    layout = (TextColumn(name, markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*layout, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(name, total=total, completed=received)
        while chunk := response.read(CHUNK):
            stream.write(chunk)
            progress.advance(bar, len(chunk))
        stream.flush()
        if total is not None and stream.tell() < total:
            raise ConnectionError(f"the connection ended after {stream.tell()} of {total} bytes")
