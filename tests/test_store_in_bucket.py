"""A store in object storage: many machines have one store, and none of them can undo another's work.

What holds for every store is tested in `test_store`, in a folder and in a bucket; here is what only a bucket
has: machines, leases, requests that fail, copies.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from buckets import KINDS, S3Server, best, make_bucket, mirror, new_url
from click.testing import CliRunner
from stores import ARRIVED, DAY, HOUR, land, many, new_store, sealed_checksum
from test_serve import Server, request
from test_store import environment, units

from tracescope.cli import main
from tracescope.engine.seal import seal
from tracescope.engine.upkeep import prune, repair, verify
from tracescope.errors import SourceError, StoreBusyError, StoreError
from tracescope.store import SpanStore, open_store
from tracescope.store import mirror as mirrors
from tracescope.store.bucket import Bucket
from tracescope.store.mirror import LEASE, Mirror

DATA = Path(__file__).parent / "data"

pytestmark = pytest.mark.usefixtures("s3")


@pytest.fixture(params=KINDS)
def s3_kind(request: pytest.FixtureRequest) -> str:
    """Every test on every kind of server."""
    return request.param


@pytest.fixture
def url() -> str:
    return new_url()


def machine(tmp_path: Path, name: str, url: str, *, create: bool = True) -> SpanStore:
    """The store as one machine has it."""
    return open_store(mirror(tmp_path / name, url), create=create)


def in_folder(tmp_path: Path, *frames: Any) -> str:
    """What a store in a folder has of the same spans, as a checksum."""
    store = new_store(tmp_path / "folder")
    for number, frame in enumerate(frames):
        land(store, frame, f"b{number}")
    seal(store)
    return sealed_checksum(store)


# -- machines --


def test_what_one_machine_lands_another_seals_and_a_third_reads(tmp_path: Path, url: str) -> None:
    """Receivers share a store with whoever seals and whoever asks; nothing but the bucket is between them."""
    first, second = machine(tmp_path, "first", url), machine(tmp_path, "second", url)
    early, late = many(6, hours=1, name="E"), many(12, hours=3)
    land(first, early, "b0")
    land(second, late, "b1")
    reader = machine(tmp_path, "reader", url, create=False)
    assert units(reader) == 18
    seal(machine(tmp_path, "sealer", url, create=False))
    assert units(reader) == 18
    assert sealed_checksum(reader) == in_folder(tmp_path, early, late)
    assert [len(store.landing.files()) for store in (first, second, reader)] == [0, 0, 0]
    assert reader.status().accepted == reader.status().stored == 54


def test_a_batch_that_landed_is_known_to_every_machine(tmp_path: Path, url: str) -> None:
    """A segment that was drained twice, around a crash, lands once, sealed or not."""
    first, second = machine(tmp_path, "first", url), machine(tmp_path, "second", url)
    frame = many(6)
    land(first, frame, "b")
    land(second, frame, "b")
    assert len(list(first.mirror.bucket.list("groups"))) == 1  # pyright: ignore[reportOptionalMemberAccess]
    seal(first)
    land(second, frame, "b")
    assert second.status().accepted == second.status().stored == 18


def test_what_a_landing_asks_does_not_grow_with_what_has_landed(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither do requests nor listed objects; batches of a large group are known as well."""
    import obstore

    first, second = machine(tmp_path, "first", url), machine(tmp_path, "second", url)
    frame = many(2)
    for number in range(25):
        land(first, frame, f"b{number}")
    with first.group("wide") as group:
        for number in range(25):
            rows = many(1, name=f"W{number}")
            group.land(rows, batch=f"w{number}", accepted=len(rows), rejected={}, arrived_ns=ARRIVED)
    asked: list[str] = []

    def counting(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            asked.append(named.get("prefix") or str(arguments[1]))
            return original(*arguments, **named)

        return call

    with monkeypatch.context() as patch:
        for name in ("get", "put", "head", "list"):
            patch.setattr(obstore, name, counting(getattr(obstore, name)))
        assert second.known(["b3", "w7", "new"]) == {"b3", "w7"}
        assert len(asked) < 12, asked
        asked.clear()
        land(second, frame, "new")
        assert len(asked) < 12, asked
    assert "groups" not in asked
    assert len(second.known([f"{kind}{number}" for kind in "bw" for number in range(25)])) == 50
    seal(second)
    assert second.known(["b3", "w7", "new"]) == {"b3", "w7", "new"}
    bucket = Bucket(url)
    assert [each.key for kind in ("groups", "batches", "wide", "landing") for each in bucket.list(kind)] == []


def test_sealing_lists_what_has_landed_once(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it needs to know."""
    store = machine(tmp_path, "first", url)
    land(store, many(6), "b")
    listed: list[str] = []
    original = Bucket.list
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "list", lambda self, prefix: listed.append(prefix) or original(self, prefix))  # pyright: ignore
        assert seal(store).hours > 0
    assert listed.count("groups") == 1


def test_names_and_mutes_that_two_machines_give_at_once_are_all_there(tmp_path: Path, url: str) -> None:
    """A change is made to what is there now, however many make one."""
    stores = [machine(tmp_path, f"m{number}", url) for number in range(4)]

    def name(number: int) -> None:
        for each in range(5):
            stores[number].mark(f"mark-{number}-{each}", DAY + each)
            stores[number].mute(f"finding-{number}-{each}", DAY * 2, "known", now_ns=DAY)

    threads = [threading.Thread(target=name, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores[0].marks()) == len(stores[0].mutes()) == 20


def test_readers_on_another_machine_see_only_whole_groups(tmp_path: Path, url: str) -> None:
    """Counts are those of 0, 1, ... whole groups and never fall, while a writer lands, seals and prunes."""
    machine(tmp_path, "writer", url)
    program = (
        "import sys\n"
        "from stores import many, ARRIVED\n"
        "from tracescope.engine.seal import seal\n"
        "from tracescope.engine.upkeep import prune\n"
        "from tracescope.store import open_store\n"
        "store = open_store(sys.argv[1])\n"
        "frame = many(72, hours=4)\n"
        "for number in range(6):\n"
        "    part = frame[36 * number : 36 * (number + 1)]\n"
        "    with store.group(f'g{number}') as group:\n"
        "        for half in (0, 1):\n"
        "            rows = part[18 * half : 18 * (half + 1)]\n"
        "            name = f'b{number}-{half}'\n"
        "            group.land(rows, batch=name, accepted=18, rejected={}, arrived_ns=ARRIVED)\n"
        "    if number % 2:\n"
        "        seal(store)\n"
        "        prune(store, now_ns=ARRIVED, spans_days=90, rollups_days=365)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "writer")], env=environment())
    reader, seen = machine(tmp_path, "reader", url), [0]
    while writer.poll() is None:
        seen.append(reader.status().stored)
    assert writer.returncode == 0
    assert {count % 36 for count in seen} == {0}, seen
    assert seen == sorted(seen)
    assert reader.status().stored == 216
    assert units(reader) == 72


# -- two sealers --


def test_two_machines_do_not_seal_at_once(tmp_path: Path, url: str) -> None:
    """Who comes second is told who is sealing; whoever waits seals what is left."""
    first, second = machine(tmp_path, "first", url), machine(tmp_path, "second", url)
    land(first, many(6), "b")
    with first.sealing(), pytest.raises(StoreBusyError, match=rf"process {os.getpid()}.* is sealing {url}"):
        seal(second)
    assert seal(second).hours > 0
    assert seal(first).hours == 0


def test_a_sealer_that_lost_its_lease_publishes_nothing(tmp_path: Path, url: str) -> None:
    """However late it wakes up: what another machine published stays, and the loser says so."""
    slow, quick = machine(tmp_path, "slow", url), machine(tmp_path, "quick", url)
    early, late = many(6, hours=1, name="E"), many(12, hours=3)
    land(slow, early, "b0")
    entered, go_on = threading.Event(), threading.Event()
    failed: list[BaseException] = []

    def sleep(done: int, _all: int) -> None:
        entered.set()
        assert go_on.wait(60)

    def sealing() -> None:
        try:
            seal(slow, progress=sleep)
        except Exception as error:  # noqa: BLE001 - looked at below
            failed.append(error)

    thread = threading.Thread(target=sealing)
    thread.start()
    assert entered.wait(60)
    bucket = Bucket(url)
    bucket.delete([LEASE])  # as if it had been given up
    land(quick, late, "b1")
    seal(quick)
    go_on.set()
    thread.join()
    assert isinstance(failed[0], StoreBusyError), failed
    assert "another machine has sealed" in failed[0].message
    assert sealed_checksum(slow) == sealed_checksum(quick) == in_folder(tmp_path, early, late)
    assert verify(machine(tmp_path, "reader", url)) == []


def test_a_lease_that_nobody_renews_is_given_up(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that died while it sealed holds nobody up for long, whatever its clock said."""
    dead, other = machine(tmp_path, "dead", url), machine(tmp_path, "other", url)
    land(dead, many(6), "b")
    monkeypatch.setattr(mirrors, "LEASE_S", 2.0)
    held = dead.mirror.bucket.create(LEASE, b'{"owner": "dead (process 1)"}')  # pyright: ignore[reportOptionalMemberAccess]
    assert held is not None
    with pytest.raises(StoreBusyError, match=r"dead \(process 1\) is sealing"):
        seal(other)
    time.sleep(2.5)
    assert seal(other).hours > 0


def test_a_lease_is_renewed_while_its_owner_works(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sealing may take longer than a lease that nobody renews lasts."""
    monkeypatch.setattr(mirrors, "LEASE_S", 2.0)
    slow, other = machine(tmp_path, "slow", url), machine(tmp_path, "other", url)
    with slow.sealing():
        end = time.monotonic() + 6.0
        while time.monotonic() < end:
            with pytest.raises(StoreBusyError), other.sealing():
                pass
            time.sleep(0.3)
    with other.sealing():
        pass


# -- requests that fail --


class Killed(BaseException):
    """Stands for SIGKILL at one request."""


@contextmanager
def killed_at(at: int, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> Iterator[Callable[[], bool]]:
    """Die before the `at`-th request that changes a bucket, or right after it; whether that came.

    From then on no request is made: what clean-up would do is not done either.
    """
    import obstore

    made = 0
    lock = threading.Lock()

    def dying(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal made
            with lock:
                made += 1
                now = made
            if now > at + after:
                raise Killed
            done = original(*arguments, **named)
            if after and now > at:
                raise Killed
            return done

        return call

    with monkeypatch.context() as patch:
        for name in ("put", "delete"):
            patch.setattr(obstore, name, dying(getattr(obstore, name)))
        with suppress(Killed):
            yield lambda: made > at


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_writer_killed_at_any_request_leaves_the_old_or_the_new_state(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    """Landing, sealing, pruning: nothing acknowledged is lost or counts twice, and the next run goes on."""
    monkeypatch.setattr(Mirror, "abandoned", lambda *_: True)
    early, late = many(4, hours=1, name="E"), many(6, hours=2)
    first = machine(tmp_path, "first", url)
    land(first, early, "b0")
    seal(first)
    at, reached, landed = 0, True, False
    while reached:
        writer = machine(tmp_path, f"writer{at}", url)
        with killed_at(at, monkeypatch, after=after) as came:
            land(writer, late, "b1")
            seal(writer, wait=True)
            prune(writer, now_ns=ARRIVED, spans_days=90, rollups_days=365, sealing_first=False)
        reached = came()
        reader = machine(tmp_path, f"reader{at}", url, create=False)
        status = reader.status()
        assert status.stored in ({30} if landed else {12, 30}), at
        assert status.accepted == status.stored, at
        assert units(reader) == status.stored // 3
        landed = status.stored == 30
        at += 1
    assert at > 10
    assert sealed_checksum(first) == in_folder(tmp_path, early, late)
    assert verify(machine(tmp_path, "last", url)) == []
    assert first.landing.files() == {}


def test_storage_that_does_not_answer_loses_nothing_and_is_named(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sentence with the URL, and the next try lands what the first could not."""
    store = machine(tmp_path, "first", url)
    frame = many(6)
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        away = SpanStore(store.root, store.landing, store.sealed, demo=False, mirror=Mirror.of(store.root))
        gone = Bucket(url)
        with pytest.raises(StoreError, match=rf"{url}/CURRENT.json: the server at http://127.0.0.1:9 cannot"):
            gone.get("CURRENT.json")
        with pytest.raises(StoreError, match="cannot be reached"):
            away.mirror.sync()  # pyright: ignore[reportOptionalMemberAccess]
    land(store, frame, "b")
    assert store.status().stored == 18


def test_a_bucket_that_is_not_there_and_one_that_holds_no_store_are_told_apart(
    tmp_path: Path, url: str
) -> None:
    """What is wrong with a URL is said, not that it is empty."""
    with pytest.raises(StoreError, match="there is no such bucket"):
        machine(tmp_path, "none", "s3://no-such-bucket/store")
    with pytest.raises(StoreError, match=f"no store at {url}"):
        machine(tmp_path, "empty", url, create=False)


def test_storage_without_conditional_writes_is_refused(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a write ignores its condition two writers could undo each other's work: no store is made."""
    import obstore

    put = obstore.put

    def careless(*arguments: Any, **named: Any) -> Any:
        return put(*arguments, **{key: value for key, value in named.items() if key != "mode"})

    monkeypatch.setattr(obstore, "put", careless)
    with pytest.raises(StoreError, match="without conditional writes"):
        machine(tmp_path, "first", url)
    assert list(Bucket(url).list("")) == []


def test_a_bucket_that_refuses_is_named_without_its_secrets(s3: S3Server) -> None:
    """Wrong names and wrong schemes give one sentence each."""
    with pytest.raises(SourceError, match="names no bucket"):
        Bucket("s3://")
    make_bucket(s3.address, "other-bucket")
    assert Bucket("s3://other-bucket/any").get("CURRENT.json") is None


# -- copies and damage --


def test_copies_may_be_damaged_or_removed(tmp_path: Path, url: str) -> None:
    """They are fetched again, for readers as well as for who verifies."""
    store = machine(tmp_path, "first", url)
    land(store, many(12), "b0")
    seal(store)
    land(store, many(6, hours=1, name="E"), "b1")
    expected = units(store)
    for number, path in enumerate(sorted(store.root.rglob("*.parquet"))):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data) if number % 2 else path.unlink()
    assert verify(store) == []
    assert units(store) == expected


def test_a_damaged_object_is_found_and_repaired_as_a_file_is(tmp_path: Path, url: str) -> None:
    """`verify` names it; a repair closes the hours that lost spans, or makes rollups anew, in the bucket."""
    store = machine(tmp_path, "first", url)
    land(store, many(12), "b0")
    seal(store)
    expected = sealed_checksum(store)
    key = next(each.key for each in Bucket(url).list("sealed/path_hours"))
    Bucket(url).put(key, b"PAR1 no more PAR1")
    reader = machine(tmp_path, "reader", url)
    assert any("path_hours" in problem for problem in verify(reader))
    done, left = repair(reader)
    assert done
    assert left == []
    assert sealed_checksum(machine(tmp_path, "another", url)) == expected


def test_what_nothing_names_is_removed_once_it_is_old(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Objects of killed writers go; those of a writer that is at work stay."""
    store = machine(tmp_path, "first", url)
    land(store, many(12), "b0")
    seal(store)
    bucket = Bucket(url)
    dead = ("sealed/spans/1-1-dead.parquet", "landing/dead/1/b.parquet", "batches/b/dead", "wide/dead.json")
    for key in dead:
        bucket.put(key, b"x")
    before = {each.key for each in bucket.list("sealed")}
    assert prune(store, now_ns=ARRIVED, spans_days=90, rollups_days=365).files == 0
    monkeypatch.setattr(mirrors, "ORPHAN_S", -HOUR / 1e9)
    assert prune(store, now_ns=ARRIVED, spans_days=90, rollups_days=365).files == len(dead)
    assert before.difference(each.key for each in bucket.list("sealed")) == {"sealed/spans/1-1-dead.parquet"}
    assert [each.key for kind in ("landing", "batches", "wide") for each in bucket.list(kind)] == []
    assert verify(store) == []


def test_copies_that_were_not_used_lately_make_room(tmp_path: Path, url: str) -> None:
    """The bucket keeps what the folder lets go."""
    store = machine(tmp_path, "first", url)
    land(store, many(12), "b0")
    seal(store)
    copies = sorted((store.root / "sealed").glob("*/*.parquet"))
    for path in copies:
        os.utime(path, (DAY / 1e9, DAY / 1e9))
    store.mirror.tidy(0)  # pyright: ignore[reportOptionalMemberAccess]
    assert [path for path in copies if path.exists()] == []
    assert units(store) == 12


# -- surfaces --


def command(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout


def test_every_answer_is_that_of_a_folder(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another machine imports is told here byte for byte as from a folder; several stores too."""
    files = [DATA / "dsb-hotel" / f"load{load}.jsonl.gz" for load in (75, 100)]
    folder = tmp_path / "folder"
    for place, machine_of in ((str(folder), "one"), (url, "two")):
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / machine_of))
        command("import", *files, "--store", place)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "three"))
    for asked in (("diff",), ("graph",), ("status",)):
        here, there = (
            json.loads(command(*asked, "--format", "json", "--store", place)) for place in (folder, url)
        )
        for told in (here, there):
            told.pop("disk_bytes", None)
            told.pop("bytes", None)
        assert here == there, asked
    assert url in command("status", "--store", url)
    command("verify", "--store", url)
    parts = [new_url("part"), new_url("part")]
    for part, file in zip(parts, files, strict=True):
        command("import", file, "--store", part)
    several = [word for part in parts for word in ("--store", part)]
    alone = command("diff", "--format", "json", "--store", folder)
    assert json.loads(command("diff", "--format", "json", *several))["edges"] == json.loads(alone)["edges"]


