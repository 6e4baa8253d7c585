"""The store: whatever happens to a writer, readers see the old state or the new one."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import stores
from buckets import everywhere
from stores import ARRIVED, DAY, HOUR, HOUR_OF_DAY, land, many, new_store, request, sealed_checksum, spans

from tracescope import schema
from tracescope.conventions import keeping
from tracescope.engine import import_files as importing
from tracescope.engine.import_files import import_files
from tracescope.engine.rebuild import rebuild
from tracescope.engine.rollups import RollupRequest, rollups, trace_spans
from tracescope.engine.seal import seal
from tracescope.engine.unlanded import Batch, Unlanded
from tracescope.engine.upkeep import prune, reclaim, verify
from tracescope.errors import InputError, StoreBusyError, StoreError
from tracescope.schema import SCHEMA_VERSION
from tracescope.store import SpanStore, open_store
from tracescope.store.pointer import HourState

DATA = Path(__file__).parent / "data"


def environment() -> dict[str, str]:
    """Child processes find the tests' own modules too."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def units(store: SpanStore, start_ns: int = DAY, end_ns: int = DAY + 24 * HOUR) -> int:
    """Units of work of the day, as a diff would count them."""
    return int(rollups(store, RollupRequest(start_ns, end_ns)).tables["entry_hours"]["units"].sum())


# -- what belongs where --


@everywhere
@pytest.mark.usefixtures("where")
def test_a_trace_that_crosses_an_hour_belongs_to_the_hour_in_which_it_starts(tmp_path: Path) -> None:
    """All its spans, and its unit of work."""
    store = new_store(tmp_path / "store")
    land(store, spans("A web GET 10:59:58 +4s\n  A orders list 11:00:00 +1s"), "one")
    for sealed in (False, True):
        if sealed:
            seal(store)
        hours = rollups(store, RollupRequest(DAY, DAY + 24 * HOUR)).tables["entry_hours"]
        assert hours.select("slot", "units", "incomplete").rows() == [(HOUR_OF_DAY + 10, 1, 0)]
        assert units(store, DAY + 10 * HOUR, DAY + 11 * HOUR) == 1
    assert store.sealed.pointer().hours == {HOUR_OF_DAY + 10: HourState(2, ARRIVED, has_raw=True)}


@everywhere
@pytest.mark.usefixtures("where")
def test_late_spans_reopen_the_hour_and_give_what_one_landing_would(tmp_path: Path) -> None:
    """A child that lands after sealing, an hour on; a root that lands before its children's hour."""
    whole = spans("A web GET 10:59:58 +4s\n  A orders list 11:00:00 +2s\n    A stock read 11:00:00 +1s")
    at_once, late = new_store(tmp_path / "once"), new_store(tmp_path / "late")
    land(at_once, whole, "all")
    seal(at_once)
    for number in (1, 2, 0):
        land(late, whole[number : number + 1], f"part{number}")
        seal(late)
    assert sealed_checksum(late) == sealed_checksum(at_once)
    assert late.status().stored == 3
    assert late.landing.files() == {}


@everywhere
@pytest.mark.usefixtures("where")
def test_landing_is_idempotent_on_the_ids_whatever_the_batch_is_called(tmp_path: Path) -> None:
    """The same spans in another batch, before and after sealing, change no result."""
    frame = many(12)
    once, twice = new_store(tmp_path / "once"), new_store(tmp_path / "twice")
    for store in (once, twice):
        land(store, frame, "first")
    land(twice, frame, "first")
    land(twice, frame[:20], "second")
    assert twice.status().stored == once.status().stored == 36
    assert units(twice) == units(once) == 12
    seal(once)
    seal(twice)
    land(twice, frame.reverse(), "third")
    assert units(twice) == 12
    seal(twice)
    assert sealed_checksum(twice) == sealed_checksum(once)
    assert twice.status().stored == 36


