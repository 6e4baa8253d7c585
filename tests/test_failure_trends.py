"""Failures in a forecast: what grows is told with its trend, and is never growth-stable."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from rich.console import Console
from test_forecast import shop

from tracescope.analysis.capacity.curve import Curve
from tracescope.analysis.capacity.failure_trends import FailureTrend, failure_trends
from tracescope.analysis.capacity.forecast import forecast
from tracescope.analysis.capacity.forecast_verdict import EntryVerdict, outlook
from tracescope.analysis.report import State
from tracescope.report.forecast import forecast_json, forecast_text

FAR = Curve(0.01, 1000.0, 0.0)
WEEKS = 8


def told(rates: np.ndarray, seed: int = 2) -> tuple[FailureTrend | None, EntryVerdict, str]:
    """A quiet shop of which a part fails in each hour of `WEEKS`; its failures, verdict, and JSON."""
    period = shop(FAR, weeks=WEEKS, peak=0.1, seed=seed)
    hours = period.tables["entry_hours"].sort("slot")
    rng = np.random.default_rng(seed)
    errors = rng.binomial(hours["units"].to_numpy(), rates)
    hours = hours.with_columns(pl.Series("errors", errors, dtype=pl.Int64))
    whole = replace(period, tables={**period.tables, "entry_hours": hours})
    found = forecast(whole)
    verdict = outlook(found, whole)
    assert len(found.entries) == 1
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(forecast_text(found, verdict, top=5))
    told = f"{forecast_json(found, verdict)['entries']}\n{console.export_text()}"
    return found.entries[0].failures, verdict.entries[0], told


def weekly_rates(start: float, times: float) -> np.ndarray:
    """A rate that grows so many times a week."""
    return start * times ** (np.arange(WEEKS * 168) / 168)


def test_failures_that_grow_every_week_are_no_growth_stability_and_have_their_trend() -> None:
    """0.4 % and half as much again each week: drifting, and 50 % a week is inside the interval."""
    found, verdict, text = told(weekly_rates(0.004, 1.5))
    assert found is not None
    assert found.grows
    assert found.trend.interval is not None
    assert found.trend.interval[0] <= 50 <= found.trend.interval[1]
    assert verdict.state == State.DRIFTING
    assert "fail" in verdict.evidence[0]
    assert "'failures'" in text
    assert f"{found.before * 100:.2g} → " in text
    assert "% a week" in text


def test_failures_that_began_late_are_told_without_a_number_for_a_trend() -> None:
    """None for seven weeks, then one in fifty: what was before and is now, and no growth of nothing."""
    found, verdict, _ = told(np.where(np.arange(WEEKS * 168) >= 7 * 168, 0.02, 0.0))
    assert found is not None
    assert found.grows
    assert found.trend.pct_per_week is None
    assert found.now > found.before
    assert verdict.state == State.DRIFTING


@pytest.mark.parametrize("rate", [0.0, 0.002, 0.05])
def test_failures_as_before_change_no_verdict(rate: float) -> None:
    """The same rate every week, none of which grows in ten worlds."""
    for seed in range(10):
        found, verdict, _ = told(np.full(WEEKS * 168, rate), seed)
        assert (found is None) == (rate == 0.0)
        assert found is None or not found.grows
        assert verdict.state != State.DRIFTING


@pytest.mark.parametrize(("first", "last"), [(0, 100), (0, 1), (600, 672), (671, 672)])
def test_failures_of_an_entry_that_was_seen_in_a_part_of_the_time_are_no_growth(
    first: int, last: int
) -> None:
    """Where it was not seen nothing is known, and nothing is divided by that."""
    period = shop(FAR, weeks=4, peak=0.1)
    hours = period.tables["entry_hours"].with_columns(errors=pl.lit(3, pl.Int64))
    (found,) = failure_trends(period, hours.filter(pl.col("slot").is_between(first, last - 1))).values()
    assert not found.grows
    assert found.trend.pct_per_week is None


def test_an_outage_that_passed_is_no_growth() -> None:
    """A day of failures in the sixth of eight weeks."""
    at = np.arange(WEEKS * 168)
    found, _, _ = told(np.where((at >= 5.2 * 168) & (at < 5.2 * 168 + 20), 0.3, 0.001))
    assert found is not None
    assert not found.grows
