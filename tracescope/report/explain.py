"""An explanation rendered: as JSON, and as text with a waterfall, a load curve and sparklines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from tracescope.analysis.comparison.causes import cause_words
from tracescope.analysis.comparison.standing import decided_words
from tracescope.analysis.explain import effects_in_order
from tracescope.report import edge_json, failures, iso
from tracescope.report.figures import between, number, times_text
from tracescope.visible import visible

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tracescope.analysis.explain import Caller, Explanation, LoadCurve, Week
    from tracescope.analysis.report import Extent
    from tracescope.report import contract

EXPLAIN_SCHEMA: Final = "tracescope.explain/1"
_BARS: Final = "▁▂▃▄▅▆▇█"
_ROWS: Final = 12


def explain_json(explained: Explanation) -> contract.Explanation:
    """``tracescope.explain/1``: the edge of the diff, with its curve, weeks and callers."""
    report = explained.report
    return {
        "schema": EXPLAIN_SCHEMA,
        "environment": report.environment,
        "base": {"start": iso(report.base.start_ns), "end": iso(report.base.end_ns)},
        "head": {"start": iso(report.head.start_ns), "end": iso(report.head.end_ns)},
        "sentence": explained.sentence,
        "edge": edge_json(explained.edge),
        "load": None if explained.curve is None else asdict(explained.curve),
        "weeks": [{**asdict(week), "start": iso(week.start_ns)} for week in explained.weeks],
        "entries": [asdict(caller) for caller in explained.entries],
        "sharing": [asdict(caller) for caller in explained.sharing],
        "notes": list(report.notes),
    }


def spark(values: Sequence[float]) -> str:
    """Bars from nothing to the largest."""
    top = max(values, default=0.0)
    if top <= 0:
        return "▁" * len(values)
    return "".join(_BARS[min(int(value / top * 8), 7)] for value in values)


def waterfall(effects: Sequence[tuple[str, float]], width: int = 40) -> list[str]:
    """Effects one after the other, each beginning where the one before ended."""
    if not effects:
        return ["  no effect"]
    ends = [0.0]
    for _, value in effects:
        ends.append(ends[-1] + value)
    low, high = min(ends), max(ends)
    span = max(high - low, 1e-12)
    lines: list[str] = []
    for (name, value), (begin, end) in zip(effects, pairwise(ends), strict=True):
        left, right = sorted(((begin - low) / span * width, (end - low) / span * width))
        first = round(left)
        size = max(round(right) - first, 1)
        bar = " " * min(first, width - 1) + ("█" if value > 0 else "░") * size
        lines.append(f"  {cause_words(name, value):<22}{number(value, sign=True):>9} ms  {bar}")
    return lines


def plot(curve: LoadCurve, width: int = 64) -> list[str]:
    """Windows and curves of both periods: load to the right, ms up; ○ base, ● head, · and : the curves."""
    loads = [sample.load for sample in curve.samples]
    times = [sample.ms for sample in curve.samples]
    if not loads:
        return ["  no window holds enough calls"]
    right, top = max(loads) * 1.02, max(times) * 1.05
    sheet = [[" "] * width for _ in range(_ROWS)]

    def put(load: float, ms: float, mark: str, over: str) -> None:
        column = min(int(load / right * width), width - 1)
        row = _ROWS - 1 - int(ms / top * _ROWS)
        if 0 <= row < _ROWS and sheet[row][column] in over:
            sheet[row][column] = mark

    for line in curve.lines:
        for load, ms in zip(line.loads, line.ms, strict=True):
            put(load, ms, "·" if line.period == "base" else ":", " ·:")
    for sample in curve.samples:
        put(sample.load, sample.ms, "○" if sample.period == "base" else "●", " ·:○●")
    lines = []
    for row, cells in enumerate(sheet):
        label = number(top * (_ROWS - row) / _ROWS) if row % 4 == 0 else ""
        lines.append(f"{label:>8} ┤{''.join(cells)}".rstrip())
    lines.append(f"{'ms':>8} └{'─' * width}")
    lines.append(f"{'':9} 0{number(right):>{width - 1}} calls/s at the resource     ○ base  ● head")
    return lines


def _curve_lines(curve: LoadCurve | None) -> list[str]:
    if curve is None:
        return ["  seen in one period only"]
    if curve.reason is not None:
        return [*plot(curve), f"  {curve.reason}"]
    capacity = "none in sight" if curve.capacity_per_s is None else f"{number(curve.capacity_per_s)} calls/s"
    room = times_text(curve.headroom, curve.headroom_at_least)
    if curve.headroom_interval is not None:
        low, high = curve.headroom_interval
        room += f" ({number(low)} … {'?' if high is None else number(high)})"
    return [
        *plot(curve),
        f"  low-load {number(curve.r0_ms or 0.0)} ms, capacity {capacity}, peak now "
        f"{number(curve.peak_load_per_s)} calls/s, headroom to three times the low-load latency {room}",
    ]


def _week_lines(weeks: Sequence[Week]) -> list[str]:
    lines: list[str] = []
    rows: tuple[tuple[str, Callable[[Week], float]], ...] = (
        ("ms per unit", lambda week: week.ms_per_unit),
        ("ms per call", lambda week: week.ms_per_call),
        ("calls per unit", lambda week: week.calls_per_unit),
    )
    for words, pick in rows:
        sides = [[float(pick(week)) for week in weeks if week.period == side] for side in ("base", "head")]
        if not all(sides):
            continue
        bars = spark([*sides[0], *sides[1]])
        lines.append(
            f"  {words:<15}{bars[: len(sides[0])]} {bars[len(sides[0]) :]}   "
            f"{number(sides[0][0])} → {number(sides[1][-1])}"
        )
    return lines


def _caller_lines(callers: Sequence[Caller], calls: str, ms: str) -> list[str]:
    wide = max((len(caller.name) for caller in callers), default=0)
    return [
        f"  {caller.name:<{wide}}  {number(caller.calls_base)} → {number(caller.calls_head)} {calls}, "
        f"{number(caller.ms_base)} → {number(caller.ms_head)} {ms}"
        for caller in callers
    ]


def _span(extent: Extent) -> str:
    return f"{between(extent.start_ns, extent.end_ns)} UTC"


def explain_text(explained: Explanation) -> RenderableType:
    """Sentence first, then what it rests on."""
    from rich.console import Group
    from rich.text import Text

    explained = visible(explained)
    edge, report = explained.edge, explained.report
    colour = ("bold red" if edge.credited_ms > 0 else "bold green") if edge.significant else "bold"
    interval = edge.credited_ms_ci
    told = "insufficient data for an interval" if interval is None else (
        f"95 % {number(interval[0], sign=True)} … {number(interval[1], sign=True)} ms"
    )  # fmt: skip
    told = ", ".join(words for words in (told, decided_words(edge)) if words)

    def section(name: str, lines: Sequence[str]) -> list[Text]:
        return [Text(""), Text(name, style="bold"), *[Text(line) for line in lines]] if lines else []

    exemplars = [
        f"  {side}  tracescope path {trace}"
        for side, traces in (("base", edge.exemplars_base), ("head", edge.exemplars_head))
        for trace in traces
    ]
    return Group(
        Text(explained.sentence, style=colour),
        Text(f"base {_span(report.base)}, head {_span(report.head)} · {edge.kind} · {told}", style="dim"),
        *section(f"why, ms per {edge.unit}", waterfall(effects_in_order(edge))),
        *section("evidence", [f"  {line}" for line in edge.evidence]),
        *section("errors", [f"  {line}" for line in failures.edge_lines(edge)]),
        *section("load curve", _curve_lines(explained.curve)),
        *section("weeks, base then head", _week_lines(explained.weeks)),
        *section("entries it lies under", _caller_lines(explained.entries, "calls per unit", "ms per unit")),
        *section("who reaches the resource", _caller_lines(explained.sharing, "calls/h", "ms per call")),
        *section("traces", exemplars),
        *[Text(f"note: {note}", style="dim") for note in report.notes],
    )
