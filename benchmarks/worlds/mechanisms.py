"""What happens in a world, and what `diff` should therefore say.

A mechanism makes one thing worse, and names the edges that are to blame and the effect that carries
it.  A trap changes something that is nobody's fault; no edge may be blamed for more than one per cent
of latency.  Sizes are drawn against a small sample of the untouched world, so that a change is worth
6 to 40 % of the mean clock (of messages, for queues).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from benchmarks.worlds.simulate import TAIL_TIMES, Conditions, Curve, Floats, Ints, Simulation, Timeline
from benchmarks.worlds.topology import Call, Operation, Step, System, draw_system
from tracescope import schema
from tracescope.analysis.rollups.process import process
from tracescope.schema import DAY_NS, HOUR_NS

#: Kind, caller, callee, operation; None matches anything.
Name = tuple[str | None, str | None, str | None, str | None]


@dataclass(frozen=True, slots=True)
class Truth:
    """What is to blame: any of `edges`, by one of `effects`; `began_ns` where it began at once.

    ``pattern`` is what the edge must look like; None where no pattern describes it.
    """

    edges: tuple[Name, ...] = ()
    effects: tuple[str, ...] = ()
    began_ns: int | None = None
    deployed: str | None = None
    pattern: str | None = None

    def blames(self, kind: str, caller: str, callee: str | None, operation: str | None) -> bool:
        """Whether an edge is one of those to blame."""
        have = (kind, caller, callee, operation)
        return any(all(a is None or a == b for a, b in zip(name, have, strict=True)) for name in self.edges)


@dataclass(slots=True)
class World:
    """One scenario."""

    name: str
    system: System
    timeline: Timeline
    conditions: Conditions
    truth: Truth

    def spans(self, seed: int) -> pl.DataFrame:
        """Its traces, SPANS rows."""
        return Simulation(self.system, self.timeline, self.conditions, np.random.default_rng(seed)).run()


class _Sample:
    """What edges carry in the untouched world."""

    def __init__(self, system: System, timeline: Timeline, seed: int) -> None:
        short = replace(timeline, base_days=4, head_days=3, every_hours=4, growth_per_week=0.0)
        spans = Simulation(system, short, Conditions(), np.random.default_rng(seed)).run()
        tables = process(spans).tables
        self.clock_ms = [self._clock(tables, unit) for unit in range(3)]
        counts = ("calls", "visits", "own_ns", "inclusive_ns")
        requests = pl.col("unit") == schema.UNIT_REQUEST
        units = int(tables["entry_hours"].filter(requests)["units"].sum())
        names = ["kind", "caller", "callee", "operation"]
        self.edges = (
            tables["path_hours"].filter(requests).join(tables["paths"], on="path_id")
            .group_by(names).agg(pl.col(counts).sum() / units)
            .with_columns(pl.col("own_ns", "inclusive_ns") / 1e6)
            .sort(names, nulls_last=True)
        )  # fmt: skip

    @staticmethod
    def _clock(tables: dict[str, pl.DataFrame], unit: int) -> float:
        rows = tables["entry_hours"].filter(pl.col("unit") == unit)
        return float(rows["clock_ns"].sum() / max(rows["units"].sum(), 1) / 1e6)

    def of(self, kind: str, caller: str, callee: str | None, operation: str) -> dict[str, float]:
        """Calls, visits, own and inclusive ms per request; zeros for an edge that was not seen."""
        code = schema.EDGE_KINDS.index(kind)
        rows = self.edges.filter(
            pl.col("kind") == code, pl.col("caller") == caller, pl.col("callee").eq_missing(pl.lit(callee)),
            pl.col("operation") == operation,
        )  # fmt: skip
        if rows.is_empty():
            return {"calls": 0.0, "visits": 0.0, "own_ns": 0.0, "inclusive_ns": 0.0}
        return rows.select("calls", "visits", "own_ns", "inclusive_ns").row(0, named=True)


class _Author:
    """Writes one scenario."""

    def __init__(self, seed: int, quick: bool) -> None:
        self.rng = np.random.default_rng(seed)
        self.seed = seed
        self.timeline = Timeline(
            base_days=14 if quick else 28,
            head_days=14 if quick else 28,
            traces_an_hour=10.0 if quick else 14.0,
            growth_per_week=float(self.rng.uniform(0, 0.04)),
        )
        self.system = draw_system(self.rng, int(self.rng.integers(5, 21 if quick else 41)))
        self.conditions = Conditions(day_noise=float(self.rng.uniform(0.01, 0.04)))
        self.truth = Truth()
        self._sample: _Sample | None = None
        if self.rng.random() < 0.5:
            self.conditions.sampling = lambda t: np.full(len(t), 0.1)

    @property
    def sample(self) -> _Sample:
        if self._sample is None:
            self._sample = _Sample(self.system, self.timeline, self.seed)
        return self._sample

    # -- shapes of a change in time --

    def shape(self, service: str) -> tuple[Curve, int | None, str | None]:
        """0 in BASE to about 1 in HEAD: at a deploy of `service`, at HEAD's start, or as a ramp.

        The mean over HEAD less the mean over BASE is about 1.
        """
        start, head, end = self.timeline.first_day_ns, self.timeline.head_ns, self.timeline.end_ns
        drawn = self.rng.random()
        if drawn < 0.35:
            at = head + int(self.rng.integers(1, 5)) * DAY_NS + 10 * HOUR_NS
            self.conditions.deploys[service] = [at]
            part = (end - head) / (end - at)
            return lambda t: np.where(t >= at, part, 0.0), at, service
        if drawn < 0.6:
            return lambda t: np.where(t >= head, 1.0, 0.0), head, None
        return lambda t: 2.0 * (t - start) / (end - start), None, None

    def worth_ms(self, unit: int = schema.UNIT_REQUEST) -> float:
        """What the change costs in ms of the mean clock."""
        return float(self.rng.uniform(0.06, 0.4)) * self.sample.clock_ms[unit]

    def pick(self, calls: list[tuple[Call, float]]) -> Call:
        """One of some call sites, those with more weight more often."""
        weights = np.array([weight for _, weight in calls])
        return calls[int(self.rng.choice(len(calls), p=weights / weights.sum()))][0]

    def critical(self, keep: Callable[[Call], bool], least: float = 0.01) -> list[tuple[Call, float]]:
        """Call sites on the critical path often enough, with their part of visits that are."""
        found: list[tuple[Call, float]] = []
        for call in self.system.calls():
            if not keep(call):
                continue
            row = self.sample.of(*call.edge)
            often = row["visits"] >= 0.15 and row["visits"] >= 0.6 * row["calls"]
            if often and row["inclusive_ns"] >= least * self.sample.clock_ms[0]:
                found.append((call, row["visits"]))
        return found

    def same_edge(self, call: Call) -> list[Call]:
        """Call sites that are the same edge."""
        return [other for other in self.system.calls() if other.edge == call.edge]

    def graft(self, step: Step) -> Operation:
        """Add a step to an operation that most requests reach."""
        reached: list[tuple[float, int]] = []
        for operation in self.system.operations.values():
            row = self.sample.of("self", operation.service, None, operation.name)
            if operation.protocol != "queue" and row["visits"] >= 0.3:
                reached.append((row["visits"], operation.number))
        chosen = reached[int(self.rng.integers(len(reached)))][1]
        operation = self.system.operations[chosen]
        calls = tuple(replace(call, caller=operation.service) for call in step.calls)
        self.system = self.system.with_step(chosen, Step(step.number, calls, step.parallel))
        self._sample = None
        return self.system.operations[chosen]

    def leaf(self, number: int, callee: str, operation: str, mean_ms: float) -> Call:
        """A call for `graft`; its caller is filled in there."""
        kind = "db" if "/" in callee else "http"
        return Call(10_000 + number, kind, "", callee, operation, mean_ms)


# -- mechanisms -----------------------------------------------------------------------------------------


def drift(author: _Author) -> None:
    """A database, an external API or a service's own work gets slower at the same load."""
    sample, rng = author.sample, author.rng
    if rng.random() < 0.3:
        own = [
            (op, sample.of("self", op.service, None, op.name)["own_ns"])
            for op in author.system.operations.values()
            if sample.of("self", op.service, None, op.name)["own_ns"] >= 0.01 * sample.clock_ms[0]
        ]
        weights = np.array([ms for _, ms in own])
        operation = own[int(rng.choice(len(own), p=weights / weights.sum()))][0]
        shape, at, deployed = author.shape(operation.service)
        factor = author.worth_ms() / sample.of("self", operation.service, None, operation.name)["own_ns"]
        author.conditions.own[operation.number] = [lambda t: 1 + factor * shape(t)]
        name = ("self", operation.service, None, operation.name)
        author.truth = Truth((name,), ("latency_growth", "latency_unsplit"), at, deployed)
        return
    call = author.pick(author.critical(lambda c: c.target is None and c.kind != "queue"))
    shape, at, deployed = author.shape(call.caller)
    factor = author.worth_ms() / sample.of(*call.edge)["own_ns"]
    for same in author.same_edge(call):
        author.conditions.slower[same.number] = [lambda t: 1 + factor * shape(t)]
    author.truth = Truth((call.edge,), ("latency_growth", "latency_unsplit"), at, deployed)


