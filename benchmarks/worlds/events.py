"""An event-driven world: requests that hold threads, connections, cores and locks while they wait.

Each hour of both periods is one window of simulated seconds, warmed up before it is recorded, at the start of
the real hour: all resources are as busy as in the whole hour, and its traces are a sample.  Where what
happened before matters (`Calendar.memory`), the windows are one run: queues are handed on from each to the next.

What waits shows where instrumentation would show it: for a server's thread or a connection in the client's
span, for a consumer between publishing and its span, for a lock or a core in the database's.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from benchmarks.worlds.event_loop import Gate, Loop, Pool, Process, Race
from benchmarks.worlds.otlp import Resource, Spans, Template
from benchmarks.worlds.parts import (
    Call,
    Change,
    Operation,
    Service,
    Size,
    Statement,
    Step,
    System,
    Topic,
    Users,
)  # fmt: skip
from tracescope.schema import (
    DAY_NS,
    HOUR_NS,
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_PRODUCER,
    KIND_SERVER,
)  # fmt: skip

#: Monday, 2026-08-03 00:00 UTC.
FIRST_DAY_NS = 20_668 * DAY_NS
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Calendar:
    """When it happens.

    Attributes
    ----------
    base_days, head_days
        Length of the periods, which follow each other.
    every_hours
        Only each so many'th hour has traffic.
    window_s, warm_s
        Seconds of an hour that are recorded, and seconds before that are not.
    growth_per_week
        Of everybody's arrivals.
    swing, weekend
        How much arrivals go up and down over a day, and what of them is left at weekends.
    day_noise
        Standard deviation of the log of a day's work, all services together.
    memory
        Whether queues are handed on from window to window.
    """

    base_days: int = 14
    head_days: int = 14
    every_hours: int = 2
    window_s: float = 3.0
    warm_s: float = 2.0
    growth_per_week: float = 0.0
    swing: float = 0.5
    weekend: float = 0.75
    day_noise: float = 0.02
    memory: bool = False

    @property
    def head_ns(self) -> int:
        """Where BASE ends and HEAD begins."""
        return FIRST_DAY_NS + self.base_days * DAY_NS

    @property
    def end_ns(self) -> int:
        """Where HEAD ends."""
        return self.head_ns + self.head_days * DAY_NS

    def demand(self, at_ns: int) -> float:
        """Arrivals in an hour over those of the mean hour of the first week."""
        hour, day = at_ns % DAY_NS / HOUR_NS, at_ns // DAY_NS
        daily = 1 + self.swing * math.sin((hour - 9) / 24 * 2 * math.pi)
        weekly = self.weekend if (day + 3) % 7 >= 5 else 1.0
        weeks = (at_ns - FIRST_DAY_NS) / (7 * DAY_NS)
        return daily * weekly * (1 + self.growth_per_week) ** weeks * 7 / (5 + 2 * self.weekend)

    def hours(self) -> Iterator[tuple[int, float]]:
        """Start of each hour with traffic, and where it lies in parts of HEAD."""
        length = self.head_days * DAY_NS
        for at in range(FIRST_DAY_NS, self.end_ns, self.every_hours * HOUR_NS):
            yield at, (at - self.head_ns) / length


@dataclass(slots=True)
class _Instance:
    """One process of a service."""

    resource: Resource
    threads: Pool | None
    cores: Pool | None
    slower: float


@dataclass(slots=True)
class _Visit:
    """The trace that something belongs to, and what is special about its user."""

    trace: int
    tenant: str
    heavy: float
    heavy_calls: tuple[str, ...]


class Simulation:
    """One world, run hour by hour."""

    def __init__(self, system: System, changes: tuple[Change, ...], calendar: Calendar, seed: int) -> None:
        self.calendar, self.changes, self.whole = calendar, changes, system
        self.random = random.Random(seed)
        self.spans = Spans()
        self.loop = Loop()
        self.system = system
        self._pools: dict[str, Pool] = {}
        self._fleets: dict[str, list[_Instance]] = {}
        self._made: dict[tuple[object, ...], int] = {}
        self._first_s, self._last_s, self._wall_ns = 0.0, 0.0, 0
        self._slower = 1.0

    def run(self) -> Spans:
        """Everything that was recorded."""
        calendar, day_before = self.calendar, -1
        for at_ns, when in calendar.hours():
            if at_ns // DAY_NS != day_before:
                day_before = at_ns // DAY_NS
                self._slower = math.exp(self.random.gauss(0, calendar.day_noise))
            self.system = self.whole.at(self.changes, when)
            if not calendar.memory:
                self.loop, self._pools, self._fleets = Loop(), {}, {}
            self._resize()
            self._window(at_ns)
        if calendar.memory:  # what still waits is served, and traces end
            self.loop.run(self.loop.now + 7 * 24 * _HOUR_S)
        return self.spans

    def _window(self, at_ns: int) -> None:
        calendar, loop = self.calendar, self.loop
        warm = 0.0 if calendar.memory else calendar.warm_s
        self._first_s = loop.now + warm
        self._last_s = self._first_s + calendar.window_s
        self._wall_ns = at_ns - round(self._first_s * 1e9)
        demand = calendar.demand(at_ns)
        # whoever comes after the last one that is recorded keeps up the load that this one meets
        until = self._last_s + (0.0 if calendar.memory else calendar.warm_s)
        for users in [part for part in self.system.parts.values() if isinstance(part, Users)]:
            loop.step(self._arrivals(users, users.per_s * demand, until))
        loop.run(until)
        if not calendar.memory:
            loop.run(until + 600.0)

    def _resize(self) -> None:
        for part in self.system.parts.values():
            if isinstance(part, Size):
                self._pool(part.name, part.size)
            elif isinstance(part, Topic):
                self._pool(f"consumers of {part.name}", part.consumers)
                if part.bound is not None:
                    self._pool(f"places of {part.name}", part.bound)
            elif isinstance(part, Service):
                self._fleets[part.name] = self._fleet(part)

    def _pool(self, name: str, size: int) -> Pool:
        pool = self._pools.get(name)
        if pool is None:
            pool = self._pools[name] = Pool(self.loop, size)
        elif pool.size != size:
            pool.resize(size)
        return pool

    def _fleet(self, service: Service) -> list[_Instance]:
        shown = service.shown or service.name
        newer = round(service.canary * service.instances)
        fleet: list[_Instance] = []
        for number in range(service.instances):
            canary = number < newer
            resource = Resource(shown, f"{shown}-{number}", "1.5.0-canary" if canary else service.version)
            name = f"{service.name} {number}"
            threads = None if service.threads is None else self._pool(f"threads of {name}", service.threads)
            cores = None if service.cores is None else self._pool(f"cores of {name}", service.cores)
            fleet.append(_Instance(resource, threads, cores, service.canary_times if canary else 1.0))
        return fleet

    # -- arrivals --

    def _arrivals(self, users: Users, rate: float, until: float) -> Process:
        operation = self.system.parts[users.operation]
        assert isinstance(operation, Operation)
        tenants = range(len(users.tenants))
        while rate > 0:
            yield self.random.expovariate(rate)
            now = self.loop.now
            if now >= until:
                return
            kept = self._first_s <= now < self._last_s
            trace = self.random.getrandbits(128) if kept else 0
            tenant = self.random.choices(tenants, users.tenants)[0] if tenants else -1
            heavy = users.heavy[tenant] if users.heavy else 1.0
            who = "" if tenant < 0 else f"tenant-{tenant}"
            visit = _Visit(trace, who, heavy, users.heavy_calls)
            self.loop.later(0.0, self._serve(operation, visit, 0, self._wall_ns))

    # -- work --

    def _draw(self, ms: float, spread: float = 0.3) -> float:
        """Seconds of work of that mean."""
        if spread >= 1.0:
            return self.random.expovariate(1.0) * ms * self._slower / 1e3
        sigma = math.sqrt(math.log1p(spread * spread))
        return self.random.lognormvariate(-sigma * sigma / 2, sigma) * ms * self._slower / 1e3

    def _serve(
        self, operation: Operation, visit: _Visit, parent: int, wall_ns: int, topic: str = ""
    ) -> Process:
        fleet = self._fleets[operation.service]
        instance = fleet[int(self.random.random() * len(fleet))]
        if instance.threads is not None:
            yield instance.threads
        start, span = self.loop.now, self.random.getrandbits(63) | 1
        gives_up = self.random.random() < operation.fails
        steps = operation.steps[: operation.fails_after] if gives_up else operation.steps
        each = operation.own_ms * instance.slower / (len(operation.steps) + 1)
        yield from self._own(instance, each)
        well = True
        for name in steps:
            step = self.system.parts[name]
            assert isinstance(step, Step)
            well = yield from self._step(step, visit, span, wall_ns, instance)
            if not well:
                break
            yield from self._own(instance, each)
        well = well and not gives_up
        if visit.trace:
            key = (
                ("consume", operation.name, topic)
                if topic
                else ("serve", operation.name, visit.tenant if not parent else "")
            )
            self._record(key, instance.resource, visit.trace, (span, parent), (start, wall_ns), not well)
        if instance.threads is not None:
            instance.threads.leave()
        return well

    def _own(self, instance: _Instance, ms: float) -> Process:
        if ms <= 0:
            return
        if instance.cores is None:
            yield self._draw(ms)
            return
        yield instance.cores
        yield self._draw(ms)
        instance.cores.leave()

    def _step(self, step: Step, visit: _Visit, parent: int, wall_ns: int, by: _Instance) -> Process:
        calls = [call for name in step.calls if isinstance(call := self.system.parts[name], Call)]
        if not step.parallel:
            for call in calls:
                well = yield from self._calls(call, visit, parent, wall_ns, by)
                if not (well or call.optional):
                    return False
            return True
        gate = Gate(self.loop, len(calls))
        for call in calls:
            self.loop.later(0.0, gate.run(self._calls(call, visit, parent, wall_ns, by)))
        well = yield gate
        return well or all(call.optional for call in calls)

    def _calls(self, call: Call, visit: _Visit, parent: int, wall_ns: int, by: _Instance) -> Process:
        times = call.times * (visit.heavy if call.name in visit.heavy_calls else 1.0)
        for _ in range(int(times + self.random.random())):
            for attempt in range(call.retries + 1):
                if attempt:
                    yield self._pause(call, attempt)
                well = yield from self._attempt(call, visit, parent, wall_ns, by)
                if well:
                    break
            if not well:
                return False
        return True

    def _pause(self, call: Call, attempt: int) -> float:
        """Seconds before a call is made again."""
        pause = call.backoff_ms * 2.0 ** (attempt - 1) / 1e3
        return pause * (1 + call.jitter * self.random.uniform(-1, 1)) if call.jitter else pause

    def _attempt(self, call: Call, visit: _Visit, parent: int, wall_ns: int, by: _Instance) -> Process:
        span, start = self.random.getrandbits(63) | 1, self.loop.now
        pool = self._pools[call.pool] if call.pool else None
        if pool is not None:
            yield pool
            if not call.pool_inside:
                start = self.loop.now
        if call.timeout_ms is None:
            well = yield from self._reach(call, visit, span, wall_ns, by)
        else:
            race = Race(self.loop)
            self.loop.later(0.0, race.run(self._reach(call, visit, span, wall_ns, by)))
            self.loop.later(0.0, race.timer(call.timeout_ms / 1e3))
            well = (yield race) is True
        if by.cores is not None:  # the answer is read when there is a processor to read it
            yield from self._own(by, 0.3)
        if pool is not None:
            pool.leave()
        if visit.trace:
            key = ("call", call.name)
            self._record(key, by.resource, visit.trace, (span, parent), (start, wall_ns), not well)
        return well

    def _reach(self, call: Call, visit: _Visit, span: int, wall_ns: int, by: _Instance) -> Process:
        target = self.system.parts[call.to]
        if isinstance(target, Statement):
            return (yield from self._work(target))
        if isinstance(target, Topic):
            return (yield from self._publish(target, visit, span, wall_ns))
        assert isinstance(target, Operation)
        yield self._draw(call.gap_ms)
        return (yield from self._serve(target, visit, span, wall_ns))

    def _work(self, statement: Statement) -> Process:
        if statement.fails and self.random.random() < statement.fails:
            yield self._draw(0.5)
            return False
        lock = None
        if statement.lock is not None:
            row = int(self.random.random() * statement.rows)
            lock = self._pool(f"lock {statement.lock} {row}", 1)
            yield lock
        cores = self._pools[statement.pool] if statement.pool else None
        if cores is not None:
            yield cores
        yield self._draw(statement.ms, statement.spread)
        if cores is not None:
            cores.leave()
        if lock is not None:
            lock.leave()
        return True

    def _publish(self, topic: Topic, visit: _Visit, span: int, wall_ns: int) -> Process:
        place = self._pools[f"places of {topic.name}"] if topic.bound is not None else None
        if place is not None:
            yield place
        yield self._draw(topic.publish_ms)
        self.loop.later(0.0, self._consume(topic, place, visit, span, wall_ns))
        return True

    def _consume(self, topic: Topic, place: Pool | None, visit: _Visit, span: int, wall_ns: int) -> Process:
        consumers = self._pools[f"consumers of {topic.name}"]
        yield consumers
        if place is not None:
            place.leave()
        operation = self.system.parts[topic.consumer]
        assert isinstance(operation, Operation)
        yield self._draw(1.0)
        yield from self._serve(operation, visit, span, wall_ns, topic.name)
        consumers.leave()

    # -- spans --

    def _record(
        self,
        key: tuple[str, ...],
        resource: Resource,
        trace: int,
        ids: tuple[int, int],
        since: tuple[float, int],
        failed: bool,
    ) -> None:
        whole = (*key, resource, failed)
        template = self._made.get(whole)
        if template is None:
            template = self._made[whole] = self.spans.template(
                resource, replace(self._template(key), failed=failed)
            )
        start, wall_ns = since
        self.spans.add(
            template, trace, *ids, wall_ns + round(start * 1e9), wall_ns + round(self.loop.now * 1e9)
        )

    def _template(self, key: tuple[str, ...]) -> Template:
        """What the spans of one place in the code have in common."""
        part = self.system.parts[key[1]]
        if isinstance(part, Operation):
            if key[0] == "consume":
                names = {"messaging.system": "kafka", "messaging.destination.name": key[2],
                         "messaging.operation.type": "process"}  # fmt: skip
                return Template(f"process {key[2]}", KIND_CONSUMER, names)
            verb, _, route = part.operation.partition(" ")
            names = {"http.request.method": verb, "http.route": route}
            return Template(part.operation, KIND_SERVER, names | ({"tenant.id": key[2]} if key[2] else {}))
        assert isinstance(part, Call)
        target = self.system.parts[part.to]
        if isinstance(target, Topic):
            names = {"messaging.system": "kafka", "messaging.destination.name": target.name,
                     "messaging.operation.type": "send"}  # fmt: skip
            return Template(f"send {target.name}", KIND_PRODUCER, names)
        if isinstance(target, Statement):
            verb, _, table = target.operation.partition(" ")
            if target.kind == "db":
                system, _, namespace = target.callee.partition("/")
                names = {"db.system.name": system, "db.namespace": namespace, "db.operation.name": verb,
                         "db.collection.name": table}  # fmt: skip
                return Template(target.operation, KIND_CLIENT, names)
            return Template(verb, KIND_CLIENT, {"http.request.method": verb, "server.address": target.callee})
        assert isinstance(target, Operation)
        verb = target.operation.split(" ")[0]
        return Template(verb, KIND_CLIENT, {"http.request.method": verb, "server.address": target.service})