@everywhere
@pytest.mark.usefixtures("where")
def test_importing_a_file_twice_changes_no_result(tmp_path: Path) -> None:
    """The second time everything is a duplicate."""
    store = new_store(tmp_path / "store")
    file = DATA / "hotrod" / "spans.jsonl.gz"
    first = import_files(store, [file], arrived_ns=1_800_000_000 * 10**9)
    before, status = sealed_checksum(store), store.status()
    second = import_files(store, [file], arrived_ns=1_800_000_001 * 10**9)
    assert (first.new, first.duplicates) == (379, 0)
    assert (second.new, second.duplicates) == (0, 379)
    assert sealed_checksum(store) == before
    after = store.status()
    assert (after.accepted, after.stored, after.units) == (status.accepted, status.stored, status.units)


@pytest.fixture(scope="module")
def hotel(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """11,000 real spans, as landed."""
    store = new_store(tmp_path_factory.mktemp("hotel") / "store")
    import_files(store, [DATA / "dsb-hotel" / "load75.jsonl.gz"], arrived_ns=1_800_000_000 * 10**9)
    from tracescope import schema

    return store.sealed.scan(store.sealed.pointer(), "spans").select(list(schema.SPANS)).collect()


@pytest.mark.parametrize(("workers", "memory_bytes"), [(1, 1 << 30), (2, 4_000_000), (2, 9_000_000)])
def test_workers_slices_and_arrival_do_not_change_the_checksum(
    hotel: pl.DataFrame, tmp_path: Path, workers: int, memory_bytes: int
) -> None:
    """Real traces, shuffled, in several landings, some of them late."""
    plain, other = new_store(tmp_path / "plain"), new_store(tmp_path / "other")
    land(plain, hotel, "all")
    seal(plain)
    shuffled = hotel.sample(fraction=1, shuffle=True, seed=workers * memory_bytes)
    for number, part in enumerate(shuffled.iter_slices(4_000)):
        land(other, part, f"part{number}")
        if number == 1:
            seal(other, workers=workers, memory_bytes=memory_bytes)
    seal(other, workers=workers, memory_bytes=memory_bytes)
    assert sealed_checksum(other) == sealed_checksum(plain)
    rebuild(other, workers=workers, memory_bytes=memory_bytes)
    assert sealed_checksum(other) == sealed_checksum(plain)


@everywhere
@pytest.mark.usefixtures("where")
def test_a_consumer_sealed_before_its_producer_arrives_gets_its_wait_later(tmp_path: Path) -> None:
    """A link across traces and hours; the producer's span lands last."""
    text = "P shop publish 09:00:00 +1s\nC mailer send 12:00:00 +2s"
    message = stores.request(text)
    producer, consumer = (part.scope_spans[0].spans[0] for part in message.resource_spans)
    producer.kind, consumer.kind = 4, 5
    for span, operation in ((producer, "send"), (consumer, "process")):
        span.attributes.add(key="messaging.system").value.string_value = "kafka"
        span.attributes.add(key="messaging.destination.name").value.string_value = "mails"
        span.attributes.add(key="messaging.operation.type").value.string_value = operation
    consumer.links.add(trace_id=producer.trace_id, span_id=producer.span_id)
    from tracescope.ingest.decode import decode

    frame = decode([message.SerializeToString()], ARRIVED).spans
    ordered, late = new_store(tmp_path / "ordered"), new_store(tmp_path / "late")
    land(ordered, frame, "both")
    seal(ordered)
    for number in (1, 0):
        land(late, frame[number : number + 1], f"part{number}")
        seal(late)
    assert "unmatched_hop" not in ordered.status().counters
    assert sealed_checksum(late) == sealed_checksum(ordered)
    assert verify(late) == []


# -- readers beside a writer --


@everywhere
@pytest.mark.usefixtures("where")
def test_readers_see_only_whole_groups_while_another_process_lands_and_seals(tmp_path: Path) -> None:
    """Each group has six traces over four hours; every read sees a multiple of six."""
    path = tmp_path / "store"
    store = new_store(path)
    writer = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\n"
            "from stores import many, ARRIVED\n"
            "from tracescope.engine.seal import seal\n"
            "from tracescope.engine.upkeep import prune\n"
            "from tracescope.store import open_store\n"
            "store = open_store(sys.argv[1])\n"
            "frame = many(72, hours=4)\n"
            "for number in range(12):\n"
            "    with store.group(f'g{number}') as group:\n"
            "        for part in range(3):\n"
            "            ids = frame['trace_lo'].unique().sort()[number * 6 + part * 2 :][:2]\n"
            "            rows = frame.filter(frame['trace_lo'].is_in(ids.implode()))\n"
            "            group.land(rows, batch=f'b{number}-{part}', accepted=6, "
            "rejected={}, arrived_ns=ARRIVED)\n"
            "    if number % 2:\n"
            "        seal(store)\n"
            "    if number % 4 == 3:\n"
            "        prune(store, now_ns=ARRIVED, spans_days=14, rollups_days=800)\n",
            str(path),
        ],
        stderr=subprocess.PIPE,
        env=environment(),
    )
    seen: set[int] = set()
    wrong: list[str] = []

    def read() -> None:
        while writer.poll() is None:
            found = rollups(store, RollupRequest(DAY, DAY + 24 * HOUR)).tables["entry_hours"]
            status = store.status()
            seen.add(int(found["units"].sum()))
            if found["incomplete"].sum() or found["units"].sum() % 6 or status.stored % 18:
                wrong.append(f"{found['units'].sum()} units, {status.stored} spans")
            if status.accepted != status.stored:
                wrong.append(f"{status.accepted} accepted, {status.stored} stored")

    other = threading.Thread(target=read)
    other.start()
    read()
    other.join()
    message = writer.communicate()[1]
    assert writer.returncode == 0, message.decode()
    assert wrong == []
    assert len(seen) > 2, "the reader never ran beside the writer"
    assert units(store) == 72
    assert verify(store) == []


