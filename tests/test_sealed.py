"""Sealed tables against a plain model: files are merged, split and cleared away, rows stay what they are."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from stores import ARRIVED, HOUR, land, many, new_store, sealed_checksum

from tracescope import schema
from tracescope.engine.seal import seal
from tracescope.engine.slices import runs
from tracescope.engine.upkeep import verify
from tracescope.errors import StoreError
from tracescope.store import sealed as module
from tracescope.store.pointer import Pointer
from tracescope.store.sealed import READERS_S, Rewrite, Sealed

TABLE = "counters"


def rows(counts: dict[int, int]) -> pl.DataFrame:
    """So many rows of some slots."""
    made = [(slot, f"reason {number}", number) for slot, count in counts.items() for number in range(count)]
    return pl.DataFrame(made, schema=schema.dtypes(schema.COUNTERS), orient="row")


class Tables(RuleBasedStateMachine):
    """Rows of slots are put and replaced, published or not; what counts is what was published."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="tracescope-")
        self.sealed = Sealed(Path(self.folder.name))
        self.published: dict[int, int] = {}

    @initialize()
    def create(self) -> None:
        self.sealed.create()

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(
        counts=st.dictionaries(st.integers(0, 40), st.integers(0, 5), max_size=8),
        gone=st.sets(st.integers(0, 40), max_size=4),
        published=st.booleans(),
    )
    def replace(self, counts: dict[int, int], gone: set[int], published: bool) -> None:
        pointer = self.sealed.settle()
        self.sealed.replace(pointer, TABLE, rows(counts), {*counts, *gone})
        if published:
            self.sealed.publish(pointer)
            left = {slot: count for slot, count in self.published.items() if slot not in gone}
            self.published = {**left, **counts}

    @rule()
    def vacuum(self) -> None:
        pointer = self.sealed.pointer()
        self.sealed.vacuum(pointer)
        files = {str(path.relative_to(self.sealed.folder)) for path in self.sealed.folder.rglob("*.parquet")}
        assert files == {file.path for file in pointer.files.get(TABLE, ())}

    @rule(begin=st.integers(0, 40), length=st.integers(1, 10))
    def read_some(self, begin: int, length: int) -> None:
        """Files that are left out hold no row that is asked for."""
        slots = range(begin, begin + length)
        found = self.sealed.scan(self.sealed.pointer(), TABLE, (slots[0], slots[-1])).collect()
        held = {slot: count for slot, count in self.published.items() if slot in slots}
        assert found.filter(pl.col("slot").is_in(slots)).sort("slot", "reason").equals(rows(sorted_by(held)))

    @invariant()
    def holds_what_was_published(self) -> None:
        pointer = self.sealed.pointer()
        found = self.sealed.scan(pointer, TABLE).collect().sort("slot", "reason")
        assert found.equals(rows(sorted_by(self.published)))
        for file in pointer.files.get(TABLE, ()):
            held = pl.read_parquet(self.sealed.folder / file.path)
            bounds = held["slot"].min(), held["slot"].max()
            assert (len(held), *bounds) == (file.rows, file.first, file.last)
            assert held["slot"].is_sorted()
            assert (file.size, file.check) == module.checksum_of(self.sealed.folder / file.path)
        assert len(pointer.files.get(TABLE, ())) <= 3 * module.MERGE_BEYOND


def sorted_by(counts: dict[int, int]) -> dict[int, int]:
    return dict(sorted(counts.items()))


TestTables = Tables.TestCase
TestTables.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge and cut where a few rows suffice to see it."""
    monkeypatch.setattr(module, "MERGE_BEYOND", 3)
    monkeypatch.setattr(module, "_ROLLUPS", module._Form(20, (4, 12), 8, 2**62))


def test_a_file_is_cut_between_hours_and_a_full_hour_stands_alone(tmp_path: Path, monkeypatch) -> None:
    """Spans of an hour that is large enough share their file with no other hour's."""
    monkeypatch.setattr(module, "_ROLLUPS", module._Form(10, (), 8, 5))
    made = Sealed(tmp_path)
    made.create()
    files = made.put(TABLE, rows({1: 2, 2: 2, 3: 7, 4: 3, 5: 4, 6: 4}))
    assert [(file.first, file.last, file.rows) for file in files] == [
        (1, 2, 4),
        (3, 3, 7),
        (4, 5, 7),
        (6, 6, 4),
    ]


