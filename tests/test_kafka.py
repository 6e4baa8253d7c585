"""Kafka: topics that `import` reads by partition and offset, and that `serve` follows."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import kafka
import pytest
import stores
from click.testing import CliRunner, Result
from google.protobuf.json_format import MessageToDict
from processes import Program, eventually, free_address, request, span_numbers, status_of
from stores import ARRIVED, new_store, sealed_checksum

from tracescope import config
from tracescope.cli import main
from tracescope.engine.import_files import import_files
from tracescope.errors import ConfigError, InputError
from tracescope.serving import following
from tracescope.sources import Options, open_source
from tracescope.sources import kafka as source
from tracescope.sources.kafka import Span, uncovered

HEXADECIMAL = {"traceId": 16, "spanId": 8, "parentSpanId": 8}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka.Broker]:
    running = kafka.Broker(tmp_path_factory.mktemp("kafka") / "broker")
    yield running
    running.kill()


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def message(number: int) -> bytes:
    """A request of a trace of two spans."""
    at = f"1{number % 10}:00:00"
    return stores.request(f"T{number} shop GET {at} +2s\n  T{number} db get {at} +1s").SerializeToString()


def as_json(data: bytes) -> bytes:
    """The same as OTLP JSON."""
    import base64

    def hexed(value: object) -> object:
        if isinstance(value, list):
            return [hexed(each) for each in value]
        if isinstance(value, dict):
            return {
                key: base64.b64decode(each).hex() if key in HEXADECIMAL else hexed(each)
                for key, each in value.items()
            }
        return value

    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    return json.dumps(hexed(MessageToDict(ExportTraceServiceRequest.FromString(data)))).encode()


# -- import --


def test_a_topic_gives_the_rollups_of_its_messages_as_files(broker: kafka.Broker, tmp_path: Path) -> None:
    """Protobuf and JSON, over partitions; what is neither is counted, what is empty is nothing."""
    broker.make("mixed", 3)
    messages = [message(number) for number in range(9)]
    for partition in range(3):
        some = messages[partition::3]
        broker.send("mixed", [as_json(some[0]), b"no OTLP", *some[1:], None], partition)
    for number, data in enumerate(messages):
        (tmp_path / f"{number}.pb").write_bytes(data)
    done = run("import", broker.url("mixed"), "--store", tmp_path / "store")
    assert done.exit_code == 0, done.output
    assert "18 new, 0 duplicates, 3 rejected (3 malformed_message)" in done.stderr
    assert run("import", *tmp_path.glob("*.pb"), "--store", tmp_path / "files").exit_code == 0
    checksums = {sealed_checksum(new_store(tmp_path / name)) for name in ("store", "files")}
    assert len(checksums) == 1


def test_each_message_is_read_once_and_the_next_import_reads_what_came_since(
    broker: kafka.Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranges of any size, in any order; a topic that is made again under the same name is another."""
    monkeypatch.setattr(source, "PART_OFFSETS", 4)
    broker.make("growing")
    broker.send("growing", [message(number) for number in range(10)])
    store = tmp_path / "store"
    first = run("import", broker.url("growing"), "--store", store)
    assert first.stderr.startswith("20 new, 0 duplicates"), first.output
    assert run("import", broker.url("growing"), "--store", store).stderr.startswith("0 new, 0 duplicates")
    broker.send("growing", [message(number) for number in range(10, 13)])
    assert run("import", broker.url("growing"), "--store", store).stderr.startswith("6 new, 0 duplicates")
    broker.delete("growing")
    eventually(lambda: _made(broker, "growing"), "the topic can be made again")
    broker.send("growing", [message(20)])
    assert run("import", broker.url("growing"), "--store", store).stderr.startswith("2 new, 0 duplicates")


def _made(broker: kafka.Broker, topic: str) -> bool:
    with contextlib.suppress(Exception):
        broker.make(topic)
        return True
    return False


