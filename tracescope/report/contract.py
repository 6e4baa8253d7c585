"""The JSON answers, defined once: what builders return, what clients may rely on.

Builders are checked against these types, `json_schemas` makes JSON Schema of them for
`/api/openapi.json`, and tests hold real answers against them.  Additions are fine; a change bumps the number
in `schema`.  Numbers are in the unit that the name ends with; null is what could not be told.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NotRequired, TypedDict

Interval = tuple[float | None, float | None]


class Bounds(TypedDict):
    """A period: half-open, ISO 8601 in UTC."""

    start: str | None
    end: str | None


class Extent(Bounds):
    """A period as it was compared."""

    units: float
    hours: float
    blocks: int
    units_seen: int


class Clock(TypedDict):
    """Mean latency in ms: of matched hours, raw, its change, and of units that succeeded (null: unknown)."""

    base_ms: float
    head_ms: float
    delta_ms: float
    base_raw_ms: float
    head_raw_ms: float
    delta_mix_adjusted_ms: NotRequired[float]
    base_ok_ms: float | None
    head_ok_ms: float | None


class Verdict(TypedDict):
    """What it comes to.

    ``stage`` is the last early warning that shows; all three are in ``early_warning``, shown or not, and
    how many show of those of which anything is known stands beside them.
    """

    state: str
    stage: str | None
    reasons: list[str]
    early_warning: NotRequired[list[dict[str, Any]]]
    signs_shown: NotRequired[int]
    signs_known: NotRequired[int]


class DiffVerdict(Verdict):
    """``detectable_ms`` is the smallest rise at an edge, in ms per request, that would have shown."""

    detectable_ms: float | None


class Version(TypedDict):
    """A ``service.version``, and when its first span was seen."""

    service: str
    version: str
    first: str | None


class ChangePoint(TypedDict):
    """Since when, with its 95 % interval, the versions first seen inside it, and marks within a day of it."""

    at: str | None
    low: str | None
    high: str | None
    versions: list[Version]
    marks: list[str]


class Pattern(TypedDict):
    """A mechanism with a name, and what speaks for it."""

    name: str
    edge: str
    operation: str | None
    certainty: str
    evidence: list[str]


class Rate(TypedDict):
    """How often something happens, of 1, and of how many; ``change_ci`` is 95 %."""

    base: float
    head: float
    change: float
    change_ci: Interval | None
    q_value: float
    significant: bool
    of_base: float
    of_head: float


class Exemplars(TypedDict):
    """Trace ids."""

    base: list[str]
    head: list[str]


class EdgeName(TypedDict):
    """What names an edge; a callee of null is the caller's own work."""

    unit: str
    kind: str
    caller: str
    callee: str | None
    operation: str | None


class Standing(TypedDict):
    """What a change amounts to: the edge that it follows, or what decides that it may be chance."""

    told: str
    follows: EdgeName | None
    decides: str | None


class Edge(TypedDict):
    """One edge's change; milliseconds are per unit of work of its kind."""

    unit: str
    kind: str
    caller: str
    callee: str | None
    operation: str | None
    uninstrumented: bool
    share_base: float
    share_head: float
    own_ms_base: float
    own_ms_head: float
    inclusive_ms_base: float
    inclusive_ms_head: float
    credited_ms: float
    credited_ms_ci: Interval | None
    share_ci: Interval | None
    group_ms: float | None
    group_share_base: float | None
    group_share_head: float | None
    min_effect_ms: float
    detectable_ms: float | None
    decided_by: str
    q_value: float | None
    significant: bool
    standing: Standing | None
    effects: dict[str, float | None]
    effects_ci: dict[str, Interval | None]
    calls_per_unit_base: float
    calls_per_unit_head: float
    growth_pct_per_week: float | None
    growth_pct_per_week_ci: tuple[float, float] | None
    load_elasticity: float | None
    headroom: float | None
    headroom_ci: tuple[float, float | None] | None
    headroom_at_least: float | None
    weeks_to_wall: float | None
    weeks_to_wall_ci: tuple[float | None, float | None] | None
    weeks_to_clock_wall: float | None
    note: str | None
    evidence: list[str]
    patterns: list[Pattern]
    change: ChangePoint | None
    exemplars: Exemplars
    errors: Rate | None


class Entry(TypedDict):
    """One entry's change; ``slower`` is how often one of its units in head takes longer than one in base."""

    unit: str
    service: str
    operation: str
    units_base: float
    units_head: float
    ms_base: float | None
    ms_head: float | None
    p95_base_ms: float | None
    p95_head_ms: float | None
    weight_base: float
    weight_head: float
    mix_ms: float
    rise_ms: float | None
    rise_ms_ci: Interval | None
    detectable_ms: float | None
    slower: float | None
    q_value: float | None
    state: str
    errors: Rate | None
    ok_ms_base: float | None
    ok_ms_head: float | None


