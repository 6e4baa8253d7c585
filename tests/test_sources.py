"""Sources by URL: each part is read once, all or nothing, whatever the place."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import stores
from click.testing import CliRunner, Result
from stores import sealed_checksum

from tracescope.cli import main
from tracescope.engine.import_files import import_files
from tracescope.errors import InputError, SourceError, UsageError
from tracescope.places import need
from tracescope.sources import Options, Part, digest, open_source, resolve
from tracescope.store import open_store, pointer

ARRIVED = 1_800_000_000 * 10**9


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def payload(number: int) -> bytes:
    """A request of a trace of two spans."""
    lines = f"T{number} shop GET 1{number % 10}:00:00 +2s\n  T{number} shop query 1{number % 10}:00:00 +1s"
    return stores.request(lines).SerializeToString()


@dataclass
class Shelf:
    """A source of messages in memory."""

    parts_of: dict[str, list[bytes]]
    name: str = "shelf://all"
    identity: str = "shelf"
    asked: list[frozenset[str]] = field(default_factory=list)
    read: list[str] = field(default_factory=list)

    def parts(self, known: frozenset[str]) -> Iterator[Part]:
        self.asked.append(known)
        for name, messages in self.parts_of.items():

            def pieces(name: str = name, messages: list[bytes] = messages) -> Iterator[bytes]:
                self.read.append(name)
                yield from messages

            yield Part(name, f"{self.name}/{name}", pieces, messages=True)


def opened(folder: Path):
    return open_store(folder, create=True)


def test_parts_are_read_once_and_a_source_is_told_which_were(tmp_path: Path) -> None:
    """By their names within it: another source may use the same."""
    store, shelf = opened(tmp_path / "store"), Shelf({"a": [payload(1)], "b": [payload(2), payload(3)]})
    done = import_files(store, [shelf], arrived_ns=ARRIVED)
    assert (done.new, done.duplicates, done.known) == (6, 0, 0)
    shelf.parts_of["c"] = [payload(3), payload(4)]
    done = import_files(store, [shelf], arrived_ns=ARRIVED + 1)
    assert (done.new, done.duplicates, done.known) == (2, 2, 2)
    assert shelf.asked == [frozenset(), frozenset({"a", "b"})]
    assert shelf.read == ["a", "b", "c"]
    other = Shelf({"a": [payload(5)]}, identity="another")
    assert import_files(store, [other], arrived_ns=ARRIVED + 2).new == 2


def test_a_malformed_message_is_counted_and_the_others_are_read(tmp_path: Path) -> None:
    """First, last, alone; over the store's life, too."""
    store = opened(tmp_path / "store")
    shelf = Shelf({"a": [b"\xff\xff", payload(1), b"\x0a\x7f", payload(2)], "b": [b"no"], "c": [payload(3)]})
    done = import_files(store, [shelf], arrived_ns=ARRIVED)
    assert (done.new, dict(done.rejected)) == (6, {"malformed_message": 3})
    assert store.rejected() == {"malformed_message": 3}
    done = import_files(store, [shelf], arrived_ns=ARRIVED + 1)
    assert (done.new, done.known, dict(done.rejected)) == (0, 3, {})


def test_an_error_in_the_last_part_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    """And the next run reads all."""
    store, shelf = opened(tmp_path / "store"), Shelf({"a": [payload(1)]})

    def broken() -> Iterator[bytes]:
        yield payload(2)
        raise InputError("shelf://all/b: gone", "run it again")

    class Broken(Shelf):
        def parts(self, known: frozenset[str]) -> Iterator[Part]:
            yield from super().parts(known)
            yield Part("b", "shelf://all/b", broken, messages=True)

    before = store.stored()
    with pytest.raises(InputError, match="gone"):
        import_files(store, [Broken(shelf.parts_of)], arrived_ns=ARRIVED)
    assert store.stored() == before == 0
    assert import_files(store, [shelf], arrived_ns=ARRIVED).new == 2


@pytest.mark.parametrize("memory_bytes", [0, 1 << 31])
def test_while_another_process_seals_names_land_with_the_spans(tmp_path: Path, memory_bytes: int) -> None:
    """Whether spans or only names are left to land."""
    store = opened(tmp_path / "store")
    shelf = Shelf({"a": [payload(1)], "b": []})
    with store.sealing():
        done = import_files(store, [shelf], arrived_ns=ARRIVED, memory_bytes=memory_bytes)
        assert not done.sealed
        again = import_files(store, [shelf], arrived_ns=ARRIVED + 1)
        assert (again.new, again.known) == (0, 2)
        shelf.parts_of["c"] = []
        assert import_files(store, [shelf], arrived_ns=ARRIVED + 2).known == 2
    assert import_files(store, [shelf], arrived_ns=ARRIVED + 3).known == 3
    assert store.stored() == 2