def test_rows_gathered_for_one_publication_are_seen_by_what_is_gathered_next(tmp_path: Path) -> None:
    """In place of what was published of their hours, and in those hours only."""
    made = Sealed(tmp_path)
    made.create()
    pointer = made.settle()
    made.replace(pointer, TABLE, rows({1: 2, 2: 2}), ())
    made.publish(pointer)
    rewrite = Rewrite(made, made.settle())
    empty = {name: schema.empty(table) for name, table in {**schema.ROLLUPS, **schema.DIMENSIONS}.items()}
    rewrite.add({**empty, TABLE: rows({2: 1, 3: 1})}, {2, 3, 4})
    assert rewrite.scan(TABLE, (1, 3)).collect().sort("slot", "reason").equals(rows({1: 2, 2: 1, 3: 1}))
    assert made.scan(rewrite.pointer, TABLE).collect().height == 4
    rewrite.write()
    assert made.scan(rewrite.pointer, TABLE).collect().sort("slot", "reason").equals(rows({1: 2, 2: 1, 3: 1}))
    assert made.scan(made.pointer(), TABLE).collect().height == 4


def test_what_a_killed_sealing_left_goes_once_no_reader_can_want_it(tmp_path: Path) -> None:
    """Nobody names it; it may be what a reader began to read ten minutes ago."""
    made = Sealed(tmp_path)
    made.create()
    (file,) = made.put(TABLE, rows({1: 1}))
    assert made.vacuum(made.pointer(), readers_s=READERS_S) == 0
    at = (made.folder / file.path).stat().st_mtime - READERS_S - 1
    os.utime(made.folder / file.path, (at, at))
    assert made.vacuum(made.pointer(), readers_s=READERS_S) == 1


@pytest.mark.parametrize("at", [0, 9, 12, 40, -1])
def test_a_pointer_whose_text_is_not_its_checksums_is_refused(tmp_path: Path, at: int) -> None:
    """One byte, wherever it is; the log of publications still has the whole of it."""
    made = Sealed(tmp_path)
    made.create()
    path = tmp_path / module.POINTER
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"CURRENT\.json is damaged"):
        made.pointer()
    assert next(made.logged()).sequence == 1
    assert Pointer.load(next((made.folder / module.LOG).iterdir()).read_bytes(), path).sequence == 1


@pytest.mark.parametrize(
    ("hours", "held", "wanted"),
    [
        ([], [], []),
        ([5], [], [(5, 6)]),
        ([1, 2, 5], [], [(1, 3), (5, 6)]),
        ([1, 2, 5], [1, 2, 5], [(1, 6)]),
        ([1, 2, 5], [1, 2, 4, 5], [(1, 3), (5, 6)]),
        ([1, 3, 9], [0, 1, 3, 6, 9, 11], [(1, 4), (9, 10)]),
    ],
)
def test_a_run_goes_on_over_hours_that_hold_nothing(hours, held, wanted) -> None:
    """And never over one that holds something which is not to be sealed."""
    assert list(runs(hours, held)) == wanted


def test_hours_that_lie_apart_take_as_few_files_as_hours_that_do_not(tmp_path: Path) -> None:
    """Forty hours two days apart, sealed at once and one by one: the same rollups in few files."""
    apart = pl.concat(
        [
            many(2, hours=1, name=f"N{number}").with_columns(
                pl.col("start_ns", "end_ns") + number * 48 * HOUR
            )
            for number in range(40)
        ]
    )
    at_once, one_by_one = new_store(tmp_path / "once"), new_store(tmp_path / "each")
    land(at_once, apart, "all")
    seal(at_once)
    pointer = at_once.sealed.pointer()
    assert len(pointer.hours) == 40
    assert [len(files) for name, files in pointer.files.items() if name == "spans"] == [1]
    for number, part in enumerate(apart.iter_slices(6)):
        land(one_by_one, part, f"part {number}", ARRIVED + number)
        seal(one_by_one)
    assert sealed_checksum(one_by_one) == sealed_checksum(at_once)
    files = one_by_one.sealed.pointer().files
    assert max(map(len, files.values())) <= 3 * 8
    assert verify(one_by_one) == verify(at_once) == []
