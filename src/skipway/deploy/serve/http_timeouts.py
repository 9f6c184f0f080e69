"""HTTP/1.1 as uvicorn speaks it, with four things more: a request's head must come in time, and an answer be taken in
time; there is a bound on connections; and one that is closed because the server ends is first heard out.
"""

import asyncio
import sys
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from skipway.deploy.serve.limits import WRITE_BYTES, Limits

LAST_WORDS = 0.5  # seconds in which a request that is on its way still arrives when the server ends
ACCEPTS = 8  # connections taken in one turn of the event loop
ON_THEIR_WAY = 5 * ACCEPTS  # connections accepted and not yet known to the protocol, or cut and not yet closed
OTHER_FILES = 64  # that a process needs besides its connections
UNLIMITED = 10_000  # connections where the system does not bound files
FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
    b"Content-Type: application/json\r\nContent-Length: 59\r\n\r\n"
    b'{"detail":"the server has as many connections as it takes"}'
)


def connections_allowed() -> int:
    """How many connections this process may have open, by the files that the system allows it; 8 at least."""
    if sys.platform == "win32":
        return UNLIMITED
    import resource

    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return UNLIMITED if files == resource.RLIM_INFINITY else max(8, min(UNLIMITED, files - OTHER_FILES - ON_THEIR_WAY))


class HeaderTimeoutProtocol(H11Protocol):
    """Closes when, without a request at work, what was begun is not whole in time: a head, or a refused body; and when
    an answer is not taken. Where there are too many connections, the one that has been idle for longest makes room."""

    head_seconds: ClassVar[float]
    write_seconds: ClassVar[float]
    most: ClassVar[int]
    ending: ClassVar[bool] = False  # whether the server is: said of all connections, also those that are yet to be made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.impatience: asyncio.TimerHandle | None = None
        self.taking: asyncio.TimerHandle | None = None
        self.untaken = 0  # bytes of answers when `taking` began
        self.idle_since = self.loop.time()

    def at_work(self) -> bool:
        """Whether a request is being read or answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most and not self.made_room():
            transport.write(FULL)
            transport.close()
            self.wait_for_taker()
            return
        self.wait()
        if self.ending:  # accepted before, made after uvicorn has called `shutdown` on all that there were
            self.shutdown()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.flow.write_paused:
            self.taken()  # who asks again has had the answer
        if not self.at_work():
            self.wait()
            return
        self.wait_no_more()
        if self.ending:
            self.end_with_this()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.wait_no_more()
        self.taken()

    def made_room(self) -> bool:
        """Whether there are no more connections than may be, also by cutting the one that has been idle for longest."""
        others = [other for other in self.connections if other is not self and not other.transport.is_closing()]
        if len(others) < self.most:
            return True
        idle = [other for other in others if not other.at_work()]  # type: ignore[union-attr]
        if idle:
            min(idle, key=lambda other: other.idle_since).transport.abort()  # type: ignore[union-attr]
        return bool(idle)

    def on_response_complete(self) -> None:
        self.idle_since = self.loop.time()
        super().on_response_complete()
        self.wait_for_taker()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.wait_for_taker()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.taken()

    def taken(self) -> None:
        if self.taking is not None:
            self.taking.cancel()
            self.taking = None

    def wait_for_taker(self) -> None:
        """Look again later when part of an answer has not been taken."""
        left = self.transport.get_write_buffer_size()
        if left and self.taking is None:
            self.untaken = left
            self.taking = self.loop.call_later(self.write_seconds, self.abort_if_not_taken)

    def abort_if_not_taken(self) -> None:
        self.taking = None
        if 0 < self.transport.get_write_buffer_size() > self.untaken - WRITE_BYTES:
            self.transport.abort()
        else:
            self.wait_for_taker()

    def wait(self) -> None:
        if self.impatience is None and not self.transport.is_closing():
            self.impatience = self.loop.call_later(self.head_seconds, self.close_if_idle)

    def wait_no_more(self) -> None:
        if self.impatience is not None:
            self.impatience.cancel()
            self.impatience = None

    def shutdown(self) -> None:
        """Called by uvicorn when the server ends and its listeners are closed."""
        if self.at_work():
            self.end_with_this()
        else:
            self.loop.call_later(LAST_WORDS, self.close_if_idle)

    def end_with_this(self) -> None:
        """Close after the answer that is being made, and say so in it: uvicorn would close without a word."""
        if not self.cycle.keep_alive:
            return
        self.cycle.keep_alive = False
        self.cycle.default_headers = [*self.cycle.default_headers, (b"connection", b"close")]

    def close_if_idle(self) -> None:
        self.impatience = None
        if not self.at_work() and not self.transport.is_closing():
            self.transport.close()


def protocol_of(limits: Limits) -> type[HeaderTimeoutProtocol]:
    """One server's protocol class, of which uvicorn makes one object a connection."""
    most = limits.connections or connections_allowed()
    fields = {"head_seconds": limits.head_seconds, "write_seconds": limits.write_seconds, "most": most}
    return type("LimitedProtocol", (HeaderTimeoutProtocol,), fields)
