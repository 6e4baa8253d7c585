"""The forest against its slow, obvious twin, on hundreds of traces of a kind at a time, array by array."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import twin
from builders import Made, tree
from drawn import Draw, anything, calls, drawn, forest_of, messages, nested, rings

from tracescope.kernels.forest import COUNTERS
from tracescope.kernels.skew import reconcile

ROLES = ("internal", "server", "consumer", "call", "leaf", "db", "publish", "poll", "transport")
KINDS: list[tuple[Draw, int]] = [(anything, 260), (calls, 140), (rings, 80), (messages, 220), (nested, 160)]


def of_the_kernel(spans: list[Made]) -> Counter[Any]:
    """All that a forest says, by the ids of spans."""
    forest, kept, names = forest_of(spans)

    def name(at: int) -> Any:
        return None if at < 0 else kept[at].span

    seen: Counter[Any] = Counter()
    for g, root in enumerate(forest.group_root.tolist()):
        members = forest.sequence[forest.group_start[g] : forest.group_start[g + 1]].tolist()
        assert members[0] == root
        assert all(forest.group[at] == g for at in members)
        assert all(forest.parent[at] in members[:k] for k, at in enumerate(members) if k), "parents first"
        begun, hops = int(forest.group_from_ns[g]), int(forest.hops[g])
        seen["group", kept[root].trace, name(root), tuple(sorted(map(name, members))), begun, hops] += 1
    for at, span in enumerate(kept):
        children = forest.child[forest.child_start[at] : forest.child_start[at + 1]].tolist()
        assert forest.trace_start[forest.trace[at]] <= at < forest.trace_start[forest.trace[at] + 1]
        seen[
            span.trace, span.span, name(forest.parent[at]), int(forest.start_ns[at]), int(forest.end_ns[at]),
            int(forest.offset_ns[at]), ROLES[forest.role[at]], name(forest.callee[at]),
            bool(forest.answers[at]), bool(forest.blocks[at]), names.text(int(forest.service[at])),
            name(forest.stands_for[at]), tuple(map(name, children)),
        ] += 1  # fmt: skip
    links: Counter[int] = Counter()
    for unit, hi, lo, number in zip(
        forest.hop_unit, forest.hop_hi, forest.hop_lo, forest.hop_span, strict=True
    ):
        links[int(unit)] += 1
        root = forest.group_root[forest.unit_group[unit]]
        seen["hop", kept[root].trace, name(root), 3 * int(lo) + int(hi), int(number)] += 1
    assert set(links.values()) <= {1}
    for unit, g in enumerate(forest.unit_group.tolist()):
        root = forest.group_root[g]
        seen[
            "unit", kept[root].trace, name(root), int(forest.unit_kind[unit]),
            name(forest.unit_producer[unit]), int(forest.unit_start_ns[unit]),
            int(forest.unit_end_ns[unit]), int(forest.unit_wait_ns[unit]),
            bool(forest.unit_incomplete[unit]), bool(forest.unit_skewed[unit]), links[unit] > 0,
        ] += 1  # fmt: skip
    for none in (forest.parent, forest.callee, forest.unit_producer):
        assert none.min(initial=-1) == -1
    for at in forest.unconsumed.tolist():
        seen["unconsumed", kept[at].trace, name(at)] += 1
    for t, row in enumerate(forest.counts.tolist()):
        seen["counts", kept[forest.trace_start[t]].trace, tuple(row)] += 1
    return seen


def of_the_twin(spans: list[Made]) -> Counter[Any]:
    """The same of the twin."""
    wanted: Counter[Any] = Counter()
    for one, _ in twin.analyse(spans):
        trace = next(iter(one.spans.values())).trace
        hops = Counter(unit.root for unit in one.units)
        for root in one.spans:
            if root not in one.blocks:
                members = tuple(sorted(one.group(root)))
                wanted["group", trace, root, members, one.begun[root], hops[root]] += 1
        for number, span in one.spans.items():
            wanted[
                trace, number, one.parent[number], span.start, span.end, one.offset[number],
                one.role[number], one.callee[number], number in one.answers, number in one.blocks,
                span.service, one.stands_for[number], tuple(one.children(number)),
            ] += 1  # fmt: skip
        consumed = {unit.producer for unit in one.units}
        for number in one.spans:
            if one.role[number] == "publish" and number not in consumed:
                wanted["unconsumed", trace, number] += 1
        for unit in one.units:
            wanted[
                "unit", trace, unit.root, unit.kind, unit.producer, unit.start, unit.end, unit.wait,
                unit.root in one.missing | one.cycles, one.uncertain, unit.linked is not None,
            ] += 1  # fmt: skip
            if unit.linked is not None:
                wanted["hop", trace, unit.root, *unit.linked] += 1
        counts = twin.counters(one)
        wanted["counts", trace, tuple(counts.get(reason, 0) for reason in COUNTERS)] += 1
    return wanted


@pytest.mark.parametrize("draw", [draw for draw, _ in KINDS], ids=[draw.__name__ for draw, _ in KINDS])
def test_a_trace_alone_is_as_it_is_among_others(draw: Draw) -> None:
    """Its first span is the first of all, and nothing else makes a search worth its while."""
    rng = random.Random(draw.__name__)
    for _ in range(70):
        spans = draw(rng, 1)
        assert of_the_kernel(spans) == of_the_twin(spans), spans


@pytest.mark.parametrize(("draw", "traces"), KINDS, ids=[draw.__name__ for draw, _ in KINDS])
def test_a_forest_is_that_of_the_twin(draw: Draw, traces: int) -> None:
    """Parents, roles, answers, offsets, groups, units, links to other traces and counters of every trace."""
    spans = drawn(draw, traces)
    found, wanted = of_the_kernel(spans), of_the_twin(spans)
    assert found - wanted == Counter()
    assert wanted - found == Counter()


def test_a_trace_whose_clocks_agree_may_be_larger_than_those_whose_clocks_do_not() -> None:
    """Room is made for the latter, and the former are left as they are."""
    spans = tree("a 0-10 client host=x\n  b 20-25 server host=y")
    spans += tree("a 0-100 host=x" + "\n  a 1-50 client host=x\n    b 2-49 server host=y" * 9, trace=2)
    found = of_the_kernel(spans)
    assert found == of_the_twin(spans)
    assert sum(key[5] != 0 for key in found if isinstance(key[0], int)) == 1


EXACT = {
    "a call that takes all of its poll but a tenth is how the poll is made": (
        "w 0-100 client receive\n  w 5-95 client", ["idle_poll"]
    ),
    "a shorter call is what came of the poll": ("w 0-100 client receive\n  w 5-94.9 client", []),
    "what settles a message behind its parent was not waited for": (
        "w 0-10\n  w 20-30 client settle", ["detached"]
    ),
    "what settles a message on its own is no unit": ("w 0-10 client settle", ["lone_settle"]),
    "who processes four messages claims those and no other": (
        "a 0-1 producer\n  w 5-9 consumer link=7:1 link=7:2 link=7:3\nw 2-4 client receive link=8:1", []
    ),
    "a loop that only polls is no unit": ("w 0-100\n  w 5-20 client receive empty\n  w 30-60 client receive",
                                          ["idle_poll"] * 3),
}  # fmt: skip


@pytest.mark.parametrize("law", EXACT)
def test_waiting_is_counted_and_work_is_a_unit(law: str) -> None:
    """To the nanosecond, and by the twin."""
    text, wanted = EXACT[law]
    spans = tree(text)
    found = of_the_kernel(spans)
    assert found == of_the_twin(spans)
    (counts,) = (key[2] for key in found if key[0] == "counts")
    assert [reason for reason, count in zip(COUNTERS, counts, strict=True) for _ in range(count)] == wanted


SMALL = [
    "a 0-100\n  b 10-90\n    c 20-30",
    "a 0-100 client http\n  a 5-95 client transport\n    b 10-90 server",
    "a 0-100 client db peer=x\n  a 5-95 client http\n    a 10-90 client transport",
    "a 0-100 client\n  b 10-90 client\n    c 20-30 server",
    "a 0-100 client\n  b 10-90 server\n  b 5-95 server",
    "a 0-10 producer\n  b 20-30 consumer\n    b 21-22 client settle",
    "a 0-100\n  a 1-50 client receive\n    a 20-40 consumer",
    "a 0-100 client receive link=1\na 20-30 consumer link=1\nb 0-5 producer",
    "a 0-100 client host=x\n  b 120-150 server host=y\n    b 121-130",
    "a 0-10 server\n  p 1-9 client sidecar\n    b 2-3 server",
    "p 0-10 server sidecar\n  b 1-9 client\n  a 2-5 server",
    "a 0-10\n  a 2-5\n    a 3-20 client",
    "shop 50-60 server\n  browser 0-100 internal\n  shop 52-55",
    "a 0-10\n  a 20-30 client settle\n  a 12-14 client",
]


@pytest.mark.parametrize("text", SMALL)
def test_ids_in_any_order_give_the_forest_of_the_twin(text: str) -> None:
    """Whichever span is the first of all, and whichever the last."""
    spans = tree(text)
    for numbers in itertools.permutations((1, 2, 3)):
        new = dict(zip((0, 1, 2, 3), (0, *numbers), strict=True))
        changed = [
            replace(span, span=new[span.span], parent=new[span.parent],
                    links=tuple((trace, new[number]) for trace, number in span.links))
            for span in spans
        ]  # fmt: skip
        assert of_the_kernel(changed) == of_the_twin(changed), changed


@pytest.mark.parametrize(("draw", "traces"), [(messages, 120), (anything, 60)], ids=["messages", "anything"])
def test_as_jaeger_draws_it_whatever_overlaps_its_parent_blocks(draw: Draw, traces: int) -> None:
    """And lasts as long as it was sent, whatever it received."""
    forest, kept, _ = forest_of(drawn(draw, traces), skew=False, compat="jaeger")
    start, end = forest.start_ns.tolist(), forest.end_ns.tolist()
    chained = 0
    for at, (span, up) in enumerate(zip(kept, forest.parent.tolist(), strict=True)):
        assert (start[at], end[at]) == (span.start, max(span.start, span.end))
        moment = start[at] == end[at]
        overlaps = up >= 0 and (start[at] < end[up] or (moment and start[at] == end[up]))
        overlaps = overlaps and (end[at] > start[up] or moment)
        roles = (ROLES[forest.role[up]], ROLES[forest.role[at]]) if up >= 0 else None
        chained += roles == ("poll", "consumer")
        assert forest.blocks[at] == (overlaps and roles != ("poll", "consumer"))
    assert chained


@pytest.mark.parametrize("looks", [(0, 0), (0, 3), (0, 12), (0, 40), (1, 0), (4, 0), (0, 10**6)])
@pytest.mark.parametrize("draw", [calls, rings], ids=["calls", "rings"])
def test_a_search_for_clocks_that_is_cut_off_proves_no_less_than_it_says(
    draw: Draw, looks: tuple[int, int]
) -> None:
    """With few looks more traces are uncertain; in all others each answer that can lies inside its call."""
    spans = drawn(draw, 60, 3)
    settled, _, _ = forest_of(spans)
    forest, kept, _ = forest_of(spans, skew=False)
    hosts = {host: code for code, host in enumerate(sorted({span.host or "" for span in kept} - {""}))}
    host = np.array([hosts.get(span.host or "", -1) for span in kept], np.int32)
    missing = np.array([span.parent != 0 for span in kept]) & (forest.parent < 0)
    family, times = (
        (forest.parent, forest.child_start, forest.child, missing),
        (forest.start_ns, forest.end_ns),
    )
    offset = np.zeros(len(kept), np.int64)
    clocks = host, forest.service
    uncertain = reconcile(forest.trace_start, family, forest.answers, clocks, times, offset, looks)
    before = settled.counts[:, COUNTERS.index("skew_uncertain")] > 0
    assert (uncertain >= before).all()
    if looks == (0, 10**6):
        assert offset.tolist() == settled.offset_ns.tolist()
        assert uncertain.tolist() == before.tolist()
    start, end = forest.start_ns + offset, forest.end_ns + offset
    inside = 0
    for i, p in enumerate(forest.parent.tolist()):
        if (
            not forest.answers[i]
            or uncertain[forest.trace[i]]
            or host[i] < 0
            or host[p] < 0
            or host[i] == host[p]
        ):
            continue
        if end[i] - start[i] <= end[p] - start[p] and offset[i] | offset[p]:
            assert start[p] <= start[i] <= end[i] <= end[p]
            inside += 1
    assert inside or looks != (0, 10**6)
