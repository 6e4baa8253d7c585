"""Names that are used once: which of them are literals, by the hour and by the period."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import polars as pl
import pytest
from builders import EPOCH_NS, Made, frame, tree
from stores import HOUR, seal_at

from tracescope import schema
from tracescope.analysis.rollups.merge import Tables, join_hops, merge
from tracescope.analysis.rollups.one_off import templates
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.rollups.process import path_id, process
from tracescope.analysis.rollups.renaming import cap_operations, collapse
from tracescope.engine.compare import read_sides
from tracescope.engine.rollups import RollupRequest, rollups
from tracescope.periods import Period

WORDS = ["".join(letters) for letters in product("bdfglm", "aeiou", "nrst", "aeiou")]


def calls(names: list[str], start_ns: int, first_trace: int) -> list[Made]:
    """A request a name: `web` asks `people`, which answers under the name."""
    out: list[Made] = []
    for number, name in enumerate(names):
        text = f"web 0-10 server op=GET\n  web 1-9 client http op=GET\n    people 2-8 server http op='{name}'"
        out += tree(text, trace=first_trace + number, at_ns=start_ns)
    return out


def month_of_names(hours: int, each: int, name: str = "GET /people/{}") -> pl.DataFrame:
    """So many names an hour, none of them twice; and one of the same form that every hour has."""
    spans: list[Made] = []
    for hour in range(hours):
        drawn = WORDS[hour * each : (hour + 1) * each]
        names = [*(name.format(word) for word in drawn), *[name.format("search")] * 4]
        spans += calls(names, EPOCH_NS + hour * HOUR, 1 + hour * 1000)
    return frame(spans)


def sealed(rows: pl.DataFrame) -> Tables:
    tables = process(rows).tables
    return cap_operations(join_hops(tables, tables["hop_halves"]))


def period(tables: Tables) -> PeriodRollups:
    return PeriodRollups(EPOCH_NS, EPOCH_NS + 24 * HOUR, HOUR, "", tables)


def names_of(tables: Tables) -> set[str]:
    """Operations that `people` serves, of rows that there are."""
    used = tables["paths"].join(tables["path_hours"], on="path_id", how="semi")
    return set(used.filter(pl.col("caller") == "people", pl.col("kind") == schema.EDGE_SELF)["operation"])


# -- hours ----------------------------------------------------------------------------------------


def test_thirty_sentences_an_hour_that_share_a_word_are_one_operation_as_they_are_sealed() -> None:
    """No literal of theirs reaches a table, and the request has one edge for all."""
    tables = sealed(month_of_names(2, 30, "greet {}"))
    assert names_of(tables) == {"greet {id}"}
    text = " ".join(value for table in ("entries", "paths") for value in tables[table]["operation"])
    assert not any(word in text.split() for word in WORDS[:60])


@pytest.mark.parametrize(
    "names",
    [
        [f"get{word.title()}ById" for word in WORDS[:45]],
        [f"GET /api/{word}" for word in WORDS[:45]],
        [f"SELECT {word}" for word in WORDS[:45]],
        [f"publish {word}" for word in WORDS[:45]],
        [f"run {word}" for word in WORDS[:45]],
        [f"shop.{word.title()}/Get" for word in WORDS[:45]],
        [f"{one} {other}" for one, other in zip(WORDS[:45], WORDS[45:90], strict=True)],
    ],
    ids=lambda names: names[0],
)
def test_an_hour_of_forty_five_quiet_operations_keeps_them(names: list[str]) -> None:
    """A night's routes, methods, tables, topics and jobs are each called once and are no literals."""
    assert templates(dict.fromkeys(names, 1.0)) == {}


def test_sentences_that_are_said_again_and_again_stay() -> None:
    """Thirty steps that run all the time are thirty operations."""
    assert templates({f"render {word}": 9.0 for word in WORDS[:30]}) == {}


# -- periods --------------------------------------------------------------------------------------


def test_a_period_shows_as_one_what_each_hour_has_too_few_of_to_tell() -> None:
    """Ten names an hour that come once are one operation of eight hours, and what comes each hour stays."""
    tables = sealed(month_of_names(8, 10))
    assert len(names_of(tables)) == 81
    (found,) = collapse(period(tables))
    assert names_of(dict(found.tables)) == {"GET /people/{id}", "GET /people/search"}
    for name, columns in (
        ("path_hours", ("calls", "own_ns", "busy_ns")),
        ("entry_hours", ("units", "clock_ns")),
    ):
        for column in columns:
            assert found.tables[name][column].sum() == tables[name][column].sum()


