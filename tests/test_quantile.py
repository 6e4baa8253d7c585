"""`diff --quantile`: which edges make the slowest requests slow."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner, Result
from simulated import START_NS, Work, query, serve, spans

from tracescope import schema
from tracescope.analysis.comparison.slowest import thresholds
from tracescope.analysis.rollups.process import process
from tracescope.cli import main
from tracescope.engine.upkeep import prune
from tracescope.kernels.sketch import bin_of
from tracescope.store import open_store

DATA = Path(__file__).parent / "data"
HOUR_NS, DAY_NS = schema.HOUR_NS, schema.DAY_NS


def _shop(slow_ms: float) -> pl.DataFrame:
    """Every tenth request waits for a lock; the others take 5 ms."""

    def program(_: np.random.Generator, at: float) -> Work:
        number = round(at * 240)
        wait = [query("redis/lock", "LOCK", slow_ms)] if number % 10 == 0 else []
        return serve("shop", "GET /", 2.0, [query("postgresql/a", "SELECT", 3.0 + number % 7 / 10), *wait])

    return spans(program, start_ns=START_NS, hours=24, per_hour=10)


def _from(hours: pl.DataFrame, least_ms: float) -> pl.DataFrame:
    """The same threshold for every slot and entry."""
    return hours.select("slot", "entry_id", pl.lit(round(least_ms * 1e6)).alias("least_ns")).unique()


def test_only_requests_that_reach_their_entrys_threshold_count() -> None:
    """24 of 240 take 50 ms: above 20 ms there are these, with their lock; nothing is lost or doubled."""
    made = _shop(50.0)
    whole = process(made).tables
    slow = process(made, slower_than=_from(whole["entry_hours"], 20.0)).tables
    none = process(made, slower_than=_from(whole["entry_hours"], 20.0).clear()).tables
    assert slow["entry_hours"]["units"].sum() == 24
    assert none["entry_hours"].is_empty()
    assert none["path_hours"].is_empty()
    lock = whole["paths"].filter(whole["paths"]["callee"] == "redis/lock")["path_id"][0]
    rows = slow["path_hours"].filter(slow["path_hours"]["path_id"] == lock)
    assert rows["visits"].sum() == 24
    assert slow["path_hours"]["own_ns"].sum() == slow["entry_hours"]["clock_ns"].sum()
    every = process(made, slower_than=_from(whole["entry_hours"], 0.0)).tables
    assert all(every[name].equals(whole[name]) for name in schema.ROLLUPS if name != "counters")


def _sketches(clocks_ms: dict[int, np.ndarray]) -> pl.DataFrame:
    """ENTRY_SKETCHES of one entry from the clocks of every slot."""
    parts = [
        pl.DataFrame({"bin": bin_of((ms * 1e6).astype(np.int64))})
        .group_by("bin")
        .agg(pl.len().alias("count"))
        .with_columns(slot=pl.lit(slot), unit=pl.lit(schema.UNIT_REQUEST), entry_id=pl.lit(7),
                      threshold=pl.lit(schema.NO_THRESHOLD))
        for slot, ms in clocks_ms.items()
    ]  # fmt: skip
    table = schema.ENTRY_SKETCHES
    return pl.concat(parts).select(list(table)).cast(schema.dtypes(table))


def test_each_day_has_its_own_threshold_and_a_sparse_one_that_of_all() -> None:
    """Four days, one of them twice as slow, one with three requests; read to a part of a bin."""
    rng = np.random.default_rng(0)
    first = START_NS // HOUR_NS
    clocks = {first + 24 * day: 10 * rng.lognormal(0, 1, 4000) for day in range(3)}
    clocks[first + 24] *= 2
    clocks[first + 72] = np.array([1.0, 2.0, 3.0])
    found = thresholds(_sketches(clocks), START_NS, START_NS + 4 * DAY_NS, HOUR_NS, 0.9)
    least = dict(zip(found["slot"].to_list(), (found["least_ns"] / 1e6).to_list(), strict=True))
    for slot in list(clocks)[:3]:
        assert least[slot] == pytest.approx(np.quantile(clocks[slot], 0.9), rel=0.005)
    every = np.quantile(np.concatenate(list(clocks.values())), 0.9)
    assert least[first + 72] == pytest.approx(every, rel=0.005)


@pytest.mark.parametrize("clock_ms", [0.0, 5.0])
def test_requests_that_all_take_the_same_time_are_all_the_slowest(clock_ms: float) -> None:
    """Nothing is slower than they are, and their bin cannot tell them apart."""
    found = thresholds(
        _sketches({START_NS // HOUR_NS: np.full(100, clock_ms)}), START_NS, START_NS + HOUR_NS, HOUR_NS, 0.95
    )
    assert (found["least_ns"] <= clock_ms * 1e6).all()
    assert len(found) == 1


#: When the two load levels were recorded.
LEVELS = ("2022-06-20T19:34:17Z/2022-06-20T19:36:36Z", "2022-06-20T22:53:47Z/2022-06-20T22:54:21Z")


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def hotel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two load levels of a hotel."""
    store = tmp_path_factory.mktemp("hotel") / "store"
    files = [DATA / "dsb-hotel" / f"load{level}.jsonl.gz" for level in (25, 150)]
    assert _run("import", *files, "--store", store).exit_code == 0
    return store


