"""Consumers: why messages wait longer although no work on one takes longer.

    busy part of the consumers = messages an hour * work on one / (consumers * hour)

A queue backs up as the busy part nears one: more messages come, or fewer consumers take them.  How many
work on one instance at a time no trace says, so the part itself is not known, only what it grew by.

Source: design, section 7.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from tracescope.analysis.attribution.courses import Course
from tracescope.analysis.report import EdgeKey
from tracescope.analysis.rollups.instances import fleets
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.schema import HOUR_NS

#: Messages that grew, and instances that fell, by less than this part explain no wait.
CLEARLY: Final = 0.05


class Consumers(NamedTuple):
    """Messages of a queue an hour, base and head, and live instances of what takes them, where known."""

    messages: tuple[float, float]
    instances: tuple[float, float] | None

    @property
    def fewer(self) -> bool:
        """Whether clearly fewer instances take messages."""
        return self.instances is not None and self.instances[1] < (1 - CLEARLY) * self.instances[0]

    @property
    def busier(self) -> bool:
        """Whether clearly more messages come."""
        return self.messages[1] > (1 + CLEARLY) * self.messages[0]

    def clause(self, wait: EdgeKey) -> str:
        """Why messages wait, in a clause."""
        before, now = self.messages
        if self.fewer and self.instances is not None:
            return f"{wait.callee} runs on {self.instances[0]:.3g} → {self.instances[1]:.3g} instances"
        if self.busier:
            return (
                f"{now / before - 1:.0%} more messages come" if before > 0 else "messages come that did not"
            )
        return f"{wait.callee} takes messages later than they come"


def consumers(
    wait: EdgeKey, course: Course | None, periods: tuple[PeriodRollups, PeriodRollups]
) -> Consumers:
    """What is known of the consumers of a queue, by its wait."""
    messages = (0.0, 0.0) if course is None else course.rate
    live = [_instances(wait.callee or "", period) for period in periods]
    before, now = live
    return Consumers(messages, None if before is None or now is None else (before, now))


def _instances(service: str, period: PeriodRollups) -> float | None:
    """Mean live instances of a service in a period; None where its resources name none."""
    if "service_hours" not in period.tables or period.slot_ns < HOUR_NS:
        return None
    found = fleets(period.tables["service_hours"], [service]).get(service)
    if found is None:
        return None
    return float(found.between(np.array([period.start_ns]), np.array([period.end_ns]))[0])
