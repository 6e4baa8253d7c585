"""Connections to the shop's other parts: HTTP with certificates, PostgreSQL, Redis."""

from __future__ import annotations

import ssl

import asyncpg
import httpx
import redis.asyncio as redis
from starlette.exceptions import HTTPException

from shop import settings


def http(base_url: str, *, connections: int = 100, kept: int = 20) -> httpx.AsyncClient:
    """A client with its own pool of connections, of which `kept` stay open between calls."""
    trusted: ssl.SSLContext | bool = True
    if base_url.startswith("https:"):
        trusted = ssl.create_default_context(cafile=settings.CERTIFICATE)
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=kept)
    return httpx.AsyncClient(base_url=base_url, limits=limits, timeout=10.0, verify=trusted)


async def database() -> asyncpg.Pool:
    """A pool that is open already, so that the first requests open none."""
    return await asyncpg.create_pool(
        settings.DATABASE, min_size=8, max_size=16, max_inactive_connection_lifetime=0
    )


def cache() -> redis.Redis:
    """Redis, decoding to text."""
    return redis.Redis.from_url(settings.CACHE, decode_responses=True)


async def ask(client: httpx.AsyncClient, method: str, path: str, **arguments: object) -> dict[str, object]:
    """A part's answer; what it refuses becomes 502, and what it does not answer 504."""
    try:
        answer = await client.request(method, path, **arguments)  # pyright: ignore
    except httpx.TimeoutException as error:
        raise HTTPException(504, f"{client.base_url} did not answer: {type(error).__name__}") from error
    except httpx.TransportError as error:
        raise HTTPException(502, f"{client.base_url} is away: {error}") from error
    if answer.status_code >= 400:
        raise HTTPException(502, f"{client.base_url} said {answer.status_code}")
    return answer.json()
