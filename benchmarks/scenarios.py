"""Whether `diff` finds what was done to a world, and leaves alone what was not.

    python -m benchmarks.scenarios [--count N] [--seed S] [--only NAME] [--jobs J] [--verbose]

Random systems (5 to 40 services), eight weeks of traffic each, one thing changed in each: a mechanism
with a true edge and a true effect, or a trap in which nobody is to blame.  Spans go through the real
`process` and `diff`.  Goals: the true edge first in 95 % and in the first three in all, its dominant
effect right in 95 %, no edge blamed for more than 1 % of latency in a trap.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import polars as pl

from benchmarks.worlds.mechanisms import MECHANISMS, TRAPS, Truth, World, write
from tracescope.analysis.diff import diff
from tracescope.analysis.report import Edge, Report
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.rollups.process import process
from tracescope.engine.compare import RANKED_UP_TO_NS
from tracescope.schema import HOUR_NS

#: A trap's edge that is credited with more than this part of its clock is a false alarm.
ALARM_PART = 0.01


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `diff` made of one world.

    ``rank`` of the true edge (0: not listed), the effect that dominates it, ``found``: the effect of
    the first significant rise (``none``: there is none, ``wrong``: another edge's), ``alarms``: edges
    blamed for more than `ALARM_PART` in a trap, with their part of the clock, ``pattern``: whether the
    true edge carries the pattern that it should (``found``, ``possible``, ``missing``; empty where none
    describes it), ``since``: whether the interval of the change point holds the instant at which it began (``held``, ``missed``, ``none``:
    no change point), and for a change that crept ``crept`` or ``invented``.
    """

    name: str
    seed: int
    rank: int
    significant: bool
    effect: str
    effect_right: bool
    found: str
    alarms: tuple[str, ...]
    first: str
    pattern: str
    since: str


