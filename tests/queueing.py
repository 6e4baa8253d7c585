"""A small shop in which work waits for work: event by event, with pools, locks, queues and time-outs.

    POST /orders   api ─► inventory ─► postgresql/stock           threads, connections and cores are finite
                   api ─► (orders) ─► worker ─► postgresql/ledger     a bounded queue, and one row
    GET /report    reports ─► postgresql/stock                        another tenant of the same cores
    POST /adjust   billing ─► postgresql/ledger, bank.example       holds that row while it asks the bank

Nothing is computed from formulas: what waits waits in a line, and the spans say how long.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import polars as pl

from tests.simulated import START_NS
from tracescope import schema
from tracescope.analysis.diff import Options, diff
from tracescope.analysis.report import Report
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.rollups.process import process
from tracescope.conventions import semconv

Process = Generator[Any, Any, Any]


class Line:
    """`size` places; who finds none waits in line."""

    def __init__(self, size: int) -> None:
        self.free = size
        self.waiting: deque[Process] = deque()


class Queue:
    """Holds `room` items; who puts into a full one waits, as does who gets from an empty one."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.items: deque[Any] = deque()
        self.putting: deque[tuple[Process, Any]] = deque()
        self.getting: deque[Process] = deque()


class Loop:
    """Processes yield ms to sleep, a `Line` to take a place of, or a queue to get from or put to."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Process, Any]] = []
        self._number = 0

    def start(self, process: Process, at: float | None = None, given: Any = None) -> None:
        self._number += 1
        heapq.heappush(self._heap, (self.now if at is None else at, self._number, process, given))

    def give_back(self, line: Line) -> None:
        if line.waiting:
            self.start(line.waiting.popleft())
        else:
            line.free += 1

    def run(self) -> None:
        while self._heap:
            self.now, _, process, given = heapq.heappop(self._heap)
            self._step(process, given)

    def _step(self, process: Process, given: Any) -> None:
        while True:
            try:
                wanted = process.send(given)
            except StopIteration:
                return
            given = None
            if isinstance(wanted, Line):
                if wanted.free:
                    wanted.free -= 1
                    continue
                wanted.waiting.append(process)
                return
            if isinstance(wanted, Queue):
                if not wanted.items:
                    wanted.getting.append(process)
                    return
                given = wanted.items.popleft()
                if wanted.putting:
                    putter, item = wanted.putting.popleft()
                    wanted.items.append(item)
                    self.start(putter)
                continue
            if isinstance(wanted, tuple):
                queue, item = wanted
                if queue.getting:
                    self.start(queue.getting.popleft(), given=item)
                elif len(queue.items) < queue.room:
                    queue.items.append(item)
                else:
                    queue.putting.append((process, item))
                    return
                continue
            self.start(process, self.now + wanted)
            return


@dataclass(frozen=True)
class Settings:
    """What a world is made of; durations in ms, rates in requests a second."""

    orders_rate: float = 6.0
    reports_rate: float = 1.0
    adjust_rate: float = 1.0
    api_ms: float = 3.0
    api_threads: int = 12
    inventory_ms: float = 2.0
    inventory_threads: int = 3
    inventory_pool: int = 12  # connections of api to inventory, taken inside the CLIENT span
    stock_ms: float = 90.0
    stock_calls: int = 1
    stock_cores: int = 2
    stock_pool: int = 64  # connections of inventory to the database, taken before the span
    pool_spans: bool = False  # whether waiting for one has a span, where there is a wait
    report_ms: float = 120.0
    ledger_ms: float = 25.0
    bank_ms: float = 30.0
    worker_ms: float = 140.0
    workers: int = 2
    messages: int = 1
    queue_room: int = 12
    timeout_ms: float = 1e9
    attempts: int = 3
    swing: bool = True  # load follows the hour of the day


@dataclass
class World:
    """A stretch of time of the shop."""

    settings: Settings
    rng: np.random.Generator
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    spans: int = 0
    traces: int = 0

    def __post_init__(self) -> None:
        s = self.settings
        self.loop = Loop()
        self.offset_ns = 0
        self.api, self.inventory = Line(s.api_threads), Line(s.inventory_threads)
        self.pool, self.stock_pool = Line(s.inventory_pool), Line(s.stock_pool)
        self.stock, self.row = Line(s.stock_cores), Line(1)
        self.queue = Queue(s.queue_room)

    # -- pieces --

    def work(self, ms: float, spread: float = 0.4) -> float:
        return float(self.rng.lognormal(-(spread**2) / 2, spread) * ms)

    def number(self) -> int:
        self.spans += 1
        return self.spans

    def keep(
        self, trace: int, span: int, parent: int, start: float, service: str, kind: int, operation: str,
        *, about: int = schema.CLASS_NONE, messaging: int = schema.MSG_NONE, peer: str | None = None,
        status: int = 0,
    ) -> None:  # fmt: skip
        begin, end = (self.offset_ns + round(ms * 1e6) for ms in (start, self.loop.now))
        self.rows.append(
            (1, trace, span, parent, begin, max(end, begin), kind, about, messaging, -1, service, peer,
             operation, status)
        )  # fmt: skip

    def query(self, trace: int, parent: int, service: str, peer: str, operation: str, ms: float, line: Line,
              hold: Process | None = None) -> Process:  # fmt: skip
        """A db span that takes a core or a row; `hold` goes on while the row is held."""
        start, span = self.loop.now, self.number()
        yield line
        yield self.work(ms)
        self.keep(trace, span, parent, start, service, schema.KIND_CLIENT, operation, about=schema.CLASS_DB,
                  peer=peer)  # fmt: skip
        if hold is not None:
            yield from hold
        self.loop.give_back(line)

    # -- entries --

    def order(self) -> Process:
        self.traces += 1
        trace, s, loop = self.traces, self.settings, self.loop
        arrived, root = loop.now, self.number()
        yield self.api
        yield self.work(s.api_ms)
        done = False
        for _ in range(s.attempts):
            done = yield from self.ask_inventory(trace, root)
            if done:
                break
        for _ in range(s.messages):
            start, sent = loop.now, self.number()
            yield (self.queue, (trace, sent))
            yield 0.3
            self.keep(trace, sent, root, start, "api", schema.KIND_PRODUCER, "publish",
                      about=schema.CLASS_MESSAGING, messaging=schema.MSG_SEND, peer="orders")  # fmt: skip
        loop.give_back(self.api)
        self.keep(trace, root, 0, arrived, "api", schema.KIND_SERVER, "POST /orders",
                  status=0 if done else schema.STATUS_ERROR)  # fmt: skip

    def ask_inventory(self, trace: int, parent: int) -> Process:
        """One attempt; gives up waiting after the time-out, while the work goes on."""
        s, loop = self.settings, self.loop
        start, span = loop.now, self.number()
        yield self.pool
        served: list[bool] = []
        waiter: list[Process] = []
        loop.start(self.serve_inventory(trace, span, served, waiter))
        gate = Line(0)
        state = {"open": False}

        def wake(after: float | None) -> Process:
            if after is not None:
                yield after
            if not state["open"]:
                state["open"] = True
                loop.give_back(gate)

        waiter.append(wake(None))
        if s.timeout_ms < 1e8:
            loop.start(wake(max(s.timeout_ms - (loop.now - start), 0.0)))
        yield gate
        loop.give_back(self.pool)
        fine = bool(served)
        self.keep(trace, span, parent, start, "api", schema.KIND_CLIENT, "POST /reserve",
                  about=schema.CLASS_HTTP, peer="inventory.internal",
                  status=0 if fine else schema.STATUS_ERROR)  # fmt: skip
        return fine

    def serve_inventory(self, trace: int, parent: int, served: list[bool], waiter: list[Process]) -> Process:
        s, loop = self.settings, self.loop
        yield self.inventory
        start, span = loop.now, self.number()
        yield self.work(s.inventory_ms)
        for _ in range(s.stock_calls):
            asked = loop.now
            yield self.stock_pool
            if s.pool_spans and loop.now > asked:
                self.keep(
                    trace, self.number(), span, asked, "inventory", schema.KIND_CLIENT, semconv.ACQUIRE,
                    about=schema.CLASS_DB, peer=semconv.POOL,
                )  # fmt: skip
            yield from self.query(
                trace, span, "inventory", "postgresql/stock", "SELECT items", s.stock_ms, self.stock
            )
            loop.give_back(self.stock_pool)
        loop.give_back(self.inventory)
        self.keep(trace, span, parent, start, "inventory", schema.KIND_SERVER, "POST /reserve")
        served.append(True)
        loop.start(waiter[0])

    def report(self) -> Process:
        self.traces += 1
        trace, start, root = self.traces, self.loop.now, self.number()
        yield self.work(2.0)
        yield from self.query(
            trace, root, "reports", "postgresql/stock", "SELECT totals", self.settings.report_ms, self.stock
        )
        self.keep(trace, root, 0, start, "reports", schema.KIND_SERVER, "GET /report")

    def adjust(self) -> Process:
        self.traces += 1
        trace, start, root = self.traces, self.loop.now, self.number()
        yield self.work(2.0)
        yield from self.query(
            trace, root, "billing", "postgresql/ledger", "UPDATE accounts", self.settings.ledger_ms, self.row,
            hold=self.bank(trace, root),
        )  # fmt: skip
        self.keep(trace, root, 0, start, "billing", schema.KIND_SERVER, "POST /adjust")

    def bank(self, trace: int, parent: int) -> Process:
        start, span = self.loop.now, self.number()
        yield self.work(self.settings.bank_ms)
        self.keep(trace, span, parent, start, "billing", schema.KIND_CLIENT, "POST /transfer",
                  about=schema.CLASS_HTTP, peer="bank.example")  # fmt: skip

    def consume(self) -> Process:
        while True:
            trace, sent = yield self.queue
            start, span = self.loop.now, self.number()
            yield self.work(self.settings.worker_ms)
            yield from self.query(
                trace,
                span,
                "worker",
                "postgresql/ledger",
                "UPDATE accounts",
                self.settings.ledger_ms,
                self.row,
            )
            self.keep(trace, span, sent, start, "worker", schema.KIND_CONSUMER, "process",
                      about=schema.CLASS_MESSAGING, messaging=schema.MSG_PROCESS, peer="orders")  # fmt: skip


_COLUMNS = (
    "trace_hi", "trace_lo", "span_id", "parent_span_id", "start_ns", "end_ns", "kind", "edge_class",
    "messaging_op", "threshold", "service_name", "peer", "operation", "status",
)  # fmt: skip


def _frame(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    types = schema.dtypes(schema.SPANS)
    frame = pl.DataFrame(rows, schema={name: types[name] for name in _COLUMNS}, orient="row")
    fixed = {"environment": "", "name": "", "resource": b"", "raw": b"", "content_hash": 0}
    missing = {name: dtype for name, dtype in types.items() if name not in _COLUMNS}
    frame = frame.with_columns(pl.lit(fixed.get(name), dtype).alias(name) for name, dtype in missing.items())
    return frame.select(list(schema.SPANS))


def simulate(
    settings: Settings, *, start_ns: int, stretches: int, every_ns: int, stretch_s: float, seed: int
) -> pl.DataFrame:
    """SPANS of `stretches` of time of `stretch_s` each, one every `every_ns`, first with nobody in line."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[Any, ...]] = []
    spans, traces = seed * 10**8, seed * 10**7
    for number in range(stretches):
        hour = (start_ns + number * every_ns) // schema.HOUR_NS % 24
        busy = 1 + 0.6 * np.sin(2 * np.pi * (hour - 9) / 24) if settings.swing else 1.0
        world = World(settings, rng, spans=spans, traces=traces)
        world.offset_ns = start_ns + number * every_ns
        for _ in range(settings.workers):
            world.loop.start(world.consume())
        for rate, made in (
            (settings.orders_rate, world.order),
            (settings.reports_rate, world.report),
            (settings.adjust_rate, world.adjust),
        ):
            for at in np.sort(rng.uniform(0, stretch_s * 1000, rng.poisson(rate * busy * stretch_s))):
                world.loop.start(made(), float(at))
        world.loop.run()
        rows += world.rows
        spans, traces = world.spans, world.traces
    return _frame(rows)