def contention(author: _Author) -> None:
    """A database queues as its load grows; nothing is slower at the same load."""
    rng = author.rng
    call = author.pick(author.critical(lambda c: c.kind == "db"))
    growth = float(rng.uniform(0.06, 0.10))
    author.timeline = replace(author.timeline, growth_per_week=growth, every_hours=2)
    hours = author.timeline.hours()
    load = author.timeline.traffic(hours)
    in_head = hours >= author.timeline.head_ns
    busiest = load.max()
    worth = author.worth_ms()
    users = [c for c in author.system.calls() if c.callee == call.callee]
    total = sum(author.sample.of(*edge)["own_ns"] for edge in {c.edge for c in users})

    def waiting(top: float) -> Floats:
        busy = top * load / busiest
        return 1 / (1 - busy)

    top = 0.3  # the busiest hour's utilisation that makes the change worth what was drawn
    while top < 0.93:
        rise = np.average(waiting(top)[in_head], weights=load[in_head])
        rise -= np.average(waiting(top)[~in_head], weights=load[~in_head])
        if rise * total >= worth:
            break
        top += 0.02

    def curve(t: Ints) -> Floats:
        return 1 / (1 - np.minimum(top * author.timeline.traffic(t) / busiest, 0.97))

    for user in users:
        author.conditions.slower[user.number] = [curve]
    author.truth = Truth((("db", None, call.callee, None),), ("latency_load", "latency_unsplit"))


