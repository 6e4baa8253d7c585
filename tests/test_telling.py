"""`serve` tells of its verdict: to webhooks and Alertmanager, when it changes or is due, and no secret."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from answered import report
from click.testing import CliRunner
from listening import Listening
from processes import Program, eventually, free_address

from tracescope import config
from tracescope.analysis.report import EdgeKey, Finding, Mechanism, Report, State
from tracescope.cli import main
from tracescope.config import Settings
from tracescope.errors import ConfigError
from tracescope.ingest.meters import Meters
from tracescope.report import digest, json_bytes
from tracescope.serving.events import Events
from tracescope.serving.page_process import PageProcess
from tracescope.serving.posting import TRIES, post
from tracescope.serving.telling import DIGEST, FILE, LOOK_EVERY_S, Sent, Teller
from tracescope.store import open_store

SECRET = "T0KEN-that-nobody-sees"
HOUR_S, DAY_S = 3600.0, 86_400.0
NOW_S = 1_795_000_000.0
DATA = Path(__file__).parent / "data" / "nezha"


def finding(name: str) -> Finding:
    key = EdgeKey("request", "db", name, "stock", "GET")
    return Finding(key, Mechanism.SLOWER, f"{name} -> stock: slower", 2.0, "request", weeks_to_wall=3.0)


def judged(*names: str, state: State = State.DRIFTING) -> Report:
    return report(findings=tuple(map(finding, names)), state=state)


class World:
    """A teller whose page's process answers with `report`, in the form of its settings."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        open_store(folder, create=True)
        self.settings = Settings(store=str(folder), tz="UTC", **settings)
        self.log = io.StringIO()
        self.report: Report | None = judged("shop")
        self.folder = folder
        self.meters = Meters()

    async def _ask(self, path: str) -> bytes:
        assert path == DIGEST
        if self.report is None:
            return b""
        if self.report.state == State.INSUFFICIENT:
            return json_bytes(digest.unknown("one day only", self.settings.webhook_form))
        return json_bytes(digest.payload(self.report, self.settings.webhook_form, self.settings.page_url))

    def look(self, at_s: float) -> None:
        """One look of a teller that has just been started."""
        ask: Callable[[str], Awaitable[bytes]] = self._ask
        teller = Teller(self.settings, ask, Events(stream=self.log), self.meters, first_pause_s=0.001)
        asyncio.run(teller.look(at_s))

    def count(self, to: str, outcome: str) -> float:
        """Messages of an outcome, as `/metrics` tells it."""
        (line,) = [
            line
            for line in self.meters.exposition().decode().splitlines()
            if line.startswith(f'tracescope_messages_total{{outcome="{outcome}",to="{to}"}}')
        ]
        return float(line.rpartition(" ")[2])


def test_a_message_is_tried_again_until_it_is_taken_and_not_for_ever() -> None:
    """Overload and faults of the server are waited out; a refusal and a redirect are not argued with."""
    with Listening(503, 429, 500, headers={"retry-after": "0"}) as server:
        outcome = asyncio.run(post(server.url + "/x?y=1", b"{}", first_pause_s=0.001))
        assert (outcome.accepted, outcome.tries, len(server.received)) == (True, 4, 4)
        assert server.received[0].path == "/x?y=1"
        server.statuses += [502] * 50
        assert asyncio.run(post(server.url, b"{}", first_pause_s=0.001)) == (False, TRIES, "status 502")
        for status in (302, 401, 404, 410):
            server.statuses[:] = [status]
            assert asyncio.run(post(server.url, b"{}", first_pause_s=9.0)) == (False, 1, f"status {status}")