def test_the_slowest_part_of_real_requests_is_compared_by_itself(hotel: Path) -> None:
    """A tenth of the units, slower than the mean; effects exact; the output says what it is about."""
    reports = {}
    for quantile in ([], ["--quantile", "0.9"]):
        result = _run("diff", *LEVELS, "--store", hotel, "--format", "json", "--tz", "UTC", *quantile)
        assert result.exit_code == 0, result.output
        reports[bool(quantile)] = json.loads(result.stdout)
    whole, slow = reports[False], reports[True]
    for side in ("base", "head"):
        assert 0.08 < slow[side]["units"] / whole[side]["units"] < 0.15
        assert slow["clock"][f"{side}_ms"] > 1.5 * whole["clock"][f"{side}_ms"]
    assert sum(slow["effects_total"].values()) == pytest.approx(slow["clock"]["delta_ms"], abs=1e-6)
    assert slow["notes"][0].startswith("only the slowest 0.1 of")
    assert any("a quantile is computed from raw spans" in note for note in slow["notes"])
    narrowed = _run(
        "diff",
        *LEVELS,
        "--store",
        hotel,
        "--quantile",
        "0.9",
        "--where",
        "service.name=geo",
        "--format",
        "json",
    )
    assert narrowed.exit_code == 0, narrowed.output
    assert "a condition on attributes and a quantile" in narrowed.stdout


@pytest.mark.parametrize("value", ["0", "1", "100", "-0.5", "nan", "inf", "most"])
def test_what_is_no_quantile_is_refused_with_its_value(value: str, hotel: Path) -> None:
    """NaN too, which is neither below 0 nor above 1."""
    result = _run("diff", *LEVELS, "--store", hotel, "--quantile", value)
    assert result.exit_code == 2
    assert value in result.stderr
    assert "--quantile" in result.stderr


@pytest.mark.parametrize(
    ("flag", "value"), [("--alpha", "nan"), ("--min-effect", "nan"), ("--min-effect", "inf")]
)
def test_no_flag_of_diff_takes_what_is_no_number(flag: str, value: str, hotel: Path) -> None:
    """They would come out as numbers again."""
    result = _run("diff", *LEVELS, "--store", hotel, flag, value)
    assert result.exit_code == 2
    assert flag in result.stderr


def test_periods_whose_spans_are_gone_cannot_be_cut_by_a_quantile(hotel: Path) -> None:
    """Rollups know no single request; the answer says which setting would have kept them."""
    halves = ("2022-06-20T10:00Z/2022-06-20T20:00Z", "2022-06-20T20:00Z/2022-06-21T06:00Z")
    store = open_store(hotel)
    prune(store, now_ns=time.time_ns() + 15 * DAY_NS, spans_days=14, rollups_days=800)
    asked = ("diff", *halves, "--store", hotel, "--tz", "UTC")
    assert "units of work" not in _run(*asked).stderr
    result = _run(*asked, "--quantile", "0.9")
    assert result.exit_code == 4
    assert "raw spans of the period are gone, and a quantile needs them" in result.stderr
    assert "retain_spans_days" in result.stderr