@pytest.mark.parametrize("s3_kind", [best()], indirect=True)
def test_a_receiver_lands_in_a_bucket_whatever_becomes_of_it_and_of_the_network(
    tmp_path: Path, url: str, s3: S3Server
) -> None:
    """What was acknowledged is in the bucket in the end: the journal holds it meanwhile, across kill -9."""
    home = {"XDG_DATA_HOME": str(tmp_path / "receiver")}
    server = Server(url, home)  # pyright: ignore[reportArgumentType]
    try:
        server.send(request(0, 100))
        s3.process.send_signal(signal.SIGSTOP)
        try:
            server.send(request(100, 100))
        finally:
            server.stop(signal.SIGKILL)
            s3.process.send_signal(signal.SIGCONT)
        server = Server(url, home)  # pyright: ignore[reportArgumentType]
        server.send(request(200, 100))
    finally:
        assert server.stop() == 0
    reader = machine(tmp_path, "reader", url, create=False)
    assert reader.status().stored == reader.status().accepted == 300


@pytest.mark.parametrize(
    ("store", "told"),
    [
        ("s3://key:secret@bucket/prefix", "the URL of a store is written down, so it brings no credentials"),
        ("s3://bucket", "name a prefix in it: s3://bucket/tracescope"),
        ("s3://bucket/p?secret_access_key=secret", "so it brings no credentials"),
        ("s3://bucket/p?color=red", "'color' is not an option of it"),
        ("s3://no-such-bucket/p", "there is no such bucket"),
    ],
)
def test_a_store_that_cannot_be_there_is_refused_with_a_sentence(
    tmp_path: Path, store: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its secrets, and without making anything."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    result = CliRunner().invoke(main, ["import", str(DATA / "dsb-hotel"), "--store", store])
    assert result.exit_code in (1, 2)
    assert told in result.stderr
    assert "secret@" not in result.output
    assert "=secret" not in result.output
    assert "Traceback" not in result.output
