"""Around every answer: headers that keep browsers from doing more than is meant, counting, and the API key."""

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import MutableHeaders
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
    """An application with HEADERS on every answer and every request counted."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

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

        try:
            await self.app(scope, receive, guarded)
        finally:
            path = getattr(scope.get("route"), "path", "other")  # never what was sent: paths without end are no labels
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - start)


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
