"""What every HTTP port answers beside its own work: ``/healthz``, ``/readyz``, ``/metrics``.

`web_app` is the page's place: where a package ``tracescope.web`` exists, its ``app.make_app(runtime)``
is mounted behind these routes, on the same event loop.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from tracescope.ingest.access import Access
from tracescope.ingest.meters import CONTENT_TYPE, Meters

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from tracescope.serving.runtime import Runtime

#: ``ready`` and what is wrong, if anything is.
Readiness = Callable[[], tuple[bool, tuple[str, ...]]]


def watch_routes(readiness: Readiness, meters: Meters, access: Access) -> list[BaseRoute]:
    """Routes for whoever watches; probes need no token, figures do where tokens are asked for."""

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        ready, reasons = readiness()
        return JSONResponse({"ready": ready, "reasons": reasons}, 200 if ready else 503)

    async def metrics(request: Request) -> Response:
        if not access.allow(request.headers.get("authorization")):
            return JSONResponse({"error": "no valid bearer token"}, 401, {"www-authenticate": "Bearer"})
        return Response(meters.exposition(), media_type=CONTENT_TYPE)

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]


def watch_app(readiness: Readiness, meters: Meters, access: Access) -> ASGIApp:
    """An application of these routes alone."""
    return Starlette(routes=watch_routes(readiness, meters, access))


def web_app(runtime: Runtime) -> ASGIApp:
    """These routes and, where it is installed, the web page behind them."""
    routes = watch_routes(runtime.readiness, runtime.meters, runtime.access)
    if importlib.util.find_spec("tracescope.web") is not None:
        page = importlib.import_module("tracescope.web.app").make_app(runtime)
        routes.append(Mount("/", app=page))
    return Starlette(routes=routes)
