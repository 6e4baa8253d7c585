"""The analysis once more, slow and obvious: plain Python, one span at a time, recursion.

The text of the design, section by section; the kernels are held against it.  Spans are `Made`;
their ids are the keys of every dictionary here.
"""

from __future__ import annotations

import hashlib
import struct
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from builders import Key, Made

from tracescope import schema
from tracescope.conventions.identity import is_named_by

MS = 1_000_000
WINDOW_NS = 3 * schema.HOUR_NS  # the hour a trace starts in, and two more
#: Edge: kind, caller, callee, operation; a path is an entry and the edges below it.
Edge = tuple[str, str | None, str | None, str | None]
Entry = tuple[str, str, str]  # environment, service, operation
Path = tuple[Entry, *tuple[Edge, ...]]


@dataclass
class Unit:
    """A clock on the work that starts at `root`."""

    root: int
    kind: int
    start: int
    end: int
    wait: int = 0
    producer: int | None = None
    linked: Key | None = None  # producer in another trace
    negative: bool = False


@dataclass
class Tree:
    """One trace, analysed."""

    spans: dict[int, Made]
    conflicts: int = 0
    later: bool = False
    backwards: int = 0
    cycles: set[int] = field(default_factory=set)
    missing: set[int] = field(default_factory=set)
    parent: dict[int, int | None] = field(default_factory=dict)
    offset: dict[int, int] = field(default_factory=dict)
    uncertain: bool = False
    role: dict[int, str] = field(default_factory=dict)
    reported: dict[int, str] = field(default_factory=dict)  # services as they were sent
    stands_for: dict[int, int] = field(default_factory=dict)  # span whose operation a span has
    callee: dict[int, int | None] = field(default_factory=dict)
    answers: set[int] = field(default_factory=set)
    blocks: set[int] = field(default_factory=set)
    chained: set[int] = field(default_factory=set)  # polls whose messages are processed below them
    extended: dict[int, int] = field(default_factory=dict)  # by what follows below an instant
    begun: dict[int, int] = field(default_factory=dict)  # of a root: when its work began
    idle: set[int] = field(default_factory=set)
    settled: set[int] = field(default_factory=set)
    units: list[Unit] = field(default_factory=list)
    segments: dict[int, list[tuple[int, int, int]]] = field(default_factory=dict)  # root: span, start, end
    first_ns: int = 0

    def children(self, span: int) -> list[int]:
        return [other for other in sorted(self.spans) if self.parent[other] == span]

    def roots(self) -> list[int]:
        return [span for span in sorted(self.spans) if self.parent[span] is None]

    def waited_for(self, span: int) -> list[int]:
        return [child for child in self.children(span) if child in self.blocks]

    def group(self, root: int) -> Iterator[int]:
        """A span and everything it waits for."""
        yield root
        for child in self.waited_for(root):
            yield from self.group(child)


# -- normalise ------------------------------------------------------------------------------------


def normalise(spans: Sequence[Made]) -> list[Tree]:
    """Traces without duplicates, cut where they outlast their window, with parents found."""
    trees: list[Tree] = []
    for trace in sorted({span.trace for span in spans}):
        kept: list[Made] = []
        conflicts = 0
        for number in {span.span for span in spans if span.trace == trace}:
            same = [span for span in spans if (span.trace, span.span) == (trace, number)]
            kept.append(min(same, key=lambda span: span.content_hash))
            conflicts += len({span.content_hash for span in same}) - 1
        later = False
        while kept:
            first = min(span.start for span in kept)
            limit = first // schema.HOUR_NS * schema.HOUR_NS + WINDOW_NS
            inside = {span.span: span for span in kept if span.start < limit}
            kept = [span for span in kept if span.start >= limit]
            trees.append(Tree(inside, conflicts, later, first_ns=first))
            conflicts, later = 0, True
    for tree in trees:
        mend(tree)
    return trees


def mend(tree: Tree) -> None:
    for number, span in tree.spans.items():
        if span.end < span.start:
            tree.backwards += 1
            tree.spans[number] = replace(span, end=span.start)
        tree.parent[number] = span.parent or None
        if span.parent and span.parent not in tree.spans:
            tree.parent[number] = None
            tree.missing.add(number)
    for number in tree.spans:
        above, chain = tree.parent[number], [number]
        while above is not None and above not in chain:
            chain.append(above)
            above = tree.parent[above]
        if above is not None:
            ring = chain[chain.index(above) :]
            cut = min(ring, key=lambda span: (tree.spans[span].start, span))
            tree.parent[cut] = None
            tree.cycles.add(cut)
    for number, span in tree.spans.items():  # what goes on around its parent was not called by it
        above = tree.parent[number]
        over = tree.spans[above] if above is not None else span
        longer = span.end - span.start > over.end - over.start
        outside = span.start < over.start or span.start > over.end
        if span.kind == schema.KIND_INTERNAL and span.service != over.service and longer and outside:
            tree.parent[number] = None
    fold_sidecars(tree)


def fold_sidecars(tree: Tree) -> None:
    """A sidecar's spans have the service, and an inbound one's the operation, of its application's."""
    before = dict(tree.spans)
    for number, span in before.items():
        tree.reported[number] = span.service
        tree.stands_for[number] = number
        above = tree.parent[number]
        if span.edge_class != schema.CLASS_SIDECAR:
            continue
        if span.kind == schema.KIND_CLIENT and above is not None:
            if before[above].edge_class != schema.CLASS_SIDECAR:
                tree.spans[number] = replace(span, service=before[above].service)
        elif span.kind == schema.KIND_SERVER:
            served = [before[c] for c in tree.children(number)]
            served = [
                c for c in served if c.kind == schema.KIND_SERVER and c.edge_class != schema.CLASS_SIDECAR
            ]
            if served:
                tree.spans[number] = replace(span, service=served[0].service, operation=served[0].operation)
                tree.stands_for[number] = served[0].span


