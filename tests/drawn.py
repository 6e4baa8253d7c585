"""Many random traces at once, the same in each run: kernels are held against their twin on all of them.

What Hypothesis draws one by one (`strategies`) takes a pass through the kernels for each example; here one
pass sees hundreds of traces.  Each function draws traces of a kind; times lie on a grid, often off by a
nanosecond, so that bounds are met from both sides.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import twin
from builders import EPOCH_NS, MS, Made, frame

from tracescope import schema
from tracescope.analysis.rollups.process import Names, span_arrays
from tracescope.kernels.forest import Forest, build_forest
from tracescope.kernels.traces import group_traces

SERVICES = ("a", "b", "c")
CALLED = (schema.KIND_CLIENT, schema.KIND_SERVER)
#: Off the grid by so much, now and then.
OFF = (0, 0, 0, 0, 0, 0, 1, -1)

Draw = Callable[[random.Random, int], list[Made]]


def drawn(draw: Draw, traces: int, seed: int = 1) -> list[Made]:
    """Spans of so many traces of a kind, shuffled."""
    rng = random.Random(seed)
    spans = [span for trace in range(1, traces + 1) for span in draw(rng, trace)]
    rng.shuffle(spans)
    return spans


def forest_of(spans: list[Made], **options: Any) -> tuple[Forest, list[Made], Names]:
    """The kernel's forest, the spans in its order, and names by their codes.

    Of a trace's number the high half of its id has the remainder by three: traces share their low halves.
    """
    rows = frame(spans)
    arrays = span_arrays(rows, names := Names(rows))
    arrays = replace(
        arrays, trace_hi=arrays.trace_lo % 3, trace_lo=arrays.trace_lo // 3,
        link_hi=arrays.link_lo % 3, link_lo=arrays.link_lo // 3,
    )  # fmt: skip
    traces = group_traces(
        arrays.trace_hi, arrays.trace_lo, arrays.span_id, arrays.content_hash, arrays.start_ns,
        window_ns=twin.WINDOW_NS,
    )  # fmt: skip
    forest = build_forest(arrays, traces, **options)
    return forest, [spans[at] for at in forest.order.tolist()], names


def _times(rng: random.Random, above: Made | None, scale: int) -> tuple[int, int]:
    """Start and end in or around a span, on a grid of `scale`."""
    if above is None:
        start = EPOCH_NS + rng.randrange(4) * scale
        return start, start + rng.choice((0, 1, 20, 40, 60, 100)) * scale
    room = max((above.end - above.start) // scale, 1)
    start = above.start + rng.randint(-2, room + 1) * scale
    left = max((above.end - start) // scale, 0)
    end = start + rng.choice((0, rng.randint(0, room), left, left + 1, left + rng.randint(0, 3), -1)) * scale
    return start + rng.choice(OFF), end + rng.choice(OFF)


def _links(rng: random.Random, trace: int) -> tuple[tuple[int, int], ...]:
    """To spans of the trace and of its neighbours, some of them twice, some to none."""
    return tuple(
        (trace + rng.choice((0, 0, 0, 1, -1)), rng.randint(1, 10))
        for _ in range(rng.choice((0, 0, 1, 2, 4, 7)))
    )


def anything(rng: random.Random, trace: int) -> list[Made]:
    """All that `strategies.forests` draws: any kinds and classes, cycles, duplicates, lost parents, skew."""
    scale = rng.choice((1, 1000, 50_000, MS))
    spans: list[Made] = []
    numbers = rng.sample(range(1, 13), rng.randint(1, 9))
    for number in numbers:
        above = rng.choice(spans) if spans and rng.random() < 0.9 else None
        start, end = _times(rng, above, scale)
        if rng.random() < 0.02:
            start, end = start + 2 * schema.HOUR_NS, end + rng.choice((2, 5)) * schema.HOUR_NS
        kind, service = rng.randrange(6), rng.choice(SERVICES)
        if above and above.kind == schema.KIND_CLIENT and rng.random() < 0.5:
            kind = schema.KIND_SERVER
        elif above and rng.random() < 0.6:
            service = above.service
        spans.append(
            Made(
                number,
                above.span if above else rng.choice((0, 0, 0, 99, number)),
                start,
                end,
                trace,
                service,
                kind,
                rng.choice((0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8)),
                rng.choice((0, 0, 1, 2, 2, 3, 4, 5, 6) if kind >= schema.KIND_CLIENT else (0, 0, 0, 2, 6, 7)),
                rng.choice((0, 0, 1, 2)),
                rng.choice((-1, -1, -1, 0, 2**55)),
                rng.choice(("", "", "prod")),
                rng.choice((None, "h1", "h2", service, service)),
                rng.choice((None, "db/x", "orders", service)),
                rng.choice(("GET /x", "op", "SELECT y")),
                rng.choice((None, "i1", "i2")),
                rng.choice((None, "1.4")),
                _links(rng, trace) if kind in (schema.KIND_CONSUMER, schema.KIND_CLIENT) else (),
                rng.randint(-3, 3),
            )
        )
    if rng.random() < 0.25:  # a ring of parents
        at = rng.randrange(len(spans))
        spans[at] = replace(spans[at], parent=rng.choice(spans).span)
    if rng.random() < 0.4:
        by = {name: rng.randint(-9, 9) * scale for name in ("h1", "h2", *SERVICES)}
        spans = [
            replace(s, start=s.start + by.get(s.host or "", 0), end=s.end + by.get(s.host or "", 0))
            for s in spans
        ]
    if rng.random() < 0.25:  # another span of the same id
        one = rng.choice(spans)
        spans.append(replace(one, content_hash=one.content_hash + rng.choice((-1, 1)), end=one.end + scale))
    if rng.random() < 0.25:
        spans.append(rng.choice(spans))
    return spans


def calls(rng: random.Random, trace: int) -> list[Made]:
    """Calls among hosts whose clocks differ, by more or less than calls can tell; some answers longer."""
    hosts = {
        f"h{k}": rng.choice((0, 0, rng.randint(-40, 40), rng.randint(-9, 9))) * MS
        for k in range(rng.randint(2, 5))
    }
    ours = {host: f"s{k % rng.randint(2, 5)}" for k, host in enumerate(hosts)}
    names = list(hosts)
    unnamed = rng.random()
    known = rng.random() < 0.7
    spans: list[Made] = []

    def add(parent: int, host: str, start: int, end: int, kind: int, service: str = "") -> Made:
        by = hosts[host] + rng.choice((0, 0, 0, 0, rng.randint(-3, 3) * MS, rng.randint(-60, 60) * MS))
        named = rng.random() > unnamed / 3 if spans else known
        spans.append(
            Made(
                len(spans) + 1,
                parent,
                EPOCH_NS + start + by,
                EPOCH_NS + end + by,
                trace,
                service or ours[host],
                kind,
                host=host if named else None,
            )
        )
        return spans[-1]

    first = names[0] if rng.random() < 0.8 else rng.choice(names)
    add(rng.choice((0, 0, 0, 99)), first, 0, 100 * MS, schema.KIND_SERVER)
    open_ = [(1, first, 0, 100 * MS)]
    while open_ and len(spans) < rng.randint(5, 14):
        parent, host, low, high = rng.choice(open_)
        start = rng.randint(low, high) // MS * MS
        end = rng.randint(start, max(high, start)) // MS * MS
        if rng.random() < 0.15:  # work of the same service, below, as sent from elsewhere
            other = rng.choice(names)
            one = add(parent, other, start, end, schema.KIND_INTERNAL)
            open_.append((one.span, other, start, end))
            continue
        call = add(parent, host, start, end, schema.KIND_CLIENT)
        other = rng.choice(names)
        inner = min(start + rng.randint(0, 2) * MS, end)
        outer = max(end - rng.randint(0, 2) * MS, inner)
        if rng.random() < 0.1:
            outer = end + rng.choice((1, 5, 20, 400)) * MS
        if rng.random() < 0.1:
            inner = outer
        answer = add(call.span, other, inner, outer, schema.KIND_SERVER)
        open_.append((answer.span, other, inner, outer))
        if rng.random() < 0.1:  # a second answer, as of a call that was tried again
            add(call.span, other, inner, outer, schema.KIND_SERVER)
    return _renumbered(rng, spans)


def rings(rng: random.Random, trace: int) -> list[Made]:
    """Calls among a few hosts, whose clocks nearly agree: they close rings, some of which cannot be."""
    hosts = {f"h{k}": rng.randint(-30, 30) * MS for k in range(rng.randint(3, 5))}
    noise = {(a, b): rng.choice((0, 0, 0, 1, -1, 2, -4, 9)) * MS for a in hosts for b in hosts}
    spans: list[Made] = []

    def add(parent: int, host: str, start: int, end: int, kind: int, by: int) -> int:
        at = EPOCH_NS + hosts[host] + by
        number = len(spans) + 1
        spans.append(Made(number, parent, at + start, at + end, trace, f"s{host}", kind, host=host))
        return number

    open_ = [(add(0, "h0", 0, 1000 * MS, schema.KIND_SERVER, 0), "h0", 0, 1000 * MS, 0)]
    while len(spans) < rng.randint(9, 25):
        parent, host, low, high, by = rng.choice(open_)
        other = rng.choice([one for one in hosts if one != host])
        start = low + rng.randint(0, max((high - low) // MS - 20, 0)) * MS
        call = add(parent, host, start, start + 20 * MS, schema.KIND_CLIENT, by)
        slack, moved = rng.randint(0, 3) * MS, noise[host, other] + rng.choice((0, 0, 0, 6 * MS))
        begin, end = start + slack, start + 20 * MS - rng.randint(0, 3) * MS
        open_.append((add(call, other, begin, end, schema.KIND_SERVER, moved), other, begin, end, moved))
    return _renumbered(rng, spans)


def messages(rng: random.Random, trace: int) -> list[Made]:
    """Publishers, polls, consumers and what goes on below them, in one service or two."""
    spans: list[Made] = []
    for number in range(1, rng.randint(2, 10)):
        above = rng.choice(spans) if spans and rng.random() < 0.75 else None
        start, end = _times(rng, above, rng.choice((MS, MS // 2, MS // 4)))
        kind, op, edge_class = rng.choice(
            (
                (schema.KIND_PRODUCER, schema.MSG_SEND, schema.CLASS_MESSAGING),
                (schema.KIND_PRODUCER, schema.MSG_NONE, schema.CLASS_NONE),
                (schema.KIND_CONSUMER, schema.MSG_PROCESS, schema.CLASS_MESSAGING),
                (schema.KIND_CONSUMER, schema.MSG_NONE, schema.CLASS_NONE),
                (schema.KIND_CONSUMER, schema.MSG_RECEIVE, schema.CLASS_MESSAGING),
                (schema.KIND_CLIENT, schema.MSG_RECEIVE, schema.CLASS_MESSAGING),
                (schema.KIND_CLIENT, schema.MSG_EMPTY, schema.CLASS_MESSAGING),
                (schema.KIND_CLIENT, schema.MSG_SETTLE, schema.CLASS_MESSAGING),
                (schema.KIND_CONSUMER, schema.MSG_SETTLE, schema.CLASS_MESSAGING),
                (
                    schema.KIND_CLIENT,
                    schema.MSG_NONE,
                    rng.choice((0, schema.CLASS_HTTP, schema.CLASS_TRANSPORT)),
                ),
                (schema.KIND_INTERNAL, schema.MSG_NONE, schema.CLASS_NONE),
                (schema.KIND_INTERNAL, schema.MSG_NONE, schema.CLASS_NONE),
                (
                    schema.KIND_INTERNAL,
                    rng.choice((schema.LIFE_STREAM, schema.LIFE_SCHEDULED)),
                    schema.CLASS_NONE,
                ),
                (schema.KIND_SERVER, rng.choice((schema.MSG_NONE, schema.LIFE_STREAM)), schema.CLASS_NONE),
            )
        )
        service = above.service if above and rng.random() < 0.7 else rng.choice(SERVICES[:2])
        links = _links(rng, trace) if kind in (schema.KIND_CONSUMER, schema.KIND_CLIENT) else ()
        status = rng.choice((0, 0, 0, schema.STATUS_ERROR))
        parent = above.span if above else 0
        peer = rng.choice((None, "orders", "orders", "bills"))
        spans.append(
            Made(
                number,
                parent,
                start,
                end,
                trace,
                service,
                kind,
                edge_class,
                op,
                status,
                links=links,
                peer=peer,
            )
        )
    return [replace(span, **_signed_ids(span)) for span in spans]


def _signed_ids(span: Made) -> dict[str, Any]:
    """Ids of a span, of which every third is below zero."""

    def signed(number: int) -> int:
        return number if number % 3 else -number

    links = tuple((trace, signed(number)) for trace, number in span.links)
    return {"span": signed(span.span), "parent": signed(span.parent), "links": links}


def siblings(rng: random.Random, trace: int) -> list[Made]:
    """Waits of one service, many beside each other or few in each other, that overlap by what is forgiven."""
    spans = [Made(1, 0, EPOCH_NS, EPOCH_NS + rng.choice((1000, 90 * MS, 400 * MS)), trace)]
    crowd = rng.random() < 0.08
    size = rng.randint(26, 70) if crowd else rng.randint(2, 9)
    while len(spans) < size:
        above = spans[0] if crowd else rng.choice(spans)
        length = above.end - above.start
        at = above.start + rng.choice((0, length // 7, length // 3, rng.randint(0, max(length, 1))))
        end = at + rng.choice(
            (0, length // 50, length // 5, length - length // 9, rng.randint(0, max(length, 1)))
        )
        beside = [one for one in spans if one.parent == above.span and one.end > one.start]
        if (
            beside and rng.random() < 0.7
        ):  # begins as a sibling ends, or ends as it begins, but for what is forgiven
            one = rng.choice(beside)
            grace = min(MS, length // 100, (one.end - one.start) // 10)
            by = rng.choice((0, grace, grace + 1, grace - 1, 1, -1))
            if rng.random() < 0.5:
                at, end = one.end - by, max(end, one.end - by)
            else:
                own = rng.choice((10, 100, rng.randint(1, max(length, 1))))
                grace = min(MS, length // 100, own // 10)
                by = rng.choice((0, grace, grace + 1, grace - 1, 1))
                at, end = one.start + by - own, one.start + by
        spans.append(Made(len(spans) + 1, above.span, at, max(at, end), trace))
    return spans


def nested(rng: random.Random, trace: int) -> list[Made]:
    """Calls in one another, in one service or several, of all classes: what is made with what.

    Some have a kind or a messaging operation that nobody knows; some are a long chain of handshakes.
    """
    spans: list[Made] = []
    chain = rng.random() < 0.1
    for number in range(1, rng.randint(8, 13) if chain else rng.randint(3, 13)):
        above = rng.choice(spans[-3:]) if spans else None
        kind = rng.choice((schema.KIND_CLIENT, schema.KIND_CLIENT, *range(-1, 7)))
        edge_class = rng.choice((schema.CLASS_TRANSPORT, schema.CLASS_HTTP, *range(9)))
        service = above.service if above and rng.random() < 0.75 else rng.choice(SERVICES)
        if above and rng.random() < 0.12:  # the same question, asked by a layer below
            kind, edge_class, service, op = above.kind, schema.CLASS_DB, above.service, above.messaging_op
        if chain and number > 1:
            kind, edge_class = rng.choice((schema.KIND_CLIENT, schema.KIND_INTERNAL)), schema.CLASS_TRANSPORT
            above, service = spans[-1], spans[0].service
        start = EPOCH_NS + number * MS * rng.choice((1, 1, 0))
        op = rng.choice((0, 0, 0, 0, 0, *range(-1, 9)))
        spans.append(
            Made(
                number,
                above.span if above else 0,
                start,
                start + (20 - number) * MS,
                trace,
                service,
                kind,
                edge_class,
                op,
                rng.choice((0, 0, schema.STATUS_ERROR)),
                peer=rng.choice((None, "pg/shop", "stock")),
                operation=rng.choice(("op", "SELECT x")),
            )
        )
    return _renumbered(rng, spans)


def _renumbered(rng: random.Random, spans: list[Made]) -> list[Made]:
    """The same spans with other numbers, so that parents may come after their children."""
    rng.shuffle(numbers := list(range(1, len(spans) + 1)))
    new = {span.span: number for span, number in zip(spans, numbers, strict=True)}
    return [replace(span, span=new[span.span], parent=new.get(span.parent, span.parent)) for span in spans]
