"""Work that is no longer done, or done in vain: what makes a system look faster than it is.

    base   POST /orders  |-- stock --|-- charge --|-- publish --|      120 ms
    head   POST /orders  |-- stock -x                                   30 ms, failed: no improvement

Told beside latency, never netted against it: requests that fail early, edges that are not reached because of
that, calls made again, calls that vanished though nothing failed, units that call nothing any more, requests
and messages that arrive as before and are not completed.

Source: design, section 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tracescope import schema
from tracescope.analysis.comparison.failures import Asked, at_and_below
from tracescope.analysis.report import EdgeKey, EntryFailures, Failures, MissingWork, MissingWorkKind
from tracescope.analysis.rollups.period import MS
from tracescope.analysis.statistics.distributions import hypergeometric_tail
from tracescope.analysis.statistics.rates import Counts, compare_rates
from tracescope.analysis.statistics.significance import benjamini_hochberg

Floats = NDArray[np.float64]

#: A failed unit that takes less than this part of a successful one failed early.
EARLY: Final = 0.8
#: Arrivals hold while they do not fall below this part; work is not completed beyond that part of them.
HOLDS: Final = 0.9
NOT_DONE: Final = 0.05
#: A call that is made by so much less often is not reached, if so little of that is so of successful units.
REACHED_LESS: Final = 0.05
OF_SUCCESSFUL: Final = 0.3
#: Time that it took less, as a part of base's clock, from which on it is worth a line; and how many lines.
WORTH: Final = 0.01
MOST_EDGES: Final = 8
#: Calls vanished where more than half are gone; of messages a tenth must be missing.
VANISHED: Final = (0.5, 0.0)
MISSING: Final = (0.1, 0.0)
#: A caller always makes a call that so many of its units have, and leaves it out where so many more do not.
ALWAYS: Final = 0.9
LEFT_OUT: Final = 0.25
#: Units with a call in base that its vanishing must rest on.
FEWEST_CALLS: Final = 10.0


def find_missing_work(asked: Sequence[Asked], failures: Failures, alpha: float) -> tuple[MissingWork, ...]:
    """MissingWork work of all kinds of units, what fails first."""
    lost = [sentence for entry in failures.grown for sentence in _of_entry(entry)]
    lost += [_leafless(entry) for entry in failures.entries if entry.leafless and entry.leafless.grew]
    for edge in failures.edges:
        if edge.retries is not None and edge.retries.grew:
            name = _named(edge.key)
            told = f"{name}: {_part(edge.retries.head)} of its calls are made again after a failure"
            lost.append(
                MissingWork(MissingWorkKind.RETRIED, f"{told} ({_part(edge.retries.base)} before)", edge.key)
            )
    grown = {(entry.unit, entry.service, entry.operation) for entry in failures.grown}
    unreached: set[tuple[int, int]] = set()
    for one in asked:
        if failures.measured and grown:
            lost += _not_reached(one, grown, unreached)
    for one in asked:
        gone = _vanished(one, unreached, alpha)
        lost += [*gone, *_missing(one, unreached, alpha, {each.edge for each in gone})]
    return (*lost, *_not_consumed(asked, alpha))


def _part(value: float) -> str:
    """A part of 1 in per cent."""
    per_cent = 100 * value
    return f"{per_cent:.0f} %" if per_cent >= 9.95 else f"{per_cent:.2g} %"


def _named(key: EdgeKey) -> str:
    return f"{key.name} {key.operation}" if key.operation else key.name


def _of_entry(entry: EntryFailures) -> list[MissingWork]:
    """What an entry that fails more often loses."""
    name, out = (entry.service, entry.operation), list[MissingWork]()
    if (
        entry.failed_ms_head is not None
        and entry.ok_ms_head
        and entry.failed_ms_head < EARLY * entry.ok_ms_head
    ):
        told = f"{' '.join(name)} fails early: after {entry.failed_ms_head:.3g} ms, where success takes "
        told += f"{entry.ok_ms_head:.3g} ms; what looks faster is work that is not done"
        out.append(MissingWork(MissingWorkKind.FAILS_EARLY, told, entry=name))
    arrived, before = entry.arrived_per_h_head, entry.arrived_per_h_base
    done, once = entry.completed_per_h_head, entry.completed_per_h_base
    if before > 0 and once > 0 and arrived >= HOLDS * before and done / arrived < once / before - NOT_DONE:
        told = f"{' '.join(name)}: arrivals hold ({before:.3g} an hour, {arrived:.3g} now) "
        told += f"and completions do not ({once:.3g} an hour, {done:.3g} now)"
        out.append(MissingWork(MissingWorkKind.NOT_COMPLETED, told, entry=name))
    return out


def _leafless(entry: EntryFailures) -> MissingWork:
    assert entry.leafless is not None
    told = (
        f"{entry.service} {entry.operation}: {_part(entry.leafless.head)} of its {entry.unit}s call nothing "
    )
    told += f"({_part(entry.leafless.base)} before)"
    return MissingWork(MissingWorkKind.LEAFLESS, told, entry=(entry.service, entry.operation))


def _not_reached(
    asked: Asked, grown: set[tuple[str, str, str]], unreached: set[tuple[int, int]]
) -> list[MissingWork]:
    """Edges below entries that fail more often that successful units call as before; of subtrees the top."""
    unit = asked.unit
    names = [(asked.name, *row) for row in unit.entries.select("service", "operation").iter_rows()]
    failing = np.array([name in grown for name in names], np.bool_)[unit.tree.entry]
    calls, fine, own = [], [], []
    for side in asked.sides:
        sums = {name: values.sum(axis=0)[unit.tree.entry] for name, values in side.entries.items()}
        made, vain = side.paths["calls"].sum(axis=0), side.paths["calls_in_failed"].sum(axis=0)
        calls.append(made / np.maximum(sums["units"], 1e-300))
        fine.append((made - vain) / np.maximum(sums["units"] - sums["errors"], 1e-300))
        own.append(side.paths["own_ns"].sum(axis=0) / max(float(side.entries["units"].sum()), 1e-300) / MS)
    fewer, of_fine = calls[0] - calls[1], fine[0] - fine[1]
    less = failing & (fewer > REACHED_LESS * calls[0]) & (of_fine < OF_SUCCESSFUL * fewer)
    unreached.update((unit.kind, path) for path in np.flatnonzero(less).tolist())
    gone = np.divide(fewer, calls[0], out=np.zeros_like(fewer), where=calls[0] > 0)
    top = np.arange(len(less))
    for path in np.flatnonzero(less & (unit.tree.parent >= 0)).tolist():  # parents come before children
        if less[unit.tree.parent[path]]:
            top[path] = top[unit.tree.parent[path]]
    spared = np.zeros(len(less))
    np.add.at(spared, top[less], (gone * own[0])[less])
    first = less & (top == np.arange(len(less)))
    saved = asked.split.by_edge(spared)
    made, missing = (asked.split.by_edge(np.where(first, values, 0.0)) for values in (calls[0], fewer))
    clock = unit.base.entries["clock_ns"].sum() / max(float(unit.base.entries["units"].sum()), 1e-300) / MS
    out: list[MissingWork] = []
    for edge in np.argsort(-saved, kind="stable")[:MOST_EDGES].tolist():
        if saved[edge] <= WORTH * clock:
            break
        part = _part(float(missing[edge]) / max(float(made[edge]), 1e-300))
        told = f"{_named(asked.key(edge))} is not reached in {part} of cases, because "
        told += f"{asked.name}s fail before it: the {saved[edge]:.3g} ms that it and its callees take less "
        told += "are no improvement"
        out.append(MissingWork(MissingWorkKind.NOT_REACHED, told, asked.key(edge)))
    return out


def _vanished(asked: Asked, unreached: set[tuple[int, int]], alpha: float) -> list[MissingWork]:
    """Calls that are no longer made although nothing failed before them; the top of each subtree."""
    unit, tree = asked.unit, asked.unit.tree
    kinds = unit.paths["kind"].to_numpy()
    sums = [
        Counts(
            side.paths["calls"], side.entries["units"][:, tree.entry], np.maximum(side.seen[tree.entry], 1.0)
        )
        for side in asked.sides
    ]
    rows = np.flatnonzero(
        (kinds != schema.EDGE_SELF) & (unit.base.events >= FEWEST_CALLS) & (unit.head.seen[tree.entry] > 0)
    )
    if not len(rows):
        return []
    counts = [Counts(one.events[:, rows], one.trials[:, rows], one.seen[rows]) for one in sums]
    found = compare_rates(counts[0], counts[1], asked.matched, VANISHED, parts=False)
    gone = (benjamini_hochberg(found.p_value) <= alpha) & (found.head < found.base)
    told: set[int] = set(rows[gone].tolist())
    replaced = _replaced(unit.paths, unit.base.events, unit.head.events)
    out: list[MissingWork] = []
    for at in np.flatnonzero(gone).tolist():
        path = int(rows[at])
        if int(tree.parent[path]) in told or (unit.kind, path) in unreached or path in replaced:
            continue
        below = len(at_and_below(path, tree.parent)) - 1
        key = asked.key(int(asked.split.edge[path]))
        names = unit.entries.row(int(tree.entry[path]), named=True)
        entry = names["service"], names["operation"]
        words = f"{_named(key)} is hardly called any more" if found.head[at] > 0 else f"{_named(key)} is gone"
        words += f": {found.base[at]:.3g} calls per {asked.name} of {' '.join(entry)} before, "
        words += f"{found.head[at]:.3g} now"
        words += f", and {below} call paths below it" if below > 0 else ""
        out.append(MissingWork(MissingWorkKind.VANISHED, words, key, entry))
    return out


def _missing(
    asked: Asked, unreached: set[tuple[int, int]], alpha: float, named: set[EdgeKey | None]
) -> list[MissingWork]:
    """Calls that their caller always made and now leaves out, of however few units.

    What is always made does not vary by itself, so units are tosses, and few are enough: of ten requests all
    made a call, of seven five do not.  A caller is one hypothesis, whatever it leaves out.
    """
    unit, tree = asked.unit, asked.unit.tree
    kinds = unit.paths["kind"].to_numpy()
    seen: list[tuple[Floats, Floats]] = []
    for side in asked.sides:
        above = np.where(tree.parent >= 0, side.events[np.maximum(tree.parent, 0)], side.seen[tree.entry])
        seen.append((side.events, np.maximum(above, side.events)))
    (made, of), (now, of_now) = seen
    always = (kinds != schema.EDGE_SELF) & (made >= ALWAYS * of) & (of > 0) & (of_now > 0)
    replaced = _replaced(unit.paths, made, now)
    callers: dict[tuple[int, int], list[tuple[float, int]]] = {}
    for path in np.flatnonzero(always).tolist():
        if (unit.kind, path) in unreached or path in replaced:
            continue
        counts = tuple(round(float(each[path])) for each in (made, of, now, of_now))
        callers.setdefault((int(tree.entry[path]), int(tree.parent[path])), []).append(
            (hypergeometric_tail(*counts), path)
        )
    p_values = [min(p for p, _ in some) * len({p for p, _ in some}) for some in callers.values()]
    q = benjamini_hochberg(np.minimum(np.array(p_values, np.float64), 1.0))
    out: list[MissingWork] = []
    for q_value, some in zip(q.tolist(), callers.values(), strict=True):
        for p, path in some if q_value <= alpha else ():
            key = asked.key(int(asked.split.edge[path]))
            left_out = now[path] / of_now[path] <= made[path] / of[path] - LEFT_OUT
            if p > alpha / len(callers) or not left_out or key in named:
                continue
            gone, before = of_now[path] - now[path], of[path] - made[path]
            words = (
                f"{_named(key)} is missing from {gone:.0f} of {of_now[path]:.0f} {asked.name}s that come to "
            )
            words += f"its caller ({before:.0f} of {of[path]:.0f} before)"
            out.append(MissingWork(MissingWorkKind.VANISHED, words, key))
    return out


def _replaced(paths: pl.DataFrame, base: Floats, head: Floats) -> set[int]:
    """Paths in whose place another one of the same kind and callee, or operation, is called now."""
    rows = paths.select("parent_id", "kind", "callee", "operation").rows()
    fresh: dict[tuple[int, int], list[int]] = {}
    for at in np.flatnonzero((head > 0) & (base < FEWEST_CALLS)).tolist():
        fresh.setdefault(rows[at][:2], []).append(at)
    out: set[int] = set()
    for at in np.flatnonzero(base >= FEWEST_CALLS).tolist():
        parent, kind, callee, operation = rows[at]
        others = fresh.get((parent, kind), ())
        if any(rows[other][2] == callee or rows[other][3] == operation for other in others if other != at):
            out.add(at)
    return out


def _not_consumed(asked: Sequence[Asked], alpha: float) -> list[MissingWork]:
    """Topics of which a smaller part of what is published is consumed."""
    flows = [_flows(asked, side) for side in (0, 1)]
    topics = [topic for topic in flows[0] if topic in flows[1]]
    if not topics or not asked:
        return []
    counts: list[Counts] = []
    for side in (0, 1):
        published = np.column_stack([flows[side][topic][0] for topic in topics])
        consumed = np.column_stack([flows[side][topic][1] for topic in topics])
        counts.append(Counts(consumed, published, np.array([flows[side][topic][2] for topic in topics])))
    found = compare_rates(counts[0], counts[1], asked[0].matched, MISSING, parts=False)
    q = benjamini_hochberg(found.p_value)
    out: list[MissingWork] = []
    for at, topic in enumerate(topics):
        if q[at] > alpha or found.head[at] >= found.base[at]:
            continue
        hours = asked[0].hours
        sent = [float(one.trials[:, at].sum()) / h for one, h in zip(counts, hours, strict=True)]
        taken = [float(one.events[:, at].sum()) / h for one, h in zip(counts, hours, strict=True)]
        told = f"{topic}: {sent[1]:.3g} messages an hour are published and {taken[1]:.3g} consumed "
        told += f"({sent[0]:.3g} and {taken[0]:.3g} before): consumers fell behind demand"
        key = EdgeKey("message", "queue", topic, flows[1][topic][3], schema.QUEUE_WAIT)
        out.append(MissingWork(MissingWorkKind.NOT_CONSUMED, told, key))
    return out


def _flows(asked: Sequence[Asked], side: int) -> dict[str, tuple[Floats, Floats, float, str]]:
    """Of each topic: published and consumed by block, units of work that published, and a consumer."""
    sent: dict[str, Floats] = {}
    taken: dict[str, Floats] = {}
    seen: dict[str, float] = {}
    who: dict[str, str] = {}
    for one in asked:
        sums = one.sides[side]
        queue = one.unit.paths.filter(pl.col("kind") == schema.EDGE_QUEUE)
        for at, caller, callee, operation in queue.select(
            "index", "caller", "callee", "operation"
        ).iter_rows():
            calls = sums.paths["calls"][:, at]
            if operation == schema.QUEUE_PUBLISH and callee is not None:
                sent[callee] = sent.get(callee, 0.0) + calls
                seen[callee] = seen.get(callee, 0.0) + float(sums.events[at])
            elif operation == schema.QUEUE_WAIT and calls.sum() >= 0:
                taken[caller] = taken.get(caller, 0.0) + calls
                who[caller] = callee or caller
    return {
        topic: (sent[topic], taken[topic], seen[topic], who[topic])
        for topic in sent
        if topic in taken and seen[topic] >= FEWEST_CALLS
    }
