"""Backlogs: a wait longer than the slot that load is counted in comes from earlier load.

Where messages wait for hours, the arrivals of an hour say nothing about its wait: what came before does.
So a wait is followed as a backlog that arrivals fill and consumers empty,

    backlog(t + 1) = max(backlog(t) + arrivals(t) - capacity, 0)
    wait(t) = usual + backlog(t) / capacity

with the one capacity that makes BASE's waits most like those seen.  What HEAD's arrivals make of it
is load; what is seen beyond is growth.  The error is a jackknife over BASE's days.

Source: Newell, "Applications of Queueing Theory", 1982, chapter 2 (fluid approximation of a queue that is
overloaded for a time); Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, section 11.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tracescope.analysis.capacity.arrivals import Arrivals

Floats = NDArray[np.float64]

#: Waits are a backlog where a tenth of the messages waits for longer than this part of a slot.
LONG_PART: Final = 0.5
LONG_SHARE: Final = 0.1
#: Capacities that are tried, over the mean arrivals, and the part of the waits' variance to be explained.
CAPACITIES: Final = np.geomspace(0.9, 4.0, 400)
EXPLAINED: Final = 0.5
FEWEST_DAYS: Final = 4


class Backlog(NamedTuple):
    """What two periods' arrivals make of BASE's capacity.

    ``base_s`` and ``head_s`` are the mean waits seen, ``expected_s`` HEAD's at BASE's capacity, with its
    standard error; ``capacity`` is in messages a second, ``more`` HEAD's arrivals over BASE's.
    """

    base_s: float
    head_s: float
    expected_s: float
    error_s: float
    capacity: float
    more: float


def remembers(arrivals: Arrivals) -> bool:
    """Whether messages wait for so long that the slots they came in do not tell their load."""
    late = arrivals.self_s > LONG_PART * arrivals.slot_ns / 1e9
    return bool(arrivals.calls[late].sum() >= LONG_SHARE * arrivals.calls.sum())


def follow(base: Arrivals, head: Arrivals) -> Backlog | None:
    """BASE's backlog, and what HEAD's arrivals make of it; None where no backlog explains BASE's waits.

    Parameters
    ----------
    base, head
        A queue's wait in each period.
    """
    before, after = _Slots.of(base), _Slots.of(head)
    mean = float(before.arrived.mean())
    if mean <= 0 or after.arrived.sum() <= 0:
        return None
    capacities = CAPACITIES * mean
    waits = _waits(before.arrived, capacities, before.slot_s)
    usual = float(np.quantile(before.wait_s[before.calls > 0], 0.1))
    off = ((waits + usual - before.wait_s) ** 2) * before.calls
    middle = np.average(before.wait_s, weights=before.calls)
    spread = float(((before.wait_s - middle) ** 2) @ before.calls)
    best = int(np.argmin(off.sum(axis=1)))
    days = np.unique(before.day)
    if len(days) < FEWEST_DAYS or off[best].sum() > (1 - EXPLAINED) * spread:
        return None
    expected = _waits(after.arrived, capacities, after.slot_s) @ after.calls / after.calls.sum() + usual
    by_day = np.stack([off[:, before.day == day].sum(axis=1) for day in days])
    without = expected[np.argmin(by_day.sum(axis=0) - by_day, axis=1)]
    n = len(days)
    error = math.sqrt((n - 1) / n * float(((without - without.mean()) ** 2).sum()))
    return Backlog(
        float(middle),
        float(np.average(after.wait_s, weights=after.calls)),
        float(expected[best]),
        error,
        float(capacities[best]) / before.slot_s,
        float(after.arrived.mean()) / mean,
    )


class _Slots(NamedTuple):
    """Every slot of a period ``(n,)``, empty ones too: arrivals, and the mean wait of what came."""

    arrived: Floats
    calls: Floats
    wait_s: Floats
    day: NDArray[np.int64]
    slot_s: float

    @classmethod
    def of(cls, arrivals: Arrivals) -> _Slots:
        number = (arrivals.start_ns - arrivals.start_ns[0]) // arrivals.slot_ns
        n = int(number[-1]) + 1
        slot_s = arrivals.slot_ns / 1e9
        arrived, calls, wait = np.zeros(n), np.zeros(n), np.zeros(n)
        arrived[number] = arrivals.calls if arrivals.arrived is None else arrivals.arrived
        calls[number], wait[number] = arrivals.calls, arrivals.self_s
        per_day = max(round(24 * 3600 / slot_s), 1)
        return cls(arrived, calls, wait, np.arange(n) // per_day, slot_s)


def _waits(arrived: Floats, capacities: Floats, slot_s: float) -> Floats:
    """Wait of what comes amid each slot ``(k, n)``, for capacities ``(k,)`` in messages a slot."""
    net = np.cumsum(arrived[None, :] - capacities[:, None], axis=1)
    left = net - np.minimum(np.minimum.accumulate(net, axis=1), 0.0)  # a walk reflected at an empty queue
    found = np.concatenate([np.zeros((len(capacities), 1)), left[:, :-1]], axis=1)
    return (found + left) / 2 / capacities[:, None] * slot_s
