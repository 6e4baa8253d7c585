"""Checkout: carts and orders."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aio_pika
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from shop import clients, settings, switches, telemetry
from shop.clients import ask


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Clients live as long as the service."""
    app.state.pricing = clients.http(settings.PRICING)
    app.state.pricing_anew = clients.http(settings.PRICING, kept=0)
    app.state.inventory = clients.http(settings.INVENTORY)
    app.state.database = await clients.database()
    app.state.cache = clients.cache()
    broker = await aio_pika.connect_robust(settings.BROKER)
    channel = await broker.channel()
    app.state.events = await channel.declare_exchange(settings.EXCHANGE, durable=True)
    yield
    await broker.close()
    await app.state.cache.aclose()
    await app.state.database.close()
    for name in ("pricing", "pricing_anew", "inventory"):
        await getattr(app.state, name).aclose()
    provider.shutdown()


async def _priced(request: Request, skus: list[str]) -> dict[str, int]:
    """Prices of some products in one call; with the N+1, in as many calls as there are products."""
    state = request.app.state
    pricing = state.pricing_anew if switches.is_on("new-connection") else state.pricing
    wanted = [[sku] for sku in skus] if switches.is_on("n-plus-one") else [skus]
    prices: dict[str, int] = {}
    for some in wanted:
        prices |= (await ask(pricing, "GET", "/prices", params={"sku": some}))["prices"]  # pyright: ignore
    return prices


async def cart(request: Request) -> JSONResponse:
    """A cart's lines with their prices."""
    skus = await request.app.state.cache.lrange(f"cart:{request.path_params['user']}", 0, -1)
    return JSONResponse({"lines": await _priced(request, skus)})


async def order(request: Request) -> JSONResponse:
    """Price the cart, reserve stock, keep the order, and tell the others."""
    user, state = request.path_params["user"], request.app.state
    skus = await state.cache.lrange(f"cart:{user}", 0, -1)
    if not skus:
        return JSONResponse({"detail": "the cart is empty"}, 409)
    prices = await _priced(request, skus)
    row = await state.database.fetchrow(
        "INSERT INTO orders (user_id, cents) VALUES ($1, $2) RETURNING id", user, sum(prices.values())
    )
    lines = {"order": row["id"], "skus": [int(sku) for sku in skus]}
    await ask(state.inventory, "POST", "/reservations", json=lines)
    event = aio_pika.Message(json.dumps(lines).encode(), headers={}, content_type="application/json")
    await state.events.publish(event, routing_key="placed")
    return JSONResponse(lines, 201)


async def orders(request: Request) -> JSONResponse:
    """A user's last orders."""
    rows = await request.app.state.database.fetch(
        "SELECT id, cents, state FROM orders WHERE user_id = $1 ORDER BY placed_at DESC LIMIT 20",
        request.path_params["user"],
    )
    return JSONResponse({"orders": [dict(row) for row in rows]})


app = Starlette(
    routes=[
        Route("/carts/{user:int}", cart),
        Route("/orders/{user:int}", order, methods=["POST"]),
        Route("/orders/{user:int}", orders, methods=["GET"]),
    ],
    lifespan=lifespan,
)
provider = telemetry.start("checkout", app)
