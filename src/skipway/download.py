"""Download a file over HTTP: announced, resumable, verified by its checksum before it gets its final name."""

import hashlib
import http.client
import os
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from skipway.errors import SkipwayError

CHUNK = 1 << 18  # bytes
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
        return hashlib.file_digest(stream, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


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
    except (OSError, http.client.HTTPException, ValueError):
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
    `matches` the checksum. Raises SkipwayError when offline or when the checksum differs.
    """
    if file.exists():
        return file
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
    received = part.stat().st_size if part.exists() else 0
    announce(notice or Notice(file.name), url, file.parent)
    request = urllib.request.Request(url, headers={"Range": f"bytes={received}-"} if received else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            resumed = response.status == 206
            receive(response, part, received if resumed else 0, file.name)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: nothing is left to send, so the part may be complete
            message = f"{url} responded with HTTP {error.code}: try again later, or put the file at {file}"
            raise SkipwayError(message) from None
    except (OSError, http.client.HTTPException) as error:  # of the network, or of a full or read-only disk
        reason = getattr(error, "reason", error)
        raise SkipwayError(
            f"cannot download {url} ({reason}): check the connection and try again (the download resumes), or put the "
            f"file at {file}"
        ) from None
    if not matches(part, checksum):
        part.unlink()
        raise SkipwayError(f"the file from {url} does not have the checksum {checksum}: it was removed; try again")
    part.replace(file)
    return file


def receive(response: "urllib.request._UrlopenRet", part: Path, received: int, name: str) -> None:
    """Append `response` to the first `received` bytes of `part`. Raises ConnectionError if it ends early."""
    left = response.headers.get("Content-Length")
    total = received + int(left) if left else None
    layout = (TextColumn(name), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with (
        part.open("ab" if received else "wb") as stream,
        Progress(*layout, console=Console(stderr=True), transient=True) as progress,
    ):
        bar = progress.add_task(name, total=total, completed=received)
        while chunk := response.read(CHUNK):
            stream.write(chunk)
            progress.advance(bar, len(chunk))
        if total is not None and stream.tell() < total:
            raise ConnectionError(f"the connection ended after {stream.tell()} of {total} bytes")
