"""A clock that jumps: nothing is removed by age until it is known to be right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from receivers import Running, eventually, request
from stores import ARRIVED, DAY, HOUR, land, many, new_store, spans

from tracescope.cli import main, shell
from tracescope.engine import clock
from tracescope.engine.clock import HELD_S, Clock, doubt, note
from tracescope.engine.seal import seal
from tracescope.serving import runtime
from tracescope.store import SpanStore

LEAP = 400 * 24 * HOUR


@pytest.fixture
def store(tmp_path: Path) -> SpanStore:
    """A sealed store whose spans arrived the day after."""
    made = new_store(tmp_path / "store")
    land(made, many(60), "one")
    seal(made)
    return made


def test_a_clock_far_ahead_of_all_that_the_store_saw_is_doubted(store: SpanStore) -> None:
    """Of what it saw: when spans arrived, and what it wrote down, where that can be read."""
    assert doubt(store, ARRIVED) == doubt(store, ARRIVED + 47 * HOUR) == doubt(store, ARRIVED - LEAP) == ""
    assert "400 days after this store saw it last" in doubt(store, ARRIVED + LEAP)
    note(store, ARRIVED + LEAP)
    assert doubt(store, ARRIVED + LEAP + HOUR) == ""
    (store.root / clock.FILE).write_text("{")
    assert doubt(store, ARRIVED + LEAP + HOUR) != ""


def test_spans_that_are_as_late_make_a_clock_believed(store: SpanStore) -> None:
    """Senders have clocks of their own."""
    late = spans("L web GET 08:00:00 +1s").with_columns(start_ns=DAY + LEAP, end_ns=DAY + LEAP + HOUR)
    land(store, late, "late", ARRIVED)
    assert doubt(store, ARRIVED + LEAP) != "", "a single span of a year later is a stray"
    seal(store)
    land(store, many(60, name="M").with_columns(pl_shift(LEAP)), "later", ARRIVED)
    assert doubt(store, ARRIVED + LEAP - 10 * HOUR) == ""


def pl_shift(by: int):
    import polars as pl

    return pl.col("start_ns", "end_ns") + by


def test_a_clock_is_believed_once_it_has_gone_on_evenly_for_a_day(store: SpanStore) -> None:
    """And not before, nor when it jumps again; back to where it was it is believed at once."""
    seen = Clock(store)
    at = ARRIVED + LEAP
    seen.look(at, 0.0)
    assert seen.doubt
    seen.look(at + 23 * HOUR, 23 * 3600.0)
    assert seen.doubt
    seen.look(at + 60 * HOUR, HELD_S)  # another jump begins the day anew
    assert seen.doubt
    seen.look(at + 83 * HOUR, HELD_S + 23 * 3600)
    assert seen.doubt
    seen.look(at + 84 * HOUR, HELD_S + 24 * 3600)
    assert not seen.doubt
    other = Clock(store)
    note(store, ARRIVED)
    other.look(ARRIVED + LEAP, 0.0)
    assert other.doubt
    other.look(ARRIVED + HOUR, 10.0)
    assert not other.doubt


def test_prune_refuses_a_leap_and_does_as_it_is_told(store: SpanStore, monkeypatch) -> None:
    """The sentence says what to do; status says it too, and removes nothing."""
    monkeypatch.setattr(shell, "now_ns", lambda: ARRIVED + LEAP)
    told = CliRunner().invoke(main, ["prune", "--store", str(store.root)])
    assert told.exit_code == 1
    assert "days after this store saw it last" in told.stderr
    assert "--trust-clock" in told.stderr
    assert "clock" in CliRunner().invoke(main, ["status", "--store", str(store.root)]).stdout
    assert store.sealed.pointer().closed() == []
    CliRunner().invoke(main, ["prune", "--trust-clock", "--store", str(store.root)])
    assert len(store.sealed.pointer().closed()) == 3
    assert CliRunner().invoke(main, ["prune", "--store", str(store.root)]).exit_code == 0


def test_a_receiver_whose_clock_jumped_accepts_says_so_and_removes_nothing(store, monkeypatch) -> None:
    """In /readyz and in the log."""
    monkeypatch.setattr(runtime, "SEAL_EVERY_S", 0.2)
    monkeypatch.setattr(runtime, "PRUNE_EVERY_S", 0.2)
    note(store, ARRIVED - LEAP)  # so that today is as far ahead as after a leap
    with Running(store.root) as receiver:
        eventually(lambda: "clock_doubted" in receiver.log.getvalue(), "the leap is told")
        ready, reasons = receiver.runtime.readiness()
        assert ready
        assert any("nothing is removed by age" in reason for reason in reasons)
        receiver.send(request(0, 5))
    assert store.sealed.pointer().closed() == []
    assert not [line for line in receiver.log.getvalue().splitlines() if json.loads(line).get("pruned_hours")]
