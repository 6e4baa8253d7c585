"""The tail by itself: what only the slowest requests show is found without being asked for."""

from __future__ import annotations

import numpy as np
from simulated import Work, compare, query, serve

from tracescope.analysis.report import Report, State
from tracescope.report import diff_json
from tracescope.report import text as shown


def page(slow: float, times: float):  # type: ignore[no-untyped-def]
    """A page of 40 ms, of which a part takes so many times as long."""

    def program(rng: np.random.Generator, _: float) -> Work:
        factor = times if rng.random() < slow else 1.0
        return serve("shop", "GET /page", 20.0, [query("postgresql/shop", "SELECT page", 20.0 * factor)])

    return program


def ask(base: object, head: object) -> Report:
    return compare(base, head, hours=168, per_hour=12, jitter=0.15)  # type: ignore[arg-type]


def test_a_tail_that_grows_under_a_flat_mean_is_found() -> None:
    """Three in a hundred take three times as long: the mean moves by 3 %, p99 doubles."""
    report = ask(page(0.0, 1.0), page(0.03, 3.0))
    assert abs(report.clock["delta_ms"]) < 0.05 * report.clock["base_ms"]
    (tail,) = [tail for tail in report.tails if tail.q == 0.99]
    assert tail.flat
    assert tail.grew
    assert tail.ms_head > 1.6 * tail.ms_base
    assert tail.beyond.base < 0.011
    assert 0.025 < tail.beyond.head < 0.06
    assert report.state is State.DRIFTING
    assert any("p99" in reason and "flat" in reason for reason in report.reasons)
    made = diff_json(report)["tails"]
    assert {each["quantile"] for each in made} >= {0.99}
    assert "tail  shop GET /page: p99" in shown.diff_markdown(report)


def test_a_tail_that_stays_is_no_change() -> None:
    """A slow part that was there before is nobody's growth."""
    report = ask(page(0.03, 3.0), page(0.03, 3.0))
    assert report.tails == ()
    assert "tail  " not in shown.diff_markdown(report)


def test_a_tail_that_shrinks_is_told_in_json_and_raises_nothing() -> None:
    """Fewer slow requests: no alarm."""
    report = ask(page(0.08, 3.0), page(0.0, 1.0))
    assert report.tails
    assert not any(tail.grew for tail in report.tails)
    assert report.state is State.GROWTH_STABLE


def test_too_few_requests_have_no_tail() -> None:
    """Of a hundred requests p99 is one of them."""
    report = compare(page(0.0, 1.0), page(0.1, 3.0), hours=24, per_hour=4, jitter=0.15)
    assert not any(tail.q == 0.99 for tail in report.tails)
