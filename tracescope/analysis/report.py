"""Report: what every surface renders: terminal, JSON, Markdown, HTML, web page.

Frozen data without behaviour beyond names.  What could not be told is absent or None, never a
made-up number.

Source: design, section 8 (the JSON shape).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, NamedTuple


class State(StrEnum):
    """Verdict on a whole system, an entry or a forecast, from the worst to none; the words of the answers."""

    AT_THE_WALL = "at the wall"
    APPROACHING = "approaching"
    DRIFTING = "drifting"
    GROWTH_STABLE = "growth-stable"
    INSUFFICIENT = "insufficient data"
    #: An entry with enough data, before the edges have given it a verdict.
    COMPARED = "compared"


class PatternCertainty(StrEnum):
    """How well the evidence supports a pattern."""

    CERTAIN = "found"
    POSSIBLE = "possible"


class Effect(StrEnum):
    """Causes of an edge's change, in the order they are shown.

    A change of latency is either split into growth and load, where a load model is identifiable, or
    unsplit; what is unknown is absent from an edge's effects.
    """

    CALLS = "calls"
    GROWTH = "latency_growth"
    LOAD = "latency_load"
    UNSPLIT = "latency_unsplit"
    CRITICALITY = "criticality"
    NEW = "new"
    GONE = "gone"
    TRANSIENT = "transient"


#: All effects, in the order they are shown.
EFFECTS: Final = tuple(Effect)


class EdgeKey(NamedTuple):
    """What names an edge, in every table, link and answer; a `callee` of None is the caller's own work."""

    unit: str
    kind: str
    caller: str
    callee: str | None
    operation: str | None

    @property
    def name(self) -> str:
        """As a person would write it: ``orders -> postgresql/orders``."""
        return f"{self.caller} (itself)" if self.callee is None else f"{self.caller} -> {self.callee}"


@dataclass(frozen=True, slots=True)
class Extent:
    """One period as it was compared; ``units`` stand for all requests, ``units_seen`` were in the traces."""

    start_ns: int
    end_ns: int
    units: float
    hours: float
    blocks: int
    units_seen: int = 0


@dataclass(frozen=True, slots=True)
class Appeared:
    """A version of a service, and when its first span was seen."""

    service: str
    version: str
    first_ns: int


@dataclass(frozen=True, slots=True)
class Change:
    """Since when an edge is what it is, from ``low_ns`` to ``high_ns`` 95 %, and what appeared then.

    ``marks`` are names that people gave to instants of those days.
    """

    at_ns: int
    low_ns: int
    high_ns: int
    versions: tuple[Appeared, ...] = ()
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pattern:
    """A mechanism with a name, such as ``n+1`` or ``starved caller``, and what speaks for it.

    ``edge`` is the name of the edge it was seen at.
    """

    name: str
    edge: str
    operation: str | None
    certainty: PatternCertainty
    evidence: tuple[str, ...]


class StandingKind(StrEnum):
    """What an edge's change amounts to."""

    CHANGED = "changed"
    UNCERTAIN = "not told from chance"
    FOLLOWS = "follows another edge"
    MOVED = "traffic moved between entries"
    SMALL = "too small to matter"


class DecidedBy(StrEnum):
    """The test that an edge's interval and q value are of."""

    MEANS = "means"
    RANKS = "ranks"
    LOGARITHMS = "logarithms"
    AT_EQUAL_LOAD = "logarithms at equal load"
    SINCE_THEN = "since then"


class Standing(NamedTuple):
    """What a change amounts to: the edge that it ``follows``, or what ``decides`` that it may be chance."""

    kind: StandingKind
    follows: EdgeKey | None = None
    decides: str = ""


class Mechanism(StrEnum):
    """What a finding says has happened at its cause."""

    MORE_CALLS = "more calls"
    SERIALISED = "serialised calls"
    N_PLUS_ONE = "n+1"
    RETRIES = "retry amplification"
    NEW = "new dependency"
    SLOWER = "slower work"
    LOAD = "more load"
    CONTENDED = "contended resource"
    CONSUMER = "slow consumer"
    QUEUE = "queue backs up"
    STARVED = "starved caller"
    POOL = "connection pool"
    WAITED_FOR = "more often waited for"
    ERRORS = "errors"


class Certainty(StrEnum):
    """How much of a finding the evidence carries."""

    CLEAR = "clear"
    CONSISTENT = "consistent with"


class Victim(NamedTuple):
    """An edge that takes more time because of a finding's cause: so much per `unit`, and how that comes."""

    edge: EdgeKey
    added_ms: float
    unit: str
    how: str


