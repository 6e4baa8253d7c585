"""What is so in an event-driven world: who did it, who suffers, what fails, and what must not be said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.worlds.events import Calendar, Simulation
from benchmarks.worlds.otlp import Spans
from benchmarks.worlds.parts import Change, System
from tracescope.schema import DAY_NS

#: Kind, caller, callee, operation; None matches anything.
Name = tuple[str | None, str | None, str | None, str | None]

#: Words for calls that grew in number.
MORE_CALLS: Final = ("more calls", "n+1", "fan-out widened")


@dataclass(frozen=True, slots=True)
class Wall:
    """A resource whose wall is known: one statement at so many servers, exponential work of so many ms."""

    edge: Name
    servers: int
    service_ms: float
    per_s: float


@dataclass(frozen=True, slots=True)
class Truth:
    """What is so.

    Attributes
    ----------
    causes
        Edges any of which is right as the first; none where nobody is to blame.
    besides
        Further causes: each must be the cause of a finding as well.
    mechanisms
        Words that are right for it, of `tracescope.analysis.report.Mechanism`; empty: any.
    victims
        Edges that suffer from it.
    never
        Edges that must not be told as a cause.
    fails
        Entries (service, operation) whose requests fail more than before.
    load
        Whether more load is so, and may be told.
    brings
        Edges that bring it, and may be told to keep what they call busier.
    wall
        A known one.
    """

    causes: tuple[Name, ...] = ()
    mechanisms: tuple[str, ...] = ()
    victims: tuple[Name, ...] = ()
    never: tuple[Name, ...] = ()
    fails: tuple[tuple[str, str], ...] = ()
    load: bool = False
    brings: tuple[Name, ...] = ()
    wall: Wall | None = None
    besides: tuple[Name, ...] = ()


@dataclass(frozen=True, slots=True)
class World:
    """One scenario of one seed."""

    name: str
    system: System
    changes: tuple[Change, ...]
    calendar: Calendar
    truth: Truth

    def spans(self, seed: int) -> Spans:
        """Its traces."""
        return Simulation(self.system, self.changes, self.calendar, seed).run()

    def peak(self, per_s: float) -> float:
        """The load that the busiest twentieth of the hours of the last week reach."""
        calendar = self.calendar
        late = sorted(calendar.demand(at) for at, _ in calendar.hours() if at >= calendar.end_ns - 7 * DAY_NS)
        return per_s * late[round(0.95 * (len(late) - 1))]


Draw = Callable[[float, float], float]
Author = Callable[[Draw], tuple[System, tuple[Change, ...], Calendar, Truth]]