def n_plus_one(author: _Author) -> None:
    """A call is made once for each of a growing number of items."""
    call = author.pick(author.critical(lambda c: c.kind in ("db", "http", "rpc"), 0.004))
    shape, at, deployed = author.shape(call.caller)
    each = author.sample.of(*call.edge)["inclusive_ns"]
    more = max(author.worth_ms() / each, 0.5)
    for same in author.same_edge(call):
        author.conditions.repeats[same.number] = lambda t, n=same.repeat: n * (1 + more * shape(t))
    author.truth = Truth((call.edge,), ("calls",), at, deployed, "n+1")


def queue(author: _Author) -> None:
    """A topic's wait grows as arrivals outpace its worker."""
    topics = sorted({call.callee for call in author.system.calls() if call.kind == "queue"})
    if not topics:
        operation = author.graft(Step(9_001, (Call(10_001, "queue", "", "orders", "publish", 0.8),), False))
        worker = Operation(9_002, "worker-orders", "process orders", "queue", 6.0, ())
        author.system = replace(
            author.system,
            operations={**author.system.operations, worker.number: worker},
            consumers={**author.system.consumers, "orders": worker.number},
            replicas={**author.system.replicas, worker.service: 2},
        )
        topics = ["orders"]
        del operation
    topic = str(author.rng.choice(topics))
    shape, at, _ = author.shape(f"worker-{topic}" if topic != "orders" else "worker-orders")
    worth = float(author.rng.uniform(8, 200))
    author.conditions.wait_ms[topic] = lambda t: 12.0 + worth * shape(t)
    effects = ("latency_growth", "latency_load", "latency_unsplit")
    author.truth = Truth((("queue", topic, None, "wait"),), effects, at, pattern="queue backs up")