class Mute(NamedTuple):
    """Until when a finding is muted, in ns, and why."""

    until_ns: int
    reason: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause of growth with everything that suffers from it; it explains edges and moves no milliseconds.

    ``cause`` is the edge at which it begins and ``added_ms`` what that edge itself is credited with, per
    ``unit`` of work, with its 95 % interval; ``entries`` (service, operation) are those that it slows down.
    ``victims`` are edges whose rise follows from the cause, nearest first.  ``total_ms`` is the cause with
    its victims, per request, units of other kinds weighed by how many there are for each request.
    ``certainty`` is of the mechanism and of the order of cause and victims, ``q_value`` of the cause's rise.
    ``owner`` and ``mute`` are what people say of it; muted ones stand last.
    """

    cause: EdgeKey
    mechanism: Mechanism
    sentence: str
    added_ms: float
    unit: str
    entries: tuple[tuple[str, str], ...] = ()
    added_ms_ci: tuple[float, float] | None = None
    total_ms: float = 0.0
    victims: tuple[Victim, ...] = ()
    since: Change | None = None
    certainty: Certainty = Certainty.CLEAR
    q_value: float | None = None
    evidence: tuple[str, ...] = ()
    weeks_to_wall: float | None = None
    owner: str = ""
    mute: Mute | None = None

    @property
    def id(self) -> str:
        """Eight digits that stay with the cause and its mechanism from report to report."""
        parts = (*(part or "" for part in self.cause), self.mechanism.value)
        return hashlib.blake2b("\0".join(parts).encode(), digest_size=4).hexdigest()


@dataclass(frozen=True, slots=True)
class Rate:
    """How often something happens, of 1, in both periods: failed calls of all calls, for instance.

    ``of_base`` and ``of_head`` are of how many, ``change_ci`` is the 95 % interval of the change.
    """

    base: float
    head: float
    of_base: float
    of_head: float
    change_ci: tuple[float, float] | None
    q_value: float
    significant: bool

    @property
    def change(self) -> float:
        """Head less base."""
        return self.head - self.base

    @property
    def grew(self) -> bool:
        """Whether it happens significantly more often."""
        return self.significant and self.change > 0


@dataclass(frozen=True, slots=True)
class EntryFailures:
    """Units of work of one entry that failed, and what the others took.

    ``ok_ms`` is the mean clock of units that succeeded, ``failed_ms`` of those that failed, None where that
    was not measured; ``leafless`` how often a unit called nothing; ``arrived_per_h`` and ``completed_per_h``
    are units, and units that succeeded, an hour.
    """

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


@dataclass(frozen=True, slots=True)
class EdgeFailures:
    """Calls of one edge that failed, and calls made again after a failure, of all its calls.

    ``ok_ms`` is the mean duration of a call that succeeded, None where that was not measured.
    """

    key: EdgeKey
    rate: Rate
    retries: Rate | None
    ok_ms_base: float | None
    ok_ms_head: float | None


@dataclass(frozen=True, slots=True)
class Tail:
    """A quantile `q` of an entry's clock that changed, in ms, and the mean beside it.

    ``beyond`` is the part of units slower than base's quantile; ``flat`` where the mean hardly moved.
    """

    unit: str
    service: str
    operation: str
    q: float
    ms_base: float
    ms_head: float
    mean_base: float
    mean_head: float
    beyond: Rate
    flat: bool

    @property
    def name(self) -> str:
        """As people call it: ``p99``."""
        return f"p{100 * self.q:.3g}"

    @property
    def grew(self) -> bool:
        """Whether more units are slow."""
        return self.beyond.grew


@dataclass(frozen=True, slots=True)
class Carrier:
    """A value of an attribute whose requests carry a change.

    ``measure`` is ``latency`` (means are ms) or ``errors`` (means are parts of requests that fail);
    ``service`` whose resource carries it, empty for an attribute of spans.  ``weight`` is the part of
    requests that carry it, ``carries`` its part of the change of the mean, ``explained`` that over the whole
    change (None where there hardly is any), ``stands_out`` what it carries beyond its weight.  ``also`` names
    what the same requests carry.
    """

    measure: str
    service: str
    key: str
    value: str
    weight_base: float
    weight_head: float
    mean_base: float | None
    mean_head: float | None
    carries: float
    explained: float | None
    stands_out: float
    q_value: float = 1.0
    also: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As a person would write it: ``service.version=1.5 of catalog``."""
        return f"{self.key}={self.value}" + (f" of {self.service}" if self.service else "")

    def with_q(self, q_value: float) -> Carrier:
        """The same with its q-value."""
        return replace(self, q_value=q_value)

    def with_also(self, also: tuple[str, ...]) -> Carrier:
        """The same with what else its requests carry."""
        return replace(self, also=also)


