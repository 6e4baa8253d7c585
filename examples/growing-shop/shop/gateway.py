"""The gateway: what browsers talk to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from shop import settings, switches, telemetry
from shop.clients import ask, http


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Clients live as long as the service."""
    app.state.checkout = http(settings.CHECKOUT)
    app.state.checkout_small = http(settings.CHECKOUT, connections=2)
    app.state.inventory = http(settings.INVENTORY)
    app.state.pricing = http(settings.PRICING)
    yield
    for name in ("checkout", "checkout_small", "inventory", "pricing"):
        await getattr(app.state, name).aclose()
    provider.shutdown()


def _checkout(request: Request) -> httpx.AsyncClient:
    small = switches.is_on("small-pool")
    return request.app.state.checkout_small if small else request.app.state.checkout


async def product(request: Request) -> JSONResponse:
    """One product: what it costs and how many there are, asked at once."""
    sku, state = request.path_params["sku"], request.app.state
    stock = ask(state.inventory, "GET", f"/stock/{sku}")
    price = ask(state.pricing, "GET", "/prices", params={"sku": [sku]})
    if switches.is_on("made-serial"):
        return JSONResponse({**await stock, **await price})
    found = await asyncio.gather(stock, price)
    return JSONResponse({**found[0], **found[1]})


async def cart(request: Request) -> JSONResponse:
    """What is in a user's cart, with prices."""
    return JSONResponse(await ask(_checkout(request), "GET", f"/carts/{request.path_params['user']}"))


async def order(request: Request) -> JSONResponse:
    """Buy what is in the cart."""
    user = request.path_params["user"]
    return JSONResponse(await ask(_checkout(request), "POST", f"/orders/{user}"), 201)


async def orders(request: Request) -> JSONResponse:
    """A user's last orders."""
    return JSONResponse(await ask(_checkout(request), "GET", f"/orders/{request.path_params['user']}"))


app = Starlette(
    routes=[
        Route("/products/{sku:int}", product),
        Route("/carts/{user:int}", cart),
        Route("/orders/{user:int}", order, methods=["POST"]),
        Route("/orders/{user:int}", orders, methods=["GET"]),
    ],
    lifespan=lifespan,
)
provider = telemetry.start("gateway", app)
