"""What stands before every HTTP port: who may ask, by which name, and headers that every answer carries.

A page of another site can reach a port on loopback through a name that it lets point there; so what
listens on loopback only answers to loopback's names.

Source: OWASP, "DNS rebinding" and "HTTP Security Response Headers"; RFC 9110 (421, 429).
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from tracescope.ingest.access import Problem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

#: Names under which a server on loopback may be asked.
LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "[::1]")
#: Headers of every answer that does not say otherwise.
SECURITY: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
#: Why a client with an ``authorization`` header may not ask; None when it may.
Asks = Callable[[str | None, str], Problem | None]
#: Who watches shows no token.
PROBES: Final = ("/healthz", "/readyz")


def host_of(request: Request) -> str:
    """The name that a request asks for, without its port."""
    host = request.headers.get("host", "").rpartition("@")[2].lower()
    return host if host.endswith("]") else host.rsplit(":", 1)[0] if ":" in host else host


def bearer(authorization: str | None) -> str | None:
    """The header as a bearer's: a browser can only ask for a password, which is the token then."""
    kind, _, rest = (authorization or "").partition(" ")
    if kind.lower() != "basic":
        return authorization
    try:
        return "Bearer " + base64.b64decode(rest, validate=True).decode().partition(":")[2]
    except ValueError:  # not base64, or not text: no token
        return None


class Front:
    """Lets through what may ask, and puts the security headers on every answer.

    Parameters
    ----------
    app
        What stands behind.
    hosts
        Names it may be asked by; None for any.
    problem
        Why a client's ``authorization`` header is not enough; None where everybody may ask, or `app` asks.
    """

    def __init__(self, app: ASGIApp, hosts: tuple[str, ...] | None, problem: Asks | None = None) -> None:
        self._app = app
        self._hosts = hosts
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def headed(message: Any) -> None:
            if message["type"] == "http.response.start":
                known = {name.lower() for name, _ in message["headers"]}
                more = [(name.encode(), value.encode()) for name, value in SECURITY.items()]
                message["headers"] = [*message["headers"], *(pair for pair in more if pair[0] not in known)]
            await send(message)

        await (self._refused(Request(scope)) or self._app)(scope, receive, headed)

    def _refused(self, request: Request) -> Response | None:
        name = host_of(request)
        if self._hosts is not None and name not in self._hosts:
            return PlainTextResponse(f"host {name[:80]!r} is not served here\n", 421)
        if self._problem is None or request.url.path in PROBES:
            return None
        client = request.client.host if request.client else ""
        problem = self._problem(bearer(request.headers.get("authorization")), client)
        if not problem:
            return None
        if problem.wait_s:
            return PlainTextResponse(f"{problem.sentence}\n", 429, {"retry-after": str(problem.wait_s)})
        asked = 'Bearer, Basic realm="tracescope, token as the password"'
        return PlainTextResponse(f"{problem.sentence}\n", 401, {"www-authenticate": asked})
