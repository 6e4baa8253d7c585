"""Call trees that run: what a service does, written down, becomes spans with known times.

    shop = serve("gateway", "GET /cart", 2.0, [
        call("cart", "GET /items", 1.0, [
            query("postgresql/cart", "SELECT items", 5.0, times=3),
        ]),
    ])

A service works for its own time, half before and half after its calls; calls follow one another, or
run at the same time inside `parallel`.  So the clock of a tree is the sum of own times along its
longest branches, which every test can work out by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from tracescope import schema
from tracescope.analysis.diff import Options, diff
from tracescope.analysis.report import Edge, Report
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.rollups.process import process

#: A Monday, 00:00 UTC.
START_NS = 1_748_822_400 * 10**9
MS = 1_000_000


@dataclass(frozen=True)
class Work:
    """One span, or a group of calls at the same time (`role` parallel)."""

    role: str
    service: str = ""
    operation: str = ""
    ms: float = 0.0
    children: tuple[Work, ...] = ()
    times: int = 1
    threshold: int = schema.NO_THRESHOLD
    lost: bool = False  # the callee's span never arrives
    peer: str | None = None
    failed: bool = False


def failing(work: Work) -> Work:
    """The same work, which fails at its end."""
    return replace(work, failed=True)


def serve(service: str, operation: str, ms: float, children: Sequence[Work] = (), **more: int) -> Work:
    """An entry: a SERVER span without a parent."""
    return Work("server", service, operation, ms, tuple(children), **more)


def call(
    service: str,
    operation: str,
    ms: float,
    children: Sequence[Work] = (),
    times: int = 1,
    *,
    lost: bool = False,
) -> Work:
    """A call to another service: CLIENT and SERVER, the network free."""
    return Work("call", service, operation, ms, tuple(children), times, lost=lost, peer=f"{service}.internal")


def query(peer: str, operation: str, ms: float, times: int = 1) -> Work:
    """A query of a database."""
    return Work("db", "", operation, ms, times=times, peer=peer)


def inside(operation: str, ms: float, children: Sequence[Work] = ()) -> Work:
    """An INTERNAL span."""
    return Work("internal", "", operation, ms, tuple(children))


def parallel(*children: Work) -> Work:
    """Calls that start together; the longest is waited for."""
    return Work("parallel", children=children)


def publish(topic: str, wait_ms: float, consumer: str, ms: float) -> Work:
    """A PRODUCER span of no length, and its consumer after a wait."""
    return Work("publish", consumer, "consume", ms, peer=topic, children=(Work("wait", ms=wait_ms),))


def later(service: str, operation: str, ms: float) -> Work:
    """A call that outlives what started it by far: nobody waits for it."""
    return Work("later", service, operation, ms)


@dataclass
class _Trace:
    """Rows of one trace as they are made."""

    trace: int
    start_ns: int
    jitter: Callable[[], float]
    threshold: int = schema.NO_THRESHOLD
    rows: list[tuple[object, ...]] = field(default_factory=list)
    spans: int = 0

    def span(
        self, parent: int, start: float, end: float, service: str, kind: int, operation: str, *,
        edge_class: int = schema.CLASS_NONE, messaging: int = schema.MSG_NONE, peer: str | None = None,
        keep: bool = True, failed: bool = False,
    ) -> int:  # fmt: skip
        self.spans += 1
        if keep:
            begin, finish = (self.start_ns + round(ms * MS) for ms in (start, end))
            row = (
                1, self.trace, self.spans, parent, begin, finish, kind, edge_class, messaging, self.threshold,
                service, peer, operation, schema.STATUS_ERROR if failed else schema.STATUS_UNSET,
            )  # fmt: skip
            self.rows.append(row)
        return self.spans

    def reserve(self) -> int:
        self.spans += 1
        return self.spans

    def run(self, work: Work, parent: int, service: str, at: float) -> float:
        """Run a piece of work; returns when it ends, for whoever waits for it."""
        for _ in range(work.times):
            at = getattr(self, f"_{work.role}")(work, parent, service, at)
        return at

    def _body(self, work: Work, span: int, service: str, at: float) -> float:
        own = work.ms * self.jitter()
        at += own / 2
        for child in work.children:
            at = self.run(child, span, service, at)
        return at + own / 2

    def _put(self, number: int, *about: object, **more: object) -> None:
        before, self.spans = self.spans, number - 1
        self.span(*about, **more)  # type: ignore[arg-type]
        self.spans = before

    def _server(self, work: Work, parent: int, _: str, at: float) -> float:
        number = self.reserve()
        end = self._body(work, number, work.service, at)
        self._put(
            number, parent, at, end, work.service, schema.KIND_SERVER, work.operation, keep=not work.lost,
            failed=work.failed,
        )  # fmt: skip
        return end

    def _call(self, work: Work, parent: int, service: str, at: float) -> float:
        number = self.reserve()
        end = self._server(work, number, service, at)
        kind, about = schema.KIND_CLIENT, schema.CLASS_HTTP
        self._put(
            number, parent, at, end, service, kind, work.operation, edge_class=about, peer=work.peer,
            failed=work.failed,
        )  # fmt: skip
        return end

    def _db(self, work: Work, parent: int, service: str, at: float) -> float:
        end = at + work.ms * self.jitter()
        self.span(
            parent,
            at,
            end,
            service,
            schema.KIND_CLIENT,
            work.operation,
            edge_class=schema.CLASS_DB,
            peer=work.peer,
            failed=work.failed,
        )
        return end

    def _internal(self, work: Work, parent: int, service: str, at: float) -> float:
        number = self.reserve()
        end = self._body(work, number, service, at)
        self._put(number, parent, at, end, service, schema.KIND_INTERNAL, work.operation)
        return end

    def _parallel(self, work: Work, parent: int, service: str, at: float) -> float:
        ends = [self.run(one, parent, service, at) for child in work.children for one in _each(child)]
        return max(ends)

    def _publish(self, work: Work, parent: int, service: str, at: float) -> float:
        sent = self.span(
            parent, at, at, service, schema.KIND_PRODUCER, work.operation, edge_class=schema.CLASS_MESSAGING,
            messaging=schema.MSG_SEND, peer=work.peer,
        )  # fmt: skip
        begin = at + work.children[0].ms * self.jitter()
        self.span(
            sent, begin, begin + work.ms * self.jitter(), work.service, schema.KIND_CONSUMER, work.operation,
            edge_class=schema.CLASS_MESSAGING, messaging=schema.MSG_PROCESS, peer=work.peer,
        )  # fmt: skip
        return at

    def _publish_alone(self, work: Work, parent: int, service: str, at: float) -> float:
        self.span(
            parent, at, at, service, schema.KIND_PRODUCER, work.operation, edge_class=schema.CLASS_MESSAGING,
            messaging=schema.MSG_SEND, peer=work.peer,
        )  # fmt: skip
        return at

    def _later(self, work: Work, parent: int, service: str, at: float) -> float:
        self.span(parent, at, at + work.ms, work.service, schema.KIND_INTERNAL, work.operation)
        return at


def _each(work: Work) -> list[Work]:
    return [Work(**{**{f: getattr(work, f) for f in Work.__dataclass_fields__}, "times": 1})] * work.times


_MADE = (
    "trace_hi", "trace_lo", "span_id", "parent_span_id", "start_ns", "end_ns", "kind", "edge_class",
    "messaging_op", "threshold", "service_name", "peer", "operation", "status",
)  # fmt: skip

Program = Callable[[np.random.Generator, float], Work]


def spans(
    program: Work | Program, *, start_ns: int, hours: int, per_hour: int, seed: int = 0, jitter: float = 0.0
) -> pl.DataFrame:
    """SPANS of a program that runs `per_hour` times in every hour.

    A program that is a function gets a random generator and the part of the period that has passed.
    """
    rng = np.random.default_rng(seed)
    rows: list[tuple[object, ...]] = []
    for number in range(hours * per_hour):
        at_ns = start_ns + (2 * number + 1) * schema.HOUR_NS // (2 * per_hour)
        work = program(rng, number / (hours * per_hour)) if callable(program) else program
        noise = (lambda: float(np.exp(jitter * rng.standard_normal()))) if jitter else (lambda: 1.0)
        trace = _Trace(int(start_ns // schema.HOUR_NS) * 10**6 + number + 1, at_ns, noise, work.threshold)
        trace.run(work, 0, "", 0.0)
        rows += trace.rows
    types = schema.dtypes(schema.SPANS)
    frame = pl.DataFrame(rows, schema={name: types[name] for name in _MADE}, orient="row")
    missing = {name: dtype for name, dtype in types.items() if name not in _MADE}
    fixed = {"environment": "", "name": "", "resource": b"", "raw": b"", "content_hash": 0}
    frame = frame.with_columns(pl.lit(fixed.get(name), dtype).alias(name) for name, dtype in missing.items())
    return frame.select(list(schema.SPANS))


def period(made: pl.DataFrame, start_ns: int, hours: int) -> PeriodRollups:
    """Rollups of spans as a period."""
    tables = process(made).tables
    return PeriodRollups(start_ns, start_ns + hours * schema.HOUR_NS, schema.HOUR_NS, "", tables)


def compare(
    base: Work | Program, head: Work | Program, *, hours: int = 24, per_hour: int = 4, jitter: float = 0.0,
    options: Options | None = None,
) -> Report:  # fmt: skip
    """Run two programs, a day each, and diff them."""
    halves = []
    for number, program in enumerate((base, head)):
        start = START_NS + number * hours * schema.HOUR_NS
        made = spans(program, start_ns=start, hours=hours, per_hour=per_hour, seed=number, jitter=jitter)
        halves.append(period(made, start, hours))
    return diff(halves[0], halves[1], options or Options())


def edge(report: Report, name: str, operation: str | None = None) -> Edge:
    """The one edge of that name."""
    found = [e for e in report.edges if e.name == name and operation in (None, e.operation)]
    assert len(found) == 1, [(e.name, e.operation) for e in report.edges]
    return found[0]


def told(report: Report, least_ms: float = 1e-3) -> dict[str, dict[str, float]]:
    """Effects worth mention, by edge."""
    out: dict[str, dict[str, float]] = {}
    for e in report.edges:
        some = {name: round(value, 6) for name, value in e.effects.items() if abs(value) >= least_ms}
        if some:
            out[f"{e.name}" if e.callee is None else f"{e.name} {e.operation}"] = some
    return out