@dataclass(frozen=True, slots=True)
class Carriers:
    """Attribute values that carry a change, strongest first, of so many requests that were looked at.

    ``change_ms`` and ``change_failed`` are the changes of the means within entries.
    """

    requests_base: int
    requests_head: int
    change_ms: float
    change_failed: float
    carriers: tuple[Carrier, ...]
    notes: tuple[str, ...] = ()


class MissingWorkKind(StrEnum):
    """Kinds of work that is missing or done in vain."""

    FAILS_EARLY = "fails early"
    NOT_REACHED = "not reached"
    RETRIED = "retried"
    VANISHED = "calls vanished"
    LEAFLESS = "calls nothing"
    NOT_COMPLETED = "not completed"
    NOT_CONSUMED = "not consumed"


@dataclass(frozen=True, slots=True)
class MissingWork:
    """Work that is no longer done, or done in vain, in a sentence; ``edge`` or ``entry`` is where."""

    kind: MissingWorkKind
    sentence: str
    edge: EdgeKey | None = None
    entry: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where failures that grew begin: the deepest edge that they can be followed to, and whose they are.

    ``added`` is how many units of the entries fail in head that would not at base's rates, ``rate`` how often
    the edge itself fails, and ``within`` every edge at and below it.
    """

    key: EdgeKey
    rate: Rate
    entries: tuple[tuple[str, str], ...]
    added: float
    within: tuple[EdgeKey, ...] = ()


@dataclass(frozen=True, slots=True)
class Failures:
    """Errors and missing work, as changes; rates of zero in both periods have no row.

    ``measured`` tells whether both periods' rollups tell what failed units and calls took.
    """

    measured: bool = True
    entries: tuple[EntryFailures, ...] = ()
    edges: tuple[EdgeFailures, ...] = ()
    origins: tuple[Origin, ...] = ()
    missing_work: tuple[MissingWork, ...] = ()

    @property
    def grown(self) -> tuple[EntryFailures, ...]:
        """Entries whose units fail significantly more often."""
        return tuple(entry for entry in self.entries if entry.rate.grew)


@dataclass(frozen=True, slots=True)
class Edge:
    """One edge's change; milliseconds are per unit of work, ``ci`` 95 % or None.

    ``share_ci`` is of the share's change, ``credited_ms_ci`` of the credited milliseconds.
    ``shrunk_ms`` is what noise leaves of the credited milliseconds; it ranks what is not significant.
    ``effects`` has the `EFFECTS` that could be told; they add up to ``credited_ms`` and transient.
    ``growth_pct_per_week`` (drift at equal load), ``load_elasticity``, ``headroom`` and
    ``weeks_to_wall`` are the load model's, None where not identifiable; ``headroom_at_least`` is what
    headroom is at least where nobody has seen the wall; ``evidence`` are sentences.
    Their ``ci`` are 80 %.  ``weeks_to_clock_wall`` is when the clock around it is three times its low-load
    value because of this edge: it is at its wall later than an edge that is a small part of it.
    ``change`` is None where no instant can be told: what creeps has none.
    ``standing`` is what the change amounts to; None where edges were added up to other rows.
    ``group_ms`` is base's clock of the groups of entries that it stands in, per unit of all, and the
    ``group_share`` its part of that; ``around_ms`` is the clock of all entries that are no slower than
    these; ``min_effect_ms`` is what its change was tested against, ``detectable_ms`` what would have shown,
    ``decided_by`` the test that ``credited_ms_ci`` and ``q_value`` are of, and ``rises_in`` are the
    entries (service, operation) that it adds at least so much to.
    ``failures`` is how often its calls fail; ``lost`` says why a fall is no improvement, or is empty.
    """

    unit: str
    kind: str
    caller: str
    callee: str | None
    operation: str | None
    uninstrumented: bool
    share_base: float
    share_head: float
    share_ci: tuple[float, float] | None
    own_ms_base: float
    own_ms_head: float
    inclusive_ms_base: float
    inclusive_ms_head: float
    credited_ms: float
    credited_ms_ci: tuple[float, float] | None
    shrunk_ms: float
    q_value: float | None
    significant: bool
    effects: dict[Effect, float]
    effects_ci: dict[Effect, tuple[float, float] | None]
    calls_per_unit_base: float
    calls_per_unit_head: float
    note: str | None
    exemplars_base: tuple[str, ...]
    exemplars_head: tuple[str, ...]
    growth_pct_per_week: float | None = None
    load_elasticity: float | None = None
    headroom: float | None = None
    headroom_at_least: float | None = None
    weeks_to_wall: float | None = None
    evidence: tuple[str, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    change: Change | None = None
    min_effect_ms: float = 0.0
    detectable_ms: float | None = None
    decided_by: DecidedBy = DecidedBy.MEANS
    group_ms: float | None = None
    around_ms: float | None = None
    group_share_base: float | None = None
    group_share_head: float | None = None
    rises_in: tuple[tuple[str, str], ...] | None = None
    standing: Standing | None = None
    failures: EdgeFailures | None = None
    missing_work: str = ""
    growth_pct_per_week_ci: tuple[float, float] | None = None
    headroom_ci: tuple[float, float | None] | None = None
    weeks_to_wall_ci: tuple[float | None, float | None] | None = None
    weeks_to_clock_wall: float | None = None

    @property
    def key(self) -> EdgeKey:
        """What names it."""
        return EdgeKey(self.unit, self.kind, self.caller, self.callee, self.operation)

    @property
    def name(self) -> str:
        """As a person would write it: ``orders -> postgresql/orders``."""
        return self.key.name


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry's change.

    ``rise_ms`` is that of its mean clock but for the mix inside it, with its 95 % interval ``rise_ms_ci``;
    ``detectable_ms`` the smallest rise that would have shown, None where nothing could be told; ``slower``
    how often one of its units in head takes longer than one in base; ``q_value`` is of a rise of its mean
    or its ranks, over all entries; ``units_seen`` as many as there were, in the period with fewer.
    """

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
    state: State
    rise_ms: float | None = None
    rise_ms_ci: tuple[float, float] | None = None
    detectable_ms: float | None = None
    slower: float | None = None
    q_value: float | None = None
    units_seen: float | None = None
    failures: EntryFailures | None = None
    ok_ms_base: float | None = None
    ok_ms_head: float | None = None


