"""Traces of a system as SPANS, all traces of one entry at once.

Durations are lognormal, with a day-to-day drift that is correlated from one day to the next.  What is
changed in a scenario stands in `Conditions`, as functions of time; the simulator knows no scenario.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.worlds.topology import Call, Operation, Step, System
from tracescope import schema
from tracescope.conventions import semconv
from tracescope.schema import DAY_NS, HOUR_NS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
#: A number for every instant in ns.
Curve = Callable[[Ints], Floats]

MS = 1_000_000
#: Attempts at a call that fails, and how much longer than others a call in the tail takes.
ATTEMPTS = 3
TAIL_TIMES = 8.0
#: 2026-06-01 is a Monday.
FIRST_DAY_NS = 20_605 * DAY_NS


@dataclass(frozen=True, slots=True)
class Timeline:
    """When is looked: whole days, some hours of each."""

    base_days: int = 28
    head_days: int = 28
    every_hours: int = 3
    traces_an_hour: float = 12.0
    growth_per_week: float = 0.02
    first_day_ns: int = FIRST_DAY_NS

    @property
    def head_ns(self) -> int:
        """Where HEAD begins."""
        return self.first_day_ns + self.base_days * DAY_NS

    @property
    def end_ns(self) -> int:
        """Where HEAD ends."""
        return self.head_ns + self.head_days * DAY_NS

    def hours(self) -> Ints:
        """Starts of the hours that have traces."""
        return np.arange(self.first_day_ns, self.end_ns, self.every_hours * HOUR_NS, dtype=np.int64)

    def traffic(self, t: Ints) -> Floats:
        """Demand over the mean demand of the first week, day and week included."""
        hour = (t % DAY_NS) / HOUR_NS
        weekday = (t // DAY_NS + 3) % 7
        daily = 1 + 0.5 * np.sin((hour - 9) / 24 * 2 * np.pi)
        weeks = (t - self.first_day_ns) / (7 * DAY_NS)
        return daily * np.where(weekday >= 5, 0.75, 1.1) * (1 + self.growth_per_week) ** weeks


@dataclass(slots=True)
class Conditions:
    """What is special about a world; everything absent is as drawn.

    Attributes
    ----------
    slower, gap_ms, repeats, made
        By call: factor of the duration, ms in front of the callee, calls for one, part of calls made.
    failing, backoff_ms
        By call: probability that an attempt fails, of `ATTEMPTS` at most, and the caller's pause before the
        second one; it doubles before each further one.
    tail
        By call: probability that it takes `TAIL_TIMES` as long.
    own
        By operation: factor of its own work.
    serial
        By step: part of visits in which a parallel step runs one call after another.
    starved_ms
        By service: mean extra ms of every stretch of its own work and of every call from its side.
    wait_ms
        By topic: mean wait.
    weights
        By entry: factor of its demand.
    sampling
        Probability that a trace is kept.
    skew_ms
        Standard deviation of the hosts' clocks.
    lost
        Part of spans lost.
    new_names
        By service: from when on it uses the new attribute names.
    deploys
        By service: instants of its deploys.
    day_noise
        Standard deviation of the log of a day's durations.
    """

    slower: dict[int, list[Curve]] = field(default_factory=dict[int, list[Curve]])
    gap_ms: dict[int, list[Curve]] = field(default_factory=dict[int, list[Curve]])
    repeats: dict[int, Curve] = field(default_factory=dict[int, Curve])
    made: dict[int, Curve] = field(default_factory=dict[int, Curve])
    failing: dict[int, Curve] = field(default_factory=dict[int, Curve])
    backoff_ms: dict[int, float] = field(default_factory=dict[int, float])
    tail: dict[int, Curve] = field(default_factory=dict[int, Curve])
    own: dict[int, list[Curve]] = field(default_factory=dict[int, list[Curve]])
    serial: dict[int, Curve] = field(default_factory=dict[int, Curve])
    starved_ms: dict[str, Curve] = field(default_factory=dict[str, Curve])
    wait_ms: dict[str, Curve] = field(default_factory=dict[str, Curve])
    weights: dict[int, Curve] = field(default_factory=dict[int, Curve])
    sampling: Curve | None = None
    skew_ms: Curve | None = None
    lost: Curve | None = None
    new_names: dict[str, int] = field(default_factory=dict[str, int])
    deploys: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    day_noise: float = 0.03


@dataclass(slots=True)
class _Spans:
    """Columns in the making; every emission is one array of each."""

    parts: list[tuple[Ints, ...]] = field(default_factory=list[tuple[Ints, ...]])

    def add(
        self, template: int, rows: Ints, span: Ints, parent: Ints, start: Ints, end: Ints,
        failed: Bools | None = None,
    ) -> None:  # fmt: skip
        ok = np.full(len(rows), schema.STATUS_UNSET)
        status = ok if failed is None else np.where(failed, schema.STATUS_ERROR, ok)
        self.parts.append((np.full(len(rows), template), rows, span, parent, start, end, status))

    def columns(self) -> tuple[Ints, ...]:
        return tuple(np.concatenate(column) for column in zip(*self.parts, strict=True))


#: Attributes of a span as a library writes them, before and after its upgrade.
Names = dict[str, str]


def attributes(call: Call, new: bool) -> Names:
    """Attributes of a call's client span."""
    if call.kind == "db":
        system, _, namespace = call.callee.partition("/")
        verb, _, table = call.operation.partition(" ")
        keys = (
            ("db.system.name", "db.namespace", "db.operation.name", "db.collection.name")
            if new
            else ("db.system", "db.name", "db.operation", "db.sql.table")
        )
        return dict(zip(keys, (system, namespace, verb, table), strict=True))
    if call.kind == "queue":
        key = "messaging.operation.type" if new else "messaging.operation"
        return {"messaging.system": "kafka", "messaging.destination.name": call.callee, key: "publish"}
    address = "server.address" if new else "net.peer.name"
    if call.kind == "rpc":
        service, _, method = call.operation.partition("/")
        return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method, address: call.callee}
    verb = call.operation.split(" ")[0]
    return {"http.request.method" if new else "http.method": verb, address: call.callee}


