"""A slip of the keyboard gets the name that was meant: commands, edges, periods and marks."""

from __future__ import annotations

import pytest
from answered import edge
from click.testing import CliRunner

from tracescope.analysis.explain import choose
from tracescope.cli import VERBS, main
from tracescope.errors import PeriodError, UsageError
from tracescope.near import near, suggestion
from tracescope.periods import Context, parse

NOW = 1_795_737_600 * 10**9


def test_the_nearest_comes_first_and_what_is_far_is_not_offered() -> None:
    """Whatever the case of its letters."""
    assert near("Cartservise", ["cartservice", "adservice", "gateway"])[0] == "cartservice"
    assert near("zzz", ["cartservice"]) == []
    assert suggestion("zzz", ["cartservice"], "look there") == "look there"
    assert suggestion("gatway", ["gateway"], "") == "did you mean 'gateway'?"


@pytest.mark.parametrize(
    ("typed", "meant"), [("dif", "diff"), ("forcast", "forecast"), ("EXPLAIN", "explain")]
)
def test_a_mistyped_command_is_a_usage_error_with_the_right_one(typed: str, meant: str) -> None:
    """Exit code 2, on standard error."""
    result = CliRunner().invoke(main, [typed])
    assert result.exit_code == 2
    assert f"did you mean '{meant}'" in result.stderr
    assert "--help" in CliRunner().invoke(main, ["qqqqqq"]).stderr
    assert set(VERBS) >= {meant}


def test_a_mistyped_edge_gets_the_edge_that_was_meant() -> None:
    """With the arrow of a table as well."""
    edges = [edge("inventory -> postgresql/stock"), edge("cart -> pricing")]
    for typed in ("inventory -> postgres/stock", "inventry → postgresql/stock"):
        with pytest.raises(UsageError) as raised:
            choose(edges, typed)
        assert "'inventory -> postgresql/stock'" in (raised.value.hint or "")


def test_a_mistyped_period_gets_the_word_or_the_mark_that_was_meant() -> None:
    """Marks count as words do."""
    known = Context(NOW, "UTC", 1, NOW, {"release-1.4": NOW - 1})
    for typed, meant in (
        ("last-weeek", "last-week"),
        ("relase-1.4", "release-1.4"),
        ("relase-1.4/2026-11", "release-1.4"),
    ):
        with pytest.raises(PeriodError) as raised:
            parse(typed, known)
        assert f"'{meant}'" in (raised.value.hint or ""), typed