@dataclass(frozen=True, slots=True)
class Sign:
    """One stage of early warning: whether it shows, what is known either way, and whether anything is."""

    stage: int
    shown: bool
    words: str
    known: bool = True


_SIGNS: Final = {
    1: "latency creeps at peak",
    2: "a request costs more instances",
    3: "fewer versions are shipped",
}


def how_many(signs: Sequence[Sign]) -> str:
    """How many signs show, in words; empty when nothing is known of any."""
    shown = [sign for sign in signs if sign.shown]
    known = sum(sign.known for sign in signs)
    if not known:
        return ""
    if len(shown) == len(_SIGNS):
        return "early warning: all 3 signs show, so it is already there"
    told = ": " + ", ".join(_SIGNS[sign.stage] for sign in shown) if shown else ""
    unknown = f" ({len(_SIGNS) - known} not known)" if known < len(_SIGNS) else ""
    verb = "shows" if len(shown) == 1 else "show"
    return f"early warning: {len(shown) or 'none'} of 3 signs {verb}{told}{unknown}"


@dataclass(frozen=True, slots=True)
class Report:
    """What every surface renders.

    ``findings`` are the causes of growth, the first one first; each edge that grows is the cause of one or a
    victim in one.
    ``detectable_ms`` is the smallest rise at any edge, in ms per request, that would have shown; None where
    nothing could be told.
    ``clock`` has ``base_ms, head_ms, delta_ms, delta_mix_adjusted_ms, base_raw_ms, head_raw_ms``, and
    ``base_ok_ms, head_ok_ms`` of units that succeeded where these are known;
    ``other_clocks`` the same for message, detached and long-lived units, by unit.
    """

    environment: str
    notes: tuple[str, ...]
    base: Extent
    head: Extent
    clock: dict[str, float]
    other_clocks: dict[str, dict[str, float]]
    state: State
    stage: str | None
    reasons: tuple[str, ...]
    edges: tuple[Edge, ...]
    entries: tuple[Entry, ...]
    effects_total: dict[str, float]
    rejected: dict[str, int] = field(default_factory=dict[str, int])
    min_effect_ms: float = 0.0
    alpha: float = 0.05
    edges_in_all: int = 0
    patterns: tuple[Pattern, ...] = ()
    findings: tuple[Finding, ...] = ()
    detectable_ms: float | None = None
    failures: Failures = Failures()
    tails: tuple[Tail, ...] = ()
    carriers: Carriers | None = None
    signs: tuple[Sign, ...] = ()

    @property
    def grew(self) -> bool:
        """Whether anything grew significantly: latency, failures or a tail."""
        return bool(self.findings or self.failures.grown or any(tail.grew for tail in self.tails))
