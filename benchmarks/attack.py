"""Attack a receiver over loopback, and tell what it cost those beside it.

    python -m benchmarks.attack [--mib 16] [--times 8] [--fuzz 1000000] [--json 100000] [--short]

Each attack is sent some times to a real `tracescope serve` (limit of memory 1,024 MiB) while a good neighbour
sends ten spans every 50 ms over OTLP/HTTP and asks `/healthz`.  Printed: what was answered, the receiver's
largest memory (its own process; the page's beside it), the neighbour's worst and 99th latency, and how many of
its acknowledged spans are not in the store in the end: 0, or the run fails.

``--fuzz`` and ``--json`` mutate that many requests in this process, with the protobuf library as the judge: what
it refuses is refused, and of what it takes, accepted and rejected spans add up to what it counts.

Goals: memory under 1,024 MiB, the neighbour's worst answer under 1 s, nothing lost.  ``--short`` is what CI runs.
It says nothing of times, which belong to the machine.  Everything is bounded in count and time; nothing leaves
loopback.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import zstandard
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tracescope.errors import InputError, MalformedOtlpError
from tracescope.ingest.decode import judge, scan
from tracescope.ingest.otlp_http import transcode
from tracescope.ingest.protobuf import delimited

MIB = 1024 * 1024
LIMIT_MIB = 1024
WORST_S = 1.0
PROTOBUF, JSON = "application/x-protobuf", "application/json"


def request(first: int, count: int, more: bytes = b"") -> bytes:
    """Valid spans of one second ago, a trace each."""
    now = time.time_ns() - 10**9
    times = b"\x39" + now.to_bytes(8, "little") + b"\x41" + (now + 10**6).to_bytes(8, "little")
    spans = b"".join(
        delimited(
            2,
            delimited(1, number.to_bytes(16, "big"))
            + delimited(2, number.to_bytes(8, "big"))
            + delimited(5, b"GET /")
            + times
            + more,
        )
        for number in range(first, first + count)
    )
    name = delimited(1, delimited(1, b"service.name") + delimited(2, delimited(1, b"neighbour")))
    return delimited(1, delimited(1, name) + delimited(2, spans))


@dataclass(frozen=True)
class Attack:
    """A body, how it is encoded, and how often it is sent at once."""

    name: str
    body: bytes
    kind: str = PROTOBUF
    encoding: str = ""
    path: str = "/v1/traces"


def attacks(mib: int) -> Iterator[Attack]:
    """Every shape, `mib` MiB each once inflated; one at a time in memory."""
    size = mib * MIB

    def squeezed(name: str, body: bytes, kind: str = PROTOBUF) -> Attack:
        return Attack(name, gzip.compress(body, 6), kind, "gzip")

    yield squeezed("empty spans", delimited(1, delimited(2, b"\x12\x00" * (size // 2))))
    yield squeezed("empty resources", b"\x0a\x00" * (size // 2))
    yield squeezed("empty scopes", delimited(1, b"\x12\x00" * (size // 2)))
    yield squeezed("smallest valid spans", request(1, 1) * (size // len(request(1, 1))))
    yield squeezed("one long name", request(1, 1, delimited(5, b"x" * size)))
    yield squeezed("events without end", request(1, 1, b"\x5a\x00" * (size // 2)))
    yield squeezed("attributes without end", request(1, 1, b"\x4a\x00" * (size // 2)))
    spans = b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + b"{}," * (size // 3) + b"{}]}]}]}"
    yield squeezed("empty spans, JSON", spans, JSON)
    strange = b'{"resourceSpans":[{"\\u0078":[' + b"[]," * (size // 3) + b"[]]}]}"
    yield squeezed("strange JSON", strange, JSON)
    yield Attack("zstd, many frames", zstandard.compress(b"x" * 64) * (MIB // 8), PROTOBUF, "zstd")
    yield Attack("zstd, a bomb", zstandard.compress(bytes(8 * size)), PROTOBUF, "zstd")
    yield Attack("gzip, a bomb", gzip.compress(bytes(8 * size)), PROTOBUF, "gzip")
    liar = gzip.compress(delimited(1, bytes(size - 9))) + gzip.compress(b"")
    yield Attack("gzip that lies about its size", liar, PROTOBUF, "gzip")


def memory_mib(pid: int) -> float:
    """Resident memory."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def post(port: int, attack: Attack, timeout_s: float = 60.0) -> str:
    """Status of one request, or what ended it."""
    headers = {"content-type": attack.kind} | (
        {"content-encoding": attack.encoding} if attack.encoding else {}
    )
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        if attack.body:
            connection.request("POST", attack.path, attack.body, headers)
        else:
            connection.request("GET", attack.path)
        answer = connection.getresponse()
        answer.read()
        return str(answer.status)
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()


