"""Damaged stores: every file in every way, and every command says a sentence; what is whole is still read."""

from __future__ import annotations

import os
import shutil
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result
from receivers import request as otlp
from stores import ARRIVED, DAY, HOUR, land, many, new_store, sealed_checksum

from tracescope.cli import main
from tracescope.engine.rollups import RollupRequest, rollups
from tracescope.engine.seal import seal
from tracescope.engine.upkeep import repair, status, verify
from tracescope.store import SpanStore, open_store, quarantine
from tracescope.store.journal import Journal

SPANS = 90 + 45 + 5
PERIODS = ("2026-09-30T08:00Z/2026-09-30T20:00Z", "2026-09-30T20:00Z/2026-10-01T12:00Z")
COMMANDS = (
    ("status",),
    ("diff", *PERIODS),
    ("graph", PERIODS[0]),
    ("forecast",),
    ("explain", "gateway -> orders", *PERIODS),
    ("path", "01010101010101010101010101015430"),
    ("mark",),
    ("mark", "later"),
    ("verify",),
    ("prune", "--trust-clock"),
    ("rebuild",),
    ("verify", "--repair"),
    ("status",),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small store with something in every place: sealed, landed, in the journal, marked."""
    store = new_store(tmp_path_factory.mktemp("whole") / "store")
    land(store, many(30), "one", ARRIVED + 10**6 * HOUR)
    seal(store)
    store.mark("release", DAY + 9 * HOUR)
    late = many(15, hours=1, name="L").with_columns(pl.col("start_ns", "end_ns") + 20 * HOUR)
    land(store, late, "two")
    journal = Journal.open(store.journal_folder)
    journal.append(otlp(0, 5, start_ns=DAY + 30 * HOUR).SerializeToString(), ARRIVED + 10 * HOUR).result(10)
    journal.close()
    assert (status(store).stored, verify(store)) == (SPANS, [])
    return store.root


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[len(data) // 2] ^= 0x55
    path.write_bytes(data)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"\x00\xff{[garbage" * 40)


def other_json(path: Path) -> None:
    path.write_bytes(b'["something", {"else": 1}]')


def delete(path: Path) -> None:
    path.unlink()


def swap(path: Path) -> None:
    """For another file of the store."""
    root = next(above for above in path.parents if above.name == "store")
    others = [other for other in sorted(root.rglob("*.parquet")) if other != path]
    path.write_bytes(others[0].read_bytes())


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


WAYS = (truncate, flip, empty, garbage, other_json, delete, swap, folder)
#: One of each kind of file.
FILES = (
    "FORMAT.json",
    "CURRENT.json",
    "marks.json",
    "seal.lock",
    "sealed/log/*1.json",
    "journal/*.journal",
    "landing/*/*/*.parquet",
    "landing/*/ledger/*.json",
    "sealed/spans/*.parquet",
    "sealed/path_hours/*.parquet",
    "sealed/entry_hours/*.parquet",
    "sealed/paths/*.parquet",
    "sealed/service_hours/*.parquet",
)


def run(root: Path, *words: str) -> Result:
    """A command on a store; what is raised is shown whole."""
    result = CliRunner().invoke(main, [*words, "--store", str(root)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        pytest.fail(f"{' '.join(words)}: {''.join(traceback.format_exception(result.exception))}")
    return result


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("file", FILES)
def test_no_damage_ends_in_a_traceback_in_any_command(
    whole: Path, tmp_path: Path, file: str, way: Callable[[Path], None]
) -> None:
    """And a repair leaves a store that is well."""
    root = shutil.copytree(whole, tmp_path / "store")
    way(next(root.glob(file)))
    for words in COMMANDS:
        result = run(root, *words)
        assert result.exit_code == 0 or result.output, words
    final = run(root, "verify")
    assert final.exit_code == 0, final.output


@pytest.mark.parametrize(
    "place", ["landing/note.txt", "landing/g/note.txt", "journal/note.txt", "sealed/note"]
)
def test_a_foreign_file_is_no_traceback_and_is_not_lost(whole: Path, tmp_path: Path, place: str) -> None:
    """Wherever it lies."""
    root = shutil.copytree(whole, tmp_path / "store")
    (root / place).parent.mkdir(exist_ok=True)
    (root / place).write_text("mine")
    for words in COMMANDS:
        run(root, *words)
    assert run(root, "verify").exit_code == 0
    held = [path for path in root.rglob("*note*") if path.is_file() and path.suffix != ".json"]
    assert [path.read_text() for path in held] == ["mine"]


def opened(whole: Path, folder: Path) -> SpanStore:
    return open_store(shutil.copytree(whole, folder / "store"))


def test_flipped_bytes_are_found_wherever_they_lie(whole: Path, tmp_path: Path) -> None:
    """Also where the file can still be read: which, what it held, and what to do."""
    for number, file in enumerate(FILES[6:]):
        store = opened(whole, tmp_path / str(number))
        path = next(store.root.glob(file))
        flip(path)
        problems = verify(store)
        assert any(str(path) in problem and "--repair" in problem for problem in problems), (file, problems)
        assert run(store.root, "verify").exit_code == 1


def test_readers_go_on_without_a_damaged_file_and_say_so(whole: Path, tmp_path: Path) -> None:
    """Rollups that are lost are left out; a repair makes them anew of spans, as they were."""
    store = opened(whole, tmp_path)
    before = sealed_checksum(store)
    truncate(next(store.root.glob("sealed/path_hours/*.parquet")))
    found = rollups(store, RollupRequest(DAY, DAY + 12 * HOUR))
    assert int(found.tables["entry_hours"]["units"].sum()) == 30
    assert found.tables["path_hours"].is_empty()
    assert any("path_hours" in note and "left out" in note for note in found.notes)
    done, problems = repair(store)
    assert problems == []
    assert any("path_hours" in sentence for sentence in done)
    assert rollups(store, RollupRequest(DAY, DAY + 12 * HOUR)).notes == ()
    assert [note.path.split("/")[1] for note in quarantine.notes(store.root)] == ["path_hours"]
    seal(other := opened(whole, tmp_path / "other"))
    assert sealed_checksum(store) == sealed_checksum(other) != before, "a rebuild seals what has landed"


def test_spans_that_are_lost_close_their_hours_and_leave_the_rollups(whole: Path, tmp_path: Path) -> None:
    """Made anew of what is left they would say less than they do."""
    store = opened(whole, tmp_path)
    before = sealed_checksum(store)
    flip(next(store.root.glob("sealed/spans/*.parquet")))
    assert repair(store)[1] == []
    assert len(store.sealed.pointer().closed()) == 3
    assert sealed_checksum(store) == before
    assert status(store).stored == SPANS


@pytest.mark.parametrize("way", [delete, flip, empty])
def test_acknowledged_spans_whose_landing_file_is_lost_are_counted(whole: Path, tmp_path: Path, way) -> None:
    """They are rejected for damage: what was accepted and what was rejected still adds up."""
    store = opened(whole, tmp_path)
    way(next(store.root.glob("landing/*/*/*.parquet")))
    assert len(verify(store)) == 1
    assert repair(store)[1] == []
    found = status(store)
    assert (found.accepted, found.stored, found.rejected) == (SPANS - 45, SPANS - 45, {"damaged": 45})
    seal(store)
    assert verify(store) == []


def test_a_damaged_pointer_is_restored_from_the_log(whole: Path, tmp_path: Path) -> None:
    """As it was published."""
    store = opened(whole, tmp_path)
    before = (store.root / "CURRENT.json").read_bytes()
    garbage(store.root / "CURRENT.json")
    done, problems = repair(store)
    assert (len(done), problems) == (1, [])
    assert (store.root / "CURRENT.json").read_bytes() == before


# -- disks ----------------------------------------------------------------------------------------


#: Commands that only read; `diff` and `forecast` have too little data here, which is exit 4.
READING = ("status", "graph", "explain", "path", "mark")


@pytest.fixture
def disk(tmp_path: Path, whole: Path) -> Iterator[Path]:
    """A small file system with the store on it."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    shutil.copytree(whole, folder / "store")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def try_all(root: Path, tmp_path: Path) -> dict[str, int]:
    """Exit codes of every command, none of which ends in a traceback; each failure says a sentence."""
    more = tmp_path / "more.pb"
    more.write_bytes(otlp(1000, 200, start_ns=DAY + 40 * HOUR).SerializeToString())
    codes: dict[str, int] = {}
    for words in (*COMMANDS, ("import", str(more))):
        result = run(root, *words)
        codes[" ".join(words[:2] if words[0] in ("mark", "verify") else words[:1])] = result.exit_code
        assert result.exit_code in (0, 1, 4), (words, result.output)
        if result.exit_code == 1 and words[0] != "verify":
            assert result.stderr.startswith("tracescope: "), (words, result.output)
    return codes


def test_a_full_disk_stops_what_writes_and_nothing_else(disk: Path, tmp_path: Path) -> None:
    """Every reading command answers; nothing is half written, and with room again all goes on."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while free := shutil.disk_usage(disk).free:
            file.write(bytes(min(65_536, free)))
    codes = try_all(disk / "store", tmp_path)
    assert [codes[name] for name in READING] == [0] * len(READING)
    assert codes["import"] == 1
    ballast.unlink()
    assert run(disk / "store", "verify").exit_code == 0
    assert try_all(disk / "store", tmp_path)["import"] == 0
    assert status(open_store(disk / "store")).stored == SPANS + 200


def test_a_disk_that_cannot_be_written_is_read(disk: Path, tmp_path: Path) -> None:
    """As a snapshot or another machine's volume: what writes says so, and changes nothing."""
    remount = ["mount", "-o", "remount,ro", str(disk)]
    subprocess.run(remount, check=True, capture_output=True)
    codes = try_all(disk / "store", tmp_path)
    assert [codes[name] for name in (*READING, "verify")] == [0] * (1 + len(READING))
    assert (codes["import"], codes["mark later"]) == (1, 1)
    subprocess.run([*remount[:2], "remount,rw", str(disk)], check=True, capture_output=True)
    assert run(disk / "store", "verify").exit_code == 0
    assert status(open_store(disk / "store")).stored == SPANS
