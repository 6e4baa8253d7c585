"""Files of what a page shows: the edges as CSV, the map as SVG and PNG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from tracescope.report import text
from tracescope.report.png import as_png
from tracescope.report.svg import SLIDE, Look, arrange, draw
from tracescope.session import Answers
from tracescope.web.map import of_view
from tracescope.web.narrow import listed, narrowed
from tracescope.web.view import View


def edges_csv(answers: Answers, view: View) -> str:
    """Every edge that the filters leave, numbers unrounded."""
    report = narrowed(answers.report(), view)
    return text.diff_csv(replace(report, edges=tuple(listed(report, view))))


def map_svg(answers: Answers, view: View) -> str:
    """The map as it is shown, by itself."""
    shown = of_view(answers, view)[0]
    return draw(shown, arrange(shown), Look(prefix="map", view=view.side, fit=SLIDE))  # pyright: ignore[reportArgumentType]


def map_png(answers: Answers, view: View) -> bytes:
    """The same as pixels; raises UsageError where the extra is not installed."""
    shown = of_view(answers, view)[0]
    look = Look(prefix="map", view=view.side, theme="light", fit=SLIDE)  # pyright: ignore[reportArgumentType]
    return as_png(draw(shown, arrange(shown), look))


#: Address, media type, and what makes it.
FILES: Final[tuple[tuple[str, str, Callable[..., str | bytes]], ...]] = (
    ("/export/edges.csv", "text/csv; charset=utf-8", edges_csv),
    ("/export/map.svg", "image/svg+xml", map_svg),
    ("/export/map.png", "image/png", map_png),
)
