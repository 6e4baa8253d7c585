"""Small pictures as SVG text: sparkline, trend, icicle of call paths, effect bars.

Pure functions of data.  Geometry stands in attributes and looks in classes, so that a page may forbid
inline styles and a dark theme is a matter of the style sheet.  Everything that comes from spans is
text: escaped, shortened, and freed of what would reorder or hide its neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from tracescope.report.names import one_line
from tracescope.report.text import number, since

if TYPE_CHECKING:
    from tracescope.analysis.evidence.series import CallPath, EntryPaths, Series
    from tracescope.analysis.explain import LoadCurve
    from tracescope.analysis.report import Edge

#: Part of a trend's width that stands for the time between two periods.
BREAK: Final = 0.03
#: Change of time that counts as a change in a picture, in parts of base.
STEPS: Final = ((0.5, "up3"), (0.15, "up2"), (0.05, "up1"))


def shown(text: str | None, limit: int = 200) -> str:
    """A name as one line of at most `limit` characters that can be seen; see `names`."""
    return one_line(text or "", limit)


def change_class(base: float, head: float, only: str | None = None) -> str:
    """Class of a colour for a change of time."""
    if only == "head":
        return "new"
    if only == "base":
        return "gone"
    if base <= 0:
        return "flat"
    part = head / base - 1
    for least, name in STEPS:
        if part >= least:
            return name
        if part <= -least:
            return name.replace("up", "down")
    return "flat"


def draw_rect(style: str, x: float, y: float, width: float, height: float) -> str:
    """A rectangle of a class."""
    box = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"'
    return f'<rect class="{style}" {box}/>'


def draw_line(style: str, x1: float, y1: float, x2: float, y2: float) -> str:
    """A line of a class."""
    return f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def draw_text(style: str, x: float, y: float, text: str, *, anchor: str = "start", limit: int = 200) -> str:
    """Words of a class, cleaned and shortened."""
    words = escape(shown(text, limit))
    return f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def _points(xs: Sequence[float], ys: Sequence[float]) -> list[str]:
    """Runs of points that are numbers, as ``x,y x,y``."""
    runs: list[list[str]] = [[]]
    for x, y in zip(xs, ys, strict=True):
        if math.isfinite(y):
            runs[-1].append(f"{x:.1f},{y:.1f}")
        elif runs[-1]:
            runs.append([])
    return [" ".join(run) for run in runs if run]


def svg_of(
    style: str, width: float, height: float, title: str, parts: Iterable[str], *, data: str = ""
) -> Markup:
    """A picture with its title and what a script needs of it."""
    about = escape(shown(title, 400))
    opening = (
        f'<svg class="{style}" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{about}"{data}>'
    )
    return Markup("".join([opening, f"<title>{about}</title>", *parts, "</svg>"]))


def sparkline(
    values: Sequence[float], *, split: int | None = None, width: int = 110, height: int = 22
) -> Markup:
    """A line of values from zero; the part before `split` is base and stands back."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return Markup("")
    top = max(finite) or 1.0
    step = (width - 2) / max(len(values) - 1, 1)
    xs = [1 + step * at for at in range(len(values))]
    ys = [height - 2 - (height - 4) * value / top if math.isfinite(value) else math.nan for value in values]
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    parts = [f'<svg class="spark" {size} aria-hidden="true">']
    if split is not None and 0 < split < len(values):
        parts.append(draw_rect("spark-base", 0, 0, xs[split] - step / 2, height))
    for run in _points(xs, ys):
        first, last = run.split(" ")[0].split(",")[0], run.split(" ")[-1].split(",")[0]
        parts.append(f'<polygon class="spark-area" points="{first},{height - 1} {run} {last},{height - 1}"/>')
        parts.append(f'<polyline class="spark-line" points="{run}"/>')
    return Markup("".join([*parts, "</svg>"]))


