"""All of a page's state, read from its URL and written back into links.

A value that cannot be read is an error with the parameter's name, never a silent default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final
from urllib.parse import quote, urlencode

from tracescope.analysis.capacity.forecast import MULTIPLES
from tracescope.analysis.report import EdgeKey
from tracescope.analysis.rollups.where import conditions
from tracescope.analysis.topology.backbone import LARGEST
from tracescope.config import Settings
from tracescope.engine.question import Question
from tracescope.errors import UsageError
from tracescope.schema import EDGE_KINDS, UNIT_NAMES

LEVELS: Final = ("service", "dependency", "operation")
SIDES: Final = ("change", "head", "base")
BY: Final = ("operation", "service", "kind")
SORTS: Final = ("name", "share", "points", "ms", "credited")
SPACES: Final = ("auto", "open", "closed")
#: Width of the map in per cent of its drawing; 0 fits the page.
ZOOMS: Final = (0, 100, 150, 200)
LONGEST: Final = 16_384
#: Of `View.explain_by`: every attribute with few values.
ALL: Final = "all"


@dataclass(frozen=True, slots=True)
class View:
    """What a page shows; every field is a query parameter, left out of links where it is its default.

    Attributes
    ----------
    base, head
        Periods as the command line takes them; empty for the page's choice.
    env
        Environment; empty for the busiest.
    include, exclude
        Regular expressions of entries' operations; empty for the settings' own.
    where
        ``KEY=VALUE``: only traces that carry this attribute; read from raw spans.
    quantile
        Only each entry's requests above this quantile; 0 for all.  Read from raw spans.
    explain_by
        Attributes whose values may carry the change, with commas between them, or `ALL`; empty for none.
        Read from raw spans.
    kind, service, min_change
        Narrow the edges listed: their kind, a service at an end, and a least change of share in points.
    by
        What a row is: an edge's operation, an edge between services, or a kind.
    sort
        Order of the table of edges; empty for the strongest growth first.
    tz
        Time zone of calendar words and of the hour of the week; empty for the settings' own.
    top
        Edges listed.
    entry
        An entry's id in hex: only flows through it.
    unit, edge_kind, caller, callee, operation
        One edge; an empty callee is the caller's own work.
    level, side
        Of the map: `LEVELS`, `SIDES`.
    hops
        Of the map: show only what lies so many edges from `service`; 0 for everything.
    nodes
        Of the map: boxes at most, else its backbone.
    spaces, but
        Of the map: whether namespaces are `SPACES` (``auto``: one node each where the graph is large), and
        those that are not, as `toggled` writes them.
    zoom
        Of the map: per cent of its size; 0 fits the page as far as names stay readable.
    op, min_ms, max_ms, failed
        Of traces that are looked for: letters of a span's operation, how long they took, 1 for failed ones.
    span, beside
        Of a trace: the id of a span whose details are shown, and of another trace shown beside it.
    q
        Words that are searched for.
    growth, horizon
        Of the forecast: today's load times so much; weeks.
    """

    base: str = ""
    head: str = ""
    env: str = ""
    include: str = ""
    exclude: str = ""
    where: str = ""
    quantile: float = 0.0
    explain_by: str = ""
    kind: str = ""
    service: str = ""
    min_change: float = 0.0
    by: str = "operation"
    sort: str = ""
    tz: str = ""
    top: int = 12
    entry: str = ""
    unit: str = "request"
    edge_kind: str = ""
    caller: str = ""
    callee: str = ""
    operation: str = ""
    level: str = "dependency"
    side: str = "change"
    hops: int = 0
    nodes: int = LARGEST
    spaces: str = "auto"
    but: str = ""
    zoom: int = 0
    op: str = ""
    min_ms: float = 0.0
    max_ms: float = 0.0
    failed: int = 0
    span: str = ""
    beside: str = ""
    q: str = ""
    growth: float = 2.0
    horizon: int = 12

    def url(self, path: str, **changes: Any) -> str:
        """A link to `path` with this state, some of it changed."""
        wanted = replace(self, **changes) if changes else self
        default = View()
        query = {
            f.name: f"{value:g}" if isinstance(value, float) else value
            for f in fields(View)
            if (value := getattr(wanted, f.name)) != getattr(default, f.name)
        }
        return f"{path}?{urlencode(query)}" if query else path

    def edge_url(self, key: EdgeKey, path: str = "/edge") -> str:
        """A link to the page of one edge: unit, kind, caller, callee, operation."""
        unit, kind, caller, callee, operation = key
        return self.url(
            path, unit=unit, edge_kind=kind, caller=caller, callee=callee or "", operation=operation or ""
        )

    def resolved(self, nodes: int) -> View:
        """The view with ``auto`` decided by the graph's number of nodes."""
        if self.spaces != "auto":
            return self
        return replace(self, spaces="closed" if nodes > LARGEST else "open")

    def closes(self, space: str) -> bool:
        """Whether the map shows a namespace as one node."""
        return (self.spaces == "closed") != (quote(space, safe="") in self.but.split(","))

    def toggled(self, space: str) -> View:
        """The view in which a namespace is opened, or collapsed."""
        name = quote(space, safe="")
        names = {part for part in self.but.split(",") if part}
        return replace(self, but=",".join(sorted(names ^ {name})))

    @property
    def multiples(self) -> tuple[float, ...]:
        """Of today's load, for the forecast."""
        return tuple(sorted({*MULTIPLES, self.growth}))

    @property
    def edge_key(self) -> EdgeKey:
        """The edge that the URL names."""
        return EdgeKey(self.unit, self.edge_kind, self.caller, self.callee or None, self.operation or None)

    def question(self, settings: Settings) -> Question:
        """What the page asks of the store."""
        return Question.of(
            settings,
            base=self.base,
            head=self.head,
            environment=self.env or None,
            entry_id=self.entry,
            include=self.include or None,
            exclude=self.exclude or None,
            where=conditions([self.where] if self.where else [], settings.policy),
            quantile=self.quantile or None,
            by=self.by,
            zone=self.tz or None,
        )


