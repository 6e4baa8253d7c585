"""What an event-driven world is made of, as data, and what changes in it when.

Every part has a name; a `Change` names a part, one of its fields, and what becomes of it:

    Change("postgresql/stock UPDATE stock", "ms", times=2.0)            from HEAD's first instant
    Change("orders POST /orders > cart GET /cart", "times", to=4.0, since=0.5)     from the middle of HEAD
    Change("users POST /orders", "per_s", times=1.5, ramp=True)         growing over HEAD
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Service:
    """Instances that serve; `threads` and `cores` of each, None for as many as are asked for.

    ``canary`` is the part of instances that run the next version, whose own work takes ``canary_times``
    as long.  ``shown`` is the name in its traces.
    """

    name: str
    instances: int = 2
    threads: int | None = None
    cores: int | None = None
    canary: float = 0.0
    canary_times: float = 1.0
    version: str = "1.4.0"
    shown: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """What a service does for a call: own work, with steps between.

    ``fails`` is the probability that it gives up with an error after ``fails_after`` of its steps.
    """

    service: str
    operation: str
    own_ms: float
    steps: tuple[str, ...] = ()
    fails: float = 0.0
    fails_after: int = 0

    @property
    def name(self) -> str:
        """As calls name it."""
        return f"{self.service} {self.operation}"


@dataclass(frozen=True, slots=True)
class Step:
    """Calls made one after another, or at once."""

    name: str
    calls: tuple[str, ...]
    parallel: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A caller's call of an operation, a statement or a topic.

    Attributes
    ----------
    times
        Mean calls for one visit; the part after the point is a probability.
    pool, pool_inside
        The caller's pool of connections, and whether waiting for one is inside the client's span.
    timeout_ms, retries, backoff_ms, jitter
        When the caller gives up, how often it tries again, its pause before, and the part of that which chance
        adds or takes away.
    optional
        Whether the caller goes on when the call has failed.
    """

    caller: str
    to: str
    times: float = 1.0
    gap_ms: float = 0.4
    pool: str | None = None
    pool_inside: bool = True
    timeout_ms: float | None = None
    retries: int = 0
    backoff_ms: float = 10.0
    jitter: float = 0.0
    optional: bool = False

    @property
    def name(self) -> str:
        """As steps name it."""
        return f"{self.caller} > {self.to}"


@dataclass(frozen=True, slots=True)
class Statement:
    """Work at a database or outside, which sends no spans of its own.

    Attributes
    ----------
    ms, spread
        Mean of its work, and the standard deviation over the mean: 1 is exponential, else lognormal.
    pool
        Cores that it needs while it works.
    lock, rows
        A lock that it holds while it works, one of so many rows.
    fails
        Probability of an error, which comes at once.
    """

    callee: str
    operation: str
    ms: float
    kind: str = "db"
    spread: float = 1.0
    pool: str | None = None
    lock: str | None = None
    rows: int = 1
    fails: float = 0.0

    @property
    def name(self) -> str:
        """As calls name it."""
        return f"{self.callee} {self.operation}"


@dataclass(frozen=True, slots=True)
class Topic:
    """A queue with its consumers; publishing waits while ``bound`` messages lie in it."""

    name: str
    consumer: str
    consumers: int
    publish_ms: float = 1.0
    bound: int | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """Places of a pool that several share."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Users:
    """Arrivals at an operation, in the mean hour of the first week; ``tenants`` are parts of them.

    ``heavy`` are factors of a tenant's calls: a tenant with more data makes more of each call in
    ``heavy_calls``.
    """

    operation: str
    per_s: float
    tenants: tuple[float, ...] = ()
    heavy: tuple[float, ...] = ()
    heavy_calls: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As changes name it."""
        return f"users {self.operation}"


Part = Service | Operation | Step | Call | Statement | Topic | Size | Users


@dataclass(frozen=True, slots=True)
class Change:
    """One field of one part, from an instant of HEAD on; `since` and `until` are parts of HEAD.

    A negative `since` lies in BASE, -1 at its start.  With `ramp` it comes bit by bit until the end.
    """

    of: str
    field: str
    to: Any = None
    times: float | None = None
    since: float = 0.0
    until: float = 1.0
    ramp: bool = False

    def applied(self, part: Part, at: float) -> Part:
        """The part at an instant, in parts of HEAD."""
        if not self.since <= at < self.until:
            return part
        done = (at - self.since) / (self.until - self.since) if self.ramp else 1.0
        old = getattr(part, self.field)
        if self.times is not None:
            new = old * (1 + (self.times - 1) * done)
            return replace(part, **{self.field: round(new) if isinstance(old, int) else new})
        if isinstance(self.to, float) and isinstance(old, float):
            return replace(part, **{self.field: old + (self.to - old) * done})
        return replace(part, **{self.field: self.to})


@dataclass(frozen=True, slots=True)
class System:
    """Parts by name."""

    parts: Mapping[str, Part] = field(default_factory=dict[str, Part])

    @classmethod
    def of(cls, parts: Iterable[Part]) -> System:
        """Of parts that name each other.

        Raises
        ------
        ValueError
            Two have one name, or a call, step or topic names what is not there.
        """
        found: dict[str, Part] = {}
        for part in parts:
            if part.name in found:
                raise ValueError(f"two parts are called {part.name!r}")
            found[part.name] = part
        for part in found.values():
            for name in _named(part):
                if name not in found:
                    raise ValueError(f"{part.name!r} names {name!r}, which is not there")
        return cls(found)

    def at(self, changes: Iterable[Change], when: float) -> System:
        """As it is at an instant, in parts of HEAD."""
        parts = dict(self.parts)
        for change in changes:
            parts[change.of] = change.applied(parts[change.of], when)
        return System(parts)

    def having(self, *parts: Part) -> System:
        """With some parts more, or in place of those of the same name."""
        return System.of({**self.parts, **{part.name: part for part in parts}}.values())


def _named(part: Part) -> list[str]:
    """Other parts that a part names."""
    if isinstance(part, Operation):
        return [part.service, *part.steps]
    if isinstance(part, Step):
        return list(part.calls)
    if isinstance(part, Call):
        return [part.caller, part.to, *([part.pool] if part.pool else [])]
    if isinstance(part, Statement):
        return [part.pool] if part.pool else []
    if isinstance(part, Topic):
        return [part.consumer]
    return [part.operation, *part.heavy_calls] if isinstance(part, Users) else []