# -- roles ----------------------------------------------------------------------------------------


def find_roles(tree: Tree) -> None:
    spans = tree.spans
    first: dict[int, str] = {}
    for number, span in spans.items():
        above = tree.parent[number]
        if span.kind == schema.KIND_SERVER:
            first[number] = "server"
        elif (
            span.messaging_op in (schema.MSG_RECEIVE, schema.MSG_EMPTY) and span.kind != schema.KIND_PRODUCER
        ):
            first[number] = "poll"
        elif span.kind == schema.KIND_CONSUMER:
            first[number] = "leaf" if span.messaging_op == schema.MSG_SETTLE else "consumer"
        elif span.kind == schema.KIND_PRODUCER or (
            span.kind == schema.KIND_CLIENT and span.messaging_op == schema.MSG_SEND
        ):
            first[number] = "publish"
        elif span.edge_class == schema.CLASS_DB:
            first[number] = "db"
        elif span.kind == schema.KIND_CLIENT or span.edge_class == schema.CLASS_MODEL:
            first[number] = "leaf"
        elif above is not None and spans[above].service != span.service:
            first[number] = "server"  # sources without kinds
        else:
            first[number] = "internal"
    transport = find_transport(tree, first)
    asker: dict[int, int | None] = {}
    for number in spans:
        above = tree.parent[number]
        while above in transport:
            above = tree.parent[above]
        asker[number] = above
    for number, span in spans.items():
        role, below = first[number], tree.children(number)
        served = [
            c
            for c in spans
            if asker[c] == number
            and first[c] == "server"
            and (span.service != spans[c].service or spans[c].kind == schema.KIND_SERVER)
        ]
        proxies = [c for c in below if spans[c].service != span.service]
        proxies = [c for c in proxies if spans[c].kind == schema.KIND_CLIENT]
        answer, proxy = (
            min(found, key=lambda c: (spans[c].start, c), default=None) for found in (served, proxies)
        )
        tree.callee[number] = None
        if number in transport:
            role = "transport"
        elif role == "db":
            tree.callee[number] = answer
        elif role == "leaf" and (answer is not None or proxy is not None):
            role, tree.callee[number] = "call", proxy if answer is None else answer
        elif role == "leaf":
            own = [c for c in below if spans[c].service == span.service and c not in transport]
            if any(first[c] in ("leaf", "db", "publish", "poll") for c in own):
                role = "internal"  # it wraps calls of its own service
        elif role == "internal" and answer and len(below) == 1 and spans[answer].service != span.service:
            role, tree.callee[number] = "call", answer
        tree.role[number] = role
    for number, span in spans.items():
        above = asker[number]
        answer = tree.callee[above] if above is not None else None
        if above is None or answer is None or span.service != spans[answer].service:
            continue
        elsewhere = span.service != spans[above].service
        relays = {span.kind, spans[answer].kind} == {schema.KIND_CLIENT}
        if first[number] == "server":
            if span.kind == schema.KIND_SERVER or elsewhere:
                tree.answers.add(number)
        elif elsewhere and relays:
            tree.answers.add(number)


#: How far above the wire classes are.
LEVEL = {
    schema.CLASS_TRANSPORT: 1, schema.CLASS_SIDECAR: 2, schema.CLASS_HTTP: 3, schema.CLASS_RPC: 4,
    schema.CLASS_DB: 5, schema.CLASS_MESSAGING: 5, schema.CLASS_MODEL: 5,
}  # fmt: skip


def find_transport(tree: Tree, first: dict[int, str]) -> set[int]:
    """What calls are made with: all the calls below a call of their own service are of a lower level."""
    out: set[int] = set()
    for number, span in tree.spans.items():
        if first[number] not in ("leaf", "db", "publish", "poll"):
            continue
        own = [c for c in tree.children(number) if tree.spans[c].service == span.service]
        lower = [
            c
            for c in own
            if first[c] in ("leaf", "internal")
            and 0 < LEVEL.get(tree.spans[c].edge_class, 0) < LEVEL.get(span.edge_class, 0)
        ]
        if all(first[c] in ("internal", "server", "consumer") for c in own if c not in lower):
            out |= set(lower)
    nested: set[int] = set()
    for number in tree.spans:  # a handshake's own connection
        at, steps = number, 0
        while steps < 8 and tree.spans[at].edge_class == schema.CLASS_TRANSPORT and at not in out:
            above = tree.parent[at]
            if above is None or tree.spans[above].service != tree.spans[at].service:
                break
            at, steps = above, steps + 1
        if at in out:
            nested.add(number)
    return out | nested


# -- clocks ---------------------------------------------------------------------------------------


Interval = tuple[int, int]


def in_order(tree: Tree) -> list[int]:
    """Spans, parents before children; those below a missing parent last."""
    out: list[int] = []

    def add(number: int) -> None:
        out.append(number)
        for child in tree.children(number):
            add(child)

    for root in sorted(tree.roots(), key=lambda root: (root in tree.missing | tree.cycles, root)):
        add(root)
    return out


def find_clocks(tree: Tree) -> dict[int, str]:
    """The clock of each span: a host's, else its parent's, its service's only host's, or its service's."""
    spans, clock = tree.spans, dict[int, str]()
    hosts = {span.service: set[str]() for span in spans.values()}
    for span in spans.values():
        if span.host is not None:
            hosts[span.service].add(span.host)
    for number in in_order(tree):
        span, above = spans[number], tree.parent[number]
        if span.host is not None:
            clock[number] = f"host {span.host}"
        elif above is not None and spans[above].service == span.service and number not in tree.answers:
            clock[number] = clock[above]
        elif len(hosts[span.service]) == 1:
            clock[number] = f"host {min(hosts[span.service])}"
        else:
            clock[number] = f"service {span.service}"
    return clock


