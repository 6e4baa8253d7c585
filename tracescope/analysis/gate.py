"""Gates: conditions on a diff that fail a build, such as ``db.share>+5pp``.

    WHAT . MEASURE  CMP VALUE UNIT
    db   . share    >   +5    pp       a kind, `any` edge, or an edge: 'orders -> postgresql/orders'

    share      part of all critical time, pp or %             calls      calls per unit of work
    ms         own critical ms per unit of work               headroom   capacity over peak load
    errors     calls that fail of all calls, pp or %; of `requests` those of each entry that fail

A value with a sign is a change from base to head (``+10%`` relative, ``+5pp`` and ``+20ms``
absolute); one without is head's level.  A gate says what is, not what is significant; what could be
chance is marked so in its list.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tracescope.analysis.report import Edge, Report
from tracescope.errors import UsageError
from tracescope.schema import EDGE_KINDS, UNIT_NAMES

MEASURES: Final = ("share", "ms", "calls", "headroom", "errors")
#: Units that each measure takes; the first is meant where none is given.
UNITS: Final = {
    "share": ("pp", "%"),
    "ms": ("ms", "%"),
    "calls": ("", "%"),
    "headroom": ("",),
    "errors": ("pp", "%"),
}
ANY: Final = "any"
#: What stands for every entry of requests; only of `errors`.
REQUESTS: Final = "requests"

_FORM: Final = re.compile(
    r"^\s*(?P<what>.+?)\s*\.\s*(?P<measure>[a-z]+)\s*(?P<cmp>>=|<=|>|<)\s*(?P<sign>[+-]?)"
    r"(?P<value>\d+(?:\.\d+)?)\s*(?P<unit>pp|ms|%|)\s*$"
)
_HINT: Final = "for example --fail-on 'db.share>+5pp' or --fail-on 'orders -> postgresql/orders.ms>20ms'"


@dataclass(frozen=True, slots=True)
class Gate:
    """One condition; `text` is as it was written, `change` whether it is about base to head."""

    text: str
    what: str
    measure: str
    above: bool
    inclusive: bool
    change: bool
    value: float
    unit: str

    def broken(self, report: Report) -> list[str]:
        """A line for each thing in `report` that meets the condition; empty when it passes."""
        if self.measure == "errors":
            return self._failing(report)
        lines: list[str] = []
        for name, edges in self._subjects(report):
            base, head = (_level(edges, self.measure, which) for which in ("base", "head"))
            measured = self._measured(base, head)
            if measured is not None and self._holds(measured):
                chance = "" if any(edge.significant for edge in edges) else "; could be chance"
                lines.append(f"{name}: {_words(self.measure, base, head)}{chance}{_because(edges, report)}")
        return lines

    def _failing(self, report: Report) -> list[str]:
        """A line for each rate of failures that meets the condition."""
        if self.what == REQUESTS:
            rates = [
                (f"{one.service} {one.operation}", one.rate)
                for one in report.failures.entries
                if one.unit == UNIT_NAMES[0]
            ]
        else:
            rates = [
                (name, edge.failures.rate)
                for name, edges in self._edges(report)
                for edge in edges
                if edge.failures is not None
            ]
        lines: list[str] = []
        for name, rate in rates:
            measured = self._measured(rate.base, rate.head)
            if measured is not None and self._holds(measured):
                told = f"errors {rate.base:.2%} -> {rate.head:.2%} ({rate.change * 100:+.2g} pp)"
                lines.append(f"{name}: {told}{'' if rate.significant else '; could be chance'}")
        return lines

    def _edges(self, report: Report) -> list[tuple[str, list[Edge]]]:
        """Edges that the condition is about, one by one."""
        wanted = [
            edge
            for edge in report.edges
            if self.what in (ANY, edge.kind, edge.name, f"{edge.name} {edge.operation}")
        ]
        return [(f"{edge.name} {edge.operation or ''}".rstrip(), [edge]) for edge in wanted]

    def _subjects(self, report: Report) -> list[tuple[str, list[Edge]]]:
        """What the condition is about: edges one by one, or a kind's added up for each unit of work."""
        if self.what in EDGE_KINDS and self.measure != "headroom":
            kinds = [
                (u, [e for e in report.edges if e.unit == u and e.kind == self.what]) for u in UNIT_NAMES
            ]
            return [(self.what if u == "request" else f"{self.what} per {u}", e) for u, e in kinds if e]
        return self._edges(report)

    def _measured(self, base: float | None, head: float | None) -> float | None:
        """The measured value in the condition's unit; None where it is not known."""
        if head is None or (self.change and base is None):
            return None
        scale = 100.0 if self.measure in ("share", "errors") else 1.0
        if not self.change:
            return head * scale
        assert base is not None
        if self.unit != "%":
            return (head - base) * scale
        if base == 0:
            return math.inf if head > 0 else 0.0
        return (head / base - 1) * 100

    def _holds(self, measured: float) -> bool:
        if self.inclusive and math.isclose(measured, self.value, rel_tol=1e-12):
            return True
        return measured > self.value if self.above else measured < self.value


