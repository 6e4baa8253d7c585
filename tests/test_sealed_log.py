"""Logs of sealed tables: what a killed sealing committed is taken back, and nothing else with it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from crashing import crash_after
from deltalake import DeltaTable

from tracescope import schema
from tracescope.store.sealed import Pointer, Sealed

TABLE = "entries"


def row(number: int) -> pl.DataFrame:
    made = {"entry_id": [number], "environment": [""], "service": ["shop"], "operation": [f"GET /{number}"]}
    return pl.DataFrame(made, schema=schema.dtypes(schema.ENTRIES))


def log_of(sealed: Sealed) -> Path:
    return sealed.root / "sealed" / TABLE / "_delta_log"


def age(sealed: Sealed) -> None:
    """Let all that was committed be three days old, as where sealing is rare."""
    for path in log_of(sealed).iterdir():
        os.utime(path, (time.time() - 3 * 86_400,) * 2)


def table_of(root: Path, published: int, lost: int, *, old: bool) -> Sealed:
    """A table of so many published versions, a row each, and of commits whose sealing was killed."""
    sealed = Sealed(root)
    sealed.create()
    for number in range(published):
        pointer = sealed.pointer()
        sealed.write(pointer, TABLE, row(number), None)
        sealed.publish(pointer)
        if old:
            age(sealed)
    never = sealed.pointer()
    for number in range(lost):
        sealed.write(never, TABLE, row(1000 + number), None)
    return sealed


def rows(sealed: Sealed, pointer: Pointer) -> list[int]:
    return sorted(sealed.scan(pointer, TABLE).collect()["entry_id"].to_list())


def goes_on(sealed: Sealed, published: int) -> None:
    """The next sealing adds its row to those that counted, for readers and in Delta's own view."""
    pointer = sealed.settle()
    assert rows(sealed, pointer) == list(range(published))
    sealed.write(pointer, TABLE, row(published), None)
    sealed.publish(pointer)
    sealed.vacuum(pointer)
    assert rows(sealed, sealed.pointer()) == list(range(published + 1))
    table = DeltaTable(log_of(sealed).parent)
    assert table.version() == sealed.pointer().versions[TABLE]
    assert len(table.file_uris()) == published + 1


@pytest.mark.parametrize("old", [False, True], ids=["today", "days apart"])
@pytest.mark.parametrize(("published", "lost"), [(9, 1), (9, 3), (10, 1), (8, 4), (19, 1), (19, 12)])
def test_what_a_killed_sealing_committed_is_taken_back_whatever_checkpoints_it_wrote(
    tmp_path: Path, published: int, lost: int, old: bool
) -> None:
    """Every tenth commit writes a checkpoint, which must neither stay nor take older versions with it."""
    goes_on(table_of(tmp_path / "store", published, lost, old=old), published)


def remove_all(log: Path) -> None:
    for path in log.iterdir():
        path.unlink()
    log.rmdir()


def remove_first(log: Path) -> None:
    (log / f"{0:020d}.json").unlink()


@pytest.mark.parametrize("damage", [None, remove_first], ids=["whole", "damaged"])
def test_settling_may_be_killed_before_any_of_its_steps(
    tmp_path: Path, damage: Callable[[Path], None] | None
) -> None:
    """And is done by the next."""
    steps, crashed = 0, True
    while crashed:
        sealed = table_of(tmp_path / str(steps), 9, 2, old=False)
        if damage is not None:
            damage(log_of(sealed))
        with crash_after(steps) as has_crashed:
            sealed.settle()
        crashed = has_crashed()
        goes_on(sealed, 9)
        steps += 1
    assert steps > 4


@pytest.mark.parametrize("damage", [remove_all, remove_first])
def test_a_log_that_does_not_reach_what_is_published_is_written_anew(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """As commits left it that forgot what lay before them: the pointer knows what counts."""
    sealed = table_of(tmp_path / "store", 9, 0, old=False)
    damage(log_of(sealed))
    goes_on(sealed, 9)


def test_versions_before_the_last_published_checkpoint_are_forgotten_after_a_day(tmp_path: Path) -> None:
    """Else a log would grow for ever."""
    sealed = table_of(tmp_path / "store", 35, 0, old=True)
    kept = {int(path.name[:20]) for path in log_of(sealed).iterdir() if path.name[:20].isdigit()}
    assert min(kept) == 29
    young = table_of(tmp_path / "young", 35, 0, old=False)
    assert len(list(log_of(young).glob("*.json"))) == 35