def agreed(intervals: Sequence[Interval]) -> tuple[Interval, int]:
    """What most calls say, nearest to no offset, and how many; without a majority the middle, and none.

    The middle is that of where the intervals are violated least in sum.
    """
    places = sorted({low for low, _ in intervals})
    agree = {x: [(low, high) for low, high in intervals if low <= x <= high] for x in places}
    most = max(len(found) for found in agree.values())
    if 2 * most > len(intervals):
        common = [
            (max(low for low, _ in found), min(high for _, high in found))
            for found in agree.values()
            if len(found) == most
        ]
        return min(common, key=lambda place: (from_zero(place), place)), most
    ends = sorted(end for interval in intervals for end in interval)
    low, high = ends[len(intervals) - 1], ends[len(intervals)]
    half = abs(low + high) // 2 * (1 if low + high > 0 else -1)
    return (half, half), 0


def from_zero(interval: Interval) -> int:
    return abs(min(max(0, interval[0]), interval[1]))


def lies_apart(span: Made, shift: int, call: Made, call_shift: int) -> bool:
    start, end = span.start + shift, span.end + shift
    begin, stop = call.start + call_shift, call.end + call_shift
    if start >= stop and (end - start) // 10 > stop - begin:
        return False  # late work
    if start == end:
        return start > stop or end < begin
    return start >= stop or end <= begin


Pairs = dict[tuple[str, str], Interval]


def find_pairs(tree: Tree, clock: dict[int, str]) -> Pairs:
    """What calls say about the offset of one clock relative to another's, without contradictions."""
    votes: dict[tuple[str, str], list[Interval]] = defaultdict(list)
    for number in in_order(tree):
        if number not in tree.answers:
            continue
        above = tree.parent[number] or 0
        call, answer = tree.spans[above], tree.spans[number]
        low, high = call.start - answer.start, call.end - answer.end
        if clock[above] == clock[number] or low > high:
            continue
        if (clock[number], clock[above]) in votes:
            votes[clock[number], clock[above]].append((-high, -low))
        else:
            votes[clock[above], clock[number]].append((low, high))
    said = {pair: agreed(intervals) for pair, intervals in votes.items()}
    if any(count < len(votes[pair]) for pair, (_, count) in said.items()):
        tree.uncertain = True
    found: Pairs = {}
    everything = with_reverse({pair: interval for pair, (interval, _) in said.items()})
    contradicted = contradicts(everything)
    tree.uncertain |= contradicted
    in_turn = list(said)
    if contradicted:
        in_turn.sort(key=lambda pair: (-said[pair][1], from_zero(said[pair][0]).bit_length()))
    for pair in in_turn:
        more = found | with_reverse({pair: said[pair][0]})
        if not contradicts(more):
            found = more
    return found


def with_reverse(pairs: Pairs) -> Pairs:
    return pairs | {(b, a): (-high, -low) for (a, b), (low, high) in pairs.items()}


def contradicts(pairs: Pairs) -> bool:
    return any(value < 0 for (a, b), value in farthest(pairs).items() if a == b)


def farthest(pairs: Pairs) -> dict[tuple[str, str], int]:
    """By how much one clock's offset may exceed another's, all calls considered."""
    most = {pair: high for pair, (_, high) in pairs.items()}
    names = sorted({name for pair in pairs for name in pair})
    for via in names:
        for a in names:
            for b in names:
                if (a, via) in most and (via, b) in most:
                    total = most[a, via] + most[via, b]
                    most[a, b] = min(most.get((a, b), total), total)
    return most


def is_violated(tree: Tree) -> bool:
    """Whether an answer lies outside its call, as no single clock could have it."""
    for number in tree.answers:
        call, answer = tree.spans[tree.parent[number] or 0], tree.spans[number]
        one = answer.host is not None and answer.host == call.host
        if one or (answer.start >= call.start and answer.end <= call.end):
            continue
        short = answer.end - answer.start <= call.end - call.start
        if short or lies_apart(answer, 0, call, 0):
            return True
    return False


def settle(tree: Tree, clock: dict[int, str]) -> dict[str, int]:
    """Offsets of all clocks, one after another, as the spans reach them."""
    pairs = find_pairs(tree, clock)
    most = farthest(pairs)
    shift: dict[str, int] = {}
    known = tree.spans[in_order(tree)[0]].host is not None
    for number in in_order(tree):
        name, above = clock[number], tree.parent[number]
        if name in shift:
            continue
        caller = shift[clock[above]] if above is not None else 0
        first, second = (0, caller) if known else (caller, 0)
        here = [(other, value) for other, value in shift.items() if (other, name) in most]
        bounds = [(value - most[name, other], value + most[other, name]) for other, value in here]
        low = max([low for low, _ in bounds], default=None)
        high = min([high for _, high in bounds], default=None)
        if low is None or high is None:
            shift[name] = unbound(tree, number, first, second, caller)
        elif low <= second <= high and not low <= first <= high:
            shift[name] = second
        else:
            shift[name] = min(max(first, low), high)
    return shift


def unbound(tree: Tree, number: int, first: int, second: int, caller: int) -> int:
    """Offset of a clock that no call binds, reached at a span."""
    above, span = tree.parent[number], tree.spans[number]
    if above is None:
        return first
    over = tree.spans[above]
    for shift in (first, second):
        if number not in tree.answers and span.start + shift >= over.start + caller:
            return shift
        if number in tree.answers and not lies_apart(span, shift, over, caller):
            return shift
    if number not in tree.answers:
        return first
    tree.uncertain = True
    return over.start + caller - span.start


