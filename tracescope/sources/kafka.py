"""A Kafka topic of OTLP: its partitions by ranges of offsets, each message one export request.

    kafka://user@broker:9092,other:9092/otlp_spans?since=7d

    partition 0   |== known ==|......|== known ==|...........> end when it is opened
                               part               part part    what was not read before, and no more

A part is named after its partition and its range, so that each message is read once, in whatever order
ranges were read: partitions are assigned, and no consumer group's offsets are needed or moved.  A topic is
known by the id that the cluster gave it: one that was deleted and made again is another.

Values are ``otlp_proto`` or ``otlp_json``, which the first byte tells: a brace never begins a request in
protobuf.  A value that is neither is refused and counted as ``malformed_message``.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from tracescope.errors import InputError, SourceError, TracescopeError
from tracescope.ingest.limits import Limits
from tracescope.places import need
from tracescope.sources import Options, Part
from tracescope.sources.asked import Asked

#: Offsets of one part.
PART_OFFSETS: Final = 100_000
#: How long a broker may take to answer, and a partition to give the next message.
ANSWER_S: Final = 10.0
SILENCE_S: Final = 30.0
#: What the client keeps of a topic ahead of us, in KiB.
_AHEAD_KIB: Final = 16 * 1024
_OPTIONS: Final = ("since", "until", "start", "security", "sasl", "ca", "cert", "key")
_SECURITY: Final = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
_USAGE: Final = "expected kafka://BROKER:9092/TOPIC, or kafkas:// with TLS"
_RANGE: Final = re.compile(r"p(\d+)-(\d+)-(\d+)")


class Span(NamedTuple):
    """Offsets [first, end) of a partition."""

    partition: int
    first: int
    end: int


def request_of(value: bytes) -> bytes:
    """An ExportTraceServiceRequest in protobuf of a message's value.

    Raises
    ------
    InputError
        It is JSON and no OTLP.
    """
    if value.lstrip()[:1] != b"{":
        return value
    from tracescope.ingest.otlp_http import transcode

    return transcode(value, most_values=Limits().json_values)


@dataclass(slots=True)
class Topic:
    """A topic of a cluster.

    Attributes
    ----------
    asked, name, topic, settings
        The URL, what messages call it, the topic's name, and the client's settings.
    first_ns, end_ns
        Messages whose time lies in between; 0 and None: all.
    """

    asked: Asked = field(repr=False)
    name: str
    topic: str
    settings: Mapping[str, Any] = field(repr=False)
    first_ns: int
    end_ns: int | None
    _client: Any = field(repr=False)
    _said: list[str] = field(default_factory=list[str])
    _identity: str = ""

    # -- the client --

    def consumer(self, **more: Any) -> Any:
        """A consumer that no partition is assigned to."""

        def heard(error: Any) -> None:
            self._said.append(str(error.str()))
            del self._said[:-4]

        return self._client.Consumer({**self.settings, **more, "error_cb": heard})

    def failed(self, error: Any, what: str = "cannot be read") -> TracescopeError:
        """An error of the client as whoever asked is told: exit 2 where the request is wrong."""
        codes = self._client.KafkaError
        code = error.code()
        said = "; ".join(dict.fromkeys([*self._said[-2:], error.str()]))
        if code in (codes.UNKNOWN_TOPIC_OR_PART, codes._UNKNOWN_TOPIC, codes._UNKNOWN_PARTITION):
            return SourceError(f"{self.name}: there is no topic {self.topic!r}", _USAGE)
        refused = (
            codes._AUTHENTICATION,
            codes._SSL,
            codes.SASL_AUTHENTICATION_FAILED,
            codes.TOPIC_AUTHORIZATION_FAILED,
            codes.CLUSTER_AUTHORIZATION_FAILED,
            codes.UNSUPPORTED_SASL_MECHANISM,
        )
        if code in refused or re.search(r"(?i)authenticat|sasl_ssl|SSL handshake|(ssl|tls).alert", said):
            return SourceError(
                f"{self.name}: {said}",
                "expected a user who may read the topic: kafka://USER@BROKER/TOPIC, its password in "
                "KAFKA_PASSWORD, sasl=PLAIN or SCRAM-SHA-512, kafkas:// where the broker speaks TLS with ca= "
                "of its authority, and cert= and key= where it wants to see a certificate",
            )
        return InputError(
            f"{self.name} {what}: {said}",
            f"expected a Kafka broker at {self.asked.address}; run it again when it answers, what was read "
            "before is kept",
        )

    def partitions(self, consumer: Any) -> list[int]:
        """Numbers of its partitions.

        Raises
        ------
        SourceError, InputError
            The topic is not there, or nobody answers.
        """
        try:
            found = consumer.list_topics(self.topic, timeout=ANSWER_S).topics[self.topic]
        except self._client.KafkaException as error:
            with contextlib.suppress(self._client.KafkaException):
                consumer.poll(0)  # the client tells why only then
            raise self.failed(error.args[0], "cannot be reached") from error
        if found.error is not None:
            raise self.failed(found.error)
        return sorted(found.partitions)

    @property
    def identity(self) -> str:
        """The id that the cluster gave the topic; of older clusters, the cluster's and the topic's name."""
        if not self._identity:
            with closing(self.consumer()) as consumer:
                self.partitions(consumer)
                cluster = consumer.list_topics(self.topic, timeout=ANSWER_S).cluster_id
            self._identity = f"kafka://{cluster or self.asked.address}/{self.topic}{self._topic_id()}"
        return self._identity

    def _topic_id(self) -> str:
        from confluent_kafka.admin import AdminClient

        client = AdminClient(dict(self.settings))
        names = self._client.TopicCollection([self.topic])
        try:
            found = client.describe_topics(names, request_timeout=ANSWER_S)[self.topic].result()
        except self._client.KafkaException:  # a broker before 2.8 gives none, or we may not ask
            return ""
        return f"#{found.topic_id}"

    @property
    def at(self) -> Any:
        """The client's name of a place: topic, partition, offset."""
        return self._client.TopicPartition

    def begin(self, consumer: Any, partition: int) -> int:
        """Where whoever follows a partition begins: its first message, or its end with ``start=end``."""
        found = self._bounds(consumer, partition)
        return found.end if self.asked.get("start") == "end" else found.first

    # -- as a source --

    def parts(self, known: frozenset[str]) -> Iterator[Part]:
        """Ranges of offsets that were not read before, up to the end of each partition as it is now."""
        done: dict[int, list[Span]] = {}
        for name in known:
            if found := _RANGE.fullmatch(name):
                done.setdefault(int(found[1]), []).append(Span(*(int(each) for each in found.groups())))
        with closing(self.consumer()) as consumer:
            bounds = [self._bounds(consumer, partition) for partition in self.partitions(consumer)]
        for bound in bounds:
            for left in uncovered(bound, done.get(bound.partition, [])):
                for first in range(left.first, left.end, PART_OFFSETS):
                    some = Span(left.partition, first, min(left.end, first + PART_OFFSETS))
                    yield Part(
                        name=f"p{some.partition}-{some.first}-{some.end}",
                        shown=f"{self.name} partition {some.partition} at offset {some.first}",
                        read=self._reader(some),
                        messages=True,
                    )

    def _bounds(self, consumer: Any, partition: int) -> Span:
        """What a partition holds now, between the instants that are asked for."""
        at = self.at
        try:
            low, high = consumer.get_watermark_offsets(at(self.topic, partition), timeout=ANSWER_S)
            ends = [low, high]
            for number, instant_ns in ((0, self.first_ns), (1, self.end_ns)):
                if instant_ns:
                    wanted = at(self.topic, partition, instant_ns // 10**6)
                    (found,) = consumer.offsets_for_times([wanted], timeout=ANSWER_S)
                    ends[number] = found.offset if found.offset >= 0 else high
        except self._client.KafkaException as error:
            raise self.failed(error.args[0]) from error
        return Span(partition, ends[0], max(*ends))

    def _reader(self, span: Span) -> Callable[[], Iterable[bytes]]:
        def read() -> Iterator[bytes]:
            with closing(self.consumer(**{"enable.partition.eof": True})) as consumer:
                consumer.assign([self.at(self.topic, span.partition, span.first)])
                for value in self._values(consumer, span):
                    try:
                        yield request_of(value)
                    except InputError:
                        yield value  # which no decoder reads either: it is refused there, and counted

        return read

    def _values(self, consumer: Any, span: Span) -> Iterator[bytes]:
        """Values of a range; what was compacted away leaves gaps."""
        heard = time.monotonic()
        while True:
            messages = consumer.consume(500, timeout=0.5)
            for message in messages:
                heard = time.monotonic()
                if (error := message.error()) is not None:
                    if error.code() == self._client.KafkaError._PARTITION_EOF:
                        return
                    raise self.failed(error, "went away while it was read")
                if message.offset() >= span.end:
                    return
                if message.value():
                    yield message.value()
                if message.offset() == span.end - 1:
                    return
            if time.monotonic() - heard > SILENCE_S:
                said = self._said[-1] if self._said else f"no message for {SILENCE_S:.0f} s"
                raise InputError(
                    f"{self.name} went away while it was read: {said}",
                    f"expected a Kafka broker at {self.asked.address}; nothing of this import was kept, "
                    "run it again when it answers",
                )


def uncovered(bound: Span, done: Iterable[Span]) -> Generator[Span]:
    """What of a range none of some others covers."""
    first = bound.first
    for each in sorted(done, key=lambda span: span.first):
        if each.first > first:
            yield Span(bound.partition, first, min(each.first, bound.end))
        first = max(first, each.end)
        if first >= bound.end:
            return
    if first < bound.end:
        yield Span(bound.partition, first, bound.end)


@contextlib.contextmanager
def closing(consumer: Any) -> Generator[Any]:
    """A consumer that is closed at the end."""
    try:
        yield consumer
    finally:
        consumer.close()


def open_source(url: str, options: Options) -> Topic:
    """Open a ``kafka://`` URL, or ``kafkas://`` with TLS.

    Raises
    ------
    SourceError, PeriodError
        The URL cannot be understood.
    UsageError
        confluent-kafka is not installed.
    """
    asked = Asked.of(url, options, _OPTIONS, _USAGE)
    if not asked.path or "/" in asked.path:
        raise SourceError(f"{asked.shown} names no topic", _USAGE)
    if asked.get("start", "beginning") not in ("beginning", "end"):
        raise SourceError(
            f"{asked.shown}: start={asked.get('start')[:60]} is neither beginning nor end", "give start=end"
        )
    client = need("confluent_kafka", "kafka", asked.shown)
    settings = _settings(asked, options)
    topic = Topic(
        asked, asked.shown, asked.path, settings,
        asked.hour("since", 0), asked.hour("until", 0, last=True) or None, client,
    )  # fmt: skip
    try:
        topic.consumer().close()
    except client.KafkaException as error:
        raise SourceError(f"{asked.shown}: {error.args[0].str()}", _USAGE) from error
    return topic


def _settings(asked: Asked, options: Options) -> dict[str, Any]:
    """Settings of the client."""
    user = asked.user or options.environ.get("KAFKA_USER", "")
    password = asked.password or options.environ.get("KAFKA_PASSWORD", "")
    tls = asked.scheme == "kafkas"
    protocol = asked.get("security").lower() or f"{'sasl_' * bool(user)}{'ssl' if tls else 'plaintext'}"
    if protocol not in _SECURITY:
        raise SourceError(
            f"{asked.shown}: security={protocol[:60]} is none of {', '.join(_SECURITY)}",
            "or leave it out: kafkas:// speaks TLS, and a user asks for SASL",
        )
    settings: dict[str, Any] = {
        "bootstrap.servers": asked.address,
        "security.protocol": protocol,
        "client.id": "tracescope",
        # required by the client, never joined: partitions are assigned, and offsets not committed
        "group.id": "tracescope",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "allow.auto.create.topics": False,
        "queued.max.messages.kbytes": _AHEAD_KIB,
        "socket.timeout.ms": int(ANSWER_S * 1000),
        "log_level": 0,
        "logger": _silent(),
    }
    if protocol.startswith("sasl"):
        settings |= {
            "sasl.mechanism": asked.get("sasl", "PLAIN").upper(),
            "sasl.username": user,
            "sasl.password": password,
        }
    files = {"ca": "ssl.ca.location", "cert": "ssl.certificate.location", "key": "ssl.key.location"}
    for name, setting in files.items():
        if path := asked.get(name):
            _check_file(asked, name, path)
            settings[setting] = path
    return settings


def _check_file(asked: Asked, name: str, path: str) -> None:
    """Refuse a file that is not there, of which the client says only that it failed."""
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise SourceError(
            f"{asked.shown}: {name}={path}: {error.strerror}", "give a file in PEM that may be read"
        ) from error


def _silent() -> Any:
    """A logger that says nothing: what goes wrong is raised."""
    import logging

    found = logging.getLogger("tracescope.kafka")
    found.propagate = False
    found.addHandler(logging.NullHandler())
    return found
