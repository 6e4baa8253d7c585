"""Tasks of (hours, slice): the same rollups whoever works on them, and whatever dies over it."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
from collections.abc import Generator
from dataclasses import replace
from itertools import product
from pathlib import Path

import polars as pl
import pytest
from builders import EPOCH_NS, MS, Made, frame, tree
from click.testing import CliRunner
from dying import Broken, Watched
from stores import land, new_store, sealed_checksum

from tracescope import schema
from tracescope.analysis.rollups.renaming import MAX_OPERATIONS
from tracescope.cli import main
from tracescope.engine import worker
from tracescope.engine.processes import Processes
from tracescope.engine.rebuild import rebuild
from tracescope.engine.seal import seal
from tracescope.engine.slices import Slice, source
from tracescope.engine.tasks import Pool, Rolling, Spans, Threads, rollings, unpack
from tracescope.engine.upkeep import verify
from tracescope.errors import StoreError
from tracescope.store import SpanStore

HOUR = schema.HOUR_NS
TESTS = Path(__file__).parent
PER_SLICE = {1: 10**6, 4: 1000, 16: 200}


def high(trace: int) -> int:
    """The high half of a trace's id, spread over all there are."""
    return (trace * 0x9E3779B97F4A7C15 + 2**63) % 2**64 - 2**63


def spread(spans: list[Made]) -> pl.DataFrame:
    """Rows whose traces, and the links to them, lie all over the range of ids."""
    links = [
        b"".join(part.to_bytes(8, "big", signed=True) for t, s in span.links for part in (high(t), t, s))
        or None
        for span in spans
    ]
    highs = pl.Series("trace_hi", [high(span.trace) for span in spans], dtype=pl.Int64)
    return frame(spans).with_columns(highs, pl.Series("links", links, dtype=pl.Binary))


def world() -> list[Made]:
    """What slices could change: traces over the hour, hops, mixed thresholds, names beyond the cap."""
    spans: list[Made] = []
    for number in range(1, 61):
        at = EPOCH_NS + number * HOUR // 12 - 30 * MS  # every fifth minute, some across the hour
        shop = tree(
            "gateway 0-90 server\n  gateway 5-80 client\n    orders 10-70 server\n"
            "      orders 20-40 client db peer=postgresql/orders\n      orders 50-60 producer send peer=mail",
            trace=number, at_ns=at,
        )  # fmt: skip
        mixed = [replace(span, threshold=(number % 3) * 2**54 - 1 + span.span % 2) for span in shop]
        spans += mixed if number % 4 == 0 else shop
        later = tree("mailer 0-50 consumer process", trace=1000 + number, at_ns=at + number % 7 * HOUR // 2)
        spans += [replace(later[0], links=((number, 5),), peer="mail")]
    letters = "abcdefghijk"
    names = list(map("".join, product(letters, repeat=3)))[: MAX_OPERATIONS + 40]
    for number, name in enumerate(3 * names, 5000):  # called too often to be literals
        spans += [replace(tree("wide 0-2 server", trace=number)[0], operation=name)]
    return spans


def landed(path: Path) -> SpanStore:
    """The world, landed by four writers who repeat one another, with spans that contradict others."""
    store = new_store(path)
    draw = random.Random(3)
    spans = world()
    wrong = [replace(span, end=span.end + MS, content_hash=1) for span in draw.sample(spans, 40)]
    again = [*spans, *draw.sample(spans, 300), *wrong]
    draw.shuffle(again)
    for number in range(4):
        land(store, spread(again[number::4]), f"b{number}", arrived_ns=EPOCH_NS + 24 * HOUR)
    return store


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int]:
    """Checksum and distinct spans of the world, sealed by one thread at once."""
    store = landed(tmp_path_factory.mktemp("expected") / "store")
    seal(store, workers=1)
    counters = store.status().counters
    assert counters["operation_capped"] == 40
    assert counters["duplicate_conflict"] == 40
    assert counters.get("unmatched_hop", 0) == 0
    mixed = store.sealed.scan(store.sealed.pointer(), "entry_hours").select(pl.col("mixed").sum())
    assert mixed.collect().item() > 0
    return sealed_checksum(store), len(world())


@pytest.fixture(scope="module")
def processes() -> Generator[Pool]:
    """Two processes, which know the tests' tasks."""
    with pytest.MonkeyPatch.context() as patch, Processes(2) as pool:
        patch.setenv("PYTHONPATH", str(TESTS))
        yield pool


def unnamed(store: SpanStore) -> int:
    """Files of spans that the pointer does not name."""
    named = {file.path for file in store.sealed.pointer().files["spans"]}
    return sum(
        f"spans/{path.name}" not in named for path in (store.sealed.folder / "spans").glob("*.parquet")
    )


def check(store: SpanStore, expected: tuple[str, int]) -> None:
    """A sealed store is the expected one, and holds nothing twice."""
    assert (sealed_checksum(store), store.status().stored) == expected
    assert verify(store) == []
    store.sealed.vacuum(store.sealed.pointer())
    assert unnamed(store) == 0
    assert store.sealed.scan(store.sealed.pointer(), "spans").select(pl.len()).collect().item() == expected[1]