@dataclass
class Neighbour:
    """Sends a few good spans again and again, and asks whether all is well."""

    port: int
    sent: int = 0
    acknowledged: int = 0
    refused: int = 0
    latencies: list[float] = field(default_factory=list[float])
    _ends: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def _run(self) -> None:
        while not self._ends.wait(0.05):
            begin = time.monotonic()
            status = post(self.port, Attack("good", request(10**9 + self.sent, 10)), 30.0)
            healthy = post(self.port, Attack("health", b"", path="/healthz"), 30.0)
            self.latencies.append((time.monotonic() - begin) / 2)
            self.sent += 10
            self.acknowledged += 10 * (status == "200")
            self.refused += 10 * (status == "503")
            if healthy != "200" or status not in ("200", "503"):
                self.latencies.append(30.0)

    @contextmanager
    def beside(self) -> Iterator[list[float]]:
        """Latencies while something else goes on."""
        self._ends.clear()
        self.latencies = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        try:
            yield self.latencies
        finally:
            self._ends.set()
            self._thread.join()


@dataclass
class Row:
    """What one attack did."""

    name: str
    count: int
    answers: str
    memory: float
    latencies: list[float]
    timed: bool

    def text(self) -> str:
        """A line of the table."""
        ordered = sorted(self.latencies) or [float("nan")]
        worst, most = ordered[-1], ordered[int(0.99 * (len(ordered) - 1))]
        bad = self.memory > LIMIT_MIB or (self.timed and worst > WORST_S)
        return (
            f"{self.name:32} {self.count:6} {self.memory:7.0f} {worst * 1e3:9.0f} {most * 1e3:7.0f}  "
            f"{'EXCEEDS' if bad else 'holds':8} {self.answers}"
        )