@everywhere
@pytest.mark.usefixtures("where")
def test_two_processes_cannot_seal_at_once(tmp_path: Path) -> None:
    """The second is told so, or waits."""
    store = new_store(tmp_path / "store")
    land(store, many(3), "one")
    with store.sealing(), pytest.raises(StoreBusyError, match="another process is sealing"):
        seal(open_store(tmp_path / "store"))


# -- killed writers --


class Killed(BaseException):
    """Stands for SIGKILL at one point of the program."""


def steps_of_sealing(
    monkeypatch: pytest.MonkeyPatch,
    store: SpanStore,
    at: int,
    work: Callable[[SpanStore], object] = seal,
) -> bool:
    """Seal, dying before the `at`-th durable step; whether that step was reached."""
    from tracescope.store.landing import Landing
    from tracescope.store.sealed import Sealed

    taken = iter(range(10**6))

    def dying(original):
        def step(*arguments, **named):
            if next(taken) == at:
                raise Killed
            return original(*arguments, **named)

        return step

    with monkeypatch.context() as patch:
        for owner, names in (
            (Sealed, ("put", "replace", "publish", "union")),
            (Landing, ("settle", "_drop", "_forget")),
        ):
            for name in names:
                patch.setattr(owner, name, dying(getattr(owner, name)))
        try:
            work(store)
        except Killed:
            return True
    return False