def served(operation: Operation, new: bool) -> Names:
    """Attributes of an operation's server or consumer span."""
    if operation.protocol == "queue":
        topic = operation.name.removeprefix("process ")
        key = "messaging.operation.type" if new else "messaging.operation"
        return {"messaging.system": "kafka", "messaging.destination.name": topic, key: "process"}
    if operation.protocol == "rpc":
        service, _, method = operation.name.partition("/")
        return {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
    verb, _, route = operation.name.partition(" ")
    return {"http.request.method" if new else "http.method": verb, "http.route": route}


@dataclass(frozen=True, slots=True)
class Template:
    """What all spans of one call site or operation share."""

    service: str
    name: str
    kind: int
    attributes: Names

    def meaning(self) -> semconv.Meaning:
        """As a decoder would resolve it."""
        found: dict[str, str] = {}
        for field_name, keys in semconv.SPAN_ATTRIBUTES.items():
            value = next((self.attributes[key] for key in keys if key in self.attributes), None)
            if value is not None:
                found[field_name] = value
        return semconv.meaning(found, self.kind, self.name)


def _of_call(call: Call, new: bool) -> Template:
    kind = schema.KIND_PRODUCER if call.kind == "queue" else schema.KIND_CLIENT
    name = call.operation.split(" ")[0] if call.kind == "http" else call.operation
    return Template(
        call.caller, f"publish {call.callee}" if call.kind == "queue" else name, kind, attributes(call, new)
    )


def _of_operation(operation: Operation, new: bool) -> Template:
    kind = schema.KIND_CONSUMER if operation.protocol == "queue" else schema.KIND_SERVER
    return Template(operation.service, operation.name, kind, served(operation, new))


class Simulation:
    """One world's traces."""

    def __init__(
        self, system: System, timeline: Timeline, conditions: Conditions, rng: np.random.Generator
    ) -> None:
        self.system = system
        self.timeline = timeline
        self.conditions = conditions
        self.rng = rng
        self.spans = _Spans()
        self.day_factor: dict[int, Floats] = {}
        self.templates: list[tuple[Template, Template]] = []
        self.of_call: dict[int, int] = {}
        self.of_operation: dict[int, int] = {}
        for call in system.calls():
            self.of_call[call.number] = len(self.templates)
            self.templates.append((_of_call(call, False), _of_call(call, True)))
        for operation in system.operations.values():
            self.of_operation[operation.number] = len(self.templates)
            self.templates.append((_of_operation(operation, False), _of_operation(operation, True)))

    def run(self) -> pl.DataFrame:
        """SPANS rows."""
        kept: list[Floats] = []
        rows = 0
        weights = sum(self.system.entries.values())
        hours = self.timeline.hours()
        for number, weight in self.system.entries.items():
            demand = self.timeline.traffic(hours + HOUR_NS // 2) * self.timeline.traces_an_hour
            demand = demand * weight / weights
            if number in self.conditions.weights:
                demand = demand * self.conditions.weights[number](hours)
            keep = (
                np.ones(len(hours)) if self.conditions.sampling is None else self.conditions.sampling(hours)
            )
            arrivals = self.rng.poisson(demand * keep / keep.max())
            t = np.repeat(hours, arrivals) + self.rng.integers(0, HOUR_NS - 60_000 * MS, int(arrivals.sum()))
            kept.append(np.repeat(keep, arrivals))
            at = rows + np.arange(len(t))
            rows += len(t)
            self.serve(self.system.operations[number], at, t, np.zeros(len(t), np.int64))
        return self._frame(rows, np.concatenate(kept))

    # -- pieces --

    def lasting(self, key: int, mean_ms: float | Floats, t: Ints, spread: float = 0.45) -> Ints:
        """Lognormal durations in ns with the mean given, times the day's factor of `key`."""
        drawn = self.rng.lognormal(-(spread**2) / 2, spread, len(t)) * mean_ms * self._day(key, t)
        return np.maximum(drawn * MS, 20_000).astype(np.int64)

    def _day(self, key: int, t: Ints) -> Floats:
        if key not in self.day_factor:
            days = (self.timeline.end_ns - self.timeline.first_day_ns) // DAY_NS + 2
            noise = self.rng.normal(0, self.conditions.day_noise, days)
            for day in range(1, days):  # yesterday's resembles today's
                noise[day] = 0.3 * noise[day - 1] + np.sqrt(1 - 0.09) * noise[day]
            self.day_factor[key] = np.exp(noise - self.conditions.day_noise**2 / 2)
        return self.day_factor[key][(t - self.timeline.first_day_ns) // DAY_NS]

    def ids(self, n: int) -> Ints:
        """Fresh span ids."""
        return self.rng.integers(1, 2**63 - 1, n)

    def _starved(self, service: str, t: Ints) -> Ints:
        curve = self.conditions.starved_ms.get(service)
        if curve is None:
            return np.zeros(len(t), np.int64)
        return (self.rng.exponential(1.0, len(t)) * curve(t) * MS).astype(np.int64)

    def serve(self, operation: Operation, rows: Ints, t: Ints, parent: Ints) -> Ints:
        """Emit the server's span and everything below; returns its ends."""
        span = self.ids(len(rows))
        factor = np.ones(len(rows))
        for curve in self.conditions.own.get(operation.number, ()):
            factor = factor * curve(t)
        part = operation.own_ms * factor / (len(operation.steps) + 1)

        def work(now: Ints) -> Ints:
            return now + self.lasting(operation.number, part, t) + self._starved(operation.service, t)

        now = work(t)
        for step in operation.steps:
            now = work(self._step(step, rows, now, span, t))
        self.spans.add(self.of_operation[operation.number], rows, span, parent, t, now)
        return now

    def _step(self, step: Step, rows: Ints, now: Ints, parent: Ints, entered: Ints) -> Ints:
        if step.one_of:
            return self._one_of(step, rows, now, parent)
        serial = np.full(len(rows), not step.parallel)
        if step.number in self.conditions.serial:
            serial = self.rng.random(len(rows)) < self.conditions.serial[step.number](entered)
        done = now
        for call in step.calls:
            end = self._calls(call, rows, np.where(serial, done, now), parent)
            done = np.maximum(done, end)
        return done

    def _one_of(self, step: Step, rows: Ints, now: Ints, parent: Ints) -> Ints:
        """Make one of the calls, as a router does."""
        made = [self.conditions.made.get(call.number) for call in step.calls]
        parts = np.stack(
            [
                np.full(len(rows), call.probability) if curve is None else curve(now)
                for call, curve in zip(step.calls, made, strict=True)
            ]
        )
        bounds = np.cumsum(parts, axis=0) / parts.sum(axis=0)
        turn = (self.rng.random(len(rows)) > bounds[:-1]).sum(axis=0)
        now = now.copy()
        for number, call in enumerate(step.calls):
            at = np.flatnonzero(turn == number)
            now[at] = self._call(call, rows[at], now[at] + 30_000, parent[at])
        return now

    def _calls(self, call: Call, rows: Ints, now: Ints, parent: Ints) -> Ints:
        """As often as the visit makes the call; one after another."""
        made = self.conditions.made.get(call.number)
        part = np.full(len(rows), call.probability) if made is None else made(now)
        repeat = np.full(len(rows), call.repeat)
        if call.number in self.conditions.repeats:
            mean = self.conditions.repeats[call.number](now)
            repeat = np.maximum(1, np.floor(mean + self.rng.random(len(rows)))).astype(np.int64)
        repeat = np.where(self.rng.random(len(rows)) < part, repeat, 0)
        now = now.copy()
        for turn in range(int(repeat.max(initial=0))):
            at = np.flatnonzero(repeat > turn)
            now[at] = self._attempts(call, rows[at], now[at] + 30_000, parent[at])
        return now

    def _attempts(self, call: Call, rows: Ints, t: Ints, parent: Ints) -> Ints:
        """Until one succeeds, or nobody tries any more."""
        failing = self.conditions.failing.get(call.number)
        if failing is None:
            return self._call(call, rows, t, parent)
        done, at = t.copy(), np.arange(len(rows))
        pause = self.conditions.backoff_ms.get(call.number, 0.0)
        for attempt in range(ATTEMPTS):
            failed = self.rng.random(len(at)) < failing(done[at])
            done[at] = self._call(call, rows[at], done[at], parent[at], failed)
            if attempt + 1 < ATTEMPTS:
                at = at[failed]
                done[at] += int(pause * 2**attempt * MS)
        return done

    def _call(
        self, call: Call, rows: Ints, t: Ints, parent: Ints, failed: Bools | None = None
    ) -> Ints:  # fmt: skip
        span = self.ids(len(rows))
        factor = np.ones(len(rows))
        for curve in self.conditions.slower.get(call.number, ()):
            factor = factor * curve(t)
        if call.number in self.conditions.tail:
            factor = factor * np.where(
                self.rng.random(len(rows)) < self.conditions.tail[call.number](t), TAIL_TIMES, 1.0
            )
        late = self._starved(call.caller, t)
        if call.kind == "queue":
            end = t + self.lasting(call.number, call.mean_ms * factor, t) + late
            self.spans.add(self.of_call[call.number], rows, span, parent, t, end)
            wait = self.conditions.wait_ms.get(call.callee)
            mean = wait(end) if wait else np.full(len(rows), 12.0)
            consumer = self.system.operations[self.system.consumers[call.callee]]
            self.serve(consumer, rows, end + self.lasting(-call.number, mean, t, 0.6), span)
            return end
        if call.target is None:
            end = t + self.lasting(call.number, call.mean_ms * factor, t) + late
            self.spans.add(self.of_call[call.number], rows, span, parent, t, end, failed)
            return end
        target = self.system.operations[call.target]
        gap = np.full(len(rows), 0.6 * call.mean_ms)
        for curve in self.conditions.gap_ms.get(call.number, ()):
            gap = gap + curve(t)
        begin = t + self.lasting(call.number, gap, t) + self._starved(target.service, t)
        done = self.serve(target, rows, begin, span)
        end = done + self.lasting(call.number, 0.4 * call.mean_ms, t) + late
        self.spans.add(self.of_call[call.number], rows, span, parent, t, end, failed)
        return end

    # -- the table --

    def _frame(self, traces: int, kept: Floats) -> pl.DataFrame:
        template, rows, span, parent, start, end, status = self.spans.columns()
        rng, conditions = self.rng, self.conditions
        services = sorted(self.system.replicas)
        number = {name: k for k, name in enumerate(services)}
        service = np.array([number[old.service] for old, _ in self.templates])[template]
        replicas = np.array([self.system.replicas[name] for name in services])
        trace_hi, trace_lo = rng.integers(-(2**63), 2**63, traces), rng.integers(1, 2**63, traces)
        replica = (trace_lo[rows] + service) % replicas[service]
        version = np.zeros(len(rows), np.int64)
        for name, instants in conditions.deploys.items():
            mine = service == number[name]
            version[mine] = np.searchsorted(np.array(sorted(instants)), start[mine], "right")
        new = np.zeros(len(rows), np.int64)
        for name, instant in conditions.new_names.items():
            new[(service == number[name]) & (start >= instant)] = 1
        if conditions.skew_ms is not None:
            offset = rng.normal(0, 1, (len(services), 8)) * MS
            moved = (offset[service, replica] * conditions.skew_ms(start)).astype(np.int64)
            start, end = start + moved, end + moved
        threshold = np.full(len(rows), schema.NO_THRESHOLD)
        if conditions.sampling is not None:
            threshold = ((1 - kept[rows]) * 2**56).astype(np.int64)
        frame = pl.DataFrame(
            {
                "trace_hi": trace_hi[rows], "trace_lo": trace_lo[rows], "span_id": span,
                "parent_span_id": parent, "start_ns": start, "end_ns": end, "threshold": threshold,
                "content_hash": span,
            }
        )  # fmt: skip
        frame = frame.with_columns(
            *self._named(template * 2 + new), *_resources(services, service, replica, version)
        )
        frame = frame.with_columns(
            pl.Series("status", status), pl.lit("production").alias("environment"),
            *(pl.lit(None).alias(name) for name in ("links", "scope")),
            pl.lit(b"").alias("resource"), pl.lit(b"").alias("raw"),
        )  # fmt: skip
        if conditions.lost is not None:
            frame = frame.filter(pl.Series(rng.random(len(rows)) >= conditions.lost(start)))
        return frame.select(list(schema.SPANS)).cast(schema.dtypes(schema.SPANS))  # pyright: ignore[reportArgumentType]

    def _named(self, index: Ints) -> list[pl.Series]:
        """Columns that follow from the template."""
        flat = [template for pair in self.templates for template in pair]
        meanings = [template.meaning() for template in flat]
        table = pl.DataFrame(
            {
                "kind": [template.kind for template in flat],
                "service_name": [template.service for template in flat],
                "name": [template.name for template in flat],
                "edge_class": [m.edge_class for m in meanings],
                "messaging_op": [m.messaging_op for m in meanings],
                "peer": [m.peer for m in meanings],
                "operation": [m.operation for m in meanings],
            }
        )
        return [column.gather(index) for column in table]


def _resources(services: list[str], service: Ints, replica: Ints, version: Ints) -> list[pl.Series]:
    """Instance, host and version; a deploy changes all of them."""
    most = int(version.max(initial=0)) + 1
    key = (service * 8 + replica) * most + version
    used, index = np.unique(key, return_inverse=True)
    instances = [f"{services[k // most // 8]}-{k % most}-{k // most % 8}" for k in used.tolist()]
    versions = [f"1.{k % most}.0" for k in used.tolist()]
    named = {"service_instance": instances, "host": instances, "service_version": versions}
    return [pl.Series(name, values, dtype=pl.String).gather(index) for name, values in named.items()]
