"""Generated traces: overlaps, overhangs, zero lengths, cycles, duplicates, lost parents, skewed hosts."""

from __future__ import annotations

from dataclasses import replace

from builders import EPOCH_NS, Made
from hypothesis import strategies as st

from tracescope import schema

SCALES = st.sampled_from([1, 1000, 50_000, 1_000_000])
SERVICES = ("a", "b", "c")
ID = st.integers(1, 9)


@st.composite
def made_spans(draw: st.DrawFn, trace: int, span: int, parents: list[Made], scale: int) -> Made:
    """A span somewhere in or around one of `parents`, of any kind and class."""
    above = draw(st.sampled_from(parents)) if parents and draw(st.integers(0, 9)) else None
    low = above.start if above else EPOCH_NS
    high = max(above.end, low) if above else EPOCH_NS + 100 * scale
    room = max((high - low) // scale, 1)
    start = low + draw(st.integers(-2, room + 2)) * scale
    end = start + draw(st.one_of(st.integers(0, room), st.just(0), st.integers(-2, room + 30))) * scale
    if not draw(st.integers(0, 30)):  # into a later hour, or beyond the window
        start, end = start + 2 * schema.HOUR_NS, end + draw(st.sampled_from([2, 5])) * schema.HOUR_NS
    parent = above.span if above else draw(st.sampled_from([0, 0, 0, 99, span]))
    kind = draw(st.integers(0, 5))
    service = draw(st.sampled_from(SERVICES))
    if above and above.kind == schema.KIND_CLIENT and draw(st.booleans()):
        kind = schema.KIND_SERVER
    elif above and draw(st.booleans()):
        service = above.service
    return Made(
        span=span,
        parent=parent,
        start=start,
        end=end,
        trace=trace,
        service=service,
        kind=kind,
        edge_class=draw(st.sampled_from([0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8])),
        messaging_op=draw(
            st.sampled_from([0, 0, 1, 2, 2, 3, 4, 5, 6] if kind >= schema.KIND_CLIENT else [0, 0, 0, 2, 6, 7])
        ),
        status=draw(st.sampled_from([0, 0, 1, 2])),
        threshold=draw(st.sampled_from([-1, -1, -1, 0, 2**55])),
        environment=draw(st.sampled_from(["", "", "prod"])),
        host=draw(st.sampled_from([None, "h1", "h2", service, service])),
        peer=draw(st.sampled_from([None, "db/x", "orders", service])),
        operation=draw(st.sampled_from(["GET /x", "op", "SELECT y"])),
        instance=draw(st.sampled_from([None, "i1", "i2"])),
        version=draw(st.sampled_from([None, "1.4"])),
        links=tuple(draw(st.lists(st.tuples(st.integers(1, 3), ID), max_size=3)))
        if kind in (schema.KIND_CONSUMER, schema.KIND_CLIENT)
        else (),
        content_hash=draw(st.integers(-3, 3)),
    )


@st.composite
def forests(draw: st.DrawFn, traces: int = 2, size: int = 9) -> list[Made]:
    """Spans of some traces, shuffled, with repeats, different duplicates and parent cycles."""
    spans: list[Made] = []
    for trace in range(1, draw(st.integers(1, traces)) + 1):
        scale = draw(SCALES)
        shift = draw(st.sampled_from([0, 0, schema.HOUR_NS - 3 * scale]))  # over the hour's border
        skews = {host: draw(st.integers(-9, 9)) * scale for host in ("h1", "h2", *SERVICES)}
        skewed = draw(st.booleans())
        own: list[Made] = []
        for span in draw(st.permutations(range(1, draw(st.integers(1, size)) + 1))):
            own.append(draw(made_spans(trace, span, own, scale)))
        if draw(st.integers(0, 3)) == 0:
            own.append(
                replace(draw(st.sampled_from(own)), content_hash=draw(st.integers(-3, 3)), end=EPOCH_NS)
            )
        if draw(st.integers(0, 3)) == 0:
            at = draw(st.integers(0, len(own) - 1))
            own[at] = replace(own[at], parent=draw(st.sampled_from(own)).span)
        moved = [span.start and shift + (skews[span.host] if skewed and span.host else 0) for span in own]
        spans += [replace(s, start=s.start + by, end=s.end + by) for s, by in zip(own, moved, strict=True)]
    repeats = draw(st.lists(st.sampled_from(spans), max_size=2))
    return draw(st.permutations(unique_hashes([*spans, *repeats])))


def unique_hashes(spans: list[Made]) -> list[Made]:
    """Equal content hashes mean equal spans: what differs gets another one."""
    seen: dict[tuple[int, int, int], Made] = {}
    out: list[Made] = []
    for span in spans:
        while seen.setdefault((span.trace, span.span, span.content_hash), span) != span:
            span = replace(span, content_hash=span.content_hash + 7)  # noqa: PLW2901
        out.append(span)
    return out
