"""ClickHouse as a source: its tables of spans, hour by hour, as OTLP that the server itself writes.

    clickhouse://user@host:8123/database?table=otel_traces&since=2026-11-01

    DESCRIBE ─► which table (`clickhouse_tables`) ─► hours and their counts ─► a part an hour and slice
                                                                              │
                          protobuf where the server writes it, else JSON lines ◄┘

A part is named after its hour and the number of its spans: an hour that got more since, because it is
not over or because spans came late, has another name and is read again, whole; the store knows the spans
that it has.  Hours of very many spans are read in slices by trace id; few, since each scans its hour.

The server counts the spans of an hour and of each of its slices first, and of each message then.  An
answer that ends early, with an error in it or without one, has fewer: it is an error, and nothing of it is
kept.  More than were counted have come since; the hour has another name then.

The client is HTTP of the standard library; nothing has to be installed.
"""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import urlencode, urlsplit

from tracescope.errors import InputError, SourceError
from tracescope.sources import Options, Part
from tracescope.sources.asked import Asked
from tracescope.sources.clickhouse_tables import (
    MESSAGE_SPANS,
    PLAIN_JSON,
    USUAL,
    Form,
    Range,
    Table,
    quoted,
    recognise,
)

HOUR_S: Final = 3600
#: Spans of one query: the server holds them until it has grouped them.
SLICE_SPANS: Final = 500_000
#: Slices that have fewer spans than their hour are counted so often: a replica may be about to catch up.
COUNTED_TIMES: Final = 2
#: Bytes asked of the connection at once, and of JSON lines given as one piece.
_READ_BYTES: Final = 1024 * 1024
_CONNECT_S: Final = 10.0
#: How long the server may think about an hour before it sends the first of it.
_ANSWER_S: Final = 600.0
#: The last instant that a DateTime64(9) holds; in nanoseconds.
_LATEST_NS: Final = 2**63 - 1
#: The largest message that is believed: beyond, the bytes are none of ours.
_LARGEST: Final = 1 << 30

#: Codes of ClickHouse's errors that the request is to blame for.
_UNKNOWN_TABLE: Final = (60, 81)
_REFUSED: Final = (192, 193, 194, 497, 516)
_SPAN_OF_JSON: Final = b'"startTimeUnixNano":'


class _RefusedError(Exception):
    """The server answered with an error."""

    def __init__(self, status: int, text: str) -> None:
        found = re.search(r"Code: (\d+)", text)
        said = re.sub(r"^.*?DB::Exception: ", "", text.strip().splitlines()[0] if text.strip() else "")
        super().__init__(said)
        self.code = int(found[1]) if found else 0
        self.said = re.sub(r"( \(version [^)]*\))+\.?$", "", said)[:300] or f"HTTP status {status}"