def nice_ticks(top: float, most: int = 4) -> list[float]:
    """Round values from 0 up to at least `top`."""
    if not math.isfinite(top) or top <= 0:
        return [0.0, 1.0]
    raw = top / most
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * k for k in (1, 2, 2.5, 5, 10) if size * k >= raw * 0.999999)
    return [step * k for k in range(math.ceil(top / step - 1e-9) + 1)]


def _instant(ns: float, wide_ns: float) -> str:
    instant = datetime.fromtimestamp(ns / 1e9, UTC)
    if wide_ns < 3 * 60 * 10**9:
        return instant.strftime("%H:%M:%S")
    return instant.strftime("%H:%M" if wide_ns < 2 * 86_400 * 10**9 else "%-d %b")


@dataclass(frozen=True, slots=True)
class Frame:
    """The inside of a chart: from instants and values to places.

    Time that lies between two periods, ``gap_ns`` long from ``gap_from_ns`` on, takes no room.
    """

    first_ns: float
    last_ns: float
    top: float
    width: int
    height: int
    gap_from_ns: float = math.inf
    gap_ns: float = 0.0
    left: int = 52
    right: int = 10
    above: int = 10
    below: int = 26

    @property
    def floor(self) -> int:
        """Where zero is."""
        return self.height - self.below

    def x(self, ns: float) -> float:
        """Place of an instant."""
        wide = self.width - self.left - self.right
        length = max(self.last_ns - self.first_ns - self.gap_ns, 1)
        passed = min(max(ns - self.gap_from_ns, 0.0), self.gap_ns)
        return self.left + wide * (ns - self.first_ns - passed) / length

    def y(self, value: float) -> float:
        """Place of a value."""
        return self.above + (self.floor - self.above) * (1 - value / self.top)

    def grid(self, ticks: Sequence[float], unit: str) -> list[str]:
        """Lines and labels of the values."""
        parts: list[str] = []
        for tick in ticks:
            y = self.y(tick)
            parts.append(draw_line("grid", self.left, y, self.width - self.right, y))
            parts.append(draw_text("axis", self.left - 6, y + 4, f"{tick:.3g} {unit}".strip(), anchor="end"))
        return parts

    def curve(self, starts: Sequence[float], values: NDArray[np.float64], style: str = "line") -> list[str]:
        """A line through what is a number."""
        ys = [self.y(value) if math.isfinite(value) else math.nan for value in values.tolist()]
        runs = _points([self.x(ns) for ns in starts], ys)
        return [f'<polyline class="{style}" points="{run}"/>' for run in runs]

    def band(self, starts: Sequence[float], low: NDArray[np.float64], high: NDArray[np.float64]) -> list[str]:
        """An area between two lines, where both are numbers."""
        good = [
            (self.x(ns), a, b)
            for ns, a, b in zip(starts, low.tolist(), high.tolist(), strict=True)
            if math.isfinite(a) and math.isfinite(b)
        ]
        if len(good) < 2:
            return []
        over = [f"{x:.1f},{self.y(b):.1f}" for x, _, b in good]
        under = [f"{x:.1f},{self.y(a):.1f}" for x, a, _ in reversed(good)]
        return [f'<polygon class="band" points="{" ".join([*over, *under])}"/>']


@dataclass(frozen=True, slots=True)
class Change:
    """A change point to mark: instant, its interval in ns, and words."""

    at_ns: int
    low_ns: int
    high_ns: int
    words: str


@dataclass(frozen=True, slots=True)
class Event:
    """An instant worth a line in every chart: a mark, or a version that appeared."""

    at_ns: int
    words: str


def changes_of(edge: Edge) -> tuple[Change, ...]:
    """The step that an edge's change is, where it is one, to mark in its trends."""
    if edge.change is None:
        return ()
    return (Change(edge.change.at_ns, edge.change.low_ns, edge.change.high_ns, since(edge)),)