def test_an_import_ends_at_the_end_that_it_found(broker: kafka.Broker) -> None:
    """Messages that come while it reads are for the next one."""
    broker.make("moving")
    broker.send("moving", [message(1), message(2)])
    parts = list(open_source(broker.url("moving"), Options()).parts(frozenset()))
    broker.send("moving", [message(3)])
    assert [part.name for part in parts] == ["p0-0-2"]
    assert list(parts[0].read()) == [message(1), message(2)]
    later = open_source(broker.url("moving"), Options()).parts(frozenset({"p0-0-2"}))
    assert [part.name for part in later] == ["p0-2-3"]


def test_since_chooses_messages_by_the_hour_that_they_came(broker: kafka.Broker, tmp_path: Path) -> None:
    broker.make("timed")
    broker.send("timed", [message(1)])
    for asked, parts in (("since=1h", 1), ("until=2020-01-01", 0), ("since=2020-01-01", 1)):
        found = list(open_source(broker.url("timed", asked), Options()).parts(frozenset()))
        assert len(found) == parts, asked


@pytest.mark.parametrize(
    ("done", "left"),
    [
        ([], [(0, 10)]),
        ([(0, 10)], []),
        ([(4, 6)], [(0, 4), (6, 10)]),
        ([(6, 20), (0, 2), (1, 3)], [(3, 6)]),
        ([(12, 20)], [(0, 10)]),
        ([(0, 4), (4, 8)], [(8, 10)]),
    ],
)
def test_what_is_left_of_a_range_is_what_no_other_covers(
    done: list[tuple[int, int]], left: list[tuple[int, int]]
) -> None:
    found = uncovered(Span(0, 0, 10), [Span(0, *each) for each in done])
    assert [(each.first, each.end) for each in found] == left


# -- what goes wrong --


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("kafka://{address}/missing", "there is no topic 'missing'"),
        ("kafka://{address}", "names no topic"),
        ("kafka://{address}/a/b", "names no topic"),
        ("kafka:///topic", "names no host"),
        ("kafka://{address}/topic?tpoic=x", "no option 'tpoic'"),
        ("kafka://{address}/topic?security=tls", "security=tls"),
        ("kafka://{address}/topic?start=middle", "start=middle"),
        ("kafka://{address}/topic?since=soon", "cannot read the period"),
        ("kafka://reader:s3cret2@{sasl}/topic?sasl=NONE", "NONE"),
        ("kafka://reader:s3cret2@{sasl}/topic", "uthenticat"),
    ],
)
def test_a_wrong_request_gets_a_sentence_without_its_secret_and_exit_2(
    broker: kafka.Broker, tmp_path: Path, url: str, said: str
) -> None:
    asked = url.format(address=broker.address, sasl=f"127.0.0.1:{broker.sasl_port}")
    done = run("import", asked, "--store", tmp_path / "store")
    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert "s3cret2" not in done.output
    assert "Traceback" not in done.output


def test_a_user_and_a_password_are_given_by_the_url_or_by_variables(broker: kafka.Broker) -> None:
    broker.make("guarded")
    broker.send("guarded", [message(1)])
    sasl = f"127.0.0.1:{broker.sasl_port}/guarded"
    for url, environ in (
        (f"kafka://{kafka.USER}:{kafka.PASSWORD}@{sasl}", {}),
        (f"kafka://{kafka.USER}@{sasl}", {"KAFKA_PASSWORD": kafka.PASSWORD}),
    ):
        opened = open_source(url, Options(environ=environ))
        assert kafka.PASSWORD not in opened.name + opened.identity + repr(opened)
        assert len(list(opened.parts(frozenset()))) == 1


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "scram-sha-256"])
def test_a_topic_behind_tls_and_scram_is_read(broker: kafka.Broker, tmp_path: Path, mechanism: str) -> None:
    """By options of the URL and by those of the settings; no message shows the password."""
    topic = f"scram-{mechanism}"
    broker.make(topic)
    broker.send(topic, [message(1)])
    place = f"127.0.0.1:{broker.scram_port}/{topic}"
    asked = f"sasl={mechanism}&ca={broker.authority.path}"
    begin = f"kafkas://127.0.0.1:{broker.scram_port}"
    ways = (
        (f"kafkas://{kafka.USER}:{kafka.PASSWORD}@{place}?{asked}", Options(environ={})),
        (
            f"kafkas://{place}",
            Options(
                environ={"KAFKA_USER": kafka.USER, "KAFKA_PASSWORD": kafka.PASSWORD}, settings={begin: asked}
            ),
        ),
    )
    for number, (url, options) in enumerate(ways):
        opened = open_source(url, options)
        assert kafka.PASSWORD not in opened.name + opened.identity + repr(opened)
        assert import_files(new_store(tmp_path / f"{number}"), [opened], arrived_ns=ARRIVED).new == 2


