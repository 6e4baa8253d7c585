"""Google Cloud Storage: sources and stores are what they are on S3, though conditions are on generations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from itertools import count
from pathlib import Path

import gcs
import pytest
import test_store_in_bucket as laws
from buckets import mirror
from click.testing import CliRunner
from test_sources import payload

from tracescope.cli import main
from tracescope.store import open_store
from tracescope.store.bucket import Bucket

pytest.importorskip("obstore", reason="a store in object storage needs the extra `objects`")
_numbers = count()


@pytest.fixture(scope="module")
def address() -> Generator[str]:
    """The address of a server."""
    with gcs.gcs_server() as found:
        yield found


@pytest.fixture
def url(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where no store is yet."""
    monkeypatch.setenv("GOOGLE_BASE_URL", address)
    return f"gs://{gcs.BUCKET}/store-{next(_numbers)}"


def test_an_object_is_replaced_only_while_it_is_of_the_generation_that_was_read(url: str) -> None:
    """Though its entity tag, which only says what it holds, is that of a former one again."""
    bucket = Bucket(url)
    first = bucket.create("x", b"one")
    assert first is not None
    assert bucket.create("x", b"two") is None
    second = bucket.swap("x", b"two", first)
    assert second is not None
    third = bucket.swap("x", b"one", second)
    assert third is not None
    assert third != first
    assert bucket.swap("x", b"four", first) is None
    assert bucket.get("x", known=third) == (b"", third)
    found = bucket.get("x")
    assert found is not None
    assert found == (b"one", bucket.version("x"))
    assert [(each.key, each.size) for each in bucket.list("")] == [("x", 3)]
    assert bucket.swap("x", b"five", found.version) is not None
    bucket.delete(["x", "y"])
    assert bucket.get("x") is None


@pytest.mark.parametrize(
    "law",
    [
        laws.test_what_one_machine_lands_another_seals_and_a_third_reads,
        laws.test_a_batch_that_landed_is_known_to_every_machine,
        laws.test_names_and_mutes_that_two_machines_give_at_once_are_all_there,
        laws.test_two_machines_do_not_seal_at_once,
        laws.test_a_sealer_that_lost_its_lease_publishes_nothing,
        laws.test_copies_may_be_damaged_or_removed,
        laws.test_a_damaged_object_is_found_and_repaired_as_a_file_is,
        laws.test_what_nothing_names_is_removed_once_it_is_old,
    ],
    ids=lambda law: law.__name__.removeprefix("test_"),
)
def test_a_store_there_is_what_it_is_on_s3(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, law: Callable[..., None]
) -> None:
    """Every law of a store in a bucket that the kind of storage may matter for."""
    given = {"tmp_path": tmp_path, "url": url, "monkeypatch": monkeypatch}
    law(**{name: given[name] for name in inspect.signature(law).parameters})


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_writer_killed_at_any_request_leaves_the_old_or_the_new_state_there(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    """As on S3."""
    laws.test_a_writer_killed_at_any_request_leaves_the_old_or_the_new_state(
        tmp_path, url, monkeypatch, after=after
    )


def test_objects_there_are_read_once(tmp_path: Path, url: str) -> None:
    """In pages of a listing; a missing bucket is told as on S3."""
    bucket = Bucket(url)
    for number in range(12):
        bucket.put(f"day/{number}", payload(number))

    def told(place: str) -> str:
        result = CliRunner().invoke(main, ["import", place, "--store", str(tmp_path / "store")])
        assert "Traceback" not in result.output
        return result.stderr

    assert told(url).startswith("24 new")
    assert "not read again: 12 parts imported before" in told(url)
    assert "no object there" in told(f"{url}/none")
    assert "there is no such bucket" in told("gs://no-such-bucket/x")
    with pytest.raises(Exception, match="there is no such bucket"):
        open_store(mirror(tmp_path / "none", "gs://no-such-bucket/store"), create=True)
