"""The ladder: which edge that grew waits for which, rung by rung from the entry down to the cause.

    entry   api (itself)          all its threads are busy: they wait to publish
              api -> orders       publishing blocks: the queue is full
    message   orders -> worker    messages wait: the consumers are busy
                worker -> ledger  each waits for a row
    entry   billing -> bank       ... which billing holds while it waits for the bank      <- the cause

Own times hold no waiting for what lies below: a service that waits for its database is not slower itself.
So where an edge's own time grew together with what lies below it, what is between the two has room for so
many and no more: threads, connections, consumers, a queue.  A rung says so; it is taken from the structure
of the calls, and dropped where the courses of the two speak against it: the victim is dearer in quiet times
as well, or was so before the cause.

Source: design, section 7.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import polars as pl

from tracescope import schema
from tracescope.analysis.attribution.courses import TOGETHER, Course, place_of, together
from tracescope.analysis.evidence.change_points import dominant
from tracescope.analysis.report import Edge, EdgeKey, Effect
from tracescope.conventions import semconv

#: Where the courses say nothing, a cause must be worth this part of its victim's milliseconds.
LEAST_PART: Final = 0.5
#: Calls for each unit of work that are so many more are a cause of whatever waits behind them.
MORE_CALLS: Final = 1.1
#: Calls that are more by factors within this are more by one.
SAME_FACTOR: Final = 1.05
#: Effects that are slower calls.
LATENCY: Final = frozenset({Effect.GROWTH, Effect.LOAD, Effect.UNSPLIT})
#: Call paths of the edges that grew that are looked at.
MOST_PATHS: Final = 20_000


class Rung(NamedTuple):
    """`victim` waits for `cause`; `how` in words, and ``certain`` where more than the structure says so."""

    cause: EdgeKey
    victim: EdgeKey
    how: str
    certain: bool


@dataclass(frozen=True, slots=True)
class Grown:
    """Edges that grew, by key, with all their courses; ``starved`` are services that look starved of CPU."""

    edges: Mapping[EdgeKey, Edge]
    courses: Mapping[EdgeKey, Course]
    starved: frozenset[str]

    def agrees(self, cause: EdgeKey, victim: EdgeKey) -> bool | None:
        """Whether the courses show a victim waiting for a cause; None: they refuse it."""
        a, b = self.edges.get(cause), self.edges[victim]
        if a is not None and _before(b, a):
            return None
        before, after = self.courses.get(cause), self.courses.get(victim)
        waits = None if after is None else after.waits
        if waits:
            return True
        if before is not None and after is not None:
            tau = together(before, after)
            if tau is not None and tau >= TOGETHER:
                return True
        if waits is False:
            return None
        worth = a is None or a.unit != b.unit or a.credited_ms >= LEAST_PART * b.credited_ms
        return False if worth else None


def _before(first: Edge, second: Edge) -> bool:
    """Whether one edge changed clearly before another."""
    if first.change is None or second.change is None:
        return False
    return first.change.high_ns < second.change.low_ns


def slower(edge: Edge) -> bool:
    """Whether an edge grew because its calls take longer, or wait where they did not before."""
    return dominant(edge) in LATENCY or is_acquire(edge.key)


def more_calls(edge: Edge) -> bool:
    """Whether an edge is called clearly more often in each unit of work, or is new."""
    if edge.callee is None or is_acquire(edge.key):
        return False
    base, head = edge.calls_per_unit_base, edge.calls_per_unit_head
    return dominant(edge) is Effect.NEW or head >= MORE_CALLS * base > 0


def retried(edge: Edge) -> bool:
    """Whether its calls are more because they fail."""
    return any(pattern.name == "retries" for pattern in edge.patterns)


def is_wait(key: EdgeKey) -> bool:
    """Whether it is a queue's wait."""
    return key.kind == "queue" and key.operation == schema.QUEUE_WAIT


def is_acquire(key: EdgeKey) -> bool:
    """Whether it is waiting for a connection: some libraries have a span of it only where there is a wait."""
    return key.kind == "db" and key.operation == semconv.ACQUIRE


def is_publish(key: EdgeKey) -> bool:
    """Whether it is publishing to a queue."""
    return key.kind == "queue" and key.operation == schema.QUEUE_PUBLISH


def is_gap(key: EdgeKey) -> bool:
    """Whether it is the time between a caller and a callee that has spans of its own."""
    return key.kind in ("http", "rpc") and key.callee is not None


def ladder(grown: Grown, paths: pl.DataFrame) -> list[Rung]:
    """Rungs between the edges that grew, by the structure of their calls, all of whose `paths` there are."""
    inside = _inside(grown, paths)
    return [
        *_busy_places(grown, inside),
        *_shared_pools(grown),
        *_held_connections(grown),
        *_busy_consumers(grown, inside),
        *_full_queues(grown, _routes(paths)),
        *_more_load(grown, inside),
        *_same_loop(grown),
        *_starved(grown),
    ]


# -- structure ------------------------------------------------------------------------------------