def test_a_topic_behind_client_certificates_is_read(broker: kafka.Broker, tmp_path: Path) -> None:
    """With a certificate of the authority that the broker trusts; no user is needed."""
    broker.make("mutual")
    broker.send("mutual", [message(1)])
    cert, key = broker.authority.issue("client")
    url = f"kafkas://127.0.0.1:{broker.mutual_port}/mutual?ca={broker.authority.path}&cert={cert}&key={key}"
    assert import_files(
        new_store(tmp_path / "store"), [open_source(url, Options(environ={}))], arrived_ns=ARRIVED
    ).new == 2  # fmt: skip


@pytest.mark.parametrize(
    ("port", "login", "asked", "said"),
    [
        ("scram", "reader:wr0ng", "sasl=SCRAM-SHA-512&ca={ca}", "uthenticat"),
        ("scram", "reader:s3cret", "sasl=PLAIN&ca={ca}", "uthenticat|mechanism"),
        ("scram", "reader:s3cret", "sasl=SCRAM-SHA-512", "certificate"),
        ("scram", "reader:s3cret", "sasl=SCRAM-SHA-512&ca=/no/such.pem", "such.pem"),
        ("mutual", "", "ca={ca}", "SSL|certificate"),
    ],
)
def test_what_tls_or_a_login_refuses_is_told_without_secrets(
    broker: kafka.Broker, tmp_path: Path, port: str, login: str, asked: str, said: str
) -> None:
    """A wrong password, another mechanism, an authority that is not trusted, no certificate: exit 2."""
    number = broker.scram_port if port == "scram" else broker.mutual_port
    options = asked.format(ca=broker.authority.path)
    done = run("import", f"kafkas://{login}{'@' * bool(login)}127.0.0.1:{number}/topic?{options}",
               "--store", tmp_path / "store")  # fmt: skip
    assert done.exit_code == 2, done.output
    assert re.search(said, done.stderr), done.stderr
    assert not re.search("wr0ng|s3cret|Traceback", done.output)


