"""How much of everything a request may take, and how a request that takes more is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

JSON_BYTES = 1 << 16  # of a body that asks for images: far more than any needs


@dataclass(frozen=True)
class Limits:
    """What one server process takes on. All are upper bounds; times are in seconds.

    body_bytes: a request's body; held_bytes: all bodies at hand together; images: in one request; pixels, frames,
    scans (of a progressive JPEG): of one image. head_seconds, body_seconds: for a request's head and body to arrive;
    latency: from a body's last byte to its answer, beyond which a request is refused rather than kept waiting;
    answer_seconds: after which an answer is given up. queue: images accepted and not yet answered; batch: images
    that the network takes at once (None: as many as its engine likes); patience: for a batch to fill (None: as long as
    a batch takes, so that waiting never costs more than going alone).

    Of a generator: generated: images of one request; evaluations: of the network, for all of them; generation_seconds:
    for all of them to be drawn, and for a request's turn to come.
    """

    body_bytes: int = 20 << 20
    held_bytes: int = 256 << 20
    images: int = 16
    pixels: int = 40_000_000
    frames: int = 500
    scans: int = 64
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    latency: float = 2.0
    answer_seconds: float = 60.0
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