def api_gap(author: _Author) -> None:
    """Handshakes or a connection pool take longer in front of one callee."""
    call = author.pick(author.critical(lambda c: c.target is not None))
    shape, at, deployed = author.shape(call.caller)
    extra = author.worth_ms() / author.sample.of(*call.edge)["visits"]
    for same in author.same_edge(call):
        author.conditions.gap_ms[same.number] = [lambda t: extra * shape(t)]
    effects = ("latency_growth", "latency_unsplit")
    author.truth = Truth((call.edge,), effects, at, deployed, "gap in front")


def serialised(author: _Author) -> None:
    """Calls that went out at once go out one after another."""
    worth = author.worth_ms()
    number = int(author.rng.integers(2, 5))
    means = author.rng.uniform(0.6, 1.4, number)
    hidden = means.sum() - means.max()  # about what the step grows by
    calls = [author.leaf(k, f"mysql/fan{k}", f"SELECT part{k}", float(mean)) for k, mean in enumerate(means)]
    operation = author.graft(Step(9_001, tuple(calls), True))
    sized = _sized(author, operation, operation.steps[-1].calls, worth / hidden)
    shape, at, deployed = author.shape(operation.service)
    author.conditions.serial[operation.steps[-1].number] = lambda t: np.clip(shape(t), 0, 1)
    edges = tuple(call.edge for call in sized)
    author.truth = Truth(edges, ("criticality",), at, deployed, "made serial")


def new_dependency(author: _Author) -> None:
    """An operation begins to call something it did not call before."""
    worth = author.worth_ms()
    external = author.rng.random() < 0.5
    call = author.leaf(
        1, "fraud.example" if external else "postgresql/new", "POST" if external else "SELECT fresh", 1.0
    )
    operation = author.graft(Step(9_001, (call,), False))
    (sized,) = _sized(author, operation, operation.steps[-1].calls, worth)
    head = author.timeline.head_ns
    at = head + int(author.rng.integers(0, 4)) * DAY_NS + 9 * HOUR_NS
    author.conditions.deploys[operation.service] = [at]
    author.conditions.made[sized.number] = lambda t: np.where(t >= at, 1.0, 0.0)
    author.truth = Truth((sized.edge,), ("new",), at, operation.service)


def starved(author: _Author) -> None:
    """A service's CPU is starved: its own work and every call look slower from its side."""
    shared: dict[str, set[str]] = {}
    for call in author.system.calls():
        if call.kind != "queue":
            shared.setdefault(call.callee, set()).add(call.caller)
    found: list[tuple[str, float]] = []
    for service in sorted({op.service for op in author.system.operations.values() if op.protocol != "queue"}):
        mine = [c for c in author.system.calls() if c.caller == service and c.kind != "queue"]
        kinds = {"db" if c.kind == "db" else "api" for c in mine}
        others = [c for c in mine if len(shared[c.callee]) > 1]
        visits = sum(author.sample.of(*edge)["visits"] for edge in {c.edge for c in mine})
        if len({c.edge for c in mine}) >= 3 and len(kinds) == 2 and others and visits >= 0.5:
            found.append((service, visits))
    if not found:
        author.system = _with_busy_service(author)
        author._sample = None
        found = [
            (
                "svc-busy",
                sum(
                    author.sample.of(*c.edge)["visits"]
                    for c in author.system.calls()
                    if c.caller == "svc-busy"
                ),
            )
        ]
    service, visits = found[int(author.rng.integers(len(found)))]
    shape, at, deployed = author.shape(service)
    extra = author.worth_ms() / visits / 2  # about one stretch of own work for each call
    author.conditions.starved_ms[service] = lambda t: extra * shape(t)
    effects = ("latency_growth", "latency_unsplit")
    author.truth = Truth((("self", service, None, None),), effects, at, deployed, "starved caller")