def test_a_broker_that_goes_away_is_told_and_the_next_import_reads_all(
    broker: kafka.Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is read and in the middle of it: exit 1, and nothing of that import is kept."""
    monkeypatch.setattr(source, "SILENCE_S", 2.0)
    monkeypatch.setattr(source, "ANSWER_S", 5.0)
    broker.make("leaving")
    broker.send("leaving", [message(number) for number in range(4)])
    opened, store = open_source(broker.url("leaving"), Options()), new_store(tmp_path / "store")
    (part,) = opened.parts(frozenset())
    broker.kill()
    with pytest.raises(InputError, match="went away while it was read"):
        list(part.read())
    with pytest.raises(InputError, match="cannot be reached"):
        import_files(store, [open_source(broker.url("leaving"), Options())], arrived_ns=ARRIVED)
    assert store.stored() == 0
    broker.start()
    eventually(lambda: _readable(broker, "leaving"), "the broker is back")
    assert import_files(store, [opened], arrived_ns=ARRIVED).new == 8


def _readable(broker: kafka.Broker, topic: str) -> bool:
    with contextlib.suppress(InputError):
        return bool(list(open_source(broker.url(topic), Options()).parts(frozenset())))
    return False


# -- serve --


def sent(number: int) -> bytes:
    """A request of one span that tells its number."""
    return request(number, 1).SerializeToString()


class Following(Program):
    """`serve` of a topic beside HTTP, or as its only receiver beside the page; both ports tell its health."""

    def __init__(self, store: Path, url: str, *, only: bool = False) -> None:
        self.web = free_address()
        ports = ["--http", "off", "--web", self.web] if only else ["--http", self.web, "--web", "off"]
        options = ["--grpc", "off", *ports, "--kafka", url]
        command = [sys.executable, "-m", "tracescope", "serve", "--store", str(store), *options]
        super().__init__(command, store.with_suffix(".log"))
        self.listening(self.web)

    def metric(self, name: str) -> float:
        text = urllib.request.urlopen(f"http://{self.web}/metrics", timeout=10).read().decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    def readiness(self) -> dict[str, object]:
        try:
            with urllib.request.urlopen(f"http://{self.web}/readyz", timeout=10) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return json.loads(error.read())


def test_serve_follows_a_topic_and_shows_how_far_it_is(broker: kafka.Broker, tmp_path: Path) -> None:
    """From its beginning, what comes later, and what is malformed; the lag is a metric."""
    broker.make("followed", 2)
    broker.send("followed", [sent(number) for number in range(5)])
    running = Following(tmp_path / "store", broker.url("followed"))
    try:
        eventually(lambda: running.metric("tracescope_spans_accepted_total") == 5, "five spans are accepted")
        broker.send("followed", [b"no OTLP", *(sent(number) for number in range(5, 8))], partition=1)
        eventually(lambda: running.metric("tracescope_spans_accepted_total") == 8, "and three more")
        refused = 'tracescope_requests_total{outcome="malformed",transport="kafka"}'
        assert running.metric(refused) == 1
        eventually(lambda: running.metric("tracescope_kafka_lag_messages") == 0, "nothing is left to read")
        assert running.readiness() == {"ready": True, "reasons": []}
    finally:
        assert running.stop() == 0
    assert span_numbers(tmp_path / "store") == list(range(8))


def test_a_receiver_that_is_killed_at_any_time_has_stored_every_message_once(
    broker: kafka.Broker, tmp_path: Path
) -> None:
    """Kill -9, also between the journal and the place in the topic, while messages keep coming."""
    broker.make("killed")
    store, total = tmp_path / "store", 300
    for begin in range(0, total, 100):
        broker.send("killed", [sent(number) for number in range(begin, begin + 100)])
        running = Following(store, broker.url("killed"))
        accepted = partial(running.metric, "tracescope_spans_accepted_total")
        eventually(lambda: accepted() > 0, "some are accepted")  # noqa: B023 - called at once
        running.stop(signal.SIGKILL)
    # a place that is behind what the journal has: the last messages come again
    (place,) = (store / following.FOLDER).glob("*.json")
    where = following.read_places(place)
    following.write_places(place, {0: max(0, where[0] - 20)})
    running = Following(store, broker.url("killed"))
    eventually(lambda: len(span_numbers(store)) == total, "all spans are stored")
    assert running.stop() == 0
    assert span_numbers(store) == list(range(total))
    assert status_of(store)["spans"]["stored"] == total


def test_serve_waits_for_a_broker_that_is_not_there_and_says_so(broker: kafka.Broker, tmp_path: Path) -> None:
    """Not ready while nothing can be received; it goes on by itself when the broker is back."""
    broker.make("waited")
    broker.kill()
    running = Following(tmp_path / "store", broker.url("waited"), only=True)
    try:
        eventually(lambda: running.readiness()["ready"] is False, "it is not ready")
        assert "kafka" in str(running.readiness()["reasons"])
        broker.start()
        broker.send("waited", [sent(1)])
        eventually(lambda: running.readiness()["ready"] is True, "it is ready")
        eventually(lambda: status_of(tmp_path / "store")["spans"]["accepted"] == 1, "it goes on")
    finally:
        assert running.stop() == 0


@pytest.mark.parametrize("value", ["https://x/y", "kafka://here", "kafka:///topic", "here:9092"])
def test_a_setting_that_is_not_a_topic_is_refused_without_showing_it(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACESCOPE_KAFKA", value)
    with pytest.raises(ConfigError) as caught:
        config.load({})
    assert value not in str(caught.value)