class Victim(TypedDict):
    """An edge that is slower because of a cause, in ms per unit of its kind."""

    edge: EdgeName
    added_ms: float
    unit: str
    how: str


class EntryName(TypedDict):
    """What names an entry."""

    service: str
    operation: str


class Next(TypedDict):
    """What to look at next: a question, the command that tells more, a slow trace of head."""

    question: str
    command: str
    trace_id: str | None


class Muted(TypedDict):
    """Until when a finding is muted, and why."""

    until: str | None
    reason: str


class Cause(TypedDict):
    """One cause of growth and its victims, in ms per unit; ``total_ms`` is of all of them per request."""

    id: str
    cause: EdgeName
    mechanism: str
    sentence: str
    added_ms: float
    unit: str
    entries: list[EntryName]
    added_ms_ci: Interval | None
    total_ms: float
    victims: list[Victim]
    since: ChangePoint | None
    certainty: str
    q_value: float | None
    evidence: list[str]
    weeks_to_wall: float | None
    owner: str | None
    muted: Muted | None
    next: Next


class EntryErrors(TypedDict):
    """Units of an entry that failed, and what those that did not took; null is unknown."""

    unit: str
    service: str
    operation: str
    rate: Rate
    leafless: Rate | None
    ok_ms_base: float | None
    ok_ms_head: float | None
    failed_ms_base: float | None
    failed_ms_head: float | None
    arrived_per_h_base: float
    arrived_per_h_head: float
    completed_per_h_base: float
    completed_per_h_head: float


class EdgeErrors(TypedDict):
    """Calls of an edge that failed, and were made again; ``ok_ms`` is a successful call's mean duration."""

    edge: EdgeName
    rate: Rate | None
    retries: Rate | None
    ok_ms_base: float | None
    ok_ms_head: float | None


class ErrorOrigin(TypedDict):
    """Where failures that grew begin; ``added_units`` fail in head that would not at base's rates."""

    edge: EdgeName
    rate: Rate | None
    entries: list[EntryName]
    added_units: float


class MissingWork(TypedDict):
    """Work that is no longer done, or done in vain."""

    kind: str
    sentence: str
    edge: EdgeName | None
    entry: EntryName | None


class Errors(TypedDict):
    """Errors and lost work as changes; ``measured``: whether both periods tell what failed work took."""

    measured: bool
    entries: list[EntryErrors]
    edges: list[EdgeErrors]
    origins: list[ErrorOrigin]
    lost: list[MissingWork]


class Tail(TypedDict):
    """A quantile of an entry's clock that changed; ``beyond``: units slower than base's quantile, of 1."""

    unit: str
    service: str
    operation: str
    quantile: float
    ms_base: float
    ms_head: float
    mean_ms_base: float
    mean_ms_head: float
    beyond: Rate | None
    flat_mean: bool


class Carrier(TypedDict):
    """A value of an attribute whose requests carry a change: in ms of latency, or parts of 1 that fail.

    ``service`` is whose resource carries it, null for an attribute of spans; ``explained`` is its part of the
    whole change, null where there hardly is any.
    """

    measure: str
    service: str | None
    attribute: str
    value: str
    weight_base: float
    weight_head: float
    mean_base: float | None
    mean_head: float | None
    carries: float
    explained: float | None
    q_value: float
    also: list[str]


class Carriers(TypedDict):
    """Attribute values that carry the change, strongest first, of so many requests looked at."""

    requests_base: int
    requests_head: int
    change_ms: float
    change_failed: float
    values: list[Carrier]
    notes: list[str]


class Diff(TypedDict):
    """``tracescope.diff/1``."""

    schema: Literal["tracescope.diff/1"]
    environment: str
    notes: list[str]
    base: Extent
    head: Extent
    clock: Clock
    other_clocks: dict[str, Clock]
    verdict: DiffVerdict
    alpha: float
    min_effect_ms: float
    findings: list[Cause]
    edges: list[Edge]
    edges_in_all: int
    entries: list[Entry]
    effects_total: dict[str, float]
    errors: Errors
    tails: list[Tail]
    explained_by: Carriers | None
    patterns: list[Pattern]
    rejected: dict[str, int]


class Spans(TypedDict):
    """Acknowledged spans minus rejected, distinct ones, and the rejected by reason."""

    accepted: int
    stored: int
    rejected: dict[str, int]


class Status(TypedDict):
    """``tracescope.status/1``."""

    schema: Literal["tracescope.status/1"]
    spans: Spans
    units: int
    first: str | None
    last: str | None
    sealed_until: str | None
    unsealed_spans: int
    counters: dict[str, int]
    damaged: list[str]
    quarantined: int
    lost_requests: int
    journal_bytes: int
    disk_bytes: int
    receiver: NotRequired[dict[str, Any] | None]
    clock: NotRequired[str | None]
    store: NotRequired[str]


