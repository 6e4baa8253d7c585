"""When two periods are of one system, and which entries look renamed, worked out by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from difflib import SequenceMatcher

import pytest
from rolled import rolled

from tracescope import schema
from tracescope.analysis.comparison import overlap
from tracescope.analysis.comparison.overlap import check_overlap
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.errors import IncomparableError

Calls = dict[str, Iterable[tuple[str, str, str]]]


def period(
    units: dict[str, int], below: Calls | None = None, services: dict[str, int] | None = None, kind: int = 0
) -> PeriodRollups:
    """Units of each entry, ``service operation``; what each calls, and spans of services."""
    names = [name.split(" ", 1) for name in units]
    ids = {name: at for at, name in enumerate(units)}
    return rolled(
        entry_hours=[{"entry_id": ids[name], "units": n, "unit": kind} for name, n in units.items()],
        entries=[{"entry_id": at, "service": s, "operation": o} for at, (s, o) in enumerate(names)],
        paths=[
            {"path_id": 100 + 10 * ids[entry] + at, "entry_id": ids[entry], "callee": callee,
             "kind": schema.EDGE_KINDS.index(kind_of), "operation": operation}
            for entry, calls in (below or {}).items()
            for at, (kind_of, callee, operation) in enumerate(calls)
        ],
        service_hours=[{"service": name, "spans": n} for name, n in (services or {}).items()],
    )  # fmt: skip


def refused(base: PeriodRollups, head: PeriodRollups) -> str:
    """The words of the refusal; empty where the periods are compared."""
    try:
        check_overlap(base, head)
    except IncomparableError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("base", "head", "compared"),
    [
        ({"a GET": 90, "b GET": 10}, {"b GET": 10, "c GET": 90}, True),
        ({"a GET": 91, "b GET": 9}, {"b GET": 9, "c GET": 91}, False),
        ({"a GET": 91, "b GET": 9}, {"b GET": 10, "c GET": 90}, True),
        ({"b GET": 10, "c GET": 90}, {"a GET": 91, "b GET": 9}, True),
        ({"a GET": 5}, {"a GET": 1}, True), ({"a GET": 5}, {"a PUT": 5}, False),
        ({}, {"a GET": 1}, True), ({"a GET": 1}, {}, True),
    ],
)  # fmt: skip
def test_periods_have_a_tenth_of_either_in_common(
    base: dict[str, int], head: dict[str, int], compared: bool
) -> None:
    """Of requests by entry, and of spans by service; a period with nothing is told elsewhere."""
    words = refused(period(base), period(head))
    assert (words == "") == compared
    assert compared or "hardly any entries in common" in words
    same = {"a GET": 1}
    words = refused(period(same, services=base), period(same, services=head))
    assert (words == "") == compared
    assert compared or "hardly any services in common" in words


def test_only_requests_count_where_there_are_any() -> None:
    """Messages of all kinds else; rows of several hours and kinds add up."""
    messages = {"a GET": 5}, {"b GET": 5}
    assert refused(*(period(one, kind=schema.UNIT_MESSAGE) for one in messages))
    rows = [{"entry_id": 0, "units": 3}, {"entry_id": 1, "units": 50, "unit": schema.UNIT_MESSAGE},
            {"entry_id": 0, "units": 4, "slot": 1}, {"entry_id": 2, "units": 0}]  # fmt: skip
    names = [{"entry_id": at, "service": one, "operation": "GET"} for at, one in enumerate("abc")]
    assert overlap._entries(rolled(entry_hours=rows, entries=names)) == {("a", "GET"): 7}
    assert overlap._entries(rolled(entry_hours=rows[1:2], entries=names)) == {("b", "GET"): 50}


def test_a_refusal_lists_five_names_of_each_period_most_first() -> None:
    """And how many more there are; and five pairs that look renamed."""
    base = {f"s{at} GET /{at}": 10 + at for at in range(7)}
    words = refused(period(base), period({"other POST": 3, "more PUT": 3}))
    assert "BASE: s6 GET /6, s5 GET /5, s4 GET /4, s3 GET /3, s2 GET /2 and 2 more; " in words
    assert "HEAD: more PUT, other POST)" in words
    assert "renamed" not in words
    five = dict(list(base.items())[:5])
    assert "s0 GET /0; " in refused(period(five), period({"other POST": 3}))
    new = {name.replace("GET", "GET_"): n for name, n in base.items()}
    words = refused(period(base), period(new))
    assert words.count("→") == 5
    assert "; these look renamed: s" in words


def test_names_of_services_stand_alone() -> None:
    words = refused(period({"a GET": 1}, services={"a": 3, "b": 5}), period({"a GET": 1}, services={"c": 1}))
    assert "(BASE: b, a; HEAD: c)" in words


def test_what_looks_renamed_is_told_in_five_pairs_that_share_no_entry() -> None:
    """Most alike first; by name where they are alike."""
    base = {"kept GET": 500, **{f"s GET /page{at}": 10 for at in range(7)}}
    head = {"kept GET": 500, **{f"s GET /pagex{at}": 10 for at in range(7)}}
    notes = check_overlap(period(base), period(head))
    assert notes == [
        f"looks renamed: s GET /page{at} → s GET /pagex{at}; told, not scored" for at in range(5)
    ]
    assert check_overlap(period(base), period(base)) == []
    assert check_overlap(period(base), period({"kept GET": 500})) == []


def renamed(base: dict[str, int], head: dict[str, int], *below: Calls) -> list[tuple[str, str]]:
    sides = [period(units, calls) for units, calls in zip((base, head), below or ({}, {}), strict=True)]
    pairs = overlap._renamed(*sides, *map(overlap._entries, sides))
    return [(" ".join(one.before), " ".join(one.after)) for one in pairs]


def test_entries_that_call_the_same_look_renamed_whatever_they_are_called() -> None:
    """Half by their callees, half by their names: all callees and no letter in common is not enough."""
    calls = [("http", "stock", "GET"), ("db", "pg", "SELECT")]
    one, other = {"aaaa bbbb": 10}, {"aaxx bbyy": 10}
    assert renamed(one, other, {"aaaa bbbb": calls}, {"aaxx bbyy": calls}) == [("aaaa bbbb", "aaxx bbyy")]
    assert renamed(one, {"cccc dddd": 10}, {"aaaa bbbb": calls}, {"cccc dddd": calls}) == []
    assert renamed(one, other, {"aaaa bbbb": calls}, {"aaxx bbyy": calls[:1]}) == []
    assert renamed(one, other, {"aaaa bbbb": calls}, {"aaxx bbyy": [*calls, ("self", "", "")]}) != []


def test_the_most_alike_are_paired_first() -> None:
    """What is left over finds another, or none."""
    base, head = {"s GET /carts": 10, "s GET /cart": 10}, {"s GET /cart/": 10, "s GET /xcarts/": 10}
    assert renamed(base, head) == [("s GET /cart", "s GET /cart/"), ("s GET /carts", "s GET /xcarts/")]


def test_an_entry_of_a_hundredth_of_the_requests_is_looked_at_fifty_of_them_at_most() -> None:
    """Most requests first, then by name; what both have is none."""
    few = {("s", "a"): 99, ("s", "b"): 1, ("s", "c"): 0}
    assert overlap._only(few, {}) == [("s", "a"), ("s", "b")]
    assert overlap._only({**few, ("s", "d"): 2}, {("s", "a"): 1}) == [("s", "d")]
    many = {("s", f"{at:02}"): 100 + at for at in range(60)}
    assert overlap._only(many, {}) == sorted(many, reverse=True)[:50]
    assert overlap._only(dict.fromkeys(many, 3), {}) == sorted(many)[:50]


@pytest.mark.parametrize(
    ("a", "b", "below_a", "below_b", "expected"),
    [
        (("s", "ab"), ("s", "ab"), "xy", "xy", 1.0), (("s", "ab"), ("t", "ab"), "x", "x", 0.75),
        (("s", "ab"), ("s", "cd"), "xy", "yz", (0.5 + 1 / 3) / 2), (("s", "ab"), ("s", "cd"), "x", "", 0.25),
        (("s", "ab"), ("s", "cd"), "", "", 0.5), (("s", "ab"), ("t", "ab"), "", "", 0.5),
        (("st", "ab"), ("sx", "ax"), "", "", 0.0), (("st", "ab"), ("sx", "ax"), "x", "x", 0.75),
    ],
)  # fmt: skip
def test_similarity_is_the_mean_of_names_and_callees(
    a: tuple[str, str], b: tuple[str, str], below_a: str, below_b: str, expected: float
) -> None:
    """Of names the mean of service and operation (Ratcliff and Obershelp), of callees Jaccard's index."""
    found = overlap._similarity(
        a, b, frozenset((one,) for one in below_a), frozenset((one,) for one in below_b)
    )
    assert found == pytest.approx(expected)


def test_likeness_counts_every_letter_of_long_names() -> None:
    """Letters that are frequent in long ones, too."""
    a, b = "x" + "/a" * 150, "/a" * 150
    assert overlap._likeness(a, b) == pytest.approx(2 * 300 / 601)
    assert SequenceMatcher(None, a, b).ratio() == 0.0  # as it would be


def test_periods_without_hours_of_services_are_compared_by_their_entries() -> None:
    bare = period({"a GET": 1}, services={"a": 1})
    tables = {name: frame for name, frame in bare.tables.items() if name != "service_hours"}
    other = period({"a GET": 1}, services={"c": 1})
    assert check_overlap(replace(bare, tables=tables), other) == []