def test_nobody_there_no_http_and_no_answer_are_failures_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounded in tries and in time, and none of them names the address."""
    monkeypatch.setattr("tracescope.serving.posting.TRY_S", 0.1)

    async def answered_with(data: bytes) -> str:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"{}")
            writer.write(data)
            if not data:
                await reader.read()  # until the other side gives up
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        outcome = await post(f"http://127.0.0.1:{port}/{SECRET}", b"{}", first_pause_s=0.001)
        server.close()
        await asyncio.sleep(0.05)
        assert (outcome.accepted, outcome.tries) == (False, TRIES)
        return outcome.said

    assert "no answer of HTTP" in asyncio.run(answered_with(b"SSH-2.0-x\r\n\r\n"))
    assert "no answer of HTTP" in asyncio.run(answered_with(b"HTTP/1.1 2"))
    assert "no answer of HTTP" in asyncio.run(answered_with(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000))
    assert "no answer within" in asyncio.run(answered_with(b""))
    gone = asyncio.run(post(f"http://{free_address()}/{SECRET}", b"{}", first_pause_s=0.001))
    assert gone.said == "Connection refused"


@pytest.mark.parametrize("form", ["json", "slack", "teams"])
def test_the_webhook_gets_the_digest_in_its_form(form: str, tmp_path: Path) -> None:
    """As `tracescope digest` prints it; a user of the address is authorization, and no part of the path."""
    with Listening() as server:
        url = server.url.replace("//", "//me:s%20t@") + f"/hook/{SECRET}"
        page = "https://scope.example"
        world = World(tmp_path / "s", webhook_url=url, webhook_form=form, page_url=page)
        world.look(NOW_S)
        (got,) = server.received
    assert (got.path, got.headers["authorization"]) == (f"/hook/{SECRET}", "Basic bWU6cyB0")
    assert "@" not in got.headers["host"]
    assert world.report is not None
    said = digest.lines(world.report, page)
    expected = {
        "json": lambda: orjson.loads(json_bytes(digest.as_json(judged("shop"), said, page))),
        "slack": lambda: digest.as_slack(said, page),
        "teams": lambda: digest.as_teams(said, page),
    }[form]()
    assert got.body == expected


def test_it_is_told_when_the_verdict_changes_and_not_again(tmp_path: Path) -> None:
    """Another state, or a finding that was not there; a restart or a flicker repeats nothing."""
    with Listening() as server:
        world = World(tmp_path / "s", webhook_url=server.url)

        def told(hours: float) -> int:
            before = len(server.received)
            world.look(NOW_S + hours * HOUR_S)
            return len(server.received) - before

        assert [told(0), told(0.1), told(2)] == [1, 0, 0]
        world.report = judged("shop", "other")
        assert [told(3), told(3.1)] == [1, 0]
        world.report = judged("shop")
        assert told(4) == 0
        world.report = judged("shop", "other")
        assert told(5) == 0
        world.report = judged(state=State.GROWTH_STABLE)
        assert told(6) == 1
        world.report = judged("shop")
        assert [told(6.5), told(7.1)] == [0, 1]  # not more than once an hour
        world.report = judged(state=State.INSUFFICIENT)
        assert told(9) == 1
        assert server.received[-1].body["lines"] == ["insufficient data: one day only"]
        world.report = None
        assert told(10) == 0
        assert "digest_not_made" in world.log.getvalue()


def test_that_nothing_is_known_at_first_is_no_news(tmp_path: Path) -> None:
    """A receiver that has just been installed says nothing until it knows something."""
    with Listening() as server:
        world = World(tmp_path / "s", webhook_url=server.url)
        world.report = judged(state=State.INSUFFICIENT)
        world.look(NOW_S)
        assert not server.received


def test_it_is_told_by_the_clock_too_and_once_for_what_was_missed(tmp_path: Path) -> None:
    """Though the verdict stayed."""
    with Listening() as server:
        world = World(tmp_path / "s", webhook_url=server.url, digest_every="1d")
        for hours in (0, 1, 23, 24, 25, 47, 96, 97):
            world.look(NOW_S + hours * HOUR_S)
        assert len(server.received) == 1 + 2


def test_what_was_not_taken_is_told_with_the_next_look(tmp_path: Path) -> None:
    """And the log names the host, and nothing else of the address."""
    with Listening(*[503] * TRIES) as server:
        url = server.url.replace("//", f"//me:{SECRET}@") + f"/hook/{SECRET}?token={SECRET}"
        world = World(tmp_path / "s", webhook_url=url)
        world.look(NOW_S)
        assert len(server.received) == TRIES
        assert f"to={server.url}/…" in world.log.getvalue()
        assert 'reason="status 503"' in world.log.getvalue()
        assert SECRET not in world.log.getvalue()
        world.look(NOW_S + LOOK_EVERY_S)
        assert len(server.received) == TRIES + 1
        world.look(NOW_S + 2 * LOOK_EVERY_S)
        assert len(server.received) == TRIES + 1
    assert SECRET not in (world.folder / FILE).read_text()


def test_what_was_sent_and_what_was_given_up_is_counted(tmp_path: Path) -> None:
    """A message once, however often it was tried; nothing counted is 0, not absent."""
    with Listening() as server:
        world = World(tmp_path / "s", webhook_url=server.url, alertmanager_url=server.url)
        assert [world.count(to, how) for to in ("webhook", "alertmanager") for how in ("sent", "failed")] == [
            0
        ] * 4
        server.statuses += [503] * TRIES
        world.look(NOW_S)
        assert (world.count("webhook", "failed"), world.count("webhook", "sent")) == (1, 0)
        assert (world.count("alertmanager", "failed"), world.count("alertmanager", "sent")) == (0, 1)
        world.look(NOW_S + LOOK_EVERY_S)
        assert (world.count("webhook", "failed"), world.count("webhook", "sent")) == (1, 1)
        assert (world.count("alertmanager", "failed"), world.count("alertmanager", "sent")) == (0, 2)


def test_a_page_without_a_receiver_says_that_it_sends_nothing(tmp_path: Path) -> None:
    """At its start, with what does; the host of the webhook is not needed for that."""
    store, address = tmp_path / "store", free_address()
    open_store(store, create=True)
    program = Program(
        [sys.executable, "-m", "tracescope", "serve", "--store", str(store), "--grpc", "off", "--http", "off",
         "--web", address],
        tmp_path / "log", {"TRACESCOPE_WEBHOOK_URL": f"http://127.0.0.1:9/{SECRET}", "TRACESCOPE_TZ": "UTC"},
    )  # fmt: skip
    try:
        program.listening(address)
    finally:
        assert program.stop(signal.SIGTERM) == 0
    said = (tmp_path / "log").read_text()
    assert "not_telling" in said
    assert "digest --send" in said
    assert SECRET not in said


def test_alertmanager_holds_an_alert_a_finding_until_it_goes(tmp_path: Path) -> None:
    """Renewed with every look from the same start, and resolved when it is gone, even after a failure."""
    with Listening() as server:
        world = World(tmp_path / "s", alertmanager_url=server.url + "/")
        world.report = judged("shop", "other")
        world.look(NOW_S)
        world.look(NOW_S + LOOK_EVERY_S)
        first, second = server.received
        assert first.path == "/api/v2/alerts"
        assert [alert["labels"]["caller"] for alert in first.body] == ["shop", "other"]
        labels = {"alertname", "severity", "mechanism", "kind", "caller", "callee", "operation"}
        assert set(first.body[0]["labels"]) == labels
        assert first.body[0]["annotations"]["summary"] == "shop → stock: slower"
        assert first.body[0]["startsAt"] == second.body[0]["startsAt"]
        assert first.body[0]["endsAt"] < second.body[0]["endsAt"]
        world.report = judged("shop")
        server.statuses += [400]
        world.look(NOW_S + HOUR_S)  # refused: what is gone is not forgotten
        world.look(NOW_S + HOUR_S + LOOK_EVERY_S)
        shop, other = server.received[-1].body
        assert (shop["labels"]["caller"], other["labels"]["caller"]) == ("shop", "other")
        assert other["labels"] == first.body[1]["labels"]
        assert other["endsAt"] < shop["endsAt"]
        world.report = judged(state=State.INSUFFICIENT)
        count = len(server.received)
        world.look(NOW_S + 2 * HOUR_S)  # nobody knows: neither renewed nor resolved
        assert len(server.received) == count
        world.report = judged(state=State.GROWTH_STABLE)
        world.look(NOW_S + 3 * HOUR_S)
        (last,) = server.received[-1].body
        assert last["labels"] == shop["labels"]
        world.look(NOW_S + 4 * HOUR_S)
        assert len(server.received) == count + 1


def test_what_was_told_is_begun_anew_where_it_cannot_be_read(tmp_path: Path) -> None:
    """A damaged file costs a message too many, and no more."""
    open_store(tmp_path, create=True)
    Sent("drifting", 1.0, findings={"a": 1.0}).write(tmp_path)
    assert Sent.read(tmp_path).findings == {"a": 1.0}
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes().replace(b"drifting", b"driftinG"))
    assert Sent.read(tmp_path) == Sent()


def test_the_pages_process_makes_what_is_told(tmp_path: Path) -> None:
    """Of a real store as `diff` judges it, and of an empty one."""
    files = [str(DATA / f"ob0822-05.{side}.jsonl.gz") for side in "AB"]
    store = tmp_path / "store"
    assert CliRunner().invoke(main, ["import", *files, "--store", str(store)]).exit_code == 0

    async def made(folder: Path) -> Any:
        page = PageProcess(Settings(store=str(folder), tz="UTC", webhook_form="slack"), dict)
        try:
            return orjson.loads(await page.ask(DIGEST))
        finally:
            await page.close()

    diff = CliRunner().invoke(main, ["diff", "--store", str(store), "--format", "json"])
    found = asyncio.run(made(store))
    assert found["state"] == orjson.loads(diff.stdout)["verdict"]["state"]
    empty = tmp_path / "empty"
    open_store(empty, create=True)
    found = asyncio.run(made(empty))
    assert (found["state"], found["findings"]) == ("insufficient data", [])
    assert found["message"]["blocks"]


def test_serve_sends_and_shows_its_secrets_nowhere(tmp_path: Path) -> None:
    """A real receiver whose verdict changed: neither its log, its command line nor its page name them."""
    store = tmp_path / "store"
    open_store(store, create=True)
    Sent("drifting").write(store)  # so that an empty store is another verdict
    address = free_address()
    with Listening(500) as server:
        url = f"{server.url}/hook/{SECRET}"
        secrets = {"TRACESCOPE_WEBHOOK_URL": url, "TRACESCOPE_ALERTMANAGER_URL": server.url}
        program = Program(
            [sys.executable, "-m", "tracescope", "serve", "--store", str(store), "--grpc", address,
             "--http", "off", "--web", "off"],
            tmp_path / "log", {**secrets, "TRACESCOPE_TZ": "UTC"},
        )  # fmt: skip
        try:
            program.ready(address)
            eventually(lambda: len(server.received) >= 2, "the digest was sent twice", within_s=120)
            pid = program.process.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            assert children
            lines = [Path(f"/proc/{one}/cmdline").read_text() for one in (str(pid), *children)]
            assert not any(SECRET in line for line in lines)
        finally:
            assert program.stop(signal.SIGTERM) == 0
    assert SECRET not in (tmp_path / "log").read_text()
    assert server.received[0] == server.received[1]
    assert server.received[0].body["state"] == State.INSUFFICIENT


def test_settings_show_a_host_and_errors_nothing_of_an_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`config show` in both forms, the object's own text, and every refusal."""
    for name in [name for name in os.environ if name.startswith(config.PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    url = f"https://u:{SECRET}@hooks.example:8443/{SECRET}?x={SECRET}"
    monkeypatch.setenv("TRACESCOPE_WEBHOOK_URL", url)
    assert config.load()[0].webhook_url == url
    assert SECRET not in repr(config.load()[0])
    for form in ("text", "json"):
        shown = CliRunner().invoke(main, ["config", "show", "--format", form]).output
        assert SECRET not in shown
        assert "https://hooks.example:8443/…" in shown or "https://hooks.example:8443/\\u2026" in shown
    wrong = [
        f"ftp://x/{SECRET}",
        f"http://{SECRET} x",
        f"http://h:99999/{SECRET}",
        f"//{SECRET}",
        f"http://[{SECRET}",
    ]
    for value in wrong:
        monkeypatch.setenv("TRACESCOPE_WEBHOOK_URL", value)
        with pytest.raises(ConfigError) as error:
            config.load()
        assert "webhook_url" in str(error.value)
        assert SECRET not in str(error.value)
    monkeypatch.delenv("TRACESCOPE_WEBHOOK_URL")
    for name, value in {"digest_every": "often", "webhook_form": "irc", "page_url": "javascript:1"}.items():
        with pytest.raises(ConfigError, match=name):
            config.load({name: value})


def test_a_finding_keeps_its_id_whatever_it_measures() -> None:
    """Cause and mechanism name it; another cause, operation or mechanism is another one."""
    one = finding("shop")
    assert one.id == replace(one, added_ms=9.0, sentence="else").id
    others = [
        replace(one, mechanism=Mechanism.ERRORS),
        replace(one, cause=one.cause._replace(operation="SET")),
    ]
    assert len({one.id, *(other.id for other in others)}) == 3