@everywhere
@pytest.mark.usefixtures("where")
def test_a_seal_killed_before_any_of_its_steps_leaves_the_old_or_the_new_state(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Readers count the same units throughout; the next seal gives what an unbroken one gives."""
    early, late = many(6, hours=1, name="E"), many(12, hours=3)
    whole = new_store(tmp_path / "whole")
    land(whole, early, "early")
    seal(whole)
    land(whole, late, "late")
    seal(whole)
    expected = sealed_checksum(whole)
    at = 0
    broken = new_store(tmp_path / "broken")
    land(broken, early, "early")
    seal(broken)
    land(broken, late, "late")
    while steps_of_sealing(monkeypatch, broken, at):
        assert units(broken) == units(whole), at
        status = broken.status()
        assert (status.accepted, status.stored) == (54, 54), at
        at += 1
    assert at > 20
    assert sealed_checksum(broken) == expected
    assert verify(broken) == []
    assert broken.landing.files() == {}


@everywhere
@pytest.mark.usefixtures("where")
def test_rows_of_a_seal_that_was_never_published_do_not_count_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The smallest case: die before publishing a first hour, then seal it again."""
    store = new_store(tmp_path / "store")
    land(store, spans("A web GET 10:00:00 +1s"), "one")
    with monkeypatch.context() as patch:
        patch.setattr(type(store.sealed), "publish", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            seal(store)
    seal(store)
    assert units(store) == 1
    assert store.sealed.scan(store.sealed.pointer(), "spans").collect().height == 1


@everywhere
@pytest.mark.usefixtures("where")
def test_rows_of_a_seal_that_was_never_published_do_not_count_after_room_was_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever removes raw spans commits too, and takes back first what a killed sealing left."""
    store = new_store(tmp_path / "store")
    land(store, many(3), "before")
    seal(store)
    held = store.sealed.scan(store.sealed.pointer(), "spans").collect().height
    later = many(3, name="L").with_columns(pl.col("start_ns", "end_ns") + 48 * HOUR)
    with monkeypatch.context() as patch, store.group("import") as group:
        patch.setattr(type(store.sealed), "publish", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            seal(store, unlanded=Unlanded([Batch.of("late", later, {}, ARRIVED)], group))
    done = reclaim(store, 1)
    assert done.hours == 1
    left = store.sealed.scan(store.sealed.pointer(), "spans").collect()
    assert left.height == held - done.spans
    assert verify(store) == []


def test_a_folder_that_sealing_makes_is_durable_with_what_lies_in_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An hour's first file is lost with its folder when only the folder's inside was made durable."""
    from tracescope.store import landing, sealed

    done: set[Path] = set()
    for module in (landing, sealed):
        monkeypatch.setattr(module, "fsync_path", lambda path: done.add(path.resolve()))
    store = new_store(tmp_path / "store")
    land(store, many(3), "three hours")
    seal(store)
    root = (store.root / "sealed").resolve()
    folders = {path for path in root.rglob("*") if path.is_dir()}
    assert {path.name for path in folders} >= {"spans", "path_hours", "log"}
    assert done >= {root, *folders}


def exported(folder: Path) -> list[Path]:
    """Two files of traces that are months apart, so that sealing takes several commits."""
    folder.mkdir()
    files: list[Path] = []
    for number, name in enumerate("ab"):
        message = request(LINES.format(name=name))
        for part in message.resource_spans:
            for scope in part.scope_spans:
                for span in scope.spans:
                    span.start_time_unix_nano -= number * 1_000 * HOUR
                    span.end_time_unix_nano -= number * 1_000 * HOUR
        data = message.SerializeToString()
        files.append(folder / f"{name}.binpb")
        files[-1].write_bytes(len(data).to_bytes(4, "big") + data)
    return files


LINES = """\
{name}1 web GET 10:00:00 +2s
  {name}1 orders list 10:00:01 +1s
{name}2 web GET 11:59:59 +2s
  {name}2 orders list 12:00:00 +1s
"""


@everywhere
@pytest.mark.usefixtures("where")
def test_an_import_killed_before_any_of_its_steps_shows_all_of_it_or_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing lands before it is sealed: the store is as it was until the last step."""
    files = exported(tmp_path / "files")
    store, whole = new_store(tmp_path / "store"), new_store(tmp_path / "whole")
    for one in (store, whole):
        land(one, many(3), "before")
        seal(one)
    import_files(whole, files, arrived_ns=ARRIVED)

    def again(opened: SpanStore) -> None:
        import_files(opened, files, arrived_ns=ARRIVED)

    at = 0
    while steps_of_sealing(monkeypatch, store, at, again):
        status = store.status()
        assert (status.accepted, status.stored) in ((9, 9), (17, 17)), at
        at += 1
    assert at > 20
    assert sealed_checksum(store) == sealed_checksum(whole)
    assert (store.status().accepted, store.status().stored) == (17, 17)
    assert verify(store) == []
    assert store.landing.files() == {}


@everywhere
@pytest.mark.usefixtures("where")
def test_an_import_larger_than_its_memory_gives_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What does not fit is staged on disk and sealed with the rest."""
    from tracescope.store.landing import LandingGroup

    files = [DATA / "dsb-hotel" / f"load{load}.jsonl.gz" for load in (75, 100)]
    staged: list[str] = []

    def noted(group: LandingGroup, frame: pl.DataFrame, **named: Any) -> None:
        staged.append(named["batch"])
        land_aside(group, frame, **named)

    land_aside = LandingGroup.land
    monkeypatch.setattr(LandingGroup, "land", noted)
    monkeypatch.setattr(importing, "LEAST_BYTES", 8_000_000)
    results = []
    for name, memory_bytes, aside in (("roomy", 1 << 30, 0), ("tight", 1, 1)):
        staged.clear()
        store = new_store(tmp_path / name)
        done = import_files(store, files, arrived_ns=ARRIVED, memory_bytes=memory_bytes)
        assert done.sealed
        assert bool(staged) is bool(aside), "what does not fit is staged, and nothing else"
        results.append((done, sealed_checksum(store), store.status().accepted))
        assert list((tmp_path / name / "staging").iterdir()) == []
        assert store.landing.files() == {}
    assert results[0] == results[1]


@everywhere
@pytest.mark.usefixtures("where")
def test_an_import_lands_while_another_process_seals(tmp_path: Path) -> None:
    """Its spans are seen at once, and counted once when they are sealed."""
    files = exported(tmp_path / "files")
    store = new_store(tmp_path / "store")
    with store.sealing():
        done = import_files(open_store(tmp_path / "store"), files, arrived_ns=ARRIVED)
    assert not done.sealed
    assert (done.new, units(store)) == (8, 2), "two of the four traces are of this day"
    assert store.landing.files()
    seal(store)
    assert (store.status().accepted, store.status().stored) == (8, 8)
    assert store.landing.files() == {}
    again = import_files(store, files, arrived_ns=ARRIVED)
    assert (again.new, again.duplicates, store.status().accepted) == (0, 8, 8)


@everywhere
@pytest.mark.usefixtures("where")
def test_an_import_of_an_hour_that_retention_closes_meanwhile_is_refused(tmp_path: Path) -> None:
    """Closed after the files were read: counted by reason, as if it had come later."""
    files = exported(tmp_path / "files")
    store = new_store(tmp_path / "store")
    import_files(store, files[1:], arrived_ns=ARRIVED)
    old = spans(LINES.format(name="c")).with_columns(pl.col("start_ns", "end_ns") - 1_000 * HOUR)
    with store.group("import") as group:
        held = Unlanded([Batch.of("late", old, {}, ARRIVED)], group)
        prune(store, now_ns=ARRIVED + 15 * 24 * HOUR, spans_days=14, rollups_days=800)
        seal(store, unlanded=held)
    # the fourth starts in the hour after, which is open
    assert store.rejected() == {"hour_closed": 3}
    assert (store.status().accepted, store.status().stored) == (5, 5)


IMPORT = """
import sys, os, threading
from tracescope.engine.import_files import import_files
from tracescope.store import open_store
import_files(open_store(sys.argv[1], create=True), sys.argv[2:], arrived_ns=1_800_000_000 * 10**9)
"""


@everywhere
@pytest.mark.usefixtures("where")
def test_an_import_killed_at_any_time_resumes_without_duplicates(tmp_path: Path) -> None:
    """SIGKILL while files are read, landed and sealed; then the import is repeated."""
    files = [str(DATA / "dsb-hotel" / f"load{level}.jsonl.gz") for level in (25, 50)]
    path = tmp_path / "store"
    draw = random.Random(3)
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", IMPORT, str(path), *files], env=environment())
        try:
            child.wait(draw.uniform(1.5, 6.0))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
        if (path / "FORMAT.json").exists():
            assert open_store(path).status().stored in (0, 22_000)
    store = open_store(path, create=True)
    result = import_files(store, files, arrived_ns=1_800_000_000 * 10**9)
    assert result.new + result.duplicates == 22_000
    assert store.status().stored == store.status().accepted == 22_000
    assert list((path / "staging").iterdir()) == []
    assert verify(store) == []


@everywhere
@pytest.mark.usefixtures("where")
def test_an_import_that_fails_in_its_second_file_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    """A bad line; nothing of the first file is there, and nothing is left in staging."""
    good = (DATA / "opensearch-otel" / "spans.jsonl").read_bytes().splitlines(keepends=True)
    for name, lines in (("a", good[:1]), ("b", [good[1], b'{"resourceSpans": [}\n']), ("c", good[:1])):
        (tmp_path / f"{name}.jsonl").write_bytes(b"".join(lines))
    store = new_store(tmp_path / "store")
    files = [tmp_path / f"{name}.jsonl" for name in "abc"]
    with pytest.raises(InputError, match=r"b\.jsonl:2: not JSON"):
        import_files(store, files, arrived_ns=1_800_000_000 * 10**9)
    assert store.status().stored == store.status().accepted == 0
    assert [path.name for path in (tmp_path / "store").rglob("*.parquet")] == []
    assert list((tmp_path / "store" / "staging").iterdir()) == []


def test_a_group_of_a_living_owner_is_left_alone_and_one_of_a_dead_owner_forgotten(
    tmp_path: Path,
) -> None:
    """Recovering beside an import in progress does not disturb it."""
    store = new_store(tmp_path / "store")
    (tmp_path / "store" / "staging" / "dead").mkdir()
    with store.group("alive") as group:
        group.land(many(2), batch="b", accepted=6, rejected={}, arrived_ns=ARRIVED)
        store.landing.recover()
        assert [p.name for p in sorted((tmp_path / "store" / "staging").iterdir())] == ["alive", "alive.lock"]
        with pytest.raises(StoreError, match="another process is landing alive"), store.group("alive"):
            pass
    assert store.status().stored == 6


# -- retention --


@everywhere
@pytest.mark.usefixtures("where")
def test_retention_closes_hours_and_refuses_what_comes_later(tmp_path: Path) -> None:
    """Raw spans go by arrival, rollups stay; later spans for the hour are counted as hour_closed."""
    store = new_store(tmp_path / "store")
    land(store, many(9, hours=3), "old", arrived_ns=ARRIVED)
    seal(store)
    before = sealed_checksum(store)
    land(store, spans("N web GET 23:00:00 +1s"), "new", arrived_ns=ARRIVED + 10 * 24 * HOUR)
    done = prune(store, now_ns=ARRIVED + 15 * 24 * HOUR, spans_days=14, rollups_days=800)
    assert (done.hours, done.spans, done.rollup_hours) == (3, 27, 0)
    assert units(store) == 10
    assert store.status().stored == 28
    assert store.sealed.scan(store.sealed.pointer(), "spans").collect().height == 1
    land(store, spans("L web GET 08:30:00 +1s\nK web GET 22:00:00 +1s"), "late")
    seal(store)
    status = store.status()
    assert status.rejected == {"hour_closed": 1}
    assert (status.accepted, status.stored) == (29, 29)
    assert units(store, DAY + 8 * HOUR, DAY + 11 * HOUR) == 9
    assert before != ""


@everywhere
@pytest.mark.usefixtures("where")
def test_spans_that_land_while_their_hour_is_being_closed_do_not_replace_its_rollups(tmp_path: Path) -> None:
    """They were checked before the hour closed and land after it."""
    store = new_store(tmp_path / "store")
    land(store, many(4, hours=1), "old")
    seal(store)
    late = spans("L web GET 08:30:00 +1s")
    with store.group("racing") as group:  # past the check already
        group.land(late, batch="racing", accepted=1, rejected={}, arrived_ns=ARRIVED)
        prune(store, now_ns=ARRIVED + 15 * 24 * HOUR, spans_days=14, rollups_days=800)
    seal(store)
    assert units(store) == 4
    status = store.status()
    assert (status.accepted, status.stored, status.rejected) == (12, 12, {"hour_closed": 1})
    assert store.landing.files() == {}


@everywhere
@pytest.mark.usefixtures("where")
def test_rollups_older_than_their_retention_go_and_stay_counted(tmp_path: Path) -> None:
    """Back from the newest hour, whatever the clock says."""
    store = new_store(tmp_path / "store")
    land(store, spans("A web GET 01:00:00 +1s"), "one")
    seal(store)
    frame = spans("B web GET 01:00:00 +1s")
    land(store, frame.with_columns(pl.col("start_ns", "end_ns") + 3 * 24 * HOUR), "two")
    done = prune(store, now_ns=ARRIVED, spans_days=365, rollups_days=2)
    assert (done.rollup_hours, done.spans) == (1, 0)
    assert units(store) == 0
    assert units(store, DAY, DAY + 100 * HOUR) == 1
    assert store.status().stored == 2
    assert verify(store) == []


@everywhere
@pytest.mark.usefixtures("where")
def test_rebuilding_does_not_make_old_spans_young(tmp_path: Path) -> None:
    """Retention counts from arrival, not from the last sealing."""
    store = new_store(tmp_path / "store")
    land(store, many(3, hours=1), "old", arrived_ns=ARRIVED)
    seal(store)
    land(store, spans("N web GET 20:00:00 +1s"), "new", arrived_ns=ARRIVED + 20 * 24 * HOUR)
    rebuild(store)
    done = prune(store, now_ns=ARRIVED + 21 * 24 * HOUR, spans_days=14, rollups_days=800)
    assert (done.hours, done.spans) == (1, 9)


# -- verify --


@pytest.fixture
def sealed_store(tmp_path: Path) -> SpanStore:
    store = new_store(tmp_path / "store")
    land(store, many(30), "one")
    seal(store)
    assert verify(store) == []
    return store


def table_file(store: SpanStore, table: str) -> Path:
    return store.root / "sealed" / store.sealed.pointer().files[table][0].path


def test_verify_finds_a_damaged_file(sealed_store: SpanStore) -> None:
    """Bytes in the middle of a column, and a cut tail."""
    path = table_file(sealed_store, "spans")
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + bytes(400) + whole[600:])
    assert any(str(path) in problem for problem in verify(sealed_store))
    path.write_bytes(whole[:-40])
    assert any("its bytes are not those" in problem for problem in verify(sealed_store))
    path.write_bytes(whole)
    assert verify(sealed_store) == []


def test_verify_finds_a_missing_file_and_readers_say_so(sealed_store: SpanStore) -> None:
    """It names the file; a read leaves it out, and a note says so."""
    path = table_file(sealed_store, "entry_hours")
    path.unlink()
    assert any(str(path) in problem for problem in verify(sealed_store))
    found = rollups(sealed_store, RollupRequest(DAY, DAY + 24 * HOUR))
    assert found.tables["entry_hours"].is_empty()
    assert any("it is missing" in note for note in found.notes)


@everywhere
@pytest.mark.usefixtures("where")
def test_verify_finds_a_wrong_rollup_and_rebuild_mends_it(sealed_store: SpanStore) -> None:
    """One unit too many in one row."""
    expected = sealed_checksum(sealed_store)
    pointer = sealed_store.sealed.settle()
    frame = sealed_store.sealed.scan(pointer, "entry_hours").collect()
    sealed_store.sealed.replace(pointer, "entry_hours", frame.with_columns(pl.col("units") + 1), None)
    sealed_store.sealed.publish(pointer)
    problems = verify(sealed_store)
    assert len(problems) == 1
    assert problems[0].startswith("entry_hours of hours")
    rebuild(sealed_store)
    assert verify(sealed_store) == []
    assert sealed_checksum(sealed_store) == expected


@everywhere
@pytest.mark.usefixtures("where")
def test_verify_takes_landed_spans_for_what_they_are(sealed_store: SpanStore) -> None:
    """Spans that wait for sealing are no difference between spans and rollups."""
    land(sealed_store, spans("L gateway checkout 08:10:00 +1s"), "late")
    assert verify(sealed_store) == []


# -- what a program may open --


def test_a_store_of_a_newer_program_is_refused_with_a_sentence(tmp_path: Path) -> None:
    """The folder's format, and the pointer's schema."""
    store = new_store(tmp_path / "store")
    about = tmp_path / "store" / "FORMAT.json"
    before = about.read_text()
    about.write_text(json.dumps({"format": 99, "demo": False}))
    with pytest.raises(StoreError, match=f"has format 99; this program knows {SCHEMA_VERSION}"):
        open_store(tmp_path / "store")
    about.write_text(before)
    pointer = tmp_path / "store" / "CURRENT.json"
    pointer.write_text(pointer.read_text().replace(f'"schema":{SCHEMA_VERSION}', '"schema":7'))
    with pytest.raises(StoreError, match=f"has schema 7; this program knows {SCHEMA_VERSION}"):
        store.status()


@pytest.mark.parametrize("damage", ["", "{", '{"format": "x"}', "[]"])
def test_a_damaged_description_is_an_error_with_its_name(tmp_path: Path, damage: str) -> None:
    """Never a traceback."""
    new_store(tmp_path / "store")
    (tmp_path / "store" / "FORMAT.json").write_text(damage)
    with pytest.raises(StoreError, match=r"FORMAT\.json is damaged"):
        open_store(tmp_path / "store")


def test_a_folder_that_holds_something_else_is_not_taken_for_a_store(tmp_path: Path) -> None:
    """Nothing is written into it."""
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="is not empty and holds no store"):
        open_store(tmp_path, create=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_files_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    """Folders of spans are 0700, every file is 0600: landed, sealed, ledgers, pointer, marks, locks."""
    store = new_store(tmp_path / "store")
    _fill(store)
    for path in store.root.rglob("*"):
        assert path.is_dir() or oct(path.stat().st_mode)[-3:] == "600", path
    for folder in (store.root, *(p for p in store.root.rglob("*") if p.is_dir())):
        assert oct(folder.stat().st_mode)[-3:] == "700", folder


def _fill(store: SpanStore) -> None:
    """Everything that a store can hold."""
    land(store, many(2), "one")
    seal(store)
    store.mark("now", DAY)
    land(store, many(2, name="M"), "two")


def test_the_group_may_read_a_store_that_was_made_for_it_and_nobody_else_may(tmp_path: Path) -> None:
    """Whatever the umask says; and what follows in a store that was opened to its group later."""
    before = os.umask(0o077)
    try:
        store = open_store(tmp_path / "shared", create=True, group_access=True)
        _fill(store)
        later = open_store(tmp_path / "later", create=True)
        for folder in (later.root, *(path for path in later.root.rglob("*") if path.is_dir())):
            folder.chmod(0o750)
        _fill(later)
    finally:
        os.umask(before)
    for path in (store.root, *store.root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640), path
    written = list(later.root.rglob("*.parquet"))
    assert written
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o640}