def test_ids_of_a_period_are_those_of_the_names_beside_them() -> None:
    """So rows of several periods and stores fall together."""
    (found,) = collapse(period(sealed(month_of_names(8, 10))))
    paths = {row["path_id"]: row for row in found.tables["paths"].iter_rows(named=True)}
    entries = set(found.tables["entries"]["entry_id"])
    for number, row in paths.items():
        edge = schema.EDGE_KINDS[row["kind"]], row["caller"], row["callee"], row["operation"]
        assert number == path_id(row["parent_id"], *edge)
        assert row["edge_id"] == path_id(0, *edge)
        assert row["parent_id"] in paths or row["parent_id"] in entries
    assert set(found.tables["path_hours"]["path_id"]) <= set(paths)


def test_a_period_is_the_same_however_its_hours_were_cut() -> None:
    """Sealed together, or hour by hour as two stores would: the same rows."""
    rows = month_of_names(8, 10)
    whole = sealed(rows)
    hour = (rows["start_ns"] - EPOCH_NS) // HOUR
    parts = merge([sealed(rows.filter(hour % 2 == half)) for half in (0, 1)])
    (one,), (other,) = collapse(period(whole)), collapse(period(parts))
    for name in ("path_hours", "entry_hours", "entry_sketches", "entries"):
        assert other.tables[name].equals(one.tables[name]), name


def test_periods_that_are_compared_have_one_template() -> None:
    """Forty names of each side are too few alone; both together tell."""
    sides = [sealed(month_of_names(8, 10).filter((pl.col("start_ns") < at) == early)) for at, early in (
        (EPOCH_NS + 4 * HOUR, True), (EPOCH_NS + 4 * HOUR, False))]  # fmt: skip
    assert [len(names_of(side)) for side in sides] == [41, 41]
    assert [len(names_of(dict(collapse(period(side))[0].tables))) for side in sides] == [41, 41]
    both = collapse(*map(period, sides))
    first, second = (names_of(dict(side.tables)) for side in both)
    assert first == second
    assert first == {"GET /people/{id}", "GET /people/search"}


def test_names_that_come_back_in_a_period_are_operations() -> None:
    """Sixty jobs that run once an hour are sixty jobs by the day."""
    spans: list[Made] = []
    for hour in range(3):
        spans += calls([f"tidy/{word}" for word in WORDS[:45]], EPOCH_NS + hour * HOUR, 1 + hour * 1000)
    tables = sealed(frame(spans))
    before = period(tables)
    assert collapse(before) == [before]
    assert len(names_of(tables)) == 45


def test_hours_that_are_read_later_are_read_under_the_new_names() -> None:
    """What is told of the whole period is found in its hours."""
    tables = sealed(month_of_names(8, 10))
    rows = tables["path_hours"]

    def read(ids: object, columns: object) -> pl.DataFrame:
        return rows.filter(pl.col("path_id").is_in(ids)).select(columns)  # type: ignore[arg-type]

    lazily = PeriodRollups(EPOCH_NS, EPOCH_NS + 24 * HOUR, HOUR, "", tables, hours=read)  # type: ignore[arg-type]
    (found,) = collapse(lazily)
    ids = found.tables["path_hours"]["path_id"].unique().to_list()
    by_hour = found.by_hour(ids).sort("slot", "path_id")
    assert by_hour.equals(found.tables["path_hours"].select(by_hour.columns).sort("slot", "path_id"))


def test_every_surface_reads_names_that_come_once_as_one(tmp_path: Path) -> None:
    """A period alone, and two that are compared by the hour and by the day."""
    store = seal_at(tmp_path / "store", month_of_names(8, 10))
    begin, middle, end = (EPOCH_NS + hour * HOUR for hour in (0, 4, 8))
    request = RollupRequest(begin, end)
    assert len(names_of(dict(rollups(store, request).tables))) == 2
    periods = Period(begin, middle, "base"), Period(middle, end, "head")
    for zone in (None, "UTC"):
        sides = read_sides(store, *periods, zone=zone)
        for side in (sides.base, sides.head):
            assert len(names_of(dict(side.tables))) == 2