class Inside(NamedTuple):
    """Pairs (outer, inner): the calls of `inner` are made while `outer`, or who does that work, is busy."""

    outer: EdgeKey
    inner: EdgeKey


def _inside(grown: Grown, paths: pl.DataFrame) -> frozenset[Inside]:
    """Which edges that grew lie below which, on some call path."""
    keys = list(grown.edges)
    mine = paths_of(keys, paths).sort("path_id", "number").head(MOST_PATHS)
    holders: dict[int, list[int]] = {}  # what holds its thread or consumer while this path is busy
    for number, path, parent in mine.select("number", "path_id", "parent_id").iter_rows():
        holders.setdefault(parent if keys[number].callee is None else path, []).append(number)
    above = _parents(mine, paths)
    found: set[Inside] = set()
    for number, path in mine.select("number", "path_id").iter_rows():
        at = above.get(path)
        while at is not None:
            for outer in holders.get(at, ()):
                if outer != number and keys[outer].unit == keys[number].unit:
                    found.add(Inside(keys[outer], keys[number]))
            at = above.get(at)
    return frozenset(found)


def paths_of(keys: Sequence[EdgeKey], paths: pl.DataFrame) -> pl.DataFrame:
    """Call paths that end in some edges, with the ``number`` of each."""
    names = ["kind", "caller", "callee", "operation"]
    wanted = pl.DataFrame(
        [(number, schema.EDGE_KINDS.index(key.kind), *key[2:]) for number, key in enumerate(keys)],
        schema={"number": pl.Int64, **{name: paths.schema[name] for name in names}},
        orient="row",
    )
    return paths.join(wanted, on=names, nulls_equal=True)


def _parents(mine: pl.DataFrame, paths: pl.DataFrame) -> dict[int, int]:
    """Parent of each of some paths and of everything above them; the last is an entry's id."""
    out: dict[int, int] = {}
    rows = mine.select("path_id", "parent_id").unique()
    while not rows.is_empty():
        out.update(rows.iter_rows())
        above = rows.select(pl.col("parent_id").alias("path_id")).unique()
        rows = paths.join(above, on="path_id", how="semi").select("path_id", "parent_id")
        rows = rows.filter(~pl.col("path_id").is_in(pl.Series(list(out), dtype=pl.Int64).implode()))
    return out


def _routes(paths: pl.DataFrame) -> dict[str, set[str]]:
    """Queues that take what is published to each destination, itself among them."""
    routes = paths.filter(
        pl.col("kind") == schema.EDGE_QUEUE, pl.col("operation") == schema.QUEUE_ROUTE
    ).select("caller", "callee")
    out: dict[str, set[str]] = {}
    for source, queue in routes.unique().iter_rows():
        out.setdefault(source, {source}).add(queue)
    return out


# -- rules ----------------------------------------------------------------------------------------


def _busy_places(grown: Grown, inside: frozenset[Inside]) -> Iterator[Rung]:
    """A service, or the gap in front of it, waits for what holds its threads or connections."""
    for outer, inner in sorted(inside, key=str):
        victim, cause = grown.edges[outer], grown.edges[inner]
        itself = outer.callee is None
        if not (itself or is_gap(outer)) or (itself and outer.caller in grown.starved):
            continue
        if retried(victim) and slower(cause):
            yield Rung(inner, outer, "calls that take too long are made again", False)
            continue
        if itself and retried(cause) and inner.caller == outer.caller:
            yield Rung(inner, outer, f"{outer.caller} backs off before it calls again", False)
            continue
        if not slower(victim) or is_wait(inner):
            continue
        agrees = grown.agrees(inner, outer)
        if agrees is None:
            continue
        who = outer.caller if itself else outer.callee
        yield Rung(inner, outer, _held(who, inner), agrees)


def _held(who: str | None, inner: EdgeKey) -> str:
    """What holds somebody's threads, in a sentence."""
    if inner.callee is not None:
        return f"threads or connections of {who} are held by {name_of(inner)}"
    if inner.caller == who:
        return f"threads of {who} are held by its own work"
    return f"threads or connections of {who} are held by the own work of {inner.caller}"


def _shared_pools(grown: Grown) -> Iterator[Rung]:
    """Calls of one service wait for connections that its calls to somebody else hold.

    Nothing in the calls themselves says so: it takes a victim that waits, and a cause that does not.
    """
    for cause in by_name(list(grown.edges)):
        course = grown.courses.get(cause)
        itself_slow = slower(grown.edges[cause]) and course is not None and course.waits is False
        if cause.callee is None or cause.kind == "queue" or not itself_slow:
            continue
        for victim in by_name(list(grown.edges)):
            beside = victim.caller == cause.caller and place_of(victim) != place_of(cause)
            if not beside or victim.callee is None or victim.kind == "queue":
                continue
            if slower(grown.edges[victim]) and grown.agrees(cause, victim):
                yield Rung(
                    cause, victim, f"connections of {cause.caller} are held by {name_of(cause)}", False
                )


