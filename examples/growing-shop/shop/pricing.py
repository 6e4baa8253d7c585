"""Pricing: what products cost, from Redis where it knows, else from PostgreSQL.  Served over TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from shop import clients, settings, telemetry

KEPT_S = 3600


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """The pool and the cache live as long as the service."""
    app.state.database = await clients.database()
    app.state.cache = clients.cache()
    yield
    await app.state.cache.aclose()
    await app.state.database.close()
    provider.shutdown()


async def prices(request: Request) -> JSONResponse:
    """Prices of the products that the query names, in cents."""
    skus = request.query_params.getlist("sku")
    if not skus:
        return JSONResponse({"prices": {}})
    state = request.app.state
    await asyncio.sleep(settings.RATES_S)
    known = await state.cache.mget([f"price:{sku}" for sku in skus])
    found = {sku: int(cents) for sku, cents in zip(skus, known, strict=True) if cents is not None}
    missing = [sku for sku in skus if sku not in found]
    if missing:
        rows = await state.database.fetch(
            "SELECT sku, cents FROM prices WHERE sku = ANY($1)", [int(sku) for sku in missing]
        )
        for row in rows:
            found[str(row["sku"])] = row["cents"]
            await state.cache.set(f"price:{row['sku']}", row["cents"], ex=KEPT_S)
    return JSONResponse({"prices": found})


app = Starlette(routes=[Route("/prices", prices)], lifespan=lifespan)
provider = telemetry.start("pricing", app)