def seal_with_a_death(
    tmp_path: Path, engine: Pool, expected: tuple[str, int], *, spans: int, above: int = 0
) -> None:
    """Seal in slices of so many spans while a process dies once, after it has written its spans."""
    store = landed(tmp_path / "store")
    flag = tmp_path / "flag"
    flag.touch()
    pool = Watched(engine, flag, above)
    seal(store, memory_bytes=pool.memory(spans), pool=pool)
    assert not flag.exists()
    assert unnamed(store) > 0
    check(store, expected)


@pytest.mark.parametrize("slices", PER_SLICE)
@pytest.mark.parametrize("engine", ["threads", "processes"])
def test_engines_and_slices_change_nothing(
    engine: str, slices: int, tmp_path: Path, expected: tuple[str, int], processes: Pool
) -> None:
    """One checksum, with repeats, conflicts, hops across slices, the cap and all that `world` has."""
    store = landed(tmp_path / "store")
    pool = Watched(Threads(2) if engine == "threads" else processes)
    memory = pool.memory(PER_SLICE[slices])
    seal(store, memory_bytes=memory, pool=pool)
    assert max(pool.runs) >= slices
    check(store, expected)
    rebuild(store, memory_bytes=memory, pool=pool)
    check(store, expected)


def test_a_worker_that_dies_once_changes_nothing(
    tmp_path: Path, expected: tuple[str, int], processes: Pool
) -> None:
    """Its task is done again, and what it had written is nobody's."""
    seal_with_a_death(tmp_path, processes, expected, spans=500)


def test_a_task_that_fails_changes_nothing(tmp_path: Path, processes: Pool) -> None:
    """The store stays as it was, and says what failed."""
    store = landed(tmp_path / "store")
    before = store.sealed.pointer().sequence

    with pytest.raises(StoreError, match="a worker process failed: no such folder"):
        seal(store, pool=Broken(processes))
    assert store.sealed.pointer().sequence == before
    assert store.status().stored == len(world())


def test_a_task_is_small_and_runs_in_a_fresh_process_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain data under 10 kB beside its files' names, though the store was opened by a relative path."""
    monkeypatch.chdir(tmp_path)
    store = landed(Path("store"))
    first = EPOCH_NS // HOUR
    near = source(store, store.snapshot(), first, first + 6)

    class Elsewhere(Threads):
        inside = False

    (task,) = rollings(near, (first, first + 6), Elsewhere(1), 10**9, keep=True)
    pickled = pickle.dumps(task)
    assert isinstance(task, Rolling)
    assert len(pickled) - len(pickle.dumps(task.source)) < 1000
    assert len(pickled) < 10_000 + sum(len(str(path)) for path in task.source.landed)
    monkeypatch.chdir("/")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tracescope.engine.worker"],
        input=worker.SIZE.pack(len(pickled)) + pickled, capture_output=True, check=True, cwd="/",
    )  # fmt: skip
    said = done.stdout[worker.SIZE.size :]
    assert said[:1] == worker.MADE
    made, here = unpack(said[1:]), replace(task, spans=Spans.GIVEN).run()
    assert made.hours == here.hours
    assert {name: frame.to_dicts() for name, frame in made.tables.items()} == {
        name: frame.to_dicts() for name, frame in here.tables.items()
    }
    assert sum(file.rows for file in made.files) == sum(hour.spans for hour in made.hours.values())


def test_workers_of_another_version_are_refused(tmp_path: Path) -> None:
    """Hours of one store are made by one set of rules."""
    store = landed(tmp_path / "store")
    near = source(store, store.snapshot(), 0, 1)
    with pytest.raises(StoreError, match=r"a worker runs tracescope .*, and whoever asks it to runs 0\.0\.1"):
        Rolling(near, Slice(), 0, 1, rules="0.0.1").run()


def test_seal_leaves_hours_that_are_not_over(tmp_path: Path, expected: tuple[str, int]) -> None:
    """`--open-hours` takes them along."""
    store = landed(tmp_path / "store")
    ran = CliRunner().invoke(main, ["seal", "--store", str(store.root), "--engine", "processes"])
    assert ran.exit_code == 0, ran.output
    assert "0 hours" not in ran.stderr
    check(store, expected)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--master", "local"], "--master and --conf are of --engine spark"),
        (["--engine", "spark", "--master", "nonsense"], "'nonsense' is no Spark master"),
        (["--engine", "spark", "--master", "spark://127.0.0.1:1"], "no Spark master answers at"),
        (["--engine", "spark", "--conf", "spark.x"], "--conf wants KEY=VALUE, not 'spark.x'"),
    ],
)
@pytest.mark.parametrize("verb", ["seal", "rebuild"])
def test_what_no_engine_can_do_is_said_before_anything_is_changed(
    verb: str, arguments: list[str], told: str, tmp_path: Path
) -> None:
    """A sentence, and exit code 2."""
    if "spark" in arguments[:2]:
        pytest.importorskip("pyspark", reason="pyspark is not installed")
    store = landed(tmp_path / "store")
    before = store.sealed.pointer().sequence
    ran = CliRunner().invoke(main, [verb, "--store", str(store.root), *arguments])
    assert ran.exit_code == 2, ran.output
    assert told in ran.stderr
    assert store.sealed.pointer().sequence == before
