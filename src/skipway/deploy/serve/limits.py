"""How much of everything a request may take, and how a request that takes more is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

JSON_BYTES = 1 << 16  # of a body that asks for images: far more than any needs
WRITE_BYTES = 16 << 10
DECODED_BYTES = 32  # of a pixel, in all the copies that turning, blending and converting colours need at once
READER_BYTES = 256 << 20  # of an image's reader, besides its pixels


@dataclass(frozen=True)
class Limits:
    """What one server process takes on. All are upper bounds; times are in seconds.

    body_bytes: a request's body; held_bytes: all bodies at hand together; images: in one request; pixels, frames,
    scans (of a progressive JPEG): of one image; scanned: pixels of all its scans together. head_seconds, body_seconds:
    for a request's head and body to arrive; write_seconds: in which a client must take WRITE_BYTES of its answer;
    latency: from a body's last byte to its answer, beyond which a request is refused rather than kept waiting, and the
    longest that a process may decode an image; answer_seconds: after which an answer is given up; grace: from the
    signal to end to the end. connections: open at once (None: by the files that the process may open). queue: images
    accepted and not yet answered; batch: images that the network takes at once (None: as many as its engine likes);
    patience: for a batch to fill (None: as long as a batch takes, so that waiting never costs more than going alone).

    Of a generator: generated: images of one request; evaluations: of the network, for all of them; generation_seconds:
    for all of them to be drawn, and for a request's turn to come.

    Memory of a process besides its network, at most: 4 x held_bytes for bodies, as they are joined, parsed and copied;
    DECODED_BYTES for each of 16 million pixels in each decoding thread; `decode_memory` of `pixels` in each decoding
    process, which the kernel enforces; and for each image of the queue its input to the network.
    """

    body_bytes: int = 20 << 20
    held_bytes: int = 256 << 20
    images: int = 16
    pixels: int = 40_000_000
    frames: int = 500
    scans: int = 64
    scanned: int = 640_000_000  # 16 scans of 40 million pixels; progressive photographs have some 10
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    write_seconds: float = 10.0
    latency: float = 2.0
    answer_seconds: float = 60.0
    grace: float = 25.0
    connections: int | None = None
    queue: int = 256
    batch: int | None = None
    patience: float | None = None
    generated: int = 64
    evaluations: int = 10_000
    generation_seconds: float = 120.0


class RefusedError(Exception):
    """A request that gets no answer, for a reason that its sender can read: HTTP status and one sentence."""

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = headers or {}


def decode_memory(pixels: int) -> int:
    """Bytes that decoding an image of so many pixels may take."""
    return READER_BYTES + DECODED_BYTES * pixels


def busy(seconds: float) -> RefusedError:
    """429 for a request that would wait too long; `seconds` until it is worth asking again."""
    wait = max(1, min(60, round(seconds + 0.5)))
    return RefusedError(
        429, "the server has as much to do as it can answer in time: ask again later", {"Retry-After": f"{wait}"}
    )


class Held:
    """Bytes of bodies that a process keeps in memory, all requests together."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.now = 0

    @contextmanager
    def share(self) -> Iterator["Share"]:
        """One request's part, given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            self.now -= share.bytes


class Share:
    """What one request holds of `Held`."""

    def __init__(self, held: Held) -> None:
        self.held = held
        self.bytes = 0

    def take(self, count: int) -> None:
        """Hold `count` bytes more. Raises RefusedError (429) when all requests together would hold too many."""
        if self.held.now + count > self.held.most:
            raise busy(1.0)
        self.held.now += count
        self.bytes += count
