"""Quantiles that changed, rendered: the ``tails`` of JSON, and lines beside latency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracescope.report.failures import change, rate_json
from tracescope.report.figures import more_of

if TYPE_CHECKING:
    from tracescope.analysis.report import Report, Tail
    from tracescope.report import contract

#: Tails that a text tells; JSON has all.
MOST_TAILS: Final = 4


def tail_json(tail: Tail) -> contract.Tail:
    """One quantile of the JSON shape."""
    return {
        "unit": tail.unit,
        "service": tail.service,
        "operation": tail.operation,
        "quantile": tail.q,
        "ms_base": tail.ms_base,
        "ms_head": tail.ms_head,
        "mean_ms_base": tail.mean_base,
        "mean_ms_head": tail.mean_head,
        "beyond": rate_json(tail.beyond),
        "flat_mean": tail.flat,
    }


def lines(report: Report) -> list[str]:
    """Tails that grew, those under a flat mean first, for nothing else shows them."""
    grown = sorted((tail for tail in report.tails if tail.grew), key=lambda tail: not tail.flat)
    out: list[str] = []
    told: set[tuple[str, str, str]] = set()
    for tail in grown:
        if (tail.unit, tail.service, tail.operation) in told:
            continue
        told.add((tail.unit, tail.service, tail.operation))
        mean = "flat" if tail.flat else f"{tail.mean_base:.3g} → {tail.mean_head:.3g} ms"
        moved = f"{tail.name} {tail.ms_base:.3g} → {tail.ms_head:.3g} ms, mean {mean}"
        slow = f"{change(tail.beyond)} of {tail.unit}s are slower than base's {tail.name}"
        where = f"`tracescope diff --quantile {tail.q:g}` shows where"
        out.append(f"tail  {tail.service} {tail.operation}: {moved}; {slow} ({where})")
    more = len(out) - MOST_TAILS
    rest = f"tail  {more_of(more, 'entry', 'entries')} (--format json)"
    return [*out[:MOST_TAILS], *([rest] if more > 0 else [])]