def _because(edges: Sequence[Edge], report: Report) -> str:
    """What makes an edge grow that is a victim; empty for a cause, and for several edges."""
    if len(edges) != 1:
        return ""
    for found in report.findings:
        for victim in found.victims:
            if victim.edge == edges[0].key:
                cause = f"{found.cause.name} {found.cause.operation or ''}".rstrip()
                return f"; because of {cause}: {victim.how}"
    return ""


def _level(edges: Sequence[Edge], measure: str, which: str) -> float | None:
    if measure == "headroom":
        return edges[0].headroom if which == "head" else None
    field = {"share": "share", "ms": "own_ms", "calls": "calls_per_unit"}[measure]
    return sum(float(getattr(edge, f"{field}_{which}")) for edge in edges)


def _words(measure: str, base: float | None, head: float | None) -> str:
    if measure == "headroom" or base is None or head is None:
        return f"{measure} {head:.3g}"
    if measure == "share":
        return f"share {base:.1%} -> {head:.1%} ({(head - base) * 100:+.1f} pp)"
    unit = " ms" if measure == "ms" else ""
    return f"{measure} {base:.4g}{unit} -> {head:.4g}{unit} ({head - base:+.3g})"


def parse_gate(text: str) -> Gate:
    """Read one condition.

    Raises
    ------
    UsageError
        It is not of the form above; the message says what stands in the wrong place.
    """
    found = _FORM.match(text)
    if found is None:
        raise UsageError(f"--fail-on {text!r} is not WHAT.MEASURE>VALUE", _HINT)
    what, measure, unit = found["what"].strip("'\" "), found["measure"], found["unit"]
    if measure not in MEASURES:
        raise UsageError(f"--fail-on {text!r}: no measure {measure!r}", f"one of {', '.join(MEASURES)}")
    change = found["sign"] != ""
    unit = unit or UNITS[measure][0]
    if unit not in UNITS[measure]:
        raise UsageError(f"--fail-on {text!r}: {measure} is not measured in {unit}", _HINT)
    if unit == "%" and not change and measure not in ("share", "errors"):
        raise UsageError(f"--fail-on {text!r}: {unit} of what?", f"a change has a sign: +{found['value']}%")
    if change and measure == "headroom":
        raise UsageError(f"--fail-on {text!r}: headroom has no base to change from", "leave out the sign")
    of_requests = what == REQUESTS and measure == "errors"
    if what not in (ANY, *EDGE_KINDS) and " " not in what and not of_requests:
        kinds = ", ".join((*EDGE_KINDS, ANY))
        raise UsageError(f"--fail-on {text!r}: {what!r} is neither a kind nor an edge", f"kinds: {kinds}")
    value = float(found["sign"] + found["value"])
    return Gate(text, what, measure, found["cmp"][0] == ">", found["cmp"][-1] == "=", change, value, unit)
