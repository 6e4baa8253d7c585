"""What every HTTP port answers beside its own work: ``/healthz``, ``/readyz``, ``/metrics``.

The web page stands behind these routes on its own port, on the same event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from tracescope.ingest.access import Access
from tracescope.ingest.meters import CONTENT_TYPE, Meters
from tracescope.serving.front import bearer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

#: ``ready`` and what is wrong, if anything is.
Readiness = Callable[[], tuple[bool, tuple[str, ...]]]
#: Metrics in Prometheus' text format.
Series = Callable[[], Awaitable[bytes]]


def watch_routes(
    readiness: Readiness, meters: Meters, access: Access, series: Series | None = None
) -> list[BaseRoute]:
    """Routes for whoever watches; probes need no token, figures do where tokens are asked for.

    `series` are metrics that are made elsewhere, and left out where they do not come in time.
    """

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        ready, reasons = readiness()
        return JSONResponse({"ready": ready, "reasons": reasons}, 200 if ready else 503)

    async def metrics(request: Request) -> Response:
        client = request.client.host if request.client else ""
        if problem := access.problem(bearer(request.headers.get("authorization")), client):
            status = 429 if problem.wait_s else 401
            return JSONResponse({"error": problem.sentence}, status, {"www-authenticate": "Bearer"})
        # series of the service graph read the store, which must not hold up who sends spans
        text = await run_in_threadpool(meters.exposition)
        return Response(text + (await series() if series is not None else b""), media_type=CONTENT_TYPE)

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]


def watch_app(
    readiness: Readiness,
    meters: Meters,
    access: Access,
    behind: ASGIApp | None = None,
    series: Series | None = None,
) -> ASGIApp:
    """An application of these routes, and of another one behind them."""
    routes = watch_routes(readiness, meters, access, series)
    if behind is not None:
        routes.append(Mount("/", app=behind))
    return Starlette(routes=routes, exception_handlers={404: _elsewhere})


def _elsewhere(request: Request, error: Exception) -> Response:
    """Most who ask where nothing is send to another path, or something else than traces."""
    said = f"nothing is at {request.url.path[:80]!r}: traces are sent to POST /v1/traces of the OTLP port"
    return PlainTextResponse(f"{said}; metrics and logs are not taken\n", 404)


class Later:
    """An application built on its first request: until then it costs no memory."""

    def __init__(self, make: Callable[[], ASGIApp]) -> None:
        self._make = make
        self._made: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand one request on."""
        if self._made is None:
            self._made = self._make()
        await self._made(scope, receive, send)
