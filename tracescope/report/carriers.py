"""Attribute values that carry a change, rendered: ``explained_by`` of JSON, and a ranked list in text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracescope.report.figures import more_of, number

if TYPE_CHECKING:
    from tracescope.analysis.report import Carrier, Carriers, Report
    from tracescope.report import contract

#: Values that a text lists; JSON has all.
MOST_VALUES: Final = 8
#: What else the same requests carry, in a line.
MOST_ALSO: Final = 2


def _carrier(one: Carrier) -> contract.Carrier:
    return {
        "measure": one.measure,
        "service": one.service or None,
        "attribute": one.key,
        "value": one.value,
        "weight_base": one.weight_base,
        "weight_head": one.weight_head,
        "mean_base": one.mean_base,
        "mean_head": one.mean_head,
        "carries": one.carries,
        "explained": one.explained,
        "q_value": one.q_value,
        "also": list(one.also),
    }


def carriers_json(carriers: Carriers | None) -> contract.Carriers | None:
    """Of the JSON shape; null where nobody asked."""
    if carriers is None:
        return None
    return {
        "requests_base": carriers.requests_base,
        "requests_head": carriers.requests_head,
        "change_ms": carriers.change_ms,
        "change_failed": carriers.change_failed,
        "values": [_carrier(one) for one in carriers.carriers],
        "notes": list(carriers.notes),
    }


def line(one: Carrier) -> str:
    """One value in a line: how many requests, their means, and what it carries."""
    weights = f"{100 * one.weight_base:.3g} → {100 * one.weight_head:.3g} % of requests"
    if one.measure == "latency":
        means = [None if each is None else f"{number(each)} ms" for each in (one.mean_base, one.mean_head)]
        carries = f"{number(one.carries, sign=True)} ms of the mean"
    else:
        means = [None if each is None else f"{100 * each:.3g} %" for each in (one.mean_base, one.mean_head)]
        carries = f"{100 * one.carries:+.3g} points of the requests that fail".replace("-", "−")
    moved = f"{means[0] or 'none'} → {means[1] or 'none'}"
    part = "" if one.explained is None else f", {100 * one.explained:.0f} % of the change"
    also = f"; the same requests: {', '.join(one.also[:MOST_ALSO])}" if one.also else ""
    return f"{one.name}: carries {carries}{part}; {weights}, {moved}{also}"


def lines(report: Report) -> list[str]:
    """A ranked list; nothing where nobody asked."""
    found = report.carriers
    if found is None:
        return []
    out = [f"by  {line(one)}" for one in found.carriers[:MOST_VALUES]]
    if not out:
        out.append("by  no attribute's value carries more of the change than its part of the requests")
    if (more := len(found.carriers) - MOST_VALUES) > 0:
        out.append(f"by  {more_of(more, 'value', 'values')} (--format json)")
    return [*out, *(f"by  {note}" for note in found.notes)]
