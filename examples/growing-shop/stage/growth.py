"""Growth: more users with carts, more old orders, and whatever is switched on.

Also a command, for where the shop runs in containers:
``python -m stage.growth --users 1000 --orders 500000``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import redis

SCHEMA = Path(__file__).resolve().parents[1] / "shop" / "schema.sql"
#: The last one was placed a moment ago, the first one long ago.
_OLD = (
    "INSERT INTO orders (user_id, cents, state, placed_at) "
    "SELECT 1 + n % {users}, 1000 + n % 5000, 'packed', "
    "now() - ({count} - n) * interval '1 minute' FROM generate_series(1, {count}) n"
)
CART_LINES = 6
PRODUCTS = 500


@dataclass(frozen=True)
class Places:
    """Where growth happens: the database and the cache by URL, the files of users and of switches."""

    database: str
    cache: str
    load: Path
    switches: Path


def create(places: Places) -> None:
    """Make the database and its tables."""

    async def make() -> None:
        connection = await asyncpg.connect(places.database, database="postgres")
        await connection.execute("CREATE DATABASE shop")
        await connection.close()
        await _do(places, SCHEMA.read_text())

    asyncio.run(make())


async def _do(places: Places, *statements: str) -> None:
    connection = await asyncpg.connect(places.database)
    try:
        for statement in statements:
            await connection.execute(statement, timeout=120)
    finally:
        await connection.close()


def orders(places: Places, count: int, users: int) -> None:
    """Leave exactly `count` old orders, spread over the users; the planner knows about them."""
    asyncio.run(
        _do(
            places,
            "TRUNCATE orders, shipments, reservations",
            _OLD.format(users=users, count=count),
            "VACUUM ANALYZE orders",
            "CHECKPOINT",
        )
    )


def more_orders(places: Places, count: int, users: int) -> None:
    """Add `count` old orders."""
    asyncio.run(
        _do(
            places,
            _OLD.format(users=users, count=count),
        )
    )


def index(places: Places, *, there: bool) -> None:
    """Have the index of orders by user, or not."""
    statement = "CREATE INDEX IF NOT EXISTS orders_of_user ON orders (user_id, placed_at)"
    asyncio.run(_do(places, statement if there else "DROP INDEX IF EXISTS orders_of_user"))


def users(places: Places, count: int) -> None:
    """Let the shop have `count` users, each with a cart of the same length."""
    if count:
        with redis.Redis.from_url(places.cache) as cache, cache.pipeline() as pipe:
            for user in range(1, count + 1):
                lines = [1 + (user * 7 + line * 131) % PRODUCTS for line in range(CART_LINES)]
                pipe.delete(f"cart:{user}").rpush(f"cart:{user}", *lines)
            pipe.execute()
    _replace(places.load, json.dumps({"users": count}))


def switches(places: Places, *names: str) -> None:
    """Throw these of the services' switches, and no others."""
    _replace(places.switches, json.dumps(sorted(names)))


def _replace(path: Path, text: str) -> None:
    """Write a file so that nobody reads half of it."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.chmod(0o644)
    os.replace(beside, path)


def main() -> None:
    """Let the shop of the environment's URLs grow."""
    parser = argparse.ArgumentParser(prog="stage.growth", description=main.__doc__)
    parser.add_argument("--users", type=int, required=True)
    parser.add_argument("--orders", type=int, required=True, help="old orders to have")
    parser.add_argument("--switch", action="append", default=[], help="what is wrong; may be given again")
    given = parser.parse_args()
    places = Places(
        os.environ["DATABASE_URL"],
        os.environ["CACHE_URL"],
        Path(os.environ["SHOP_LOAD"]),
        Path(os.environ["SHOP_SWITCHES"]),
    )
    orders(places, given.orders, given.users)
    throw(places, given.switch)
    users(places, given.users)


def throw(places: Places, names: list[str]) -> None:
    """Make these things wrong, and nothing else; a starved service is made outside."""
    from shop.switches import KNOWN

    index(places, there="missing-index" not in names)
    switches(places, *(name for name in names if name in KNOWN))


if __name__ == "__main__":
    main()