def compare(world: World, seed: int) -> Report:
    """Both periods of a world, through `process` and `diff`."""
    spans = world.spans(seed)
    tables = process(spans).tables
    start, head, end = world.timeline.first_day_ns, world.timeline.head_ns, world.timeline.end_ns

    def period(begin: int, until: int) -> PeriodRollups:
        rows = pl.col("slot").is_between(begin // HOUR_NS, until // HOUR_NS, closed="left")
        read = {  # as `engine.compare` reads them
            name: frame for name, frame in tables.items()
            if name != "path_sketches" or until - begin <= RANKED_UP_TO_NS
        }  # fmt: skip
        cut = {name: frame.filter(rows) if "slot" in frame.columns else frame for name, frame in read.items()}
        return PeriodRollups(begin, until, HOUR_NS, "production", cut)

    return diff(period(start, head), period(head, end))


def dominant(edge: Edge) -> str:
    """The effect that carries most of an edge's rise."""
    return max(edge.effects, key=lambda name: (edge.effects[name], name))


def _clock_ms(report: Report, edge: Edge) -> float:
    clock = report.clock if edge.unit == "request" else report.other_clocks[edge.unit]
    return clock["base_ms"]


def judge(world: World, report: Report, seed: int) -> Outcome:
    """Hold a report against the truth."""
    truth = world.truth
    blamed = [truth.blames(e.kind, e.caller, e.callee, e.operation) for e in report.edges]
    rank = blamed.index(True) + 1 if any(blamed) else 0
    alarms = tuple(
        f"{e.kind} {e.name} {e.operation} {e.credited_ms / _clock_ms(report, e):+.1%} {dominant(e)}"
        for e, mine in zip(report.edges, blamed, strict=True)
        if e.significant and not mine and e.credited_ms > ALARM_PART * _clock_ms(report, e)
    )
    worse = [e for e in report.edges if e.significant and e.credited_ms > 0]
    worse = [e for e in worse if truth.edges or e.credited_ms > ALARM_PART * _clock_ms(report, e)]
    found = "none"
    if worse:
        right = not truth.edges or truth.blames(
            worse[0].kind, worse[0].caller, worse[0].callee, worse[0].operation
        )
        found = dominant(worse[0]) if right else "wrong"
    edge = report.edges[rank - 1] if rank else None
    effect = dominant(edge) if edge else "none"
    told = effect != "latency_unsplit" or bool(edge and edge.evidence)  # not splitting needs a reason
    first = report.edges[0] if report.edges else None
    return Outcome(
        world.name, seed, rank, bool(edge and edge.significant), effect, told and effect in truth.effects, found,
        alarms, f"{first.kind} {first.name} {first.operation} {first.credited_ms:+.3g} ms" if first else "",
        _pattern(truth, edge), _since(truth, edge),
    )  # fmt: skip


def _pattern(truth: Truth, edge: Edge | None) -> str:
    if truth.pattern is None:
        return ""
    named = [one.certainty for one in edge.patterns if one.name == truth.pattern] if edge is not None else []
    return min(named, default="missing")


def _since(truth: Truth, edge: Edge | None) -> str:
    if edge is None or not edge.significant:
        return ""
    if truth.began_ns is None:
        return "crept" if edge.change is None else "invented"
    if edge.change is None:
        return "none"
    return "held" if edge.change.low_ns <= truth.began_ns <= edge.change.high_ns else "missed"


def run(name: str, seed: int, quick: bool = False) -> Outcome:
    """Write, simulate, compare and judge one scenario."""
    world = write(name, seed, quick=quick)
    return judge(world, compare(world, seed), seed)


def plan(count: int, seed: int, only: Sequence[str] = ()) -> list[tuple[str, int]]:
    """Scenarios to run: mechanisms and traps in turn, each with a seed of its own."""
    names = [name for name in (*MECHANISMS, *TRAPS) if not only or name in only]
    weights = {name: 2 if name in MECHANISMS else 1 for name in names}
    order = [name for name in names for _ in range(weights[name])]
    return [(order[k % len(order)], seed * 100_000 + k) for k in range(count)]


COLUMNS = (
    "calls", "latency_growth", "latency_load", "latency_unsplit", "criticality", "new", "gone", "wrong", "none",
)  # fmt: skip


def summary(outcomes: Sequence[Outcome]) -> str:
    """The confusion matrix and the goals."""
    lines = ["truth               " + "".join(f"{name.removeprefix('latency_'):>12}" for name in COLUMNS)]
    for name in (*MECHANISMS, *TRAPS):
        mine = [o for o in outcomes if o.name == name]
        if mine:
            counts = Counter(o.found for o in mine)
            lines.append(f"{name:<20}" + "".join(f"{counts[c] or '.':>12}" for c in COLUMNS))
    real = [o for o in outcomes if o.name in MECHANISMS]
    null = [o for o in outcomes if o.name in TRAPS]
    n = max(len(real), 1)
    lines += [
        "",
        f"true edge first          {sum(o.rank == 1 for o in real)} of {len(real)}"
        f" ({sum(o.rank == 1 for o in real) / n:.0%}; goal 95 %)",
        f"true edge in first three {sum(1 <= o.rank <= 3 for o in real)} of {len(real)} (goal: all)",
        f"true edge significant    {sum(o.significant for o in real)} of {len(real)}",
        f"dominant effect right    {sum(o.effect_right for o in real)} of {len(real)}"
        f" ({sum(o.effect_right for o in real) / n:.0%}; goal 95 %)",
        "pattern                  "
        + ", ".join(
            f"{count} {word}" for word, count in sorted(Counter(o.pattern for o in real if o.pattern).items())
        ),
        "since when              "
        + ", ".join(
            f"{count} {word}" for word, count in sorted(Counter(o.since for o in real if o.since).items())
        ),
        f"traps without an alarm   {sum(not o.alarms for o in null)} of {len(null)} (goal: all)",
    ]
    return "\n".join(lines)


def _report(outcome: Outcome, verbose: bool) -> None:
    bad = (
        outcome.rank != 1 or not outcome.effect_right if outcome.name in MECHANISMS else bool(outcome.alarms)
    )
    if verbose or bad:
        print(
            f"{'-' if bad else ' '} {outcome.name} seed {outcome.seed}: rank {outcome.rank}, {outcome.effect},"
            f" significant {outcome.significant}, pattern {outcome.pattern or '-'}, since {outcome.since or '-'}; "
            f"first {outcome.first}; alarms {list(outcome.alarms)}",
            file=sys.stderr, flush=True,
        )  # fmt: skip


def main() -> None:
    """Run the scenarios; exit 1 when a goal is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--count", type=int, default=116)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="smaller systems, two weeks against two")
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    todo = plan(given.count, given.seed, given.only)
    outcomes: list[Outcome] = []
    if given.jobs > 1:
        with ProcessPoolExecutor(given.jobs) as pool:
            waiting = [pool.submit(run, name, seed, given.quick) for name, seed in todo]
            for future in waiting:
                outcomes.append(future.result())
                _report(outcomes[-1], given.verbose)
    else:
        for name, seed in todo:
            outcomes.append(run(name, seed, given.quick))
            _report(outcomes[-1], given.verbose)
    print(summary(outcomes))
    real = [o for o in outcomes if o.name in MECHANISMS]
    good = (
        sum(o.rank == 1 for o in real) >= 0.95 * len(real)
        and all(1 <= o.rank <= 3 for o in real)
        and sum(o.effect_right for o in real) >= 0.95 * len(real)
        and not any(o.alarms for o in outcomes if o.name in TRAPS)
    )
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
