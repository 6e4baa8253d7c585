"""kill -9 at random points under load: what was acknowledged is there, once, whatever happens."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from processes import Sender, Tracescope, free_address, request, span_numbers, status_of

EACH = 20
SENDERS = 3


@dataclass
class Ledger:
    """What a client knows: which requests were acknowledged, and which it must send again."""

    next_number: int = 0
    acknowledged: set[int] = field(default_factory=set)
    again: list[int] = field(default_factory=list)
    acknowledgements: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> int:
        """First span of the next request: one that failed before, or a new one."""
        with self.lock:
            if self.again:
                return self.again.pop()
            self.next_number += EACH
            return self.next_number - EACH

    def note(self, first: int, *, done: bool) -> None:
        with self.lock:
            if done:
                self.acknowledged.add(first)
                self.acknowledgements += 1
            else:
                self.again.append(first)


def pour(address: str, ledger: Ledger, stop: threading.Event) -> None:
    """Send until told to stop, or until the server is gone; a few hundred requests a second at most."""
    sender = Sender(address)
    while not stop.is_set():
        first = ledger.take()
        try:
            answer = sender.send(request(first, EACH), timeout_s=20)
        except grpc.RpcError:
            ledger.note(first, done=False)
            time.sleep(0.05)
            continue
        assert not answer.HasField("partial_success")
        ledger.note(first, done=True)
        time.sleep(0.005)
    sender.close()


def kill_rounds(
    store: Path, rounds: int, *, seed: int, up_to_s: float, tell: Callable[[str], None] = lambda text: None
) -> Ledger:
    """Start, load, kill after a random while, look; and again.  Ends with a graceful stop.

    After every kill, before anything recovers, each acknowledged span counts exactly once; at the end
    the store holds every span that was acknowledged in the end, and nothing else.
    """
    draw, ledger = random.Random(seed), Ledger()
    for number in range(rounds + 1):
        address = free_address()
        server = Tracescope(store, address)
        try:
            stop = threading.Event()
            threads = [threading.Thread(target=pour, args=(address, ledger, stop)) for _ in range(SENDERS)]
            for thread in threads:
                thread.start()
            time.sleep(draw.uniform(0.05, up_to_s))
            if number < rounds:
                server.stop(signal.SIGKILL)
            stop.set()
            for thread in threads:
                thread.join()
            while number == rounds and ledger.again:
                first = ledger.take()
                sender = Sender(address)
                sender.send(request(first, EACH))
                sender.close()
                ledger.note(first, done=True)
            if number == rounds:
                assert server.stop() == 0
        finally:
            server.clean()
        check(store, ledger)
        tell(f"{number + 1} of {rounds + 1}: {len(ledger.acknowledged) * EACH:,} spans acknowledged")
    numbers = sorted(first + k for first in ledger.acknowledged for k in range(EACH))
    assert span_numbers(store) == numbers
    return ledger


def check(store: Path, ledger: Ledger) -> None:
    """Nothing acknowledged is missing; what is there beyond it was sent, and not answered, just now."""
    spans = status_of(store)["spans"]
    sure = len(ledger.acknowledged) * EACH
    assert sure <= spans["stored"] <= sure + len(ledger.again) * EACH
    assert spans["accepted"] >= ledger.acknowledgements * EACH
    assert spans["rejected"] == {}


def descendants(process: int) -> Iterator[int]:
    """A process and everything that it started, by Linux's /proc."""
    yield process
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from descendants(int(child))


def memory_mib(process: int) -> float:
    """Memory of a process and its children, shared pages divided among their users."""
    total = 0
    for one in descendants(process):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            if one == process:
                raise
            continue  # a sealer that ended while we looked
        for line in lines:
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def cpu_s(process: int) -> float:
    """Processor time of a process, its threads, and its children, the ended ones included."""
    ticks = os.sysconf("SC_CLK_TCK")
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    own = sum(int(fields[at]) for at in (11, 12, 13, 14)) / ticks
    living = [child for child in descendants(process) if child != process]
    return own + sum(cpu_s(child) for child in living if parent_of(child) == process)


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])
