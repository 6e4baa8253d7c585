"""Stores that earlier versions wrote: they open, they are read as they are, and what can be made anew is.

`data/store-v1` says what the one of schema version 1 holds.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from stores import DAY, HOUR, HOUR_OF_DAY, land, many

from tracescope import schema
from tracescope.analysis.diff import Options
from tracescope.cli import main
from tracescope.engine.compare import compare_sides, read_sides
from tracescope.engine.graph import map_period
from tracescope.engine.rebuild import rebuild
from tracescope.engine.rollups import RollupRequest, rollups
from tracescope.engine.seal import seal
from tracescope.engine.upkeep import prune, status, verify
from tracescope.periods import Period
from tracescope.store import SpanStore, open_store

DATA = Path(__file__).parent / "data"
#: Days that the store holds spans of, by their first hour.
DAYS = DAY, DAY + 24 * HOUR, DAY + 48 * HOUR
RULES = f"versions 1 and {schema.RULES} of the rules"


@pytest.fixture
def former(tmp_path: Path) -> SpanStore:
    """The store of schema version 1."""
    with tarfile.open(DATA / "store-v1" / "store.tar.xz") as packed:
        packed.extractall(tmp_path, filter="data")
    return open_store(tmp_path / "store")


def units(store: SpanStore, day: int) -> int:
    return int(rollups(store, RollupRequest(day, day + 24 * HOUR)).tables["entry_hours"]["units"].sum())


def notes(store: SpanStore, base: tuple[int, int], head: tuple[int, int]) -> str:
    """What a diff of two spans of hours of the store's first day remarks."""
    periods = [Period(DAY + a * HOUR, DAY + b * HOUR, "some hours") for a, b in (base, head)]
    report = compare_sides(store, read_sides(store, *periods, zone="UTC"), Options(zone="UTC"))
    return "\n".join(report.notes)


def test_a_store_of_version_1_is_read_as_it_is(former: SpanStore) -> None:
    """Sealed, landed, marked; nothing is written by looking."""
    before = (former.root / "CURRENT.json").read_bytes()
    found = status(former)
    assert (found.accepted, found.stored, found.units) == (182, 182, 49)
    assert [units(former, day) for day in DAYS] == [25, 24, 12]
    assert former.marks() == {"release": DAY + 24 * HOUR}
    assert {state.rules for state in former.sealed.pointer().hours.values()} == {1}
    assert verify(former) == []
    assert (former.root / "CURRENT.json").read_bytes() == before


def test_what_is_sealed_into_a_store_of_version_1_counts_beside_what_was(former: SpanStore) -> None:
    """Hours sealed now are of today's rules; hours of version 1 that nothing reaches stay what they are."""
    seal(former)
    land(former, many(2, hours=1, name="X"), "of a closed hour")
    seal(former)
    rules = {hour: state.rules for hour, state in former.sealed.pointer().hours.items()}
    assert rules[HOUR_OF_DAY + 48] == schema.RULES
    assert rules[HOUR_OF_DAY + 8] == rules[HOUR_OF_DAY + 13] == rules[HOUR_OF_DAY + 38] == 1
    found = status(former)
    assert (found.accepted, found.stored, found.rejected) == (182, 182, {"hour_closed": 6})
    assert [units(former, day) for day in DAYS] == [25, 24, 12]
    assert verify(former) == []


def test_periods_that_different_rules_made_are_compared_with_a_remark(former: SpanStore) -> None:
    """Either period alone, one of each, or one of both; a graph and a forecast say so as well."""
    assert "rules" not in notes(former, (0, 24), (24, 46))
    assert RULES in notes(former, (0, 24), (48, 72))
    assert RULES in notes(former, (24, 72), (0, 24))
    assert "tracescope rebuild" in notes(former, (0, 24), (48, 72))
    whole = map_period(former, Period(DAY, DAY + 72 * HOUR, "three days"), "dependency")
    assert any(RULES in note for note in whole.notes)


def test_a_rebuild_makes_anew_what_raw_spans_give_and_says_what_it_cannot(former: SpanStore) -> None:
    """Three hours of version 1 have their spans; two are closed and stay, with the remark."""
    done = rebuild(former)
    assert (done.hours, done.left) == (4, 2)
    assert "rules" not in notes(former, (24, 48), (48, 72))
    assert RULES in notes(former, (0, 12), (48, 72))
    assert [units(former, day) for day in DAYS] == [25, 24, 12]
    assert verify(former) == []
    told = CliRunner().invoke(main, ["rebuild", "--store", str(former.root)])
    assert "2 hours stay as an earlier version made them" in told.stderr


def test_files_of_a_table_that_nobody_reads_any_more_go(former: SpanStore) -> None:
    """With the files that a prune removes."""
    assert (former.root / "sealed" / "edge_load").is_dir()
    prune(former, now_ns=DAY, spans_days=365, rollups_days=800)
    assert not (former.root / "sealed" / "edge_load").exists()
    assert verify(former) == []
    said = json.loads((former.root / "CURRENT.json").read_bytes())
    assert said["schema"] == schema.SCHEMA_VERSION