@dataclass(frozen=True, slots=True)
class Server:
    """Where queries go.

    Attributes
    ----------
    host, port, tls
        Its HTTP interface.
    user, password, database
        As whom, and where names without a database are looked up.
    shown
        The URL without secrets.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None
    user: str
    password: str = field(repr=False)
    database: str
    shown: str

    def ask(self, query: str) -> Generator[bytes]:
        """Pieces of the answer to a query.

        Raises
        ------
        _RefusedError
            The server says why not.
        InputError
            It cannot be reached, or went away.
        """
        connection = self._connection()
        try:
            response = self._response(connection, query)
            while piece := response.read(_READ_BYTES):
                yield piece
        except http.client.IncompleteRead as error:
            raise self.gone("the answer is cut off") from error
        except (OSError, http.client.HTTPException) as error:
            raise self.gone(str(error) or type(error).__name__) from error
        finally:
            connection.close()

    def table(self, query: str) -> list[list[str]]:
        """The rows of a small answer in TabSeparated."""
        text = b"".join(self.ask(query)).decode(errors="replace")
        return [line.split("\t") for line in text.splitlines()]

    def _connection(self) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=_CONNECT_S)
        return http.client.HTTPSConnection(self.host, self.port, timeout=_CONNECT_S, context=self.tls)

    def _response(self, connection: http.client.HTTPConnection, query: str) -> http.client.HTTPResponse:
        about = {"default_format": "TabSeparated"}
        if self.database:
            about["database"] = self.database
        headers = {"X-ClickHouse-User": self.user, "Content-Type": "text/plain; charset=utf-8"}
        if self.password:
            headers["X-ClickHouse-Key"] = self.password
        try:
            connection.connect()
        except OSError as error:
            raise self.gone(str(error), "cannot be reached") from error
        connection.sock.settimeout(_ANSWER_S)
        connection.request("POST", f"/?{urlencode(about)}", query.encode(), headers)
        response = connection.getresponse()
        if response.status != http.client.OK:
            raise _RefusedError(response.status, response.read(65536).decode(errors="replace"))
        return response

    def gone(self, said: str, what: str = "went away while it was read") -> InputError:
        """The error that the server does not answer any more."""
        return InputError(
            f"{self.shown} {what}: {said}",
            f"expected ClickHouse's HTTP interface at {self.host}:{self.port}; nothing was stored, "
            "run the import again when it answers",
        )

    def failed(self, error: _RefusedError) -> InputError:
        """What the server refused, as whoever asked is told."""
        if error.code in _REFUSED:
            return SourceError(
                f"{self.shown}: {error.said}",
                "expected a user who may SELECT: clickhouse://USER@..., its password in CLICKHOUSE_PASSWORD",
            )
        if error.code in _UNKNOWN_TABLE:
            return SourceError(
                f"{self.shown}: {error.said}", "expected clickhouse://HOST:PORT/DATABASE?table=TABLE"
            )
        return InputError(f"{self.shown}: {error.said}", "nothing was stored; run the import again")


class Plan(NamedTuple):
    """A part before it is read, as plain data that another process may be given.

    Attributes
    ----------
    name
        Of the part.
    table, form, within
        Which query.
    least
        How many spans there were when they were counted.
    """

    name: str
    table: Table
    form: Form
    within: Range
    least: int


@dataclass(frozen=True, slots=True)
class ClickHouse:
    """A table of spans.

    Attributes
    ----------
    server, name, identity
        Whom to ask; see `tracescope.sources.Source`.
    table
        The table that was named; empty for whichever there is.
    first_ns, end_ns
        Spans that start in between.
    """

    server: Server
    name: str
    identity: str
    table: str
    first_ns: int
    end_ns: int

    def parts(self, known: frozenset[str]) -> Iterator[Part]:
        """An hour's spans each; of hours of very many, slices."""
        return map(self.part, self.plans(known))

    def part(self, plan: Plan) -> Part:
        """The part that a plan is of."""
        return Part(
            name=plan.name,
            shown=f"{self.server.shown} {plan.table.name} at {_iso(plan.within.first_ns // 10**9)}",
            read=self._reader(plan),
            messages=plan.form == "protobuf",
        )

    def plans(self, known: frozenset[str]) -> Iterator[Plan]:
        """What `parts` will read."""
        try:
            table = self._table()
            form = self._form(table)
            hours = self.server.table(table.windows(Range(self.first_ns, self.end_ns), HOUR_S))
        except _RefusedError as error:
            raise self.server.failed(error) from error
        for start, count in hours:
            yield from self._of_hour(table, form, (int(start), int(count)), known)

    def _of_hour(
        self, table: Table, form: Form, hour: tuple[int, int], known: frozenset[str]
    ) -> Iterator[Plan]:
        """The parts of an hour: its start in seconds, and its count."""
        start_s, count = hour
        slices = -(-count // SLICE_SPANS)
        names = [f"{start_s}.{count}.{number}-{slices}" for number in range(slices)]
        within = Range(
            first_ns=start_s * 10**9,
            end_ns=(start_s + HOUR_S) * 10**9,
            slices=slices,
            messages=-(-count // (MESSAGE_SPANS * slices)),
        )
        counts = {} if known.issuperset(names) else self._counts(table, within, count)
        for number, name in enumerate(names):
            yield Plan(name, table, form, within._replace(slice=number), counts.get(number, 0))

    def _counts(self, table: Table, within: Range, count: int) -> dict[int, int]:
        """How many spans each slice of an hour has, by the server's own count.

        Raises
        ------
        InputError
            Together they are fewer than the hour has: rows have gone, or another replica answered.
        """
        if within.slices == 1:
            return {0: count}
        counts: dict[int, int] = {}
        for _ in range(COUNTED_TIMES):
            try:
                rows = self.server.table(table.counts(within))
            except _RefusedError as error:
                raise self.server.failed(error) from error
            counts = {int(number): int(spans) for number, spans in rows}
            if sum(counts.values()) >= count:
                return counts
        raise InputError(
            f"{self.server.shown}: the {within.slices} slices of {_iso(within.first_ns // 10**9)} have "
            f"{sum(counts.values())} spans and the hour {count}",
            "rows were deleted, or replicas that differ answer in turn: nothing was stored, run the import "
            "again, of one replica",
        )

    def _reader(self, plan: Plan) -> Callable[[], Iterable[bytes]]:
        def read() -> Iterator[bytes]:
            messages = _messages if plan.form == "protobuf" else _lines
            try:
                with closing(self.server.ask(plan.table.spans(plan.within, plan.form))) as pieces:
                    yield from messages(pieces, plan.least, self.server)
            except _RefusedError as error:
                raise self.server.failed(error) from error

        return read

    def _table(self) -> Table:
        """The table that is named, or the first of the usual ones that is there.

        Raises
        ------
        SourceError
            There is none, or it holds something else.
        """
        name = self.table or self._usual()
        full = ".".join(quoted(part) for part in name.split(".", 1))
        columns = {row[0]: row[1] for row in self.server.table(f"DESCRIBE TABLE {full} FORMAT TabSeparated")}
        found = recognise(full, columns, all_values=self._has_all_values(columns))
        if found is None:
            shown = ", ".join(sorted(columns)[:8])
            raise SourceError(
                f"{self.server.shown}: {name} is not a table of spans of the Collector's exporter, Jaeger 2 "
                f"or SigNoz; its columns: {shown}{', ...' * (len(columns) > 8)}",
                f"name one of theirs ({', '.join(USUAL)}): clickhouse://HOST:PORT/DATABASE?table=TABLE",
            )
        return found

    def _usual(self) -> str:
        names = {row[0] for row in self.server.table("SHOW TABLES FORMAT TabSeparated")}
        for name in USUAL:
            if name in names:
                return name
        shown = ", ".join(sorted(names)[:8]) or "none at all"
        raise SourceError(
            f"{self.server.shown}: no table named {', '.join(USUAL)} in database "
            f"{self.server.database or 'default'}; there are: {shown}",
            "name the database and the table: clickhouse://HOST:PORT/DATABASE?table=TABLE",
        )

    def _has_all_values(self, columns: dict[str, str]) -> bool:
        if not any(kind.startswith("JSON") for kind in columns.values()):
            return True
        return bool(self.server.table("SELECT 1 FROM system.functions WHERE name = 'JSONAllValues'"))

    def _form(self, table: Table) -> Form:
        """The first form that this server writes: tried with no rows, since versions and clouds differ."""
        nothing = Range(0, 0)
        for form in ("protobuf", "json", PLAIN_JSON):
            try:
                for _ in self.server.ask(table.spans(nothing, form)):
                    pass
            except _RefusedError as error:
                if form == PLAIN_JSON or error.code in (*_REFUSED, *_UNKNOWN_TABLE):
                    raise
            else:
                return form
        raise AssertionError("the last form is returned or raised")


def _messages(pieces: Iterable[bytes], least: int, server: Server) -> Iterator[bytes]:
    """Messages of an answer in protobuf, the count of spans behind each taken off.

    message:  length | 0x0a length ResourceSpans | 1000: count

    Pieces are put together when a message is whole, not one by one: a message is of many.
    """
    waiting: list[bytes] = []
    held = needed = seen = 0
    for piece in pieces:
        waiting.append(piece)
        held += len(piece)
        if held < needed:
            continue
        data, at = b"".join(waiting), 0
        while (found := _message_at(data, at)) is not None and found[1] <= len(data):
            body, count = _body(data, *found, server)
            seen += count
            yield body
            at = found[1]
        needed = found[1] - at if found is not None else 0
        if needed > _LARGEST:
            raise _broken(data, server)
        waiting = [data[at:]]
        held = len(waiting[0])
    if held:
        raise _broken(b"".join(waiting), server)
    _check(seen, least, server)


def _message_at(data: bytes, at: int) -> tuple[int, int] | None:
    """Where the message at a place begins and ends; None where its length is not all there."""
    found = _varint(data, at)
    return None if found is None else (found[1], found[1] + found[0])


def _varint(data: bytes, at: int) -> tuple[int, int] | None:
    value = shift = 0
    while at < len(data) and shift < 64:
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
        shift += 7
    return None


#: Tags of a message's two fields: 1, length-delimited; 1000, varint.
_SPANS_TAG: Final = 0x0A
_COUNT_TAG: Final = b"\xc0\x3e"


def _body(data: bytes, begin: int, end: int, server: Server) -> tuple[bytes, int]:
    """The ExportTraceServiceRequest of a message, and how many spans the server put into it."""
    if begin < end and data[begin] == _SPANS_TAG:
        inner = _varint(data, begin + 1)
        if inner is not None:
            last = inner[0] + inner[1]
            counted = _varint(data, last + 2) if data[last : last + 2] == _COUNT_TAG else None
            if counted is not None and counted[1] == end:
                return data[begin:last], counted[0]
    raise _broken(data, server)


def _lines(pieces: Iterable[bytes], least: int, server: Server) -> Iterator[bytes]:
    """An answer in JSON lines, whose last has to end."""
    seen = 0
    left = b""
    for piece in pieces:
        left += piece
        end = left.rfind(b"\n") + 1
        if end:
            whole, left = left[:end], left[end:]
            if whole.count(b"}\n") < whole.count(b"\n"):
                raise _broken(whole, server)
            seen += whole.count(_SPAN_OF_JSON)
            yield whole
    if left:
        raise _broken(left, server)
    _check(seen, least, server)


def _broken(data: bytes, server: Server) -> InputError:
    """What an answer ends with instead of spans: the server's own words, where there are some."""
    found = re.search(rb"DB::Exception: ([^\n]+)", data[-65536:])
    if found is not None:
        return InputError(
            f"{server.shown} stopped while it was read: {found[1].decode(errors='replace')[:300]}",
            "nothing was stored; run the import again",
        )
    return server.gone("the answer ends within a message")


def _check(seen: int, least: int, server: Server) -> None:
    if seen < least:
        raise server.gone(f"{seen} of {least} spans came")


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H")


#: What a URL may say behind the question mark.
_OPTIONS: Final = ("table", "secure", "ca", "since", "until")


def open_source(url: str, options: Options) -> ClickHouse:
    """Open a ``clickhouse://`` URL, or ``clickhouses://`` with TLS.

    Raises
    ------
    SourceError, PeriodError
        The URL cannot be understood.
    """
    usage = "expected clickhouse://USER@HOST:PORT/DATABASE?table=TABLE, of the HTTP interface"
    asked = Asked.of(url, options, _OPTIONS, usage)
    secure = asked.scheme == "clickhouses" or asked.on("secure")
    host, port = _place(asked, 8443 if secure else 8123, usage)
    if port in (9000, 9440):
        raise SourceError(
            f"{asked.shown}: port {port} is of ClickHouse's native protocol, which is not spoken here",
            "give the port of its HTTP interface: 8123, or 8443 with TLS",
        )
    server = Server(
        host=host,
        port=port,
        tls=_tls(asked) if secure else None,
        user=asked.user or options.environ.get("CLICKHOUSE_USER", "") or "default",
        password=asked.password or options.environ.get("CLICKHOUSE_PASSWORD", ""),
        database=asked.path,
        shown=asked.shown,
    )
    return ClickHouse(
        server=server,
        name=asked.shown,
        identity=f"clickhouse://{host}:{port}/{asked.path}/{asked.get('table')}",
        table=asked.get("table"),
        first_ns=asked.hour("since", 0),
        end_ns=asked.hour("until", _LATEST_NS, last=True),
    )


def _place(asked: Asked, usual: int, usage: str) -> tuple[str, int]:
    """Host and port, also of an address of IPv6 in brackets."""
    try:
        found = urlsplit(f"//{asked.address}")
        port = found.port or usual
    except ValueError as error:
        raise SourceError(f"{asked.shown}: {error}", usage) from error
    return found.hostname or "", port


def _tls(asked: Asked) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=asked.get("ca") or None)
    except OSError as error:
        raise SourceError(
            f"{asked.shown}: ca={asked.get('ca')}: {error}", "give a file of certificates in PEM"
        ) from error
