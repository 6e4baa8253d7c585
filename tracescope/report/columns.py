"""Columns that fit the width: figures whole or not at all, names cut where they must be.

A figure that is cut is a wrong figure.  So the least important columns go until what is left has
room, and then names and words share the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

Row = TypeVar("Row")
#: Blanks between columns.
GAP: Final = 2
#: Names are never cut to less than this.
FEWEST: Final = 8


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column of a table.

    Attributes
    ----------
    title, cell, style
        Its heading, and what it shows of a row, and how (a rich style).
    priority
        0 stays at any width; the highest goes first.
    least
        0 for a figure, which is shown whole; else the fewest columns that the words are cut to.
    folds
        Words go on in the next line instead of being cut; where there is no room beside the figures, they
        stand below their row.
    right
        Aligned to the right.
    """

    title: str
    cell: Callable[[Row], str]
    priority: int = 0
    least: int = 0
    folds: bool = False
    right: bool = False
    style: Callable[[Row], str] | None = None


def fit(
    columns: Sequence[Column[Row]], rows: Sequence[Row], width: int, *, everything: bool = False
) -> list[tuple[Column[Row], int]]:
    """Columns to show in `width`, and how wide each is; `everything` drops none.

    Words get their least width first, then alike, then in order of priority, what they need from what
    is left.
    """
    kept = list(columns)
    needs = {
        column.title: max([_cells(column.title), *(_cells(column.cell(row)) for row in rows)])
        for column in kept
    }

    def least(column: Column[Row]) -> int:
        need = needs[column.title]
        return min(need, column.least) if column.least else need

    def missing() -> int:
        return sum(least(column) for column in kept) + GAP * (len(kept) - 1) - width

    while missing() > 0 and not everything and max(column.priority for column in kept):
        last = max(column.priority for column in kept)
        kept.remove(next(column for column in reversed(kept) if column.priority == last))
    widths = {column.title: least(column) for column in kept}
    left, short = max(-missing(), 0), max(missing(), 0)
    words = sorted((column for column in kept if column.least), key=lambda column: column.priority)
    for column in words if not everything else ():  # narrower than the least of all: names give way
        less = min(short, max(widths[column.title] - FEWEST, 0))
        widths[column.title] -= less
        short -= less
    for share in (left // max(len(words), 1), left):  # first alike, so that one long name starves nobody
        for column in words:
            more = min(needs[column.title] - widths[column.title], share, left)
            widths[column.title] += more
            left -= more
    return [(column, widths[column.title]) for column in kept]


def _cells(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def left_out(columns: Sequence[Column[Row]], rows: Sequence[Row], width: int) -> list[str]:
    """Titles of the columns that `table` shows nowhere in `width`."""
    fitted = [column for column, _ in fit(columns, rows, width)]
    return [column.title for column in columns if column not in fitted and not column.folds]


def table(
    columns: Sequence[Column[Row]], rows: Sequence[Row], width: int, *, everything: bool = False
) -> RenderableType:
    """A borderless table of the columns that fit; words that fold go below their row before they go."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    fitted = fit(columns, rows, width, everything=everything)
    kept = [column for column, _ in fitted]
    below = [column for column in columns if column.folds and column not in kept]
    if not below:
        return _grid(fitted, rows)
    # widths are given, so that tables of one row each stand as one
    parts: list[RenderableType] = [_grid(fitted, [])]
    for row in rows:
        parts.append(_grid(fitted, [row], header=False))
        said = [(column.cell(row), column.style) for column in below]
        indent = min(fitted[0][1] + 2 * GAP, width // 4)
        parts += [
            Padding(Text(words, style=style(row) if style else "dim"), (0, 0, 0, indent))
            for words, style in said
            if words
        ]
    return Group(*parts)


def _grid(fitted: Sequence[tuple[Column[Row], int]], rows: Sequence[Row], *, header: bool = True) -> Table:
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, padding=(0, GAP, 0, 0), header_style="dim", pad_edge=False, show_header=header)
    for column, wide in fitted:
        made.add_column(
            column.title,
            width=wide,
            justify="right" if column.right else "left",
            no_wrap=not column.folds,
            overflow="fold" if column.folds else "ellipsis",
        )
    for row in rows:
        cells: list[Any] = [
            Text(column.cell(row), style=column.style(row) if column.style else "") for column, _ in fitted
        ]
        made.add_row(*cells)
    return made
