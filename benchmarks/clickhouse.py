"""CPU of an import from ClickHouse, the server's included, beside one of the same spans as a file of OTLP.

    python benchmarks/clickhouse.py [--spans 1000000] [--schema collector] [--form protobuf|json]

Needs chdb-core.  The server is a process of its own whose CPU is measured from its counters in /proc, as
that of the import, also a process, is by its end.  Both imports run in turns; figures are microseconds of
CPU a span.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import clickhouse

from tracescope.sources import Options, open_source

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
SPANS_A_TRACE = 10
#: Rows of one day as the Collector's exporter writes them, made by the server itself.
ROWS = """INSERT INTO otel_traces SELECT
    toDateTime64('2026-09-30 08:00:00', 9, 'UTC') + toIntervalNanosecond(
        intDiv(number, 10) * {step} + (number % 10) * 1000000),
    lower(hex(sipHash128(intDiv(number, 10)))), leftPad(lower(hex(cityHash64(number))), 16, '0'),
    if(number % 10 = 0, '', leftPad(lower(hex(cityHash64(number - 1))), 16, '0')), '',
    concat(['GET', 'POST', 'SELECT', 'publish'][number % 4 + 1], ' /api/', toString(number % 50)),
    ['Server', 'Client', 'Internal'][number % 3 + 1], concat('service-', toString(number % 20)),
    map('service.name', concat('service-', toString(number % 20)), 'service.version', '1.4.2',
        'deployment.environment.name', 'production', 'host.name', concat('node-', toString(number % 8)),
        'k8s.pod.name', concat('pod-', toString(number % 20))),
    'io.opentelemetry.http', '2.1.0',
    map('http.request.method', 'GET', 'http.route', concat('/api/', toString(number % 50)),
        'http.response.status_code', '200', 'server.address', concat('service-', toString((number + 1) % 20)),
        'server.port', '8080', 'url.scheme', 'https', 'network.protocol.version', '1.1',
        'client.address', '10.1.2.3', 'user_agent.original', 'okhttp/4.12.0', 'thread.id', toString(number % 64)),
    toUInt64(20000000 - (number % 10) * 2000000), 'Unset', '', [], [], [], [], [], [], []
FROM numbers({spans})"""


def cpu_of(process: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def imported(source: str, store: Path) -> float:
    """Seconds of CPU of an import in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "tracescope", "import", source, "--store", str(store)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    print("  ", done.stderr.strip().splitlines()[0])
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--spans", type=int, default=1_000_000)
    asked.add_argument("--form", choices=("protobuf", "json"), default="protobuf")
    asked.add_argument("--rounds", type=int, default=2)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = clickhouse.Server(Path(folder) / "server")
        try:
            measure(server, Path(folder), given)
        finally:
            server.stop()


def measure(server: clickhouse.Server, folder: Path, given: argparse.Namespace) -> None:
    server.fill("collector", "bench")
    step = 3 * 3600 * 10**9 // max(1, given.spans // SPANS_A_TRACE)  # over three hours
    server.query(ROWS.format(spans=given.spans, step=step), "bench")
    if given.form == "json":
        server.fault(refuse="FORMAT Protobuf", code=344)
    url, file = server.url("bench"), folder / "spans"
    with file.open("wb") as out:
        for part in open_source(url, Options()).parts(frozenset()):
            for piece in part.read():
                out.write((len(piece).to_bytes(4, "big") if part.messages else b"") + piece)
    print(f"{given.spans:,} spans, {file.stat().st_size / given.spans:.0f} bytes each")
    for number in range(given.rounds):
        before = cpu_of(server.process.pid)
        client = imported(url, folder / f"clickhouse-{number}")
        served = cpu_of(server.process.pid) - before
        alone = imported(str(file), folder / f"file-{number}")
        each = 1e6 / given.spans
        print(
            f"ClickHouse {(client + served) * each:.1f} us a span (server {served * each:.1f}, "
            f"import {client * each:.1f}); the same as a file {alone * each:.1f}: "
            f"{(client + served) / alone:.2f} times"
        )


if __name__ == "__main__":
    main()
