"""Inventory: what is there, and who gets it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from shop import clients, settings, switches, telemetry


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """The pool lives as long as the service."""
    app.state.database = await clients.database()
    yield
    await app.state.database.close()
    provider.shutdown()


async def stock(request: Request) -> JSONResponse:
    """How many of one product there are."""
    await asyncio.sleep(settings.TERMINAL_S)
    row = await request.app.state.database.fetchrow(
        "SELECT on_hand FROM stock WHERE sku = $1", request.path_params["sku"]
    )
    return JSONResponse({"on_hand": row["on_hand"] if row else 0})


async def reserve(request: Request) -> JSONResponse:
    """Take an order's products from a shelf, which is locked while the robot drives there.

    Orders are spread over the shelves; with the hot row, everything comes from the first one.
    """
    order = await request.json()
    number, skus = order["order"], order["skus"]
    async with request.app.state.database.acquire() as connection, connection.transaction():
        shelves = await connection.fetchval("SELECT count(*) FROM shelves")
        shelf = 1 if switches.is_on("hot-row") else 1 + number % shelves
        await connection.fetchval("SELECT picks FROM shelves WHERE id = $1 FOR UPDATE", shelf)
        await asyncio.sleep(settings.ROBOT_S)
        await connection.execute(
            "INSERT INTO reservations (order_id, sku, shelf) SELECT $1, unnest($2::int[]), $3",
            number, skus, shelf,
        )  # fmt: skip
        await connection.execute("UPDATE shelves SET picks = picks + $2 WHERE id = $1", shelf, len(skus))
    return JSONResponse({"shelf": shelf}, 201)


app = Starlette(
    routes=[Route("/stock/{sku:int}", stock), Route("/reservations", reserve, methods=["POST"])],
    lifespan=lifespan,
)
provider = telemetry.start("inventory", app)