_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "kind": ("", *EDGE_KINDS),
    "edge_kind": ("", *EDGE_KINDS),
    "unit": UNIT_NAMES,
    "level": LEVELS,
    "by": BY,
    "sort": ("", *SORTS),
    "side": SIDES,
    "spaces": SPACES,
}
_RANGES: Final[dict[str, tuple[float, float]]] = {
    "top": (1, 500),
    "min_change": (0, 100),
    "quantile": (0, 0.9999),
    "hops": (0, 20),
    "zoom": (0, 400),
    "min_ms": (0, 1e12),
    "max_ms": (0, 1e12),
    "failed": (0, 1),
    "nodes": (2, 2000),
    "growth": (0.1, 1000),
    "horizon": (1, 520),
}


def read(query: Mapping[str, str]) -> View:
    """The state in a URL's query.

    Raises
    ------
    UsageError
        An unknown parameter, or a value out of its range.
    """
    known = {f.name: f for f in fields(View)}
    values: dict[str, Any] = {}
    for name, text in query.items():
        if name not in known:
            raise UsageError(f"no parameter {name[:60]!r}", f"known are {', '.join(known)}")
        if len(text) > LONGEST:
            raise UsageError(f"{name} is {len(text)} characters long", f"at most {LONGEST}")
        if not text:
            continue
        values[name] = _value(name, str(known[name].type), text)
    return View(**values)


def _value(name: str, kind: str, text: str) -> Any:
    if kind == "str":
        if name in _CHOICES and text not in _CHOICES[name]:
            choices = ", ".join(choice for choice in _CHOICES[name] if choice)
            raise UsageError(f"{name} cannot be {text[:60]!r}", f"one of {choices}")
        return text
    try:
        value = int(text) if kind == "int" else float(text)
    except ValueError as error:
        raise UsageError(
            f"{name} is {text[:60]!r}, not a {'whole ' * (kind == 'int')}number",
            "from {:g} to {:g}".format(*_RANGES[name]),
        ) from error
    low, high = _RANGES[name]
    if not low <= value <= high:
        raise UsageError(f"{name} is {text[:60]}", f"from {low:g} to {high:g}")
    return value
