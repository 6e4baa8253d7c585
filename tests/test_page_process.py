"""The page in a process of its own: what is asked there never holds up who sends spans."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tracescope.config import Settings
from tracescope.serving import page_process
from tracescope.serving.page_process import SERIES, PageProcess
from tracescope.store import open_store


class Asker:
    """Asks one request of an application, and may go away before it is answered."""

    def __init__(self, app: PageProcess, path: str) -> None:
        self.app, self.path = app, path
        self.gone = asyncio.Event()
        self.status = 0
        self.body = b""
        self._asked = False

    async def receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b""}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")

    async def run(self) -> tuple[int, bytes]:
        scope = {
            "type": "http", "method": "GET", "path": self.path, "query_string": b"", "scheme": "http",
            "headers": [(b"host", b"127.0.0.1:8317")], "client": ("127.0.0.1", 1),
        }  # fmt: skip
        await self.app(scope, self.receive, self.send)  # pyright: ignore[reportArgumentType]
        return self.status, self.body


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    open_store(tmp_path, create=True)
    return Settings(store=str(tmp_path), tz="UTC")


def page(settings: Settings) -> PageProcess:
    return PageProcess(settings, lambda: {"grpc": "127.0.0.1:4317"})


def test_it_runs_nothing_of_the_folder_that_it_is_started_in(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where somebody keeps a `http.py` or a `json.py` of their own, these are not what it imports."""
    for name in ("http", "json", "polars", "tracescope"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)

    async def run() -> None:
        app = page(settings)
        assert (await Asker(app, "/static/tracescope.css").run())[0] == 200
        await app.close()

    asyncio.run(run())


def test_it_answers_restarts_when_it_was_killed_and_ends_when_it_is_closed(settings: Settings) -> None:
    """At a lower priority than who receives; a page, what is not there, and the series of metrics."""

    async def run() -> None:
        app = page(settings)
        status, body = await Asker(app, "/static/tracescope.css").run()
        assert (status, b"{" in body) == (200, True)
        assert (await Asker(app, "/none").run())[0] == 404
        assert b"4317" in (await Asker(app, "/").run())[1]
        assert isinstance(await app.ask(SERIES), bytes)
        process = app._process  # pyright: ignore[reportPrivateUsage]
        assert process is not None
        assert os.getpriority(os.PRIO_PROCESS, process.pid) > os.getpriority(os.PRIO_PROCESS, 0)
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        await asyncio.sleep(0.05)
        assert (await Asker(app, "/static/tracescope.css").run())[0] == 200
        second = app._process  # pyright: ignore[reportPrivateUsage]
        assert second is not None
        assert second.pid != process.pid
        await app.close()
        assert second.returncode is not None

    asyncio.run(run())


def test_questions_are_bounded_dropped_and_never_waited_for_without_end(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One too many is told to come again; one whose client goes leaves; a process that hangs is replaced."""
    monkeypatch.setattr(page_process, "MOST", 2)

    async def run() -> None:
        app = page(settings)
        assert (await Asker(app, "/static/icon.svg").run())[0] == 200
        process = app._process  # pyright: ignore[reportPrivateUsage]
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        first, second = Asker(app, "/static/icon.svg"), Asker(app, "/static/icon.svg")
        waiting = [asyncio.create_task(one.run()) for one in (first, second)]
        await asyncio.sleep(0.1)
        status, body = await Asker(app, "/static/icon.svg").run()
        assert (status, b"ask again" in body) == (503, True)
        first.gone.set()
        assert await waiting[0] == (0, b"")
        monkeypatch.setattr(page_process, "ANSWER_S", 0.3)
        status, body = await Asker(app, "/static/icon.svg").run()
        assert (status, b"no answer within" in body) == (503, True)
        assert (await waiting[1])[0] == 503
        monkeypatch.setattr(page_process, "ANSWER_S", 60.0)
        assert (await Asker(app, "/static/icon.svg").run())[0] == 200
        assert app._process is not process  # pyright: ignore[reportPrivateUsage]
        await app.close()

    asyncio.run(run())