@cache
def period(settings: Settings, number: int, days: int, seed: int) -> PeriodRollups:
    """20 s of every hour of some days, the first or the second such period."""
    hours = days * 24
    start = START_NS + number * hours * schema.HOUR_NS
    made = simulate(
        settings, start_ns=start, stretches=hours, every_ns=schema.HOUR_NS, stretch_s=20.0,
        seed=2 * seed + number + 1,
    )  # fmt: skip
    end = start + hours * schema.HOUR_NS
    return PeriodRollups(start, end, schema.HOUR_NS, "", process(made).tables)


def compare(
    base: Settings, head: Settings, *, days: int = 6, seed: int = 1, options: Options | None = None
) -> Report:
    """Run two worlds for some days each and diff them."""
    return diff(period(base, 0, days, seed), period(head, 1, days, seed), options or Options())


@cache
def minutes(settings: Settings, number: int, length: int, seed: int) -> PeriodRollups:
    """Some minutes at one load, the first or the second such period."""
    length_ns = length * 60 * 10**9
    start = START_NS + number * length_ns
    made = simulate(
        replace(settings, swing=False), start_ns=start, stretches=1, every_ns=length_ns,
        stretch_s=length * 60.0, seed=2 * seed + number + 1,
    )  # fmt: skip
    slot = length_ns // 512
    return PeriodRollups(start, start + length_ns, slot, "", process(made, slot_ns=slot).tables)


def compare_minutes(base: Settings, head: Settings, *, length: int = 20, seed: int = 1) -> Report:
    """Run two worlds for some minutes each and diff them."""
    return diff(minutes(base, 0, length, seed), minutes(head, 1, length, seed))