def _mark(frame: Frame, change: Change) -> list[str]:
    if not frame.first_ns <= change.at_ns <= frame.last_ns:
        return []
    low, high = frame.x(max(change.low_ns, frame.first_ns)), frame.x(min(change.high_ns, frame.last_ns))
    at, tall = frame.x(change.at_ns), frame.floor - frame.above
    late = at > frame.width * 0.6
    return [
        draw_rect("change-band", low, frame.above, max(high - low, 1), tall),
        draw_line("change", at, frame.above, at, frame.floor),
        draw_text(
            "change-text", at + (-6 if late else 6), frame.above + 14, change.words,
            anchor="end" if late else "start", limit=60,
        ),
    ]  # fmt: skip


def trend(
    base: Series,
    head: Series,
    *,
    measure: Literal["share", "own_ms", "calls_per_unit", "call_ms"] = "share",
    title: str = "",
    changes: Iterable[Change] = (),
    events: Iterable[Event] = (),
    width: int = 440,
    height: int = 210,
) -> Markup:
    """One measure of an edge over both periods, base shaded; a share with its band, as percentages."""
    share = measure == "share"
    scale, unit = (100.0, "%") if share else (1.0, "" if measure == "calls_per_unit" else "ms")
    both = [np.asarray(getattr(side, measure)) * scale for side in (base, head)]
    values = np.concatenate(both)
    finite = values[np.isfinite(values)]
    if len(finite) < 2:
        return Markup('<p class="muted">Too few points for a trend.</p>')
    top = float(finite.max())
    if share:
        highs = np.concatenate([base.share_high, head.share_high]) * scale
        top = max(top, min(float(highs[np.isfinite(highs)].max(initial=0.0)), 2 * top))
    ticks = nice_ticks(top)
    begin, end = base.starts_ns[0], max(head.starts_ns[-1], base.starts_ns[-1])
    last, next_ = base.starts_ns[-1], head.starts_ns[0]
    room = (end - begin - max(next_ - last, 0)) * BREAK  # what is left of the time between the periods
    gap = max(next_ - last - room, 0.0)
    frame = Frame(begin, end, ticks[-1], width, height, gap_from_ns=last + room / 2, gap_ns=gap)
    border = frame.x((last + next_) / 2)
    parts = [draw_rect("chart-base", frame.left, frame.above, border - frame.left, frame.floor - frame.above)]
    parts += frame.grid(ticks, unit)
    for side, line in zip((base, head), both, strict=True):
        if share:
            parts += frame.band(
                side.starts_ns, side.share_low * scale, np.minimum(side.share_high * scale, frame.top)
            )
        parts += frame.curve(side.starts_ns, line)
    parts.append(draw_line("border", border, frame.above, border, frame.floor))
    for event in events:
        parts += draw_event(frame, event)
    for change in changes:
        parts += _mark(frame, change)
    wide_ns = frame.last_ns - frame.first_ns
    parts.append(draw_text("axis", frame.left, height - 8, f"base from {_instant(frame.first_ns, wide_ns)}"))
    at = min(max(border + 2, frame.left + 110), width - 100)
    parts.append(draw_text("axis", at, height - 8, f"head from {_instant(head.starts_ns[0], wide_ns)}"))
    return svg_of("chart", width, height, title, parts, data=time_scale(frame, unit))


def draw_event(frame: Frame, event: Event) -> list[str]:
    """A line at an instant, with its words for whoever points at it; nothing outside of the chart."""
    if not frame.first_ns <= event.at_ns <= frame.last_ns:
        return []
    if frame.gap_from_ns < event.at_ns < frame.gap_from_ns + frame.gap_ns:
        return []
    at = frame.x(event.at_ns)
    flag = f'<path class="event-flag" d="M{at:.1f} {frame.above}l7 4l-7 4z"/>'
    line = draw_line("event", at, frame.above, at, frame.floor)
    return [f"<g><title>{escape(shown(event.words, 120))}</title>{line}{flag}</g>"]


