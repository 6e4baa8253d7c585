"""Whether `diff` and `forecast` tell what happened in event-driven worlds: cause, victims, errors, walls.

    python -m benchmarks.judge_worlds [--count N] [--seed S] [--only NAME] [--kind culprit|unchanged|wall] [--verbose]
    python -m benchmarks.judge_worlds --only 'hot row' --write FOLDER       its traces, for `tracescope import`

Each world is simulated request by request (`benchmarks/worlds/catalogue.py` says what happens in each), its
spans go as OTLP through the decoder, `process`, `diff` and `forecast`.  A row for each world: how often the
true cause is the first finding, its mechanism is the right word, its victims stand under it, failures that
grew are told, and something is told that must not be; for worlds in which nothing is wrong how often `diff`
and `forecast` raise an alarm; for walls how often the 80 % intervals of headroom and of weeks hold the truth.

Goals: cause first in 95 % of worlds with a culprit, victims in 90 %, failures always, no alarm where nothing
is wrong, intervals that hold in 75 to 85 %.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from benchmarks.queues import Kind
from benchmarks.worlds.catalogue import (
    CULPRITS,
    UNCHANGED,
    WALLS,
    WORLDS,
    known_weeks,
    write,
)
from benchmarks.worlds.events import FIRST_DAY_NS
from benchmarks.worlds.truth import Name, Wall, World
from tracescope.analysis.capacity.forecast import EdgeForecast, Forecast, forecast
from tracescope.analysis.capacity.forecast_verdict import Outlook, outlook
from tracescope.analysis.diff import diff
from tracescope.analysis.report import EdgeKey, Finding, Mechanism, Report
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.rollups.process import process
from tracescope.engine.compare import RANKED_UP_TO_NS
from tracescope.ingest.decode import decode
from tracescope.schema import HOUR_NS

KINDS: Final = {"culprit": CULPRITS, "unchanged": UNCHANGED, "wall": WALLS}
#: States of an entry that are an alarm.
ALARMS: Final = ("drifting", "approaching", "at the wall")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the program says of one world."""

    report: Report
    forecast: Forecast
    outlook: Outlook


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is right of it; None where a world has no such truth.

    ``weeks`` is judged where the true wall comes within what a forecast reaches.
    """

    name: str
    seed: int
    first: bool | None
    mechanism: bool | None
    victims: tuple[int, int] | None
    failures: bool | None
    forbidden: tuple[str, ...]
    alarms: tuple[str, ...]
    foreseen: tuple[str, ...]
    headroom: bool | None
    headroom_ratio: float | None
    weeks: bool | None
    said: str


def ask(world: World, seed: int) -> Answer:
    """Simulate a world, and compare and forecast it."""
    calendar = world.calendar
    spans = decode(list(world.spans(seed).requests()), arrived_ns=calendar.end_ns).spans
    tables = process(spans).tables

    def period(begin: int, until: int) -> PeriodRollups:
        rows = pl.col("slot").is_between(begin // HOUR_NS, until // HOUR_NS, closed="left")
        read = {  # as `engine.compare` reads them
            name: table for name, table in tables.items()
            if name != "path_sketches" or until - begin <= RANKED_UP_TO_NS
        }  # fmt: skip
        cut = {name: table.filter(rows) if "slot" in table.columns else table for name, table in read.items()}
        return PeriodRollups(begin, until, HOUR_NS, "production", cut)

    report = diff(period(FIRST_DAY_NS, calendar.head_ns), period(calendar.head_ns, calendar.end_ns))
    whole = period(FIRST_DAY_NS, calendar.end_ns)
    found = forecast(whole)
    return Answer(report, found, outlook(found, whole))


def matches(names: Iterable[Name], kind: str, caller: str, callee: str | None, operation: str | None) -> bool:
    """Whether an edge is one of some names."""
    have = (kind, caller, callee, operation)
    return any(all(a is None or a == b for a, b in zip(name, have, strict=True)) for name in names)


def _is(names: Iterable[Name], edge: EdgeKey) -> bool:
    return matches(names, edge.kind, edge.caller, edge.callee, edge.operation)


def judge(world: World, answer: Answer, seed: int) -> Outcome:
    """Hold an answer against the truth."""
    truth, findings = world.truth, answer.report.findings
    first = findings[0] if findings else None
    told = all(any(_is((name,), finding.cause) for finding in findings) for name in truth.besides)
    right = first if first is not None and told and _is(truth.causes, first.cause) else None
    known = bool(truth.causes)
    held = (
        [any(_is((name,), victim.edge) for victim in right.victims) for name in truth.victims]
        if right
        else []
    )
    headroom, ratio, weeks = _walls(world, answer.forecast)
    return Outcome(
        world.name, seed,
        first=right is not None if known else None,
        mechanism=None if right is None or not truth.mechanisms else right.mechanism.value in truth.mechanisms,
        victims=(sum(held), len(truth.victims)) if known and truth.victims else None,
        failures=_failures_told(world, answer.report) if truth.fails else None,
        forbidden=tuple(_words(finding) for finding in findings if _is(truth.never, finding.cause)),
        alarms=() if known else tuple(_alarms(world, answer.report)),
        foreseen=() if known else tuple(_foreseen(world, answer)),
        headroom=headroom, headroom_ratio=ratio, weeks=weeks,
        said="; ".join(_words(finding) for finding in findings[:3]) or answer.report.state,
    )  # fmt: skip


def _words(finding: Finding) -> str:
    under = (
        f" under it {', '.join(victim.edge.name for victim in finding.victims)}" if finding.victims else ""
    )
    return f"{finding.mechanism.value}: {finding.cause.name} {finding.cause.operation} {finding.added_ms:+.3g} ms{under}"


def _alarms(world: World, report: Report) -> list[str]:
    """Findings of a world in which nothing is wrong; more load may be told where there is more, and who brings it."""
    truth = world.truth
    by_load = (Mechanism.LOAD, Mechanism.QUEUE) if truth.load else ()
    return [
        _words(finding)
        for finding in report.findings
        if finding.mechanism not in by_load
        and not (finding.mechanism is Mechanism.CONTENDED and _is(truth.brings, finding.cause))
    ]


def _foreseen(world: World, answer: Answer) -> list[str]:
    """Entries of such a world that the forecast worries about, for what is not so."""
    out: list[str] = []
    for state in answer.outlook.entries:
        near = state.state in ("approaching", "at the wall") and world.truth.load
        if state.state in ALARMS and not near:
            out.append(f"{state.service} {state.operation} {state.state}: {state.evidence[0]}")
    return out


def _failures_told(world: World, report: Report) -> bool:
    """Whether a finding of failures names each entry that fails more."""
    told = {
        entry
        for finding in report.findings
        if finding.mechanism is Mechanism.ERRORS
        for entry in finding.entries
    }
    return all(entry in told for entry in world.truth.fails)


def _walls(world: World, found: Forecast) -> tuple[bool | None, float | None, bool | None]:
    """Whether headroom's and weeks' intervals hold the known wall, and headroom over the truth."""
    known = world.truth.wall
    if known is None:
        return None, None, None
    edge = next(
        (e for e in found.edges if matches((known.edge,), e.kind, e.caller, e.callee, e.operation)), None
    )
    if edge is None or edge.headroom is None or edge.headroom_interval is None:
        return None, None, None
    headroom = true_wall(known) / world.peak(known.per_s)
    low, high = edge.headroom_interval
    inside = low <= headroom <= (high if high is not None else float("inf"))
    weeks = known_weeks(headroom, world.calendar.growth_per_week)
    return inside, edge.headroom / headroom, _weeks_hold(edge, weeks)


def true_wall(known: Wall) -> float:
    """Arrivals a second at three times the low-load latency."""
    return Kind(known.servers).wall * 10.0 / known.service_ms  # of servers that take 10 ms


def _weeks_hold(edge: EdgeForecast, weeks: float) -> bool | None:
    if edge.weeks_interval is None or weeks > edge.beyond_weeks:
        return None
    low, high = edge.weeks_interval
    return (low if low is not None else float("inf")) <= weeks <= (high if high is not None else float("inf"))


def run(name: str, seed: int) -> Outcome:
    """Write, simulate, ask and judge one world."""
    world = write(name, seed)
    return judge(world, ask(world, seed), seed)


def plan(count: int, seed: int, names: Sequence[str]) -> list[tuple[str, int]]:
    """Worlds in turn, each time with another seed."""
    return [(names[k % len(names)], seed * 1_000 + k // len(names)) for k in range(count)]


def _part(held: Iterable[bool | None]) -> str:
    known = [one for one in held if one is not None]
    return f"{sum(known)}/{len(known)}" if known else "-"


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each world, and the goals."""
    titles = (
        "first",
        "mechanism",
        "victims",
        "failures",
        "forbidden",
        "diff alarms",
        "forecast alarms",
        "headroom",
        "weeks",
    )
    lines = [f"{'world':<34}" + "".join(f"{title:>{len(title) + 2}}" for title in titles)]
    for name in dict.fromkeys(outcome.name for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome.name == name]
        cells = _cells(mine)
        lines.append(f"{name:<34}" + "".join(f"{cells[title]:>{len(title) + 2}}" for title in titles))
    cells = _cells(outcomes)
    lines.append(f"{'all':<34}" + "".join(f"{cells[title]:>{len(title) + 2}}" for title in titles))
    return "\n".join(lines)