@everywhere
@pytest.mark.usefixtures("where")
def test_a_trace_is_found_whether_landed_or_sealed(sealed_store: SpanStore) -> None:
    """Once before, once after its last span was sealed."""
    row = many(30)[0]
    ids = int(row["trace_hi"][0]), int(row["trace_lo"][0])
    assert len(trace_spans(sealed_store, *ids)) == 3


@everywhere
@pytest.mark.usefixtures("where")
def test_a_rebuild_goes_by_the_names_and_rules_of_today(tmp_path: Path) -> None:
    """What an address is may be said later: raw spans are resolved anew, and nothing else changes."""
    attributes = "db.system=postgresql server.address=10.0.3.7 db.query.text=SELECT"
    lines = "\n".join(
        f"Q{n} shop GET 1{n}:00:00 +2s\n  Q{n} shop query 1{n}:00:00 +1s {attributes}" for n in range(3)
    )
    message = stores.request(lines)
    for part in message.resource_spans[1::2]:
        part.scope_spans[0].spans[0].kind = 3
    file = tmp_path / "spans.binpb"
    file.write_bytes(message.SerializeToString())
    store = new_store(tmp_path / "store")
    import_files(store, [file], arrived_ns=ARRIVED)
    before = sealed_checksum(store)

    def callees() -> set[str]:
        paths = store.sealed.scan(store.sealed.pointer(), "paths").filter(pl.col("kind") == schema.EDGE_DB)
        hours = store.sealed.scan(store.sealed.pointer(), "path_hours")
        return set(paths.join(hours, on="path_id", how="semi").collect()["callee"])

    rebuild(store, policy=keeping.DEFAULT)
    assert sealed_checksum(store) == before, "what was resolved by these rules is as it was"
    assert callees() == {"postgresql/10.0.3.7"}
    named = keeping.DEFAULT._replace(names=(("10.0.3.7", "orders-db"),))
    rebuild(store, policy=named)
    assert callees() == {"postgresql/orders-db"}
    assert verify(store) == []
    again = import_files(store, [file], arrived_ns=ARRIVED, policy=named)
    assert (again.new, again.duplicates) == (0, 6)
    rebuild(store, policy=keeping.DEFAULT)
    assert sealed_checksum(store) == before
