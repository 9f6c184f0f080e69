"""One file over HTTP: announced, resumed where it broke off, checked whole, and named as finished only then."""

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
PATIENCE = 3.0  # seconds to wait for an answer that decides whether a host is reachable
GATEWAY = (407, 502, 503, 504)  # what a proxy answers in the place of a host that it does not reach


@dataclass(frozen=True)
class Notice:
    """What people should know before a download: its name, its size in megabytes of 2^20 bytes where that is known,
    and its licence and terms in words."""

    what: str
    megabytes: float | None = None
    terms: str = ""


def cache_folder() -> Path:
    """Where downloads are kept: $SKIPWAY_CACHE, or skipway's place below the user's cache folder."""
    if own := os.environ.get("SKIPWAY_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "skipway"


def offline() -> str | None:
    """The variable that forbids the network (SKIPWAY_OFFLINE or HF_HUB_OFFLINE); None when nothing does."""
    variables = ("SKIPWAY_OFFLINE", "HF_HUB_OFFLINE")
    return next((v for v in variables if os.environ.get(v, "").lower() in ("1", "true", "yes", "on")), None)


def digest(file: Path, kind: str) -> str:
    """The checksum of a whole file, in hexadecimal; `kind` is md5 or sha256."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def matches(file: Path, checksum: str) -> bool:
    """Whether a whole file has `checksum`: "md5:..." or "sha256:...", of which the leading digits are enough."""
    kind, digits = checksum.split(":")
    return digest(file, kind).startswith(digits)


def reachable(url: str) -> bool:
    """Whether the host of `url` answers within PATIENCE; it is asked once a process. False when offline."""
    parts = urlsplit(url)
    return offline() is None and answers(f"{parts.scheme}://{parts.netloc}/")


@cache
def answers(address: str) -> bool:
    """Whether a server at `address`, or its proxy for it, answers anything within PATIENCE."""
    found: list[bool] = []
    # In a thread, because looking a name up has no limit of time
    asking = threading.Thread(target=lambda: found.append(ask(address)), daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return found == [True]


def ask(address: str) -> bool:
    """Whether anything answers at `address`; a refusal of the server's own is an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PATIENCE):
            return True
    except urllib.error.HTTPError as fault:
        fault.close()
        return fault.code not in GATEWAY
    except (OSError, http.client.HTTPException, ValueError):
        return False


def announce(notice: Notice, url: str, folder: Path) -> None:
    """Say on standard error what is about to be downloaded from `url` into `folder`, in one line."""
    size = f"{notice.megabytes:.1f} MB " if notice.megabytes else ""
    terms = f", {notice.terms}" if notice.terms else ""
    home = Path.home()
    place = Path("~") / folder.relative_to(home) if folder.is_relative_to(home) else folder
    Console(stderr=True, highlight=False).print(
        f"downloads {notice.what}: {size}from {urlsplit(url).hostname}{terms}; once, into {place}",
        soft_wrap=True,
        markup=False,
    )


def fetch(url: str, file: Path, checksum: str, notice: Notice | None = None) -> Path:
    """`file`, downloaded from `url` unless it is there already, with a `notice` before (None: of its name alone).

    A broken download stays beside it as `<name>.part` and is continued next time; the name `file` appears only on
    content that `matches` the checksum. Raises SkipwayError, saying what to do, when offline or when the content is
    another.
    """
    if file.exists():
        return file
    if variable := offline():
        raise SkipwayError(f"{file} is not there and {variable} is set: unset it to download {url}, or place the file")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise SkipwayError(
            f"{file.parent} cannot be made ({fault.strerror}): set SKIPWAY_CACHE to another folder"
        ) from None
    part = file.with_name(file.name + ".part")
    have = part.stat().st_size if part.exists() else 0
    announce(notice or Notice(file.name), url, file.parent)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            resumed = answer.status == 206
            receive(answer, part, have if resumed else 0, file.name)
    except urllib.error.HTTPError as fault:
        if fault.code != 416:  # 416: nothing is left to send, so the part may be whole
            raise SkipwayError(f"{url} answered {fault.code}: try again later, or place the file at {file}") from None
    except (OSError, http.client.HTTPException) as fault:  # the network's, and a disk that is full or forbidden
        reason = getattr(fault, "reason", fault)
        raise SkipwayError(
            f"cannot download {url} ({reason}): go online and try again (it continues where it stopped), or place the "
            f"file at {file}"
        ) from None
    if not matches(part, checksum):
        part.unlink()
        raise SkipwayError(f"{url} sent a file with another checksum than {checksum}: it was removed; try again")
    part.replace(file)
    return file


def receive(answer: "urllib.request._UrlopenRet", part: Path, have: int, name: str) -> None:
    """Append what `answer` sends to the first `have` bytes of `part`. Raises ConnectionError when it breaks off."""
    left = answer.headers.get("Content-Length")
    total = have + int(left) if left else None
    layout = (TextColumn(name), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with (
        part.open("ab" if have else "wb") as stream,
        Progress(*layout, console=Console(stderr=True), transient=True) as progress,
    ):
        bar = progress.add_task(name, total=total, completed=have)
        while chunk := answer.read(CHUNK):
            stream.write(chunk)
            progress.advance(bar, len(chunk))
        if total is not None and stream.tell() < total:
            raise ConnectionError(f"it broke off after {stream.tell()} of {total} bytes")
