"""Load: requests that arrive as they do on the open internet, in waves of night and day.

    rate     .-''-.      .-''-.            users * PER_USER, up and down by WAVE, a day every DAY_S
    ________'      '-..-'      '-..-

Arrivals are random and do not wait for answers (an open loop): a shop that gets slow gets no rest.  A line
a request goes to a file, as a browser's monitoring would see it.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import signal
import sys
import time
from pathlib import Path
from typing import Final, TextIO

import httpx

#: Requests a second of one user.
PER_USER: Final = 0.04
WAVE: Final = 0.3
#: About a thirty-second part of two minutes: `tracescope diff` takes blocks of time so long, and a block that
#: is night or day alone says little of the next one.
DAY_S: Final = 4.0
#: Requests that may be under way; more are counted as failed, which bounds what a broken shop costs.
MOST_AT_ONCE: Final = 200
#: Part of the requests by what they do.
MIX: Final = {"product": 0.35, "cart": 0.25, "order": 0.25, "orders": 0.15}
PRODUCTS: Final = 500


def rate(users: int, now_s: float) -> float:
    """Requests a second at an instant."""
    return users * PER_USER * (1 + WAVE * math.sin(2 * math.pi * now_s / DAY_S))


async def _send(client: httpx.AsyncClient, kind: str, user: int, out: TextIO) -> None:
    method, path = {
        "product": ("GET", f"/products/{1 + user % PRODUCTS}"),
        "cart": ("GET", f"/carts/{user}"),
        "order": ("POST", f"/orders/{user}"),
        "orders": ("GET", f"/orders/{user}"),
    }[kind]
    begin, at = time.perf_counter(), time.time()
    try:
        status = (await client.request(method, path)).status_code
    except httpx.HTTPError:
        status = 599  # no answer
    out.write(f"{at:.3f},{kind},{status},{(time.perf_counter() - begin) * 1000:.2f}\n")


async def run(url: str, control: Path, out: TextIO) -> None:
    """Send until SIGTERM; how many users there are is read from `control` again and again."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    random.seed(7)
    kinds, parts = list(MIX), list(MIX.values())
    under_way: set[asyncio.Task[None]] = set()
    limits = httpx.Limits(max_connections=MOST_AT_ONCE, max_keepalive_connections=MOST_AT_ONCE)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=15.0) as client:
        due = time.time()
        while not stop.is_set():
            users = json.loads(control.read_text())["users"]
            now = time.time()
            if users == 0:
                due = now
            while users and due <= now:
                due += random.expovariate(rate(users, due))
                user = random.randint(1, users)
                kind = random.choices(kinds, parts)[0]
                if len(under_way) >= MOST_AT_ONCE:
                    out.write(f"{now:.3f},{kind},598,0\n")  # turned away
                    continue
                task = asyncio.create_task(_send(client, kind, user, out))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.sleep(min(max(due - time.time(), 0.002), 0.1) if users else 0.1)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


def main() -> None:
    """``python -m stage.load URL CONTROL OUT``."""
    url, control, out = sys.argv[1:]
    with Path(out).open("w", buffering=1) as lines:
        lines.write("at,kind,status,ms\n")
        asyncio.run(run(url, Path(control), lines))


if __name__ == "__main__":
    main()