def reconcile(tree: Tree) -> None:
    """Offsets that put answers inside their calls."""
    spans = tree.spans
    tree.offset = dict.fromkeys(spans, 0)
    if not is_violated(tree):
        return
    clock = find_clocks(tree)
    shift = settle(tree, clock)
    for number in in_order(tree):
        above, span = tree.parent[number], spans[number]
        tree.offset[number] = shift[clock[number]]
        if above is None:
            continue
        call = spans[above]
        tree.offset[number] += tree.offset[above] - shift[clock[above]]
        if number not in tree.answers or (span.host is not None and call.host is not None):
            continue
        ours, theirs = tree.offset[number], tree.offset[above]
        if lies_apart(span, ours, call, theirs):
            low = call.start + theirs - span.start - ours
            high = call.end + theirs - span.end - ours
            tree.uncertain |= low > high
            tree.offset[number] += min(max(0, low), high) if low <= high else low
    for number, span in list(spans.items()):
        by = tree.offset[number]
        spans[number] = replace(span, start=span.start + by, end=span.end + by)


# -- what blocks, units of work -------------------------------------------------------------------


def extend_instants(tree: Tree) -> None:
    """A consumer that only marks an arrival, and a poll, last as long as what follows below them."""
    ends: dict[int, int] = {}
    for number, span in tree.spans.items():
        role = tree.role[number]
        if role == "poll" or (role == "consumer" and span.end - span.start <= MS):
            after = [
                tree.spans[child]
                for child in tree.children(number)
                if tree.role[child] not in ("consumer", "poll")
            ]
            ends[number] = max(
                [span.end]
                + [
                    one.end
                    for one in after
                    if one.service == span.service
                    and one.start >= span.end
                    and one.messaging_op != schema.MSG_SETTLE
                ]
            )
    for number, end in ends.items():
        tree.extended[number] = end - tree.spans[number].end
        tree.spans[number] = replace(tree.spans[number], end=end)


def handed_over(tree: Tree, number: int) -> bool:
    above = tree.parent[number]
    if above is None:
        return False
    return tree.role[above] == "publish" or tree.spans[above].service != tree.spans[number].service


def loop_of(tree: Tree, number: int) -> int | None:
    """The parentless span that a poll loops in, with nothing but INTERNAL spans between."""
    above = tree.parent[number]
    while above is not None and tree.role[above] == "internal":
        if tree.parent[above] is None:
            return above
        above = tree.parent[above]
    return None


def covered(tree: Tree, number: int) -> bool:
    """Whether a consumer of the same service around it has the messages already."""
    service, above = tree.spans[number].service, tree.parent[number]
    while above is not None and tree.spans[above].service == service and tree.role[above] != "poll":
        if tree.role[above] == "consumer" and (tree.spans[above].links or handed_over(tree, above)):
            return True
        above = tree.parent[above]
    return False


def is_hop(tree: Tree, number: int) -> bool:
    if tree.parent[number] is None or tree.role[number] not in ("consumer", "poll"):
        return False
    looped = tree.role[number] == "poll" and loop_of(tree, number) is not None
    linked = bool(tree.spans[number].links) and not covered(tree, number)
    return handed_over(tree, number) or looped or linked