def time_scale(frame: Frame, unit: str) -> str:
    """What a script needs to turn places into instants and values: runs of time, and the value's range."""
    runs = [(frame.first_ns, frame.last_ns)]
    if frame.gap_ns > 0:
        runs = [(frame.first_ns, frame.gap_from_ns), (frame.gap_from_ns + frame.gap_ns, frame.last_ns)]
    times = ";".join(
        f"{frame.x(first):.1f},{first / 1e6:.0f},{frame.x(last):.1f},{last / 1e6:.0f}" for first, last in runs
    )
    return f' data-time="{times}"{_values(frame, unit)}'


def _values(frame: Frame, unit: str) -> str:
    """What a script needs to turn heights into values."""
    return f' data-value="{frame.floor},{frame.above},{frame.top:g}" data-unit="{escape(unit)}"'


def load_curve(curve: LoadCurve, *, width: int = 560, height: int = 254) -> Markup:
    """Mean time of a call against load, a dot a window, with the fitted curves; base stands back."""
    if len(curve.samples) < 2:
        return Markup('<p class="muted">No window holds enough calls.</p>')
    loads, times = [s.load for s in curve.samples], [s.ms for s in curve.samples]
    peak = curve.peak_load_per_s
    ticks, steps = nice_ticks(max(times)), nice_ticks(max(*loads, peak), 6)
    frame = Frame(0.0, steps[-1], ticks[-1], width, height, below=40)
    parts = frame.grid(ticks, "ms")
    for step in steps:
        parts.append(draw_text("axis", frame.x(step), frame.floor + 16, f"{step:.3g}", anchor="middle"))
    middle = (frame.left + width - frame.right) / 2
    parts.append(draw_text("axis", middle, height - 6, "calls a second at the resource", anchor="middle"))
    if peak > 0:
        at = frame.x(peak)
        late = at > width * 0.6
        parts.append(draw_line("border", at, frame.above, at, frame.floor))
        anchor = "end" if late else "start"
        parts.append(draw_text("axis", at + (-5 if late else 5), frame.above + 10, "peak now", anchor=anchor))
    for sample in curve.samples:
        style = "dot2" if sample.period == "base" else "dot"
        at = f'cx="{frame.x(sample.load):.1f}" cy="{frame.y(sample.ms):.1f}"'
        parts.append(f'<circle class="{style}" {at} r="2.5"/>')
    for line in curve.lines:
        shown_ms = [ms if ms <= frame.top else math.nan for ms in line.ms]
        style = "line2" if line.period == "base" else "line"
        parts += frame.curve(line.loads, np.array(shown_ms), style)
    title = "mean time of a call by load of its resource, calls a second; base grey and dashed, head blue"
    load = f' data-load="{frame.left},0,{width - frame.right},{frame.last_ns:g}"'
    return svg_of("chart", width, height, title, parts, data=load + _values(frame, "ms"))


def _path_label(path: CallPath) -> str:
    name = f"{path.caller} (itself)" if path.callee is None else path.callee
    return f"{name} {path.operation}" if path.operation and path.callee is not None else name


def percent(base: float, head: float, only: str | None = None) -> str:
    """A change in words: ``+48 %``, ``new``, ``gone``."""
    if only is not None:
        return "new" if only == "head" else "gone"
    return f"{number((head / base - 1) * 100, sign=True)} %" if base > 0 else ""