def retries(author: _Author) -> None:
    """A call begins to fail now and then, and is made again after a pause."""
    worth, rng = author.worth_ms(), author.rng
    external = rng.random() < 0.5
    call = author.leaf(
        1,
        "payments.example" if external else "postgresql/ledger",
        "POST" if external else "INSERT entry",
        1.0,
    )
    operation = author.graft(Step(9_001, (call,), False))
    part = float(rng.uniform(0.15, 0.4))
    pause = 0.3  # of an attempt's time before the second one
    # attempts more, and the pauses before them
    more = part * (1 + pause) + part**2 * (1 + 2 * pause)
    sized = _sized(author, operation, (call,), worth / more)
    shape, at, deployed = author.shape(operation.service)
    author.conditions.failing[call.number] = lambda t: np.clip(0.005 + part * shape(t), 0.0, 0.9)
    author.conditions.backoff_ms[call.number] = pause * sized[0].mean_ms
    author.truth = Truth((sized[0].edge,), ("calls",), at, deployed, "retries")


def stragglers(author: _Author) -> None:
    """Of many calls at once, one or the other takes much longer, and everybody waits for it."""
    worth, rng = author.worth_ms(), author.rng
    number, part = int(rng.integers(5, 13)), float(rng.uniform(0.01, 0.04))
    calls = tuple(author.leaf(k, "mongodb/shards", "SELECT shard", 1.0) for k in range(number))
    operation = author.graft(Step(9_001, calls, True))
    drawn = np.random.default_rng(7).lognormal(-(0.45**2) / 2, 0.45, (100_000, number))
    late = np.where(np.random.default_rng(8).random(drawn.shape) < part, TAIL_TIMES, 1.0)
    excess = float((drawn * late).max(axis=1).mean() - drawn.max(axis=1).mean())
    sized = _sized(author, operation, calls, worth / excess)
    shape, at, deployed = author.shape(operation.service)
    for one in sized:
        author.conditions.tail[one.number] = lambda t: np.clip(part * shape(t), 0.0, 0.5)
    effects = ("latency_growth", "latency_unsplit")
    author.truth = Truth((sized[0].edge,), effects, at, deployed, "stragglers")


def _sized(author: _Author, operation: Operation, calls: tuple[Call, ...], ms: float) -> tuple[Call, ...]:
    """Let the calls of the operation's last step take `ms` times as long in a request's mean."""
    visits = author.sample.of("self", operation.service, None, operation.name)["visits"]
    step = operation.steps[-1]
    sized = tuple(replace(call, mean_ms=call.mean_ms * ms / visits) for call in step.calls)
    steps = (*operation.steps[:-1], replace(step, calls=sized))
    operations = {**author.system.operations, operation.number: replace(operation, steps=steps)}
    author.system = replace(author.system, operations=operations)
    author._sample = None
    return sized


def _with_busy_service(author: _Author) -> System:
    """A service with three edges of two kinds, of callees that others call too."""
    rng, system = author.rng, author.system
    others = [c for c in author.system.calls() if c.kind == "db"]
    databases = [others[int(k)] for k in rng.choice(len(others), 2)]
    leafs = [
        op for op in system.operations.values() if op.protocol in ("http", "rpc") and op.service != "svc-00"
    ]
    target = leafs[-1] if len(leafs) == 1 else leafs[int(rng.integers(len(leafs)))]
    calls = [
        replace(db, number=11_000 + k, caller="svc-busy", probability=1.0, operation=f"SELECT busy{k}")
        for k, db in enumerate(databases)
    ]
    remote = Call(
        11_010, target.protocol, "svc-busy", target.service, target.name, 1.0, 1.0, 1, target.number
    )
    steps = (Step(9_101, (calls[0],), False), Step(9_102, (remote, calls[1]), False))
    busy = Operation(9_100, "svc-busy", "GET /busy/{id}", "http", 4.0, steps)
    author.system = replace(
        system,
        operations={**system.operations, busy.number: busy},
        replicas={**system.replicas, "svc-busy": 2},
    )
    entry = max(system.entries, key=lambda number: system.entries[number])
    caller = system.operations[entry].service
    call = Call(11_020, "http", caller, "svc-busy", busy.name, 1.0, 1.0, 1, busy.number)
    return author.system.with_step(entry, Step(9_103, (call,), False))


