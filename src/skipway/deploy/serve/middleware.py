"""Around every answer: headers that keep browsers from doing more than is meant, counting, the API key, and who may ask
a server that is this machine's alone.
"""

import ipaddress
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from skipway.deploy.serve.limits import RefusedError
from skipway.deploy.serve.metrics import Metrics

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
KEEP = "no-store"  # answers are about somebody's images: no cache keeps them

Check = Callable[..., Awaitable[None]]


class RequestMiddleware:
    """An application with HEADERS on every answer and every request counted. local: requests that a page from elsewhere
    made a browser send are refused."""

    def __init__(self, app: ASGIApp, metrics: Metrics, local: bool = False) -> None:
        self.app, self.metrics, self.local = app, metrics, local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", KEEP)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        reason = stranger(Headers(scope=scope)) if self.local else ""
        app = JSONResponse({"detail": reason}, 403) if reason else self.app
        try:
            await app(scope, receive, guarded)
        finally:
            path = getattr(scope.get("route"), "path", "other")  # never what was sent: paths without end are no labels
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - start)


def stranger(headers: Headers) -> str:
    """Why a request is not answered by a server that is this machine's alone; empty where it is.

    A page can have its own name resolve to this machine (DNS rebinding), which then stands in Host, or send a form to
    it, which Origin tells. An address cannot be another's name.
    """
    sent, origin = headers.get("host", ""), headers.get("origin")
    if not is_local(sent):
        return "this server is for this machine alone, and Host is no name of it: ask for localhost, or set an API key"
    if origin is not None and origin.partition("//")[2] != sent:
        return "this server is for this machine alone, and Origin is another page's: ask from its own page"
    return ""


def is_local(host: str) -> bool:
    """Whether the field Host of a request is localhost or an address, with or without a port."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def key_check(key: str) -> Check:
    """A dependency that raises RefusedError (401) for a request without `key`, in X-API-Key or as a bearer token."""
    in_header = APIKeyHeader(name="X-API-Key", auto_error=False)
    as_bearer = HTTPBearer(auto_error=False)

    async def check(
        sent: Annotated[str | None, Security(in_header)] = None,
        token: Annotated[HTTPAuthorizationCredentials | None, Security(as_bearer)] = None,
    ) -> None:
        given = [sent or "", token.credentials if token else ""]
        if not any([secrets.compare_digest(one.encode(), key.encode()) for one in given]):  # noqa: C419 - all are compared
            raise RefusedError(
                401, "the API key is missing or wrong: send it as X-API-Key", {"WWW-Authenticate": "Bearer"}
            )

    return check
