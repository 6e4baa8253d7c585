"""The page's process: ``python -m tracescope.web.process FD``, started by `tracescope.serving.page_process`.

Requests and answers are frames on the socket that the descriptor is; it ends when that is closed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from typing import Any, Final

import anyio.to_thread

from tracescope.errors import InsufficientDataError
from tracescope.report import digest, json_bytes
from tracescope.serving.graph_metrics import GraphSeries
from tracescope.serving.page_process import SERIES, frame, read_frame
from tracescope.serving.telling import DIGEST
from tracescope.session import Session
from tracescope.web.app import make_app

log = logging.getLogger(__name__)

#: Questions worked on at once; others wait, and cost nothing when their client goes.
_AT_ONCE: Final = 2
_NICE: Final = 10


async def _main(opened: socket.socket) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=opened)
    first = await read_frame(reader)
    if first is None:
        return
    settings = first[0]["settings"]
    session = Session(settings.stores, settings)
    app = make_app(session, hosts=None, receivers=lambda: first[0]["receivers"])
    series = GraphSeries(session)
    anyio.to_thread.current_default_thread_limiter().total_tokens = _AT_ONCE
    running: dict[int, asyncio.Task[None]] = {}

    async def answer(about: dict[str, Any], body: bytes) -> None:
        start: dict[str, Any] = {"status": 200, "headers": []}
        try:
            if about["path"] == SERIES:
                content = await anyio.to_thread.run_sync(_exposition, series)
            elif about["path"] == DIGEST:
                content = await anyio.to_thread.run_sync(_digest, session)
            else:
                start, content = await _run(app, about, body)
        except Exception:  # the question must be answered; the traceback is for who runs it
            log.exception("the page failed: %s", about["path"])
            start = {"status": 500, "headers": [(b"content-type", b"text/plain")]}
            content = b"the page failed; what went wrong stands in the receiver's log\n"
        writer.write(frame({"number": about["number"], **start}, content))

    while (found := await read_frame(reader)) is not None:
        about, body = found
        number = about["number"]
        if "drop" in about:
            if number in running:
                running[number].cancel()
            continue
        running[number] = asyncio.create_task(answer(about, body))
        running[number].add_done_callback(lambda _, number=number: running.pop(number, None))


def _exposition(series: GraphSeries) -> bytes:
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(series)
    return generate_latest(registry)


def _digest(session: Session) -> bytes:
    """What `serve` tells of the verdict; that there is too little data where nothing can be compared."""
    settings = session.settings
    answers = session.ask()
    try:
        report = answers.report()
    except InsufficientDataError as error:
        return json_bytes(digest.unknown(error.message, settings.webhook_form, settings.page_url))
    return json_bytes(digest.payload(report, settings.webhook_form, settings.page_url))


async def _run(app: Any, about: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
    """One request of the application, its answer gathered."""
    start: dict[str, Any] = {"status": 500, "headers": []}
    pieces: list[bytes] = []
    given = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if given:
            return given.pop()
        await asyncio.Event().wait()  # the client is there until this task is dropped
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            start.update(status=message["status"], headers=list(message["headers"]))
        else:
            pieces.append(message.get("body", b""))

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "root_path": "",
        "raw_path": about["path"].encode(), "server": None,
        **{name: about[name] for name in ("method", "path", "query_string", "headers", "scheme", "client")},
    }  # fmt: skip
    await app(scope, receive, send)
    return start, b"".join(pieces)


if __name__ == "__main__":
    os.nice(_NICE)
    asyncio.run(_main(socket.socket(fileno=int(sys.argv[1]))))