# -- traps ----------------------------------------------------------------------------------------------


def nothing(author: _Author) -> None:
    """Nothing changes."""


def pure_growth(author: _Author) -> None:
    """Traffic grows, latency does not."""
    author.timeline = replace(author.timeline, growth_per_week=float(author.rng.uniform(0.08, 0.2)))


def mix_shift(author: _Author) -> None:
    """One entry gets a larger part of the traffic."""
    head, entries = author.timeline.head_ns, sorted(author.system.entries)
    chosen = entries[int(author.rng.integers(len(entries)))]
    factor = float(author.rng.uniform(1.8, 4))
    author.conditions.weights[chosen] = lambda t: np.where(t >= head, factor, 1.0)


def routed_shift(author: _Author) -> None:
    """Behind a gateway whose one entry says nothing, requests for something slow become more."""
    head, old = author.timeline.head_ns, author.system
    calls = tuple(
        Call(12_000 + k, "http", "edge", old.operations[number].service, old.operations[number].name, 0.8, weight,
             target=number)
        for k, (number, weight) in enumerate(sorted(old.entries.items()))
    )  # fmt: skip
    gateway = Operation(12_100, "edge", "GET /*", "http", 1.0, (Step(12_101, calls, False, one_of=True),))
    author.system = replace(
        old,
        operations={**old.operations, gateway.number: gateway},
        entries={gateway.number: 1.0},
        replicas={**old.replicas, "edge": 2},
    )
    factor = float(author.rng.uniform(1.8, 4))
    chosen = calls[int(author.rng.integers(len(calls)))]
    author.conditions.made[chosen.number] = lambda t: chosen.probability * np.where(t >= head, factor, 1.0)


def spike(author: _Author) -> None:
    """One afternoon, something is ten times slower."""
    call = author.pick(author.critical(lambda c: c.target is None and c.kind != "queue"))
    days = author.timeline.head_days
    at = author.timeline.head_ns + int(author.rng.integers(2, days - 3)) * DAY_NS + 11 * HOUR_NS
    until = at + int(author.rng.integers(4, 9)) * HOUR_NS
    for same in author.same_edge(call):
        author.conditions.slower[same.number] = [lambda t: np.where((t >= at) & (t < until), 10.0, 1.0)]


