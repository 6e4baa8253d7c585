"""Queues that remember: hours of waiting are load of the past, unless consumers got slower."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tracescope.analysis.capacity.arrivals import Arrivals
from tracescope.analysis.capacity.backlog import follow, remembers
from tracescope.analysis.capacity.walls import curve_of
from tracescope.schema import HOUR_NS

Floats = NDArray[np.float64]
DAYS = 10


def queue(seed: int, *, per_hour: float, work_s: float, sampled: float = 1.0, swing: float = 0.7) -> Arrivals:
    """One consumer's waits, message by message, in hours of a day with a busy half."""
    rng = np.random.default_rng(seed)
    hours = np.arange(DAYS * 24)
    came = rng.poisson(per_hour * (1 + swing * np.sin((hours % 24 - 9) / 24 * 2 * np.pi)))
    at = np.sort(np.concatenate([h * 3600 + rng.uniform(0, 3600, n) for h, n in enumerate(came)]))
    work = rng.gamma(10, work_s / 10, len(at))
    done = np.cumsum(work)
    before = np.concatenate([[0.0], done[:-1]])
    wait = np.maximum.accumulate(at - before) + before - at
    kept = rng.random(len(at)) < sampled
    hour = (at // 3600).astype(int)[kept]
    calls = np.bincount(hour, minlength=len(hours)).astype(float)
    waited = np.bincount(hour, weights=wait[kept], minlength=len(hours))
    some = calls > 0
    calls, waited = calls[some], waited[some]
    arrived = calls / sampled
    return Arrivals(
        hours[some] * HOUR_NS, HOUR_NS, calls, calls, np.maximum(waited / calls, 1.0), arrived / 3600, calls,
        0.1, arrived=arrived,
    )  # fmt: skip


@pytest.mark.parametrize("more", [1.0, 1.12])
@pytest.mark.parametrize("sampled", [1.0, 0.5])
def test_a_longer_backlog_of_more_messages_is_load(more: float, sampled: float) -> None:
    """BASE's consumers at their pace would make HEAD's waits of HEAD's messages, within four errors."""
    base = queue(1, per_hour=42.0, work_s=60.0, sampled=sampled)
    head = queue(2, per_hour=42.0 * more, work_s=60.0, sampled=sampled)
    found = follow(base, head)
    assert found is not None
    assert found.capacity == pytest.approx(1 / 60, rel=0.05)
    assert found.more == pytest.approx(more, rel=0.06)
    assert found.head_s == pytest.approx(found.expected_s, abs=4 * found.error_s)


def test_consumers_that_got_slower_are_growth() -> None:
    """The same messages wait far longer than BASE's pace explains."""
    found = follow(queue(1, per_hour=42.0, work_s=60.0), queue(2, per_hour=42.0, work_s=72.0))
    assert found is not None
    assert found.head_s > found.expected_s + 4 * found.error_s
    assert found.head_s > 1.5 * found.expected_s


def test_short_waits_remember_nothing_and_what_is_no_backlog_is_not_followed() -> None:
    """A minute in a queue is told by its hour; waits that do not follow the arrivals are no backlog."""
    calm = queue(1, per_hour=20.0, work_s=30.0, swing=0.2)
    assert not remembers(calm)
    base = queue(1, per_hour=42.0, work_s=60.0)
    assert remembers(base)
    rng = np.random.default_rng(3)
    strange = Arrivals(
        base.start_ns, HOUR_NS, base.calls, base.units, rng.uniform(0, 9000, len(base.calls)), base.load,
        base.counted, 0.1,
    )  # fmt: skip
    assert follow(strange, base) is None


def test_a_forecast_draws_no_curve_through_waits_of_the_past() -> None:
    """It says why instead."""
    base = queue(1, per_hour=42.0, work_s=60.0)
    found = curve_of(base, int(base.start_ns[-1]), waits=True)
    assert found.fitted is None
    assert "load of the past" in (found.reason or "")