def _cells(mine: Sequence[Outcome]) -> dict[str, str]:
    named = [one.victims for one in mine if one.victims is not None]
    quiet = [one for one in mine if one.first is None]
    return {
        "first": _part(one.first for one in mine),
        "mechanism": _part(one.mechanism for one in mine),
        "victims": f"{sum(n for n, _ in named)}/{sum(n for _, n in named)}" if named else "-",
        "failures": _part(one.failures for one in mine),
        "forbidden": str(sum(bool(one.forbidden) for one in mine) or "."),
        "diff alarms": _part(bool(one.alarms) for one in quiet),
        "forecast alarms": _part(bool(one.foreseen) for one in quiet),
        "headroom": _part(one.headroom for one in mine),
        "weeks": _part(one.weeks for one in mine),
    }


def is_good(outcome: Outcome) -> bool:
    """Whether nothing is missing and nothing is too much."""
    asked = (outcome.first, outcome.mechanism, outcome.failures)
    told = outcome.victims is None or outcome.victims[0] == outcome.victims[1]
    return False not in asked and told and not (outcome.forbidden or outcome.alarms or outcome.foreseen)


def _show(outcome: Outcome) -> None:
    lines = [f"{' ' if is_good(outcome) else '-'} {outcome.name} seed {outcome.seed}: {outcome.said}"]
    lines += [f"    must not be told: {words}" for words in outcome.forbidden]
    lines += [f"    false alarm: {words}" for words in outcome.alarms]
    lines += [f"    false forecast: {words}" for words in outcome.foreseen]
    if outcome.headroom_ratio is not None:
        lines.append(f"    headroom over truth {outcome.headroom_ratio:.2f}")
    print("\n".join(lines), file=sys.stderr, flush=True)


