"""HTTP/1.1 as uvicorn speaks it, with two things more: a request's head must come in time, and a connection that is
closed because the server ends is first heard out.
"""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

LAST_WORDS = 0.5  # seconds in which a request that is on its way still arrives when the server ends


class HeaderTimeoutProtocol(H11Protocol):
    """Closes when, without a request at work, what was begun is not whole in time: a head, or a refused body."""

    head_seconds: ClassVar[float]
    ending: ClassVar[bool] = False  # whether the server is: said of all connections, also those that are yet to be made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.impatience: asyncio.TimerHandle | None = None

    def at_work(self) -> bool:
        """Whether a request is being read or answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.wait()
        if self.ending:  # accepted before, made after uvicorn has called `shutdown` on all that there were
            self.shutdown()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.at_work():
            self.wait()
            return
        self.wait_no_more()
        if self.ending:
            self.end_with_this()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.wait_no_more()

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


def header_timeout_protocol(head_seconds: float) -> type[HeaderTimeoutProtocol]:
    """One server's protocol class, of which uvicorn makes one object a connection, for heads that take so long."""
    return type("Punctual", (HeaderTimeoutProtocol,), {"head_seconds": head_seconds})