def icicle(
    entry: EntryPaths,
    *,
    link: Callable[[CallPath], str] | None = None,
    kind: str = "",
    width: int = 1480,
    row: int = 26,
) -> Markup:
    """Call paths of an entry: width is time in head, colour is the change against base.

    A path that only base has keeps a narrow column: it takes no time any more, and is not forgotten.  Of a
    `kind` that is asked for the others stand back, as they hold it.
    """
    total = max(entry.ms_head, entry.ms_base, 1e-12)
    children: dict[int, list[CallPath]] = {}
    for path in entry.paths:
        children.setdefault(path.parent_id, []).append(path)
    whole = width * entry.ms_head / total if entry.ms_head else width * 0.02
    label = f"{entry.service} {entry.operation} {percent(entry.ms_base, entry.ms_head)}"
    about = f"{label}: {number(entry.ms_base)} → {number(entry.ms_head)} ms per {entry.unit}"
    parts = [_box((0, 0, whole, row), change_class(entry.ms_base, entry.ms_head), label, about)]
    stack: list[tuple[int, float, float, int]] = [(entry.entry_id, 0.0, whole, 1)]
    deepest = 0
    while stack:
        parent, left, room, level = stack.pop()
        below = sorted(children.get(parent, []), key=lambda p: (-p.ms_head, p.path_id))
        wanted = sum(path.ms_head for path in below) / total * width
        squeeze = min(1.0, room / wanted) if wanted > 0 else 1.0
        at = left
        for path in below:
            size = path.ms_head / total * width * squeeze
            if path.only == "base":
                size = min(max(room * 0.02, 3.0), 8.0)
            if size < 1.0 or at >= left + room:
                continue
            name = f"{_path_label(path)} {percent(path.ms_base, path.ms_head, path.only)}"
            about = (
                f"{_path_label(path)} ({path.kind}): {number(path.ms_base)} → {number(path.ms_head)} ms, "
                f"calls {number(path.calls_base)} → {number(path.calls_head)} per {entry.unit}"
            )
            where = link(path) if link is not None else None
            style = change_class(path.ms_base, path.ms_head, path.only)
            style += " aside" if kind not in ("", path.kind) else ""
            place = (at, level * row, min(size, left + room - at), row)
            parts.append(_box(place, style, name, about, where))
            stack.append((path.path_id, at, size, level + 1))
            deepest = max(deepest, level)
            at += size
    title = f"{entry.service} {entry.operation}: time in head by call path, coloured by its change"
    opening = f'<svg class="icicle" viewBox="0 0 {width} {row * (deepest + 1)}" role="group" '
    return Markup("".join([opening, f'aria-label="{escape(shown(title, 400))}">', *parts, "</svg>"]))


def _box(
    place: tuple[float, float, float, float], style: str, label: str, about: str, href: str | None = None
) -> str:
    x, y, width, height = place
    room = int((width - 8) / 6.6)
    text = draw_text("label", x + 5, y + height - 9, label, limit=room) if room >= 3 else ""
    box = draw_rect(style, x, y, max(width - 1, 0.5), height - 1)
    whole = f"<g><title>{escape(shown(about, 400))}</title>{box}{text}</g>"
    return f'<a href="{escape(href)}" aria-label="{escape(shown(about, 400))}">{whole}</a>' if href else whole


def effect_bars(effects: Sequence[tuple[str, float]], *, width: int = 560, row: int = 24) -> Markup:
    """Effects as a running sum from nothing to the credited change, in milliseconds."""
    if not effects:
        return Markup("")
    marks = [0.0, *np.cumsum([value for _, value in effects]).tolist()]
    low, high = min(marks), max(marks)
    left, right = 190, 90
    scale = (width - left - right) / max(high - low, 1e-12)
    height = row * (len(effects) + 1)
    zero = left - low * scale
    parts = [draw_line("grid", zero, 0, zero, height)]
    for line, (name, value) in enumerate([*effects, ("in all", marks[-1])]):
        whole = line == len(effects)
        begin = 0.0 if whole else marks[line]
        a, b = sorted((zero + begin * scale, zero + (begin + value) * scale))
        style, y = "sum" if whole else "more" if value > 0 else "less", line * row
        parts.append(draw_text("axis", left - 8, y + 16, name, anchor="end", limit=28))
        parts.append(draw_rect(style, a, y + 4, max(b - a, 1), row - 8))
        parts.append(draw_text("axis", b + 5, y + 16, f"{number(value, sign=True)} ms"))
    return svg_of("effects", width, height, "causes of the change", parts)
