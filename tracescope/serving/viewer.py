"""A page without a receiver: a store is read, and nothing is written to it but marks and mutes.

Beside a receiver of the same store, on a copy of it, or on a demo: it takes no journal, seals nothing, and
tells nobody of its verdict: the receiver does, and a second message would say nothing new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from tracescope.serving.front import LOCAL_HOSTS, Front
from tracescope.serving.listen import bound, is_loopback, listen
from tracescope.serving.routes import watch_app

if TYPE_CHECKING:
    import socket

    from starlette.types import ASGIApp

    from tracescope.ingest.access import Access
    from tracescope.ingest.limits import Limits
    from tracescope.ingest.meters import Meters

_GRACE_S = 2


async def view(
    opened: socket.socket,
    page: ASGIApp,
    about: tuple[Access, Limits, Meters],
    stop: asyncio.Event,
    started: Callable[[str], None],
) -> None:
    """Show a page until `stop` is set.

    Parameters
    ----------
    opened
        A bound socket.
    page
        What stands behind health and metrics.
    about
        Who may ask, how much, and what is counted.
    stop
        Ends it.
    started
        Called with the address once it listens.
    """
    access, limits, meters = about
    watched = watch_app(lambda: (not stop.is_set(), ()), meters, access, behind=page)
    app = Front(watched, LOCAL_HOSTS if is_loopback(bound(opened)) else None, access.problem)
    running = await listen(opened, app, tls=access.tls, limits=limits, meters=meters, grace_s=_GRACE_S)
    meters.ready.set(1)
    started(running.address)
    await stop.wait()
    await running.stop()
