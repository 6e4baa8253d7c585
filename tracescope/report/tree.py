"""The heaviest call paths as a small tree with bars, for a terminal.

    POST /api/checkout of gateway      ██████████    41.4 %
    └─ checkout                        █████████     41.0 %
       ├─ payment                      █████         23.4 %
       └─ inventory                    ███           13.1 %

Bars and figures are inclusive shares of the clock of that kind of unit of work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from tracescope.report.names import one_line

if TYPE_CHECKING:
    import polars as pl
    from rich.console import RenderableType
    from rich.text import Text

BAR: Final = 16
#: Call paths drawn; the others are counted.
LINES: Final = 24
#: A path or entry under this part of the clock is drawn only when it changed by as much.
SMALLEST: Final = 0.01

_Row = Mapping[str, Any]


def bar(part: float, width: int = BAR) -> str:
    """A bar of eighths of a cell; anything above nothing shows."""
    eighths = round(min(max(part, 0.0), 1.0) * width * 8)
    if part > 0:
        eighths = max(eighths, 1)
    full, rest = divmod(eighths, 8)
    return "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")


def tree_text(entries: pl.DataFrame, paths: pl.DataFrame, *, width: int) -> RenderableType:
    """A tree of what `tracescope.analysis.rollups.flows.call_tree` gives."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    compared = "change" in entries.columns
    rows = paths.rows(named=True)
    shown = _heaviest(rows)
    children: dict[tuple[Any, ...], list[int]] = {}
    for at in shown:
        row = rows[at]
        key = (row["entry_id"], row["unit"]) if row["parent"] < 0 else (row["parent"],)
        children.setdefault(key, []).append(at)
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(width - BAR - 36, 30))
    table.add_column(no_wrap=True, width=BAR)
    for _ in range(2 if compared else 1):
        table.add_column(no_wrap=True, justify="right")
    table.add_column(no_wrap=True, style="dim")
    for entry in sorted(entries.rows(named=True), key=lambda row: row["unit"] != "request"):
        below = children.get((entry["entry_id"], entry["unit"]), [])
        if not below and _weight(entry, "share") < SMALLEST:
            continue
        title = Text(f"{one_line(entry['operation'])} of {one_line(entry['service'])}", style="bold")
        table.add_row(title, *_figures(entry, "share", compared=compared), entry["unit"])
        _add(table, rows, children, below, compared=compared)
    hidden = len(rows) - len(shown)
    rest = [] if not hidden else [Text(f"{hidden} lighter call paths are not drawn", style="dim")]
    return Group(table, *rest)


def _add(
    table: Any, rows: Sequence[_Row], children: Mapping[Any, list[int]], below: list[int], *, compared: bool
) -> None:
    """Rows of a subtree, heaviest child first; an explicit stack, for paths may be deep."""
    from rich.text import Text

    stack = [(at, "", number == len(below) - 1) for number, at in enumerate(below)][::-1]
    while stack:
        at, indent, last = stack.pop()
        row = rows[at]
        label = Text(f"{indent}{'└─ ' if last else '├─ '}", style="dim") + _label(row)
        per = row["calls_per_unit"]
        table.add_row(
            label,
            *_figures(row, "inclusive_share", compared=compared),
            f"{per:.3g} calls" if round(per, 2) != 1 else "",
        )
        inner = children.get((at,), [])
        pad = indent + ("   " if last else "│  ")
        stack += [(child, pad, number == len(inner) - 1) for number, child in enumerate(inner)][::-1]


def _label(row: _Row) -> Text:
    from rich.text import Text

    if row["callee"] is None:
        return Text("its own work", style="dim")
    mark = "⇢ " if row["kind"] == "queue" else ""
    return Text(f"{mark}{one_line(row['callee'])}") + Text(f"  {one_line(row['operation'])}", style="dim")


def _weight(row: _Row, column: str) -> float:
    return max(row[column], abs(row.get("change", 0.0)))


def _heaviest(rows: Sequence[_Row]) -> list[int]:
    """The heaviest rows with all above them, heaviest first among equals of a parent."""
    order = sorted(range(len(rows)), key=lambda at: (-_weight(rows[at], "inclusive_share"), at))
    chosen: set[int] = set()
    for at in order:
        if len(chosen) >= LINES or _weight(rows[at], "inclusive_share") < SMALLEST:
            break
        above = at
        while above >= 0 and above not in chosen:
            chosen.add(above)
            above = rows[above]["parent"]
    return [at for at in order if at in chosen]


def _figures(row: _Row, column: str, *, compared: bool) -> list[Any]:
    from rich.text import Text

    share = row[column]
    cells: list[Any] = [Text(bar(share), style="blue"), f"{share * 100:.1f} %"]
    if compared:
        points = row["change"] * 100
        style = "red" if points >= 0.05 else "green" if points <= -0.05 else "dim"
        cells.append(Text(f"{points:+.1f} pt".replace("-", "−"), style=style))
    return cells