def _held_connections(grown: Grown) -> Iterator[Rung]:
    """A service waits for a connection while its calls to databases hold them for longer, or hold more."""
    for victim in by_name(list(grown.edges)):
        if not is_acquire(victim):
            continue
        for cause in by_name(list(grown.edges)):
            edge = grown.edges[cause]
            holds = cause.kind == "db" and cause.caller == victim.caller and not is_acquire(cause)
            if not holds or not (slower(edge) or more_calls(edge)) or _before(grown.edges[victim], edge):
                continue
            if edge.credited_ms > 0 and grown.agrees(cause, victim) is not None:
                yield Rung(
                    cause, victim, f"connections of {cause.caller} are held by {name_of(cause)}", False
                )


def _busy_consumers(grown: Grown, inside: frozenset[Inside]) -> Iterator[Rung]:
    """Messages wait while consumers are busy with what lies below."""
    for outer, inner in sorted(inside, key=str):
        cause, victim = grown.edges[inner], grown.edges[outer]
        if is_wait(outer) and not is_wait(inner) and not _before(victim, cause):
            yield Rung(inner, outer, f"consumers of {outer.caller} are busy with {name_of(inner)}", True)


def _full_queues(grown: Grown, routes: Mapping[str, set[str]]) -> Iterator[Rung]:
    """Publishing blocks where the queue is full, and messages wait where more are published."""
    consumed = {key.caller for key in grown.edges if is_wait(key)}
    for key, edge in sorted(grown.edges.items(), key=lambda item: str(item[0])):
        if not is_publish(key) or key.callee is None:
            continue
        queues = routes.get(key.callee, {key.callee})
        for other, wait in sorted(grown.edges.items(), key=lambda item: str(item[0])):
            if not is_wait(other) or other.caller not in queues:
                continue
            if more_calls(edge) and not _before(wait, edge):
                yield Rung(key, other, f"more messages are published to {key.callee}", True)
            if slower(edge) and not _before(edge, wait):
                yield Rung(other, key, f"publishing waits: {other.caller} is full", True)
        if slower(edge) and not queues & consumed:
            yield from _unseen_waits(key, queues, grown)


def _unseen_waits(publish: EdgeKey, queues: set[str], grown: Grown) -> Iterator[Rung]:
    """A short queue is full before its messages wait longer: its consumers' work stands for the wait."""
    consumers = {key.callee for key in grown.courses if is_wait(key) and key.caller in queues}
    for key in sorted(grown.edges, key=str):
        if key.unit == "message" and key.caller in consumers and key.kind != "queue":
            yield Rung(key, publish, f"publishing waits: consumers are busy with {name_of(key)}", False)


def _more_load(grown: Grown, inside: frozenset[Inside]) -> Iterator[Rung]:
    """What is called more often keeps everything below it busier."""
    for outer, inner in sorted(inside, key=str):
        cause, victim = grown.edges[outer], grown.edges[inner]
        if not more_calls(cause) or not slower(victim):
            continue
        course = grown.courses.get(inner)
        by_load = dominant(victim) is Effect.LOAD or (course is not None and course.waits is True)
        if by_load and not _before(victim, cause):
            yield Rung(outer, inner, f"{name_of(outer)} is called more often and keeps it busier", False)


def _same_loop(grown: Grown) -> Iterator[Rung]:
    """What one service calls more often by one factor is one loop: the calls that take most lead."""
    looped = [
        key
        for key in by_name(list(grown.edges))
        if more_calls(grown.edges[key]) and dominant(grown.edges[key]) is Effect.CALLS
        and not retried(grown.edges[key]) and key.kind != "queue"
    ]  # fmt: skip
    for victim in looped:
        factor = _factor(grown.edges[victim])
        beside = [
            key
            for key in looped
            if (key.caller, key.unit) == (victim.caller, victim.unit)
            and 1 / SAME_FACTOR <= _factor(grown.edges[key]) / factor <= SAME_FACTOR
        ]
        first = max(beside, key=lambda key: (grown.edges[key].credited_ms, str(key)))
        if first != victim:
            yield Rung(first, victim, f"is called in one loop with {name_of(first)}", True)


def _factor(edge: Edge) -> float:
    """How many times the calls of each unit of work it is called."""
    return edge.calls_per_unit_head / edge.calls_per_unit_base


def _starved(grown: Grown) -> Iterator[Rung]:
    """Without CPU, whatever a service calls looks slow from its side."""
    selves = [key for key in grown.edges if key.callee is None and key.caller in grown.starved]
    for own in sorted(selves, key=str):
        for key, edge in grown.edges.items():
            if key.caller == own.caller and key.callee is not None and key.unit == own.unit and slower(edge):
                yield Rung(own, key, f"{own.caller} reads the answers late: it gets too little CPU", False)


def name_of(key: EdgeKey) -> str:
    """An edge in a sentence: ``orders -> postgresql/orders UPDATE stock``."""
    return f"{key.name} {key.operation}" if key.operation and key.callee is not None else key.name


def by_name(keys: Sequence[EdgeKey]) -> list[EdgeKey]:
    """Edges in an order that depends on nothing else."""
    return sorted(keys, key=str)