def sampling_change(author: _Author) -> None:
    """Fewer traces are kept from some day on, in HEAD or at its start."""
    timeline = author.timeline
    at = timeline.head_ns + int(author.rng.integers(0, timeline.head_days // 2)) * DAY_NS
    after = float(author.rng.choice([0.1, 0.2, 0.4]))
    author.conditions.sampling = lambda t: np.where(t >= at, 0.5 * after, 0.5)


def skewed(author: _Author) -> None:
    """Clocks of hosts drift apart by tens of milliseconds."""
    head, size = author.timeline.head_ns, float(author.rng.uniform(10, 50))
    author.conditions.skew_ms = lambda t: np.where(t >= head, size, 0.0)


def lost_spans(author: _Author) -> None:
    """One per cent of spans never arrive, from some day on."""
    head = author.timeline.head_ns
    always = author.rng.random() < 0.3
    author.conditions.lost = lambda t: np.where((t >= head) | always, 0.01, 0.0)


def off_path(author: _Author) -> None:
    """A branch grows that nobody waits for."""
    calls = (
        author.leaf(1, "mysql/wide", "SELECT wide", 60.0),
        author.leaf(2, "redis/aside", "GET aside", 4.0),
    )
    operation = author.graft(Step(9_001, calls, True))
    del operation
    shape, _, _ = author.shape("svc-00")
    author.conditions.slower[calls[1].number] = [lambda t: 1 + 2.5 * shape(t)]


def others_shrank(author: _Author) -> None:
    """Something gets faster, so that everything else has a larger share."""
    call = author.pick(author.critical(lambda c: c.target is None and c.kind != "queue", 0.03))
    shape, _, _ = author.shape(call.caller)
    for same in author.same_edge(call):
        author.conditions.slower[same.number] = [lambda t: 1 - 0.3 * shape(t)]


def flipped(author: _Author) -> None:
    """Of two parallel calls the slower gets faster and the faster slower; their step takes as long."""
    rng, spread = np.random.default_rng(7), 0.45

    def longest(a: float, b: float) -> float:
        drawn = rng.lognormal(-(spread**2) / 2, spread, (2, 200_000))
        return float(np.maximum(a * drawn[0], b * drawn[1]).mean())

    a, b = 30.0, 22.0
    calls = (author.leaf(1, "mysql/left", "SELECT a", a), author.leaf(2, "mysql/right", "SELECT b", b))
    author.graft(Step(9_001, calls, True))
    before, slower, faster = longest(a, b), 30.0, 22.0
    del before  # by symmetry the step's mean is what it was when the two change places
    head = author.timeline.head_ns
    author.conditions.slower[calls[0].number] = [lambda t: np.where(t >= head, faster / a, 1.0)]
    author.conditions.slower[calls[1].number] = [lambda t: np.where(t >= head, slower / b, 1.0)]


def renamed(author: _Author) -> None:
    """Libraries are upgraded and write the new attribute names, service after service."""
    head = author.timeline.head_ns
    for service in sorted(author.system.replicas):
        at = head + int(author.rng.integers(-3, 4)) * DAY_NS
        if author.rng.random() < 0.7:
            author.conditions.new_names[service] = at
            author.conditions.deploys[service] = [at]


def deploys(author: _Author) -> None:
    """Every service is deployed a few times; pods change their names, nothing else changes."""
    start, end = author.timeline.first_day_ns, author.timeline.end_ns
    for service in sorted(author.system.replicas):
        times = author.rng.integers(start, end, int(author.rng.integers(1, 5)))
        author.conditions.deploys[service] = sorted(times.tolist())


def extra_monday(author: _Author) -> None:
    """HEAD has one more Monday, and Mondays are slow."""
    author.timeline = replace(author.timeline, head_days=author.timeline.head_days + 1)
    factor = float(author.rng.uniform(1.2, 1.5))

    def slow(t: Ints) -> Floats:
        return np.where((t // DAY_NS + 3) % 7 == 0, factor, 1.0)

    for call in author.system.calls():
        author.conditions.slower.setdefault(call.number, []).append(slow)
    for operation in author.system.operations.values():
        author.conditions.own.setdefault(operation.number, []).append(slow)


MECHANISMS: dict[str, Callable[[_Author], None]] = {
    "drift": drift, "contention": contention, "n+1": n_plus_one, "queue": queue, "api gap": api_gap,
    "serialised": serialised, "new dependency": new_dependency, "starved caller": starved,
    "retries": retries, "stragglers": stragglers,
}  # fmt: skip
TRAPS: dict[str, Callable[[_Author], None]] = {
    "nothing": nothing, "pure growth": pure_growth, "mix shift": mix_shift, "routed shift": routed_shift, "spike": spike,
    "sampling change": sampling_change, "clock skew": skewed, "lost spans": lost_spans,
    "off the path": off_path, "others shrank": others_shrank, "flipped branch": flipped,
    "renamed attributes": renamed, "deploys": deploys, "extra monday": extra_monday,
}  # fmt: skip


def write(name: str, seed: int, *, quick: bool = False) -> World:
    """One scenario of a kind, by its seed."""
    author = _Author(seed, quick)
    {**MECHANISMS, **TRAPS}[name](author)
    return World(name, author.system, author.timeline, author.conditions, author.truth)
