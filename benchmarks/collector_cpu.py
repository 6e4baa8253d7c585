"""Processor time per span: tracescope against a real Collector, on the same requests, in one run.

    collector-config/build.sh            # once
    PYTHONPATH=.:tests python benchmarks/collector_cpu.py [SPANS]

Spans of about 420 bytes with ten attributes, 512 to a request, gzip, over gRPC on loopback.  Each
program gets a fifth of the spans first, to warm up, and then all of them four times; counted is what its
processes, their threads and their children took from then until the work was done (/proc), so that
other load on the machine matters little, and the load generator's own work not at all.

  to journal    every request is in the journal and fsynced; the drain is switched off
  to landing    and decoded, with every attribute, into landing files; the journal is empty again
  Collector     otlp receiver -> batch -> file exporter, as JSON (its default) and as protobuf;
                the file exporter never fsyncs

Goal: at most half of the Collector's.  Reached for the journal, nearly: on two busy cores it took 0.46 of the
JSON and 0.51 of the protobuf exporter (another run: 0.48 and 0.59).  Not for landing, 0.91 and 1.03: beside the
way to the journal, writing Parquet takes 1.6 us a span, and making the table that is written 1.4.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
from decode import PER_REQUEST, requests
from killing import cpu_s, memory_mib
from processes import EXPORT, QUICK, Collector, Program, free_address

SENDERS = 4
#: Times that all requests are sent; ids repeat then, which costs neither program anything before sealing.
PASSES = 4
#: `tracescope serve` whose journal is never drained, to see what the way to it costs by itself.
UNDRAINED = """
from tracescope.cli import main
from tracescope.serving.runtime import Runtime
Runtime._drain = lambda self, older_than_s: False
main()
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """Processor time in us a span, spans per second of the clock, memory in MiB at the end."""

    cpu_us: float
    rate: float
    memory: float


def send(address: str, payloads: list[bytes]) -> None:
    """All requests, each acknowledged, over a few connections."""

    def some(part: list[bytes]) -> None:
        options = [*QUICK, ("grpc.channel_id", id(part) % 2**31)]
        with grpc.insecure_channel(address, options, compression=grpc.Compression.Gzip) as channel:
            export = channel.unary_unary(EXPORT)
            for payload in part:
                while True:
                    try:
                        export(payload, timeout=60)
                    except grpc.RpcError as error:
                        if error.code() not in (
                            grpc.StatusCode.UNAVAILABLE,
                            grpc.StatusCode.RESOURCE_EXHAUSTED,
                        ):
                            raise
                        time.sleep(0.05)
                        continue
                    break

    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(some, [payloads[at::SENDERS] for at in range(SENDERS)]))


def measure(program: Program, address: str, payloads: list[bytes], settled: Callable[[], bool]) -> Measured:
    """Warm up, then count one pass."""
    send(address, payloads[: max(len(payloads) // 5, SENDERS)])
    wait(settled)
    before, begin = cpu_s(program.process.pid), time.perf_counter()
    for _ in range(PASSES):
        send(address, payloads)
    taken = time.perf_counter() - begin
    wait(settled)
    spans = PASSES * len(payloads) * PER_REQUEST
    used = cpu_s(program.process.pid) - before
    return Measured(used / spans * 1e6, spans / taken, memory_mib(program.process.pid))


def wait(settled: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 600
    while not settled():
        if time.monotonic() > deadline:
            raise TimeoutError("the program under test does not come to rest")
        time.sleep(0.2)


def still(folder: Path) -> Callable[[], bool]:
    """Whether the files of a folder have stopped growing for a second and a half."""
    seen: list[tuple[float, int]] = []

    def settled() -> bool:
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if not seen or seen[-1][1] != size:
            seen.append((time.monotonic(), size))
        return time.monotonic() - seen[-1][0] > 1.5

    return settled


def of_tracescope(folder: Path, payloads: list[bytes], *, drained: bool) -> Measured:
    folder.mkdir()
    store, address = folder / "store", free_address()
    way = ["-m", "tracescope"] if drained else ["-c", UNDRAINED]
    options = ["serve", "--store", str(store), "--grpc", address, "--http", "off", "--web", "off"]
    program = Program([sys.executable, *way, *options], folder / "log")
    try:
        program.ready(address)
        empty = lambda: not any((store / "journal").glob("*.journal"))  # noqa: E731
        return measure(program, address, payloads, empty if drained else still(store / "journal"))
    finally:
        program.clean()


def of_collector(folder: Path, payloads: list[bytes], form: str) -> Measured:
    out = folder / "out"
    out.mkdir(parents=True)
    settings = {"TRACES_PATH": str(out / "traces"), "FORMAT": form, "FILE_MEGABYTES": "100000"}
    collector = Collector(folder, "file.yaml", **settings)
    try:
        return measure(collector, collector.address, payloads, still(out))
    finally:
        collector.clean()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 102_400
    payloads = requests(count)
    bytes_each = sum(map(len, payloads)) / (len(payloads) * PER_REQUEST)
    print(
        f"{PASSES} times {len(payloads) * PER_REQUEST} spans of {bytes_each:.0f} bytes, {os.cpu_count()} cores"
    )
    subprocess.run([sys.executable, "-m", "tracescope", "warmup"], check=True, capture_output=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = {
            "Collector, file exporter, JSON": of_collector(folder / "json", payloads, "json"),
            "Collector, file exporter, protobuf": of_collector(folder / "proto", payloads, "proto"),
            "tracescope to journal, fsynced": of_tracescope(folder / "journal", payloads, drained=False),
            "tracescope to landing": of_tracescope(folder / "landing", payloads, drained=True),
        }
    json, proto = (rows[f"Collector, file exporter, {form}"].cpu_us for form in ("JSON", "protobuf"))
    print(f"{'':<36}{'us/span':>9}{'of JSON':>9}{'of proto':>10}{'spans/s':>11}{'MiB':>7}")
    for title, row in rows.items():
        print(
            f"{title:<36}{row.cpu_us:>9.2f}{row.cpu_us / json:>9.2f}{row.cpu_us / proto:>10.2f}"
            f"{row.rate:>11,.0f}{row.memory:>7.0f}"
        )


if __name__ == "__main__":
    main()