@contextmanager
def watched(pid: int) -> Iterator[list[float]]:
    """The largest memory that a process takes meanwhile."""
    most, ends = [0.0], threading.Event()

    def look() -> None:
        while not ends.wait(0.01):
            most[0] = max(most[0], memory_mib(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        ends.set()
        thread.join()


@contextmanager
def serving(store: Path) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """A receiver: its process, its OTLP/HTTP and its web port."""
    command = [
        sys.executable,
        "-m",
        "tracescope",
        "serve",
        "--store",
        str(store),
        "--max-memory",
        str(LIMIT_MIB),
    ]
    command += ["--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--web", "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    ports: list[int] = []
    while len(ports) < 3:
        line = process.stdout.readline()
        if not line:
            raise SystemExit("the receiver did not start")
        ports.append(int(line.partition(",")[0].rstrip("/").rpartition(":")[2]))
    try:
        yield process, ports[1], ports[2]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def hold_half_open(port: int, count: int) -> list[socket.socket]:
    """Connections that say little and stay."""
    held: list[socket.socket] = []
    for _ in range(count):
        try:
            one = socket.create_connection(("127.0.0.1", port), timeout=5)
            one.sendall(b"POST /v1/traces HTTP/1.1\r\n")
            held.append(one)
        except OSError:
            break
    return held


def assail(mib: int, times: int, *, connections: int, questions: int, timed: bool) -> bool:
    """Run every attack; whether all goals held."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        with serving(store) as (process, port, web):
            neighbour = Neighbour(port)

            def one(name: str, count: int, act: Callable[[], str]) -> None:
                with watched(process.pid) as most, neighbour.beside() as latencies:
                    time.sleep(0.5)
                    answers = act()
                    time.sleep(2.0)  # what was taken is drained
                rows.append(Row(name, count, answers, most[0], latencies, timed))
                print(rows[-1].text(), flush=True)

            print(f"{'attack':32} {'times':>6} {'MiB':>7} {'worst ms':>9} {'p99 ms':>7}  {'goals':8} answers")
            one("nothing", 0, lambda: "")
            with ThreadPoolExecutor(times) as pool:
                for attack in attacks(mib):

                    def send(attack: Attack = attack) -> str:
                        return told(pool.map(lambda _: post(port, attack), range(times)))

                    one(attack.name, times, send)

                def ask() -> str:
                    diff = Attack("diff", b"", path="/api/growth?base=all")
                    with ThreadPoolExecutor(questions) as askers:
                        return told(askers.map(lambda _: post(web, diff), range(2 * questions)))

                one("questions", 2 * questions, ask)

                def connect() -> str:
                    held = hold_half_open(web, connections)
                    time.sleep(1.0)
                    for each in held:
                        each.close()
                    return f"{len(held)} open"

                one("half-open connections", connections, connect)
            begin = time.monotonic()
        stopped = time.monotonic() - begin
        lost = neighbour.acknowledged - stored_of_neighbour(store)
    print(
        f"stopped within {stopped:.1f} s; of the neighbour's spans {neighbour.acknowledged} were acknowledged,"
    )
    print(f"{neighbour.refused} were asked to come again, {lost} are lost")
    return lost == 0 and not any("EXCEEDS" in row.text() for row in rows)


def stored_of_neighbour(store: Path) -> int:
    """Distinct spans of the neighbour that a store holds."""
    import polars as pl

    files = [str(path) for path in (store / "landing").rglob("*.parquet")]
    files += [str(path) for path in (store / "spans").rglob("*.parquet")]
    if not files:
        return 0
    frame = pl.scan_parquet(files, missing_columns="insert", extra_columns="ignore")
    mine = frame.filter(pl.col("span_id") >= 10**9).select("trace_lo", "span_id").unique()
    return mine.select(pl.len()).collect().item()


def told(answers: Iterator[str]) -> str:
    """Statuses and how often each came."""
    return ", ".join(f"{status} x{count}" for status, count in sorted(Counter(answers).items()))


def mutated(data: bytes, draw: random.Random) -> bytes:
    """A few bytes changed, dropped, put in, doubled, or the rest cut."""
    out = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        if not out:
            break
        at, what = draw.randrange(len(out)), draw.randrange(6)
        if what == 0:
            out[at] = draw.randrange(256)
        elif what == 1:
            del out[at]
        elif what == 2:
            out.insert(at, draw.randrange(256))
        elif what == 3:
            out[at] ^= 1 << draw.randrange(8)
        elif what == 4:
            end = min(len(out), at + draw.randint(1, 40))
            out[at:at] = out[at:end]
        else:
            del out[at:]
    return bytes(out)


def sample(draw: random.Random) -> ExportTraceServiceRequest:
    """A request with something of everything."""
    made = ExportTraceServiceRequest()
    now = time.time_ns()
    for _ in range(draw.randint(1, 2)):
        group = made.resource_spans.add()
        group.resource.attributes.add(key="service.name").value.string_value = "orders"
        scope = group.scope_spans.add()
        scope.scope.name = "lib"
        for number in range(draw.randint(1, 3)):
            span = scope.spans.add(name="GET /", kind=draw.randrange(6), trace_state="ot=th:8")  # pyright: ignore[reportArgumentType]
            span.trace_id, span.span_id = draw.randbytes(16), draw.randbytes(8)
            span.start_time_unix_nano, span.end_time_unix_nano = now, now + number
            span.attributes.add(key="http.route").value.string_value = "/a"
            span.attributes.add(key="n").value.int_value = draw.randrange(2**40)
            span.attributes.add(key="l").value.array_value.values.add().bool_value = True
            span.events.add(name="exception").attributes.add(key="exception.type").value.string_value = "E"
            span.links.add(trace_id=draw.randbytes(16), span_id=draw.randbytes(8))
    return made


def counted(data: bytes) -> int:
    """Spans of a request by the protobuf library; -1 where it refuses."""
    try:
        read = ExportTraceServiceRequest.FromString(data)
    except DecodeError:
        return -1
    return sum(len(scope.spans) for part in read.resource_spans for scope in part.scope_spans)


def fuzz(count: int, seed: int) -> int:
    """Mutated protobuf requests; how many were read otherwise than the library reads them.

    The library checks UTF-8 in strings, which this receiver replaces; so what only it refuses is counted apart.
    """
    draw, wrong, refused, lenient = random.Random(seed), 0, 0, 0
    for number in range(count):
        if number % 200 == 0:
            whole = sample(draw).SerializeToString()
        data = mutated(whole, draw)  # pyright: ignore[reportPossiblyUnboundVariable]
        spans = counted(data)
        try:
            accepted, rejected = judge(scan([data], time.time_ns()))
        except MalformedOtlpError:
            refused += 1
            wrong += spans >= 0
            continue
        lenient += spans < 0
        wrong += spans >= 0 and accepted + sum(rejected.values()) != spans
    print(
        f"{count} mutated protobuf requests: {refused} refused, {lenient} taken that the library refuses, {wrong} wrong"
    )
    return wrong


def in_hex(node: Any, key: str = "") -> Any:
    """Protobuf's JSON with ids as OTLP writes them."""
    if isinstance(node, dict):
        return {name: in_hex(inner, name) for name, inner in node.items()}
    if isinstance(node, list):
        return [in_hex(inner, key) for inner in node]
    return base64.b64decode(node).hex() if key in ("traceId", "spanId", "parentSpanId") else node


def fuzz_json(count: int, seed: int) -> int:
    """Mutated JSON requests: a request is refused, or what comes of it adds up; how many did not."""
    draw, wrong, refused = random.Random(seed), 0, 0
    for number in range(count):
        if number % 200 == 0:
            whole = orjson.dumps(in_hex(MessageToDict(sample(draw))))
        data = mutated(whole, draw)  # pyright: ignore[reportPossiblyUnboundVariable]
        try:
            written = transcode(data, 1_000_000)
        except InputError:
            refused += 1
            continue
        accepted, rejected = judge(scan([written], time.time_ns()))
        wrong += counted(written) != accepted + sum(rejected.values())
    print(f"{count} mutated JSON requests: {refused} refused, {wrong} wrong")
    return wrong


def main() -> None:
    """Run what is asked for; exit code 1 where a goal was missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mib", type=int, default=48)
    parser.add_argument("--times", type=int, default=8)
    parser.add_argument("--fuzz", type=int, default=1_000_000)
    parser.add_argument("--json", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="a few of everything")
    given = parser.parse_args()
    if given.short:
        given.mib, given.times, given.fuzz, given.json = 12, 3, 4000, 1000
    wrong = fuzz(given.fuzz, given.seed) + fuzz_json(given.json, given.seed)
    connections, questions = (200, 8) if given.short else (3000, 50)
    held = assail(given.mib, given.times, connections=connections, questions=questions, timed=not given.short)
    sys.exit(0 if held and not wrong else 1)


if __name__ == "__main__":
    main()
