"""What becomes of those who connect in the very moment in which the server ends."""

import asyncio
import socket
from typing import Any

import pytest
import uvicorn

from skipway.deploy.serve.http_timeouts import protocol_of
from skipway.deploy.serve.limits import Limits
from skipway.deploy.serve.server import listener, server


async def app(_: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def asked_again_and_again(client: socket.socket) -> list[bytes]:
    """The heads of all answers to one who asks until the connection is closed."""
    reader, writer = await asyncio.open_connection(sock=client)
    heads = []
    try:
        while True:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            await reader.readexactly(2)
    except (OSError, asyncio.IncompleteReadError):
        return heads
    finally:
        writer.close()


@pytest.mark.parametrize("turns", range(6))
def test_who_connects_as_the_server_ends_is_answered_and_told_so(turns: int) -> None:
    config = uvicorn.Config(
        app, http=protocol_of(Limits(head_seconds=5.0)), lifespan="off", log_level="error", timeout_graceful_shutdown=3
    )

    async def life() -> list[bytes]:
        with listener("127.0.0.1", 0) as bound:
            bound.listen()
            ending = server(config)
            clients = []

            async def main_loop() -> None:
                client = socket.create_connection(bound.getsockname())
                clients.append(asyncio.create_task(asked_again_and_again(client)))
                for _ in range(turns):  # of the event loop, in which the connection is accepted step by step
                    await asyncio.sleep(0)

            ending.main_loop = main_loop  # type: ignore[method-assign]
            await ending.serve([bound])
            return await asyncio.wait_for(clients[0], 10)

    heads = asyncio.run(life())
    assert all(head.startswith(b"HTTP/1.1 200") for head in heads)
    assert b"connection: close" in heads[-1]
