"""Receiving: spans a second, CPU and memory of `tracescope serve` under a real gRPC client.

    python benchmarks/receive.py [--seconds 30] [--rate 20000] [--no-diff] [--sealing]

One client process sends spans of about 420 bytes with ten attributes, 512 to a request, gzip, over
loopback; everything is bounded by count and time.  Bodies are compressed beforehand and sent as they
are: the receiver tells by the body, so its work is the same, and the client's is not what is measured.

1. *full*: a closed loop with some requests in flight; spans acknowledged a second, then the time until
   all of them are in landing files.  CPU seconds a million spans, of the threads that answer (gRPC,
   inflating, checking, journal with fsync) and of those that drain (decode, Parquet), apart.
2. *rate*: a steady rate while `tracescope diff` runs over and over on a demo store; quantiles of the
   time from sending to the durable acknowledgement; memory, summed over processes.
3. *sealing* (instead of the others): the same rate and closed loop, first with nothing to seal and then
   while an hour of two million spans is sealed in the background; the ratio of both.

Goals on two cores shared with the client: 300,000 spans/s; p99 under 50 ms at 20,000 spans/s; idle
under 260 MiB, under 400 MiB at that rate.
"""

from __future__ import annotations

import argparse
import gzip
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import grpc
import polars as pl
from decode import PER_REQUEST, START_NS, requests

from tracescope.ingest.decode import decode
from tracescope.ingest.otlp_grpc import EXPORT
from tracescope.schema import HOUR_NS
from tracescope.store import open_store

DISTINCT = 64
IN_FLIGHT = 16
TICKS = os.sysconf("SC_CLK_TCK")
MIB = 1024 * 1024


@dataclass
class Server:
    """One `tracescope serve` and what the kernel says of it."""

    process: subprocess.Popen[str]
    grpc: str
    http: str

    @classmethod
    def start(cls, store: Path) -> Server:
        command = [sys.executable, "-m", "tracescope", "serve", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0",
                   "--web", "off", "--store", str(store)]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        addresses = [process.stdout.readline().split(" on ")[1].split(",")[0] for _ in range(2)]
        return cls(process, *(address.removeprefix("http://") for address in addresses))

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://{self.http}/metrics") as answer:
            for line in answer.read().decode().splitlines():
                if line.split(" ")[0] == name:
                    return float(line.split(" ")[1])
        return 0.0

    def cpu_s(self) -> tuple[float, float]:
        """CPU seconds of the threads that answer, and of those that drain."""
        spent = [0.0, 0.0]
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            try:
                name, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
            except FileNotFoundError:
                continue
            fields = rest.split()
            drains = name.startswith(("drain", "polars", "async-executor"))
            spent[drains] += (int(fields[11]) + int(fields[12])) / TICKS
        return spent[0], spent[1]

    def memory(self) -> tuple[float, float]:
        """Resident and proportional MiB, summed over the process and its children."""
        rss = pss = 0
        for pid in [self.process.pid, *children(self.process.pid)]:
            try:
                lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
            rss, pss = rss + found["Rss"], pss + found["Pss"]
        return rss / 1024, pss / 1024

    def drained(self, spans: int, within_s: float = 120.0) -> float:
        """Seconds until so many spans have been decoded."""
        begin = time.monotonic()
        while self.metric("tracescope_spans_decoded_total") < spans:
            if time.monotonic() - begin > within_s:
                raise SystemExit(f"not drained after {within_s} s")
            time.sleep(0.05)
        return time.monotonic() - begin

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += [int(child) for child in (task / "children").read_text().split()]
        except FileNotFoundError:
            continue
    return found


def full(server: Server, bodies: list[bytes], seconds: float) -> float:
    """As much as it takes; spans acknowledged a second."""
    options = (("grpc.max_send_message_length", 64 * MIB),)
    before = server.metric("tracescope_spans_decoded_total")
    with grpc.insecure_channel(server.grpc, options) as channel:
        export = channel.unary_unary(EXPORT)
        waiting: deque[grpc.Future] = deque()
        cpu, mine, begin, sent = server.cpu_s(), time.process_time(), time.monotonic(), 0
        while time.monotonic() - begin < seconds:
            waiting.append(export.future(bodies[sent % len(bodies)]))
            sent += 1
            if len(waiting) >= IN_FLIGHT:
                waiting.popleft().result()
        for one in waiting:
            one.result()
        taken = time.monotonic() - begin
    spans = sent * PER_REQUEST
    left = server.drained(int(before) + spans)
    after = server.cpu_s()
    client = (time.process_time() - mine) / spans * 1e6
    answer, drain = ((b - a) / spans * 1e6 for a, b in zip(cpu, after, strict=True))
    print(f"full: {spans / taken:,.0f} spans/s acknowledged over {taken:.0f} s, the last one landed {left:.1f} s later"
          f" ({spans / (taken + left):,.0f} spans/s to landing)")  # fmt: skip
    print(f"  CPU s a million spans: {answer:.2f} to the fsynced journal, {drain:.2f} from there to landing, "
          f"{answer + drain:.2f} in all; the client {client:.2f}")  # fmt: skip
    return spans / taken