def find_blocking(tree: Tree) -> None:
    for number, span in tree.spans.items():
        above = tree.parent[number]
        if above is None or is_hop(tree, number):
            continue
        over = tree.spans[above]
        moment = span.start == span.end
        if span.start >= over.end and not (moment and span.start == over.end):
            continue
        if span.end <= over.start and not moment:
            continue
        overhang = span.end - over.end
        if overhang > max(MS, (span.end - span.start) // 20) and number not in tree.answers:
            continue
        tree.blocks.add(number)
    for number in tree.spans:
        above = tree.parent[number]
        if above is not None and (tree.role[above], tree.role[number]) == ("poll", "consumer"):
            tree.blocks.discard(number)
            tree.chained.add(above)


def was_sent(tree: Tree, number: int) -> bool:
    """Whether the parent of a consumer published what it consumed."""
    above = tree.parent[number]
    if above is None or tree.role[above] in ("consumer", "poll"):
        return False
    alone = tree.role[number] == "consumer" and number not in tree.blocks and not is_hop(tree, number)
    return handed_over(tree, number) or alone


def first_work(tree: Tree, poll: int) -> int:
    """When something below a poll began, other than the call that it was made by; else its end."""
    span = tree.spans[poll]
    length = span.end - span.start
    starts = [span.end]
    for child in tree.waited_for(poll):
        one = tree.spans[child]
        transport = one.end - one.start >= length - length // 10
        if tree.role[child] == "transport":
            continue
        if tree.role[child] not in ("call", "leaf") or not transport:
            starts.append(max(one.start, span.start))
    return min(starts)


def source_of(tree: Tree, root: int) -> int:
    """The span whose parent and links say where a consumer's messages came from."""
    above = tree.parent[root]
    if tree.role[root] == "consumer" and above in tree.chained and not tree.spans[root].links:
        return above or 0
    return root


def messages_of(tree: Tree, root: int, claims: set[tuple[str, Key]]) -> tuple[list[int | Key], bool]:
    """Producers here (spans) and elsewhere (keys) of what a root consumed; whether others claim some."""
    span, above, role = tree.spans[root], tree.parent[root], tree.role[root]
    asks = role == "consumer" or (role == "poll" and span.messaging_op != schema.MSG_EMPTY)
    late = False
    if role != "poll" and above is not None and tree.role[above] == "publish":
        late = tree.spans[above].service != span.service
    if not asks and not late:
        return [], False
    source = source_of(tree, root)
    keys: list[Key] = []
    if late or was_sent(tree, source):
        keys.append((span.trace, tree.parent[source] or 0))
    if tree.role[source] in ("consumer", "poll"):
        keys += tree.spans[source].links
    left = [key for key in keys if role != "poll" or (span.service, key) not in claims]
    found = [key[1] if key[0] == span.trace and key[1] in tree.spans else key for key in left]
    return list(dict.fromkeys(found)), len(left) < len(keys)


def find_claims(tree: Tree) -> set[tuple[str, Key]]:
    """Service and message of what is processed in spans of its own."""
    claims: set[tuple[str, Key]] = set()
    for number, span in tree.spans.items():
        if tree.role[number] == "consumer" and number not in tree.blocks:
            claims |= {(span.service, key) for key in span.links}
            if was_sent(tree, number):
                claims.add((span.service, (span.trace, tree.parent[number] or 0)))
    return claims


def find_units(tree: Tree) -> None:
    spans, claims = tree.spans, find_claims(tree)
    for root in sorted(spans):
        if root in tree.blocks:
            continue
        span = spans[root]
        tree.begun[root] = span.start
        if root in tree.chained:
            continue
        producers, claimed = messages_of(tree, root, claims)
        if producers:
            tree.units += message_units(tree, root, producers)
        elif not claimed:
            kind = lonely_kind(tree, root)
            if kind is not None:
                tree.units.append(Unit(root, kind, tree.begun[root], span.end))
            elif tree.role[root] == "leaf":
                tree.settled.add(root)
            else:
                tree.idle.add(root)


def message_units(tree: Tree, root: int, producers: Sequence[int | Key]) -> list[Unit]:
    span, poll = tree.spans[root], tree.role[root] == "poll"
    out: dict[int, int] = {}  # producer here: when it had published
    first = first_work(tree, root) if poll else 0
    for producer in producers:
        if isinstance(producer, int):
            one = tree.spans[producer]
            out[producer] = one.end
            if poll:
                out[producer] = min(one.end, span.end)
                if one.start <= first < out[producer]:
                    out[producer] = first
                elif one.start <= span.start and one.end >= span.end == first:
                    out[producer] = span.start
    if poll:
        elsewhere = any(not isinstance(producer, int) for producer in producers)
        tree.begun[root] = first if elsewhere else max(span.start, *out.values())
    begun = tree.begun[root]
    made: list[Unit] = []
    for producer in producers:
        if isinstance(producer, int):
            start = min(out[producer], begun)
            unit = Unit(root, schema.UNIT_MESSAGE, start, span.end, begun - start, producer)
            unit.negative = tree.spans[producer].start > (span.end if poll else span.start)
            made.append(unit)
        else:
            made.append(Unit(root, schema.UNIT_MESSAGE, begun, span.end, linked=producer))
    return made


def lonely_kind(tree: Tree, root: int) -> int | None:
    """Kind of a unit that no message started; None where nothing was done but waiting."""
    span, role, above = tree.spans[root], tree.role[root], tree.parent[root]
    failed = span.status == schema.STATUS_ERROR
    if role == "poll":
        first = first_work(tree, root)
        if failed:
            return schema.UNIT_LONG
        if first == span.end or span.messaging_op == schema.MSG_EMPTY:
            return None
        tree.begun[root] = first
        return schema.UNIT_REQUEST
    polls = [
        tree.spans[number].end
        for number in tree.spans
        if tree.role[number] == "poll" and number not in tree.blocks and loop_of(tree, number) == root
    ]
    if polls:
        tree.begun[root] = max(span.start, min(max(polls), span.end))
        worked = any(tree.role[number] != "internal" for number in tree.group(root))
        return schema.UNIT_LONG if failed or worked else None
    if above is None and role == "leaf" and span.messaging_op == schema.MSG_SETTLE and not failed:
        return None
    length = span.end - span.start
    for number in tree.group(root):
        one = tree.spans[number]
        lasting = one.end - one.start >= length - length // 10
        if lasting and one.messaging_op in (schema.LIFE_STREAM, schema.LIFE_SCHEDULED):
            return schema.UNIT_LONG
    return schema.UNIT_REQUEST if above is None or role == "consumer" else schema.UNIT_DETACHED


# -- the walk -------------------------------------------------------------------------------------


@dataclass
class Walked:
    own: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    inclusive: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    visited: set[int] = field(default_factory=set)
    eff: dict[int, tuple[int, int]] = field(default_factory=dict)


def walk_tree(tree: Tree, *, eps: bool = True, strict: bool = False) -> Walked:
    """The last-return walk; `strict`: as Jaeger's UI, what ends as the next begins was not waited for."""
    out = Walked()

    def clip(number: int, low: int, high: int) -> None:
        span = tree.spans[number]
        start = min(max(span.start, low), high)
        end = max(min(span.end, high), start)
        out.eff[number] = start, end
        for child in tree.waited_for(number):
            clip(child, start, end)

    def go(number: int, low: int, high: int, segments: list[tuple[int, int, int]]) -> None:
        start, end = out.eff[number]
        out.visited.add(number)
        out.inclusive[number] = high - low
        children = sorted(
            tree.waited_for(number), key=lambda c: (-min(out.eff[c][1], high), out.eff[c][0], c)
        )
        t = high
        for child in children:
            begin, stop = out.eff[child]
            forgiven = min(MS, (end - start) // 100, (stop - begin) // 10) if eps else 0
            if stop == begin or begin >= t or (min(stop, high) > t and min(stop, high) - t > forgiven):
                continue
            if strict and min(stop, high) == t < high:
                continue
            e = min(stop, t)
            if e < t:
                segments.append((number, e, t))
            go(child, begin, e, segments)
            t = begin
        if low < t:
            segments.append((number, low, t))

    for root in sorted(tree.spans):
        if root in tree.blocks:
            continue
        span = tree.spans[root]
        clip(root, tree.begun[root], span.end)
        tree.segments[root] = []
        go(root, tree.begun[root], span.end, tree.segments[root])
        for number, begin, end in tree.segments[root]:
            out.own[number] += end - begin
    return out


def analyse(spans: Sequence[Made], *, skew: bool = True, eps: bool = True) -> list[tuple[Tree, Walked]]:
    out: list[tuple[Tree, Walked]] = []
    for tree in normalise(spans):
        find_roles(tree)
        if skew:
            reconcile(tree)
        else:
            tree.offset = dict.fromkeys(tree.spans, 0)
        extend_instants(tree)
        find_blocking(tree)
        find_units(tree)
        out.append((tree, walk_tree(tree, eps=eps)))
    return out


# -- edges and sums -------------------------------------------------------------------------------


def path_id(path: Path) -> int:
    """The documented hash, over the whole path."""

    def digest(parent: int, names: Sequence[str | None]) -> int:
        data = parent.to_bytes(8, "big", signed=True)
        for name in names:
            text = b"" if name is None else name.encode()
            data += struct.pack(">I", 2**32 - 1 if name is None else len(text)) + text
        return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big", signed=True)

    number = digest(0, path[0])
    for edge in path[1:]:
        number = digest(number, edge)
    return number


@dataclass
class Place:
    """Where a span stands: the paths its calls, its own time and its service's own time go to."""

    under: Path
    owns: Path
    service_self: Path
    opens: Path | None
    via: Path | None  # the call that must have been, where nobody reported it
    opener: int  # the span that opened the path it stands under
    enters: bool


def find_place(tree: Tree, number: int, above: Place | None, wait: Edge | None) -> tuple[Place, Edge | None]:
    """A span's place below its parent's (None: it starts a unit), and the edge it opens."""
    span, up = tree.spans[number], tree.parent[number]
    over = tree.spans[up] if up is not None else None
    role = tree.role[number]
    if above is None:
        base: Path = ((span.environment, span.service, span.operation),)
        opener = number
    else:
        base, opener = above.under, above.opener

    def web(*spans: Made) -> str:
        return "rpc" if schema.CLASS_RPC in [one.edge_class for one in spans] else "http"

    via: Path | None = None
    service_self: Path | None = above.service_self if above is not None else None
    if above and over and span.service != over.service and role in ("call", "leaf", "db", "publish"):
        if number not in tree.answers:
            via = base = (*base, (web(span, over), over.service, span.service, span.operation))
        service_self = (*base, ("self", span.service, None, span.operation))
    edge: Edge | None = None
    answer = tree.callee[number]
    if role == "db":
        edge = ("db", span.service, span.peer or "unknown", span.operation)
    elif role == "publish":
        edge = ("queue", span.service, span.peer or "unknown", "publish")
    elif role == "call" and answer is not None:
        server = tree.spans[answer]
        edge = (web(span, server), span.service, server.service, server.operation)
    elif role == "leaf" or (role == "poll" and above is not None):
        named = span.peer is not None and span.edge_class in (
            schema.CLASS_HTTP, schema.CLASS_RPC, schema.CLASS_SIDECAR,
        )  # fmt: skip
        edge = (web(span) if named else "external", span.service, span.peer or "unknown", span.operation)
    elif (
        above and over and span.service != over.service and number not in tree.answers and role != "transport"
    ):
        edge = (web(span, over), over.service, span.service, span.operation)
    under, opens = base, None
    if edge is not None:
        again = role == "db" and above is not None and tree.role[up or 0] == "db" and base[-1] == edge
        if not again:
            under = opens = (*base, edge)
            opener = number
    if wait is not None:
        under = (*base, wait)
    served = role in ("server", "consumer", "internal")
    served |= role in ("poll", "transport") and above is None
    enters = served and (above is None or opens is not None or number in tree.answers)
    if enters or service_self is None:
        top = under if enters else base
        service_self = (*top, ("self", span.service, None, span.operation))
    owns = service_self if served else under
    if role == "transport" and above is not None:
        owns = above.owns
    enters |= above is None or via is not None or number in tree.answers
    return Place(under, owns, service_self, opens, via, opener, enters), edge


Row = dict[str, int]
CellKey = tuple[int, int, Path, int]  # slot, unit, path, threshold


@dataclass
class Rolled:
    paths: dict[CellKey, Row] = field(default_factory=dict)
    entries: dict[tuple[int, int, Entry, int], Row] = field(default_factory=dict)
    counters: dict[tuple[int, str], int] = field(default_factory=lambda: defaultdict(int))
    lengths: dict[CellKey, list[int]] = field(default_factory=lambda: defaultdict(list))
    clocks: dict[tuple[int, int, Entry, int], list[int]] = field(default_factory=lambda: defaultdict(list))
    #: Slot, environment, service, instance and version: (start, end) of its spans as they were sent.
    services: dict[tuple[int, str, str, str, str], list[tuple[int, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    #: (duration, trace) of whatever counts on a path: its exemplars are the longest and a drawn one.
    seen: dict[CellKey, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))


def draw(trace: int) -> int:
    """63 bits of a trace id, the high half of which is 7."""
    x, bits = 0, 2**64 - 1
    for part, shift, factor in (
        (7, 0, 0x9E3779B97F4A7C15), (trace, 29, 0xBF58476D1CE4E5B9),
        (0, 31, 0x94D049BB133111EB), (0, 29, 0xBF58476D1CE4E5B9),
    ):  # fmt: skip
        x = (x ^ part ^ (x >> shift if shift else 0)) * factor & bits
    return (x ^ x >> 32) >> 1


def exemplars(seen: Sequence[tuple[int, int]]) -> tuple[int, int, int, int, int]:
    """Trace of the longest (both halves), and hash and trace of the drawn one; zeros for none."""
    if not seen:
        return 0, 0, 0, 0, 0
    slow = min(seen, key=lambda one: (-one[0], one[1]))[1]
    typical = min((draw(trace), trace) for _, trace in seen)
    return 7, slow, typical[0], 7, typical[1]


def name_by_graphql(tree: Tree) -> None:
    """A request is also named by the operations of the outermost GraphQL spans of its service within it."""
    asked: dict[int, set[str]] = defaultdict(set)
    for number, span in tree.spans.items():
        if span.edge_class != schema.CLASS_GRAPHQL or tree.role[number] == "server":
            continue
        above = tree.parent[number]
        while above is not None and tree.spans[above].service == span.service:
            if tree.spans[above].edge_class == schema.CLASS_GRAPHQL:
                break
            if tree.role[above] == "server":
                asked[above].add(span.operation)
                break
            above = tree.parent[above]
    for request, operations in asked.items():
        span = tree.spans[request]
        said = ", ".join(sorted(operations))
        if span.operation != said and not span.operation.endswith(f" {said}"):
            tree.spans[request] = replace(span, operation=f"{span.operation} {said}")


def take_names(tree: Tree) -> None:
    """What names less than the span of its kind around it is called as that is."""
    original = {number: span.peer for number, span in tree.spans.items()}
    for number, span in tree.spans.items():
        above = tree.parent[number]
        if above is None:
            continue
        around = tree.spans[above]
        if (around.service, around.edge_class) != (span.service, span.edge_class) or original[above] is None:
            continue
        roles = tree.role[number], tree.role[above]
        if span.edge_class == schema.CLASS_MESSAGING:
            takes = span.peer is None and roles[0] == "consumer" and roles[1] in ("consumer", "poll")
        else:
            takes = span.edge_class == schema.CLASS_DB and is_named_by(span.peer, original[above])
        if takes:
            tree.spans[number] = replace(span, peer=original[above])


def counters(tree: Tree) -> dict[str, int]:
    """What was mended or set apart in a trace, by reason."""
    return {
        "duplicate_conflict": tree.conflicts,
        "end_before_start": tree.backwards,
        "parent_cycle": len(tree.cycles),
        "missing_parent": len(tree.missing - tree.cycles),
        "skew_uncertain": int(tree.uncertain),
        "skew_corrected": sum(shift != 0 for shift in tree.offset.values()),
        "negative_wait": sum(unit.negative for unit in tree.units),
        "idle_poll": len(tree.idle),
        "lone_settle": len(tree.settled),
        "detached": sum(unit.kind == schema.UNIT_DETACHED for unit in tree.units),
        "beyond_window": len(tree.spans) if tree.later else 0,
    }


def roll_up(spans: Sequence[Made]) -> Rolled:
    out = Rolled()
    for tree, walked in analyse(spans):
        take_names(tree)
        name_by_graphql(tree)
        slot = tree.first_ns // schema.HOUR_NS
        for reason, count in counters(tree).items():
            if count:
                out.counters[slot, reason] += count
        add_trace(out, tree, walked, slot)
        for number, span in tree.spans.items():
            shift = tree.offset[number]
            name = span.environment, tree.reported[number], span.instance or "", span.version or ""
            sent = span.start - shift, span.end - shift - tree.extended.get(number, 0)
            out.services[slot, *name].append(sent)
    return out


@dataclass
class Cells:
    """Rows of one context; which were touched is remembered."""

    out: Rolled
    slot: int
    kind: int
    threshold: int
    touched: set[CellKey]
    lost: bool  # the unit failed

    def name(self, path: Path) -> CellKey:
        return self.slot, self.kind, path, self.threshold

    def __getitem__(self, path: Path) -> Row:
        self.touched.add(self.name(path))
        return self.out.paths.setdefault(self.name(path), defaultdict(int))


def publisher(tree: Tree, number: int) -> int:
    """What sent a message: its producer, or what that is the transport of."""
    while tree.role[number] == "transport":
        number = tree.parent[number] or 0
    return number


def add_trace(out: Rolled, tree: Tree, walked: Walked, slot: int) -> None:
    units: dict[int, list[Unit]] = defaultdict(list)
    for unit in tree.units:
        units[unit.root].append(unit)
    places: dict[int, Place] = {}
    of_root: dict[int, tuple[int, int]] = {}  # kind, threshold
    weights: dict[int, int] = {}
    home: dict[int, int] = {}
    quiet: dict[int, list[Row]] = defaultdict(list)  # units in which nothing was called, as yet
    for root in tree.segments:
        members = list(tree.group(root))
        here = units.get(root, [])
        thresholds = {tree.spans[number].threshold for number in members}
        if len(thresholds) > 1:  # what carries none was sampled as its unit
            thresholds.discard(schema.NO_THRESHOLD)
        kind = here[0].kind if here else -1
        of_root[root] = kind, max(thresholds)
        weights[root] = len(here)
        wait: Edge | None = None
        if kind == schema.UNIT_MESSAGE:
            producers = [unit.producer for unit in here if unit.producer is not None]
            topic = tree.spans[root].peer
            if producers and (topic is None or tree.role[root] not in ("consumer", "poll")):
                topic = tree.spans[publisher(tree, producers[0])].peer
            wait = ("queue", topic or "unknown", tree.spans[root].service, "wait")
        touched: set[CellKey] = set()
        lost = tree.spans[root].status == schema.STATUS_ERROR
        cell = Cells(out, slot, kind, max(thresholds), touched, lost)
        for number in members:
            home[number] = root
            above = tree.parent[number] if number != root else None
            place, _ = find_place(
                tree, number, places[above] if above is not None else None, wait if number == root else None
            )
            places[number] = place
        openers = {number: places[tree.parent[number] or 0].opener for number in members if number != root}
        again = made_again(tree, places, openers)
        for number in members if here else ():
            upper = None if number == root else places[tree.parent[number] or 0]
            row = add_span(cell, tree, walked, number, places[number], upper, len(here))
            if row is not None:
                row["retries"] += len(here) * (number in again)
        span = tree.spans[root]
        entry = (span.environment, span.service, span.operation)
        for unit in here:
            row = out.entries.setdefault((slot, kind, entry, max(thresholds)), defaultdict(int))
            row["units"] += 1
            row["clock_ns"] += unit.end - unit.start
            out.clocks[slot, kind, entry, max(thresholds)].append(unit.end - unit.start)
            row["incomplete"] += root in tree.missing or root in tree.cycles
            row["skewed"] += tree.uncertain
            row["mixed"] += len(thresholds) > 1
            row["errors"] += lost
            row["failed_ns"] += lost * (unit.end - unit.start)
            quiet[root].append(row)
        if wait is not None:
            taken = tree.spans[root].peer if span.edge_class == schema.CLASS_MESSAGING else None
            for unit in here:
                sent = None
                if unit.producer is not None:
                    sent = tree.spans[publisher(tree, unit.producer)].peer
                if sent is not None and taken is not None and sent != taken:
                    route = cell[entry, ("queue", sent, taken, "route")]
                    for name in ("calls", "calls_visited", "visits", "units"):
                        route[name] += 1
                    touched.discard(cell.name((entry, ("queue", sent, taken, "route"))))
            row = cell[places[root].under]
            total, clocks = sum(u.wait for u in here), sum(u.end - u.start for u in here)
            for name in ("calls", "calls_visited", "visits"):
                row[name] += len(here)
            row["own_ns"] += total
            row["own_all_ns"] += total
            row["calls_in_failed"] += len(here) * (span.status == schema.STATUS_ERROR)
            row["own_in_failed_ns"] += total * (span.status == schema.STATUS_ERROR)
            row["inclusive_ns"] += clocks
            row["busy_ns"] += total // len(here)
            row["slow_ns"] = max(row["slow_ns"], clocks // len(here))
            out.seen[cell.name(places[root].under)].append((clocks // len(here), span.trace))
            out.lengths[slot, kind, places[root].under, max(thresholds)] += [u.wait for u in here]
        for name in touched:
            out.paths[name]["units"] += len(here)
    for root, here in units.items():  # calls that nobody waited for, on the path they were made on
        above = tree.parent[root]
        if (
            above is None
            or here[0].kind not in (schema.UNIT_DETACHED, schema.UNIT_LONG)
            or of_root[home[above]][0] < 0
        ):
            continue
        place, edge = find_place(tree, root, places[above], None)
        made = place.via or place.opens
        if edge is not None and made is not None:
            kind, threshold = of_root[home[above]]
            row = out.paths.setdefault((slot, kind, made, threshold), defaultdict(int))
            weight = weights[home[above]]
            row["calls"] += weight
            row["calls_visited"] += weight * (places[above].opener in walked.visited)
            row["detached_calls"] += weight
            row["calls_in_failed"] += weight * (tree.spans[home[above]].status == schema.STATUS_ERROR)
            quiet[home[above]] = []
    for root, rows in quiet.items():
        for row in rows:
            called = [places[number] for number in tree.group(root)]
            row["leafless"] += not any(place.opens or place.via for place in called)


def made_again(tree: Tree, places: dict[int, Place], openers: dict[int, int]) -> set[int]:
    """Calls of one unit that follow a failed one of the same edge under the same span."""
    found: set[int] = set()
    for number, opener in openers.items():
        span = tree.spans[number]
        before = [
            tree.spans[other]
            for other, its in openers.items()
            if its == opener
            and other != number
            and places[other].opens is not None
            and places[other].opens == places[number].opens
            and order_of(tree, other) < order_of(tree, number)
        ]
        if before:
            last = max(
                before, key=lambda one: (one.start, one.end, one.status == schema.STATUS_ERROR, one.span)
            )
            if last.status == schema.STATUS_ERROR and last.end <= span.start:
                found.add(number)
    return found


def order_of(tree: Tree, number: int) -> tuple[int, int, bool, int]:
    """Calls one after another."""
    span = tree.spans[number]
    return span.start, span.end, span.status == schema.STATUS_ERROR, number


def add_span(
    cell: Cells, tree: Tree, walked: Walked, number: int, place: Place, upper: Place | None, weight: int
) -> Row | None:
    """Returns the row of the path that the span opens, if it opens one."""
    span = tree.spans[number]
    start, end = walked.eff[number]
    inside = [walked.eff[child] for child in tree.waited_for(number)]
    summed = sum(b - a for a, b in inside)
    united = union(inside)
    own, alone = walked.own[number], end - start - united
    seen, failed = number in walked.visited, span.status == schema.STATUS_ERROR

    def count(path: Path, made: bool, visited: bool) -> None:
        row, duration = cell[path], span.end - span.start
        cell.out.seen[cell.name(path)].append((duration, span.trace))
        row["calls"] += weight
        row["calls_visited"] += weight * made
        row["visits"] += weight * visited
        row["errors"] += weight * failed
        row["calls_in_failed"] += weight * cell.lost
        row["slow_ns"] = max(row["slow_ns"], duration)

    for opened in (place.via, place.opens):
        if opened is None:
            continue
        row = cell[opened]
        count(opened, upper is None or upper.opener in walked.visited, seen)
        row["inclusive_ns"] += weight * walked.inclusive[number]
        row["busy_ns"] += span.end - span.start
        row["failed_ns"] += failed * (span.end - span.start)
        row["child_sum_ns"] += weight * summed * seen
        row["child_union_ns"] += weight * united * seen
        cell.out.lengths[cell.name(opened)] += [span.end - span.start] * weight
    row = cell[place.owns]
    row["own_ns"] += weight * own
    row["own_all_ns"] += weight * alone
    row["own_in_failed_ns"] += weight * own * cell.lost
    if place.owns == place.service_self:
        row["inclusive_ns"] += weight * own
        row["busy_ns"] += alone
        row["child_sum_ns"] += weight * summed * seen
        row["child_union_ns"] += weight * united * seen
    if place.enters:
        entered = place.opener in walked.visited
        count(place.service_self, entered, entered)
    return cell[place.opens] if place.opens is not None else None


def union(intervals: Sequence[tuple[int, int]]) -> int:
    """Length of what some intervals cover together."""
    total, reached = 0, None
    for begin, end in sorted(intervals):
        if reached is None or begin > reached:
            total, reached = total + end - begin, end
        elif end > reached:
            total, reached = total + end - reached, end
    return total