def main() -> None:
    """Judge; exit 1 where something is missing or too much."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--count", type=int, default=None, help="worlds to run; each once by default")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", default=[], help="a world's name, or a part of it")
    parser.add_argument("--kind", choices=list(KINDS), default=None)
    parser.add_argument(
        "--verbose", action="store_true", help="what is said of each world, not only of those gone wrong"
    )
    parser.add_argument(
        "--write", type=Path, default=None, help="write traces into a folder instead of judging"
    )
    given = parser.parse_args()
    names = [
        name for name in (KINDS[given.kind] if given.kind else WORLDS)
        if not given.only or any(part in name for part in given.only)
    ]  # fmt: skip
    if not names:
        parser.error(f"no such world; one of {', '.join(WORLDS)}")
    outcomes: list[Outcome] = []
    for name, seed in plan(given.count or len(names), given.seed, names):
        if given.write is not None:
            folder = given.write / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
            print(f"{len(write(name, seed).spans(seed).write(folder))} files in {folder}")
            continue
        outcomes.append(run(name, seed))
        if given.verbose or not is_good(outcomes[-1]):
            _show(outcomes[-1])
    if outcomes:
        print(table(outcomes))
    raise SystemExit(0 if all(is_good(outcome) for outcome in outcomes) else 1)


if __name__ == "__main__":
    main()