def steady(server: Server, bodies: list[bytes], rate: int, seconds: float) -> float:
    """A rate, kept whatever the answers do; the 99th percentile in seconds."""
    latencies: list[float] = []
    most = (0.0, 0.0)
    pause = PER_REQUEST / rate
    with grpc.insecure_channel(server.grpc) as channel:
        export = channel.unary_unary(EXPORT)
        begin = time.monotonic()
        late = threading.Semaphore(0)
        count = int(seconds / pause)
        for number in range(count):
            due = begin + number * pause
            time.sleep(max(0.0, due - time.monotonic()))
            call = export.future(bodies[number % len(bodies)])

            def done(call: grpc.Future, due: float = due) -> None:
                call.result()
                latencies.append(time.monotonic() - due)
                late.release()

            call.add_done_callback(done)
            if number % 64 == 0:
                most = max(most, server.memory())
        for _ in range(count):
            late.acquire(timeout=60)
    ordered = sorted(latencies)
    p50, p99 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    print(f"  {rate:,} spans/s for {seconds:.0f} s: acknowledged p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, "
          f"worst {ordered[-1] * 1e3:.1f} ms")  # fmt: skip
    print(f"  memory at most {most[0]:.0f} MiB resident, {most[1]:.0f} MiB proportional")
    return p99


def land_an_old_hour(store: Path, payload: bytes, copies: int) -> None:
    """`copies` times the spans of a request, of other traces, in one hour that is over and quiet."""
    opened = open_store(store)
    frame = decode([payload], START_NS).spans
    back = (frame["start_ns"].min() or 0) // HOUR_NS * HOUR_NS - START_NS + 100 * HOUR_NS
    frame = frame.with_columns(pl.col("start_ns") - back, pl.col("end_ns") - back)
    with opened.group("old") as group:
        for part in range(0, copies, 32):
            many = pl.concat(
                [frame.with_columns(pl.col("trace_lo") + 7 * number) for number in range(part, part + 32)]
            )
            group.land(many, batch=f"old-{part}", accepted=len(many), rejected={}, arrived_ns=START_NS)
        for path in group.folder.rglob("*.parquet"):
            os.utime(path, (START_NS / 1e9, START_NS / 1e9))


def sealing(
    server: Server, store: Path, bodies: list[bytes], payload: bytes, rate: int, seconds: float
) -> None:
    """Ingest with nothing to seal, and while an hour is sealed."""
    found: dict[str, tuple[float, float]] = {}
    for title in ("nothing to seal", "while an hour is sealed"):
        print(f"{title}:")
        if found:
            land_an_old_hour(store, payload, 4096)
            while not children(server.process.pid):
                time.sleep(0.1)
        begin = time.monotonic()
        p99 = steady(server, bodies, rate, seconds)
        still = bool(children(server.process.pid))
        found[title] = p99, full(server, bodies, seconds)
        if len(found) > 1:
            print(
                f"  sealing ran through the steady part: {still}, through both: {bool(children(server.process.pid))}"
            )
            while server.metric("tracescope_hours_sealed_total") < 1:
                time.sleep(0.2)
            print(f"  sealed {time.monotonic() - begin:.0f} s after it began")
    (p99, rate_off), (p99_on, rate_on) = found.values()
    print(f"sealing / not sealing: p99 {p99_on / p99:.2f}, spans/s acknowledged {rate_on / rate_off:.2f}")


def diffs(folder: Path, stop: threading.Event) -> None:
    """Compare a demo store's months over and over."""
    environment = {**os.environ, "XDG_DATA_HOME": str(folder)}
    command = [sys.executable, "-m", "tracescope"]
    subprocess.run([*command, "demo"], env=environment, stdout=subprocess.DEVNULL, check=True)
    store = folder / "tracescope" / "demo"
    stop.clear()
    while not stop.is_set():
        subprocess.run(
            [*command, "diff", "30d", "--store", str(store)],
            env=environment,
            stdout=subprocess.DEVNULL,
            check=False,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--rate", type=int, default=20_000)
    parser.add_argument("--no-diff", action="store_true")
    parser.add_argument("--sealing", action="store_true")
    used = parser.parse_args()
    payloads = requests(DISTINCT * PER_REQUEST)
    bodies = [gzip.compress(payload, 6) for payload in payloads]
    size = sum(map(len, payloads)) / len(payloads) / PER_REQUEST
    print(f"spans of {size:.0f} bytes, {PER_REQUEST} a request, {len(bodies[0]) / 1024:.0f} KiB compressed; "
          f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        server = Server.start(Path(folder) / "store")
        try:
            time.sleep(3)
            if used.sealing:
                sealing(server, Path(folder) / "store", bodies, payloads[0], used.rate, used.seconds)
                return
            print("idle: {:.0f} MiB resident, {:.0f} MiB proportional".format(*server.memory()))
            print("at rest:")
            steady(server, bodies, used.rate // 10, min(used.seconds, 10))
            stop = threading.Event()
            stop.set()
            other = threading.Thread(target=diffs, args=(Path(folder), stop))
            if not used.no_diff:
                other.start()
                while stop.is_set() and other.is_alive():
                    time.sleep(0.2)
                print("while a diff runs:")
            steady(server, bodies, used.rate, used.seconds)
            stop.set()
            if other.ident is not None:
                other.join()
            full(server, bodies, used.seconds)
            print("after: {:.0f} MiB resident, {:.0f} MiB proportional".format(*server.memory()))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
