"""The page's own process: questions may take cores and memory there, and never those that receive.

    web port ─► PageProcess ══ frames over a socket pair ══► `tracescope.web.process` ─► the application
                    │ at most MOST questions at once, each ANSWER_S at most, dropped when its client goes

It is started when it is first asked, runs at a lower priority, and ends when nobody has asked for a
while; one that answers nothing any more is killed, and the next question starts another.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from tracescope.config import Settings

#: Questions that may be asked and not yet answered; further ones are told to come again.
MOST: Final = 64
#: How long an answer may take, waiting for others included.
ANSWER_S: Final = 60.0
#: The process ends when it has not been asked for so long.
IDLE_S: Final = 900.0
#: Bytes of a form at most.
BODY_BYTES: Final = 16 * 1024
#: Sizes of a frame's two parts: what it is, pickled, and a body.
HEAD: Final = struct.Struct("<II")
#: Where the service graph's series are; outside nobody can ask for it, as no path begins so.
SERIES: Final = "-/series"
_MODULE: Final = "tracescope.web.process"


async def read_frame(reader: asyncio.StreamReader) -> tuple[dict[str, Any], bytes] | None:
    """The next frame, or None at the end."""
    try:
        about, body = HEAD.unpack(await reader.readexactly(HEAD.size))
        return pickle.loads(await reader.readexactly(about)), await reader.readexactly(body)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def frame(about: dict[str, Any], body: bytes = b"") -> bytes:
    """A frame's bytes."""
    packed = pickle.dumps(about)
    return HEAD.pack(len(packed), len(body)) + packed + body


class PageProcess:
    """An ASGI application that another process runs.

    Parameters
    ----------
    settings
        What it shows.
    receivers
        Addresses where spans are received, by ``grpc`` and ``http``.
    """

    def __init__(self, settings: Settings, receivers: Callable[[], MutableMapping[str, str]]) -> None:
        self._settings = settings
        self._receivers = receivers
        self._starting = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[tuple[dict[str, Any], bytes] | None]] = {}
        self._number = 0
        self._answered = 0.0
        self._idle: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body = await _body(receive)
        if body is None:
            await _say(send, 413, f"a form of more than {BODY_BYTES} bytes is refused")
            return
        about = {
            name: scope[name] for name in ("method", "path", "query_string", "headers", "scheme", "client")
        }
        gone = asyncio.create_task(_until_gone(receive))
        try:
            answer = await self._ask(about, body, gone)
        finally:
            gone.cancel()
        if isinstance(answer, str):
            await _say(send, 503, answer)
        elif answer is not None:
            start, content = answer
            await send(
                {"type": "http.response.start", "status": start["status"], "headers": start["headers"]}
            )
            await send({"type": "http.response.body", "body": content})

    async def ask(self, path: str) -> bytes:
        """The body of a GET; empty where there is no answer in time."""
        about = {"method": "GET", "path": path, "query_string": b"", "headers": []}
        about |= {"scheme": "http", "client": None}
        answer = await self._ask(about, b"")
        return answer[1] if isinstance(answer, tuple) and answer[0]["status"] == 200 else b""

    async def _ask(
        self, about: dict[str, Any], body: bytes, gone: asyncio.Task[None] | None = None
    ) -> tuple[dict[str, Any], bytes] | str | None:
        """An answer; a sentence where there is none; None where nobody waits for it."""
        if len(self._waiting) >= MOST:
            return f"{MOST} questions are being answered; ask again in a moment"
        writer = await self._started()
        self._number += 1
        number = self._number
        answer = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            writer.write(frame({"number": number, **about}, body))
            await asyncio.wait(
                (answer, gone) if gone else (answer,), timeout=ANSWER_S, return_when=asyncio.FIRST_COMPLETED
            )
            if answer.done():
                return answer.result() or "the page's process has ended; ask again"
            writer.write(frame({"number": number, "drop": True}))
            if gone is not None and gone.done():
                return None
            if time.monotonic() - self._answered > ANSWER_S and self._process is not None:
                self._process.kill()  # it answers nobody
            return f"no answer within {ANSWER_S:.0f} s; choose shorter periods, or ask again later"
        finally:
            self._waiting.pop(number, None)
            self._rest()

    async def _started(self) -> asyncio.StreamWriter:
        async with self._starting:
            if self._writer is not None and self._process is not None and self._process.returncode is None:
                return self._writer
            ours, theirs = socket.socketpair()
            with theirs:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-P", "-m", _MODULE, str(theirs.fileno())),  # -P: no module of the folder it runs in
                    pass_fds=(theirs.fileno(),),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    start_new_session=True,
                )
            reader, self._writer = await asyncio.open_unix_connection(sock=ours)
            self._writer.write(frame({"settings": self._settings, "receivers": dict(self._receivers())}))
            self._answered = time.monotonic()
            self._reading = asyncio.create_task(self._read(reader, self._process, self._writer))
            return self._writer

    async def _read(
        self, reader: asyncio.StreamReader, process: asyncio.subprocess.Process, writer: asyncio.StreamWriter
    ) -> None:
        """Hand answers to who waits for them, until the process ends."""
        while (found := await read_frame(reader)) is not None:
            self._answered = time.monotonic()
            answer = self._waiting.get(found[0]["number"])
            if answer is not None and not answer.done():
                answer.set_result(found)
        writer.close()
        await process.wait()
        if self._writer is writer:
            self._writer = None
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_result(None)

    def _rest(self) -> None:
        """Let the process end when it is not asked for a while."""
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._end_idle)

    def _end_idle(self) -> None:
        if self._writer is not None and not self._waiting:
            self._writer.close()

    async def close(self) -> None:
        """End the process."""
        if self._idle is not None:
            self._idle.cancel()
        if self._writer is not None:
            self._writer.close()
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
        if self._reading is not None:
            await self._reading


async def _body(receive: Receive) -> bytes | None:
    """A request's body; None where it is too large."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        pieces.append(message.get("body", b""))
        if sum(map(len, pieces)) > BODY_BYTES:
            return None
        if not message.get("more_body", False):
            return b"".join(pieces)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _say(send: Send, status: int, sentence: str) -> None:
    body = sentence.encode() + b"\n"
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    if status == 503:
        headers.append((b"retry-after", b"2"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