def test_parts_are_remembered_longer_than_batches_of_other_kinds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket has more objects than a sender has requests under way."""
    parts = [f"{pointer.OF_PART}x-{number}" for number in range(pointer.REMEMBERED + 1000)]
    others = [f"i-{number}" for number in range(pointer.REMEMBERED + 1000)]
    mixed = [name for pair in zip(parts, others, strict=True) for name in pair]
    kept = pointer.remembered(mixed)
    assert [name for name in kept if name in set(parts)] == parts
    assert [name for name in kept if name in set(others)] == others[1000:]
    monkeypatch.setattr(pointer, "PARTS_REMEMBERED", 100)
    assert [name for name in pointer.remembered(mixed) if name in set(parts)] == parts[-100:]
    monkeypatch.setattr(pointer, "REMEMBERED", 1)
    store, shelf = opened(tmp_path / "store"), Shelf({f"{n}": [payload(n)] for n in range(9)})
    assert import_files(store, [shelf], arrived_ns=ARRIVED).new == 18
    assert import_files(store, [shelf], arrived_ns=ARRIVED + 1).known == 9


# -- folders ---------------------------------------------------------------------------------------


def collector_files(folder: Path) -> None:
    """What file exporters leave: lines, prefixed messages, compressed; and what stands beside."""
    folder.mkdir()
    (folder / "a.binpb").write_bytes(
        b"".join(len(each).to_bytes(4, "big") + each for each in map(payload, (1, 2)))
    )
    below = folder / "year=2026" / "hour=03"
    below.mkdir(parents=True)
    (below / "b.binpb.gz").write_bytes(gzip.compress(payload(3)))
    (folder / "notes.txt").write_text("what is this\n")
    (folder / ".hidden").write_text("{")


def test_a_folder_by_url_is_read_as_its_path_is_and_only_what_is_new_after(tmp_path: Path) -> None:
    """A file that has grown is read again, and its former spans are repeated ones."""
    folder = tmp_path / "traces"
    collector_files(folder)
    result = run("import", f"file://{folder}", "--store", tmp_path / "store")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("6 new, 0 duplicates, 0 rejected; ")
    assert "skipped 1 file without traces" in result.stderr
    assert run("import", folder, "--store", tmp_path / "plain").exit_code == 0
    assert sealed_checksum(open_store(tmp_path / "store")) == sealed_checksum(open_store(tmp_path / "plain"))
    with (folder / "a.binpb").open("ab") as file:
        file.write(len(payload(4)).to_bytes(4, "big") + payload(4))
    result = run("import", f"file://{folder}", "--store", tmp_path / "store")
    assert result.stderr.startswith("2 new, 4 duplicates, 0 rejected; ")
    assert "not read again: 1 parts imported before" in result.stderr


def test_what_cannot_be_read_is_said_and_nothing_is_made(tmp_path: Path) -> None:
    """No path, nobody's path, no traces in it."""
    collector_files(tmp_path / "traces")
    (tmp_path / "empty").mkdir()
    for url, code, said in (
        ("file://elsewhere/x", 2, "file://elsewhere names no path of this machine"),
        (f"file://{tmp_path}/none", 1, "no such file"),
        (f"file://{tmp_path}/empty", 1, "no such file"),
        (f"file://{tmp_path}/traces/notes.txt", 2, "none of 1 parts holds traces; the first: "),
    ):
        result = run("import", url, "--store", tmp_path / "store")
        assert result.exit_code == code, result.output
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 2
    shutil.rmtree(tmp_path / "traces" / "year=2026")
    (tmp_path / "traces" / "z.json.gz").write_bytes(
        gzip.compress(json.dumps({"resourceSpans": []}).encode())[:-9]
    )
    result = run("import", f"file://{tmp_path}/traces", "--store", tmp_path / "store")
    assert result.exit_code == 1
    assert "z.json.gz" in result.stderr
    assert open_store(tmp_path / "store").stored() == 0


def test_a_missing_library_is_a_sentence_with_the_command() -> None:
    """Exit 2."""
    with pytest.raises(
        UsageError, match=r"s3://b is read through nowhere_at_all.*pip install 'tracescope\[objects\]'"
    ):
        need("nowhere_at_all.inner", "objects", "s3://b")
    assert need("json", "objects", "s3://b") is json


def test_names_are_opened_where_they_are_urls_and_refused_where_nobody_reads_them(tmp_path: Path) -> None:
    """A digest tells parts apart."""
    options = Options()
    assert resolve(["a.json", tmp_path], options) == ["a.json", tmp_path]
    assert open_source(f"file://{tmp_path}", options).name == f"file://{tmp_path}"
    with pytest.raises(SourceError):
        resolve(["a.json", "hdfs://x/y"], options)
    assert digest("a", "bc") != digest("ab", "c")