class Statuses(TypedDict):
    """``tracescope.statuses/1``: `status` of several stores, each with its ``store``."""

    schema: Literal["tracescope.statuses/1"]
    stores: list[Status]


class Finding(TypedDict):
    """What the structure shows."""

    kind: str
    text: str
    nodes: list[str]
    evidence: dict[str, Any]


class GraphBase(Bounds):
    """The period that a graph is compared with."""

    units: dict[str, float]


class Graph(Bounds):
    """``tracescope.graph/1``; with a base, edges carry its values as ``..._base``."""

    schema: Literal["tracescope.graph/1"]
    level: Literal["service", "dependency", "operation"]
    environment: str
    units: dict[str, float]
    notes: list[str]
    nodes: list[dict[str, Any]]
    edges: list[dict[str, Any]]
    base: NotRequired[GraphBase]
    findings: NotRequired[list[Finding]]


class Violation(TypedDict):
    """A rule that is broken."""

    rule: str
    text: str
    reason: str | None
    evidence: dict[str, Any]


class Checked(Bounds):
    """``tracescope.check/1``."""

    schema: Literal["tracescope.check/1"]
    environment: str
    ok: bool
    rules: int
    violations: list[Violation]
    notes: list[str]


class Path(TypedDict):
    """``tracescope.path/1``: spans parents first, times in ns from the trace's start."""

    schema: Literal["tracescope.path/1"]
    trace_id: str
    start: str | None
    units: list[dict[str, Any]]
    spans: list[dict[str, Any]]
    segments: list[dict[str, Any]]
    counters: dict[str, int]
    notes: list[str]


class ForecastVerdict(Verdict):
    """With instances that bought no throughput."""

    band_aids: list[dict[str, Any]]


class Forecast(Bounds):
    """``tracescope.forecast/1``."""

    schema: Literal["tracescope.forecast/1"]
    environment: str
    weeks_seen: float
    horizon_weeks: float
    notes: list[str]
    verdict: ForecastVerdict
    edges: list[dict[str, Any]]
    entries: list[dict[str, Any]]


class Explanation(TypedDict):
    """``tracescope.explain/1``."""

    schema: Literal["tracescope.explain/1"]
    environment: str
    base: Bounds
    head: Bounds
    sentence: str
    edge: Edge
    load: dict[str, Any] | None
    weeks: list[dict[str, Any]]
    entries: list[dict[str, Any]]
    sharing: list[dict[str, Any]]
    notes: list[str]


# -- what the pages' routes add --------------------------------------------------------------------


class Sides(TypedDict):
    """Something of both periods."""

    base: dict[str, Any]
    head: dict[str, Any]


class Growth(Diff):
    """The diff with the edges listed only, and their series."""

    series: list[Sides]


class Example(TypedDict):
    """A trace worth looking at; of its whole only where raw spans are kept, else ``start`` is its hour's."""

    side: str
    trace_id: str
    ms: float | None
    why: str
    start: str | None
    service: str
    operation: str
    duration_ms: float | None
    spans: int | None
    errors: int | None


class EdgePage(TypedDict):
    """One edge with series, quantiles, callers and traces."""

    edge: Edge
    series: Sides
    quantiles_ms: dict[str, dict[str, float | None]]
    callers: list[dict[str, Any]]
    traces: list[Example]


class ServicePage(TypedDict):
    """One service's edges and entries."""

    service: str
    outgoing: list[Edge]
    incoming: list[Edge]
    entries: list[dict[str, Any]]


class PathsPage(TypedDict):
    """Entries, and the call paths of the chosen one."""

    entries: list[dict[str, Any]]
    entry: dict[str, Any] | None


class TracesPage(TypedDict):
    """Example traces, those that were looked for, and whether these are all."""

    traces: list[Example]
    found: list[dict[str, Any]]
    whole: bool


class SearchPage(TypedDict):
    """What was found by its name: a service, an entry, an edge or a trace, and its page."""

    found: list[dict[str, str]]


class Muting(TypedDict):
    """What became of a finding: until when it is muted; null for no more."""

    finding: str
    until: str | None


class StoreState(TypedDict):
    """How full the store is."""

    spans: int
    unsealed_spans: int
    last: str | None


#: Answers by the name in their ``schema``.
ANSWERS: Final[dict[str, Any]] = {
    "tracescope.diff/1": Diff,
    "tracescope.explain/1": Explanation,
    "tracescope.forecast/1": Forecast,
    "tracescope.graph/1": Graph,
    "tracescope.path/1": Path,
    "tracescope.check/1": Checked,
    "tracescope.status/1": Status,
}


def json_schemas(*more: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """JSON Schema of some answers, as references, and every type of `ANSWERS` and theirs by its name."""
    import msgspec

    wanted = [*more, *ANSWERS.values()]
    made, parts = msgspec.json.schema_components(wanted, ref_template="#/components/schemas/{name}")
    return list(made)[: len(more)], parts
