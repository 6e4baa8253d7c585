"""`--fail-on`: conditions that fail a build, and what `--by` adds edges up to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner
from simulated import Work, call, compare, edge, publish, query, serve

from tracescope.analysis.diff import Options
from tracescope.analysis.gate import parse_gate
from tracescope.analysis.report import Finding, Mechanism, Report, Victim
from tracescope.cli import main
from tracescope.errors import UsageError


def shop(ms: float) -> Work:
    """Clock 10 + ms; two queries of one database, ms between them."""
    queries = [query("postgresql/cart", "SELECT", ms / 2), query("postgresql/cart", "INSERT", ms / 2)]
    return serve(
        "gateway", "GET /", 5.0, [call("cart", "GET /cart", 5.0, queries), publish("t", 20, "mail", 1)]
    )


@pytest.fixture(scope="module")
def report() -> Report:
    """The database goes from 10 of 20 ms to 30 of 40 ms."""
    return compare(shop(10.0), shop(30.0))


@pytest.mark.parametrize(
    ("gate", "broken"),
    [
        ("db.share>+24pp", True),
        ("db.share>+26pp", False),
        ("db.share > +49%", True),
        ("db.share>+51%", False),
        ("db.share>74pp", True),
        ("db.share>=75%", True),
        ("db.share>76%", False),
        ("db.ms>+19ms", True),
        ("db.ms>+21ms", False),
        ("db.ms>+199%", True),
        ("db.ms>29", True),
        ("db.calls>+0", False),
        ("db.calls>=2", True),
        ("http.ms>+1ms", False),
        ("any.ms>+9ms", True),
        ("any.ms>+11ms", False),
        ("cart -> postgresql/cart.ms>+9ms", True),
        ("cart -> postgresql/cart SELECT.ms>+9ms", True),
        ("'cart -> postgresql/cart'.ms>+11ms", False),
        ("self.share<-5pp", True),
        ("queue.ms>19ms", True),
        ("any.headroom<1.5", False),
    ],
)
def test_a_gate_is_broken_exactly_when_its_condition_holds(report: Report, gate: str, broken: bool) -> None:
    """Levels without a sign, changes with one; sums over a kind, edges one by one."""
    lines = parse_gate(gate).broken(report)
    assert bool(lines) == broken, lines


def test_a_broken_gate_says_what_of_what_went_from_where_to_where(report: Report) -> None:
    """The line can stand in a build log by itself."""
    assert parse_gate("db.share>+5pp").broken(report) == ["db: share 50.0% -> 75.0% (+25.0 pp)"]
    assert parse_gate("queue.ms>19ms").broken(report) == [
        "queue per message: ms 20 ms -> 20 ms (+0); could be chance"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "db.share",
        "db.speed>1",
        "db.share>5ms",
        "db.ms>10%",
        "cache.share>1pp",
        "any.headroom>+1",
        ">5",
        "db.ms>+x",
    ],
)
def test_a_gate_that_cannot_be_read_is_a_usage_error_with_an_example(text: str) -> None:
    """Exit code 2, not a gate that silently never fails."""
    with pytest.raises(UsageError) as error:
        parse_gate(text)
    assert text in error.value.message
    assert error.value.hint


def test_a_gate_that_cannot_be_read_stops_before_any_work() -> None:
    """Even without a store."""
    result = CliRunner().invoke(main, ["diff", "--fail-on", "nonsense", "--store", "/nowhere"])
    assert result.exit_code == 2
    assert "nonsense" in result.output


def test_rows_add_up_to_edges_and_to_kinds_with_the_same_totals() -> None:
    """`--by`: fewer rows, the same sums, each tested as one."""
    by = {
        name: compare(shop(10.0), shop(30.0), jitter=0.05, options=Options(by=name))
        for name in ("operation", "service", "kind")
    }
    assert edge(by["service"], "cart -> postgresql/cart").credited_ms == pytest.approx(
        sum(e.credited_ms for e in by["operation"].edges if e.name == "cart -> postgresql/cart")
    )
    kinds = {(e.unit, e.kind): e for e in by["kind"].edges}
    assert len(kinds) == len(by["kind"].edges)
    assert kinds["request", "db"].significant
    assert kinds["request", "db"].share_head == pytest.approx(0.75, abs=0.02)
    for report in by.values():
        assert report.effects_total == pytest.approx(by["operation"].effects_total)


@pytest.mark.parametrize(
    ("gate", "broken"),
    [
        ("any.headroom<1.5", True), ("any.headroom<1.2", False), ("any.headroom<=1.2", True),
        ("any.headroom>1.1", True), ("any.headroom>=1.3", False),
    ],
)  # fmt: skip
def test_headroom_is_heads_and_of_each_edge_by_itself(report: Report, gate: str, broken: bool) -> None:
    """An edge without a wall in sight meets no condition on it."""
    first, *rest = report.edges
    some = replace(
        report, edges=(replace(first, headroom=1.2), *(replace(one, headroom=None) for one in rest))
    )
    lines = parse_gate(gate).broken(some)
    assert len(lines) == broken
    if broken:
        assert lines[0].startswith(f"{first.name} {first.operation or ''}".rstrip() + ": headroom 1.2")


@pytest.mark.parametrize(
    ("base", "head", "gate", "broken"),
    [
        (0.0, 5.0, "db.ms>+1000%", True),  # from nothing is beyond every per cent
        (0.0, 0.0, "db.ms>+0%", False),
        (0.0, 0.0, "db.ms>=+0%", True),
        (4.0, 5.0, "db.ms>+25%", False),
        (4.0, 5.0, "db.ms>=+25%", True),
        (4.0, 5.0, "db.ms>+24.9%", True),
        (4.0, 3.0, "db.ms<-24%", True),
        (4.0, 3.0, "db.ms<-26%", False),
        (0.1, 0.3, "db.ms>=+0.2ms", True),  # 0.3 - 0.1 is a hair less than 0.2
        (0.1, 0.3, "db.ms<=+0.2ms", True),
    ],
)
def test_changes_are_relative_to_base_and_a_bound_that_is_met_counts_where_it_may(
    report: Report, base: float, head: float, gate: str, broken: bool
) -> None:
    """Of one edge with these milliseconds."""
    first = next(one for one in report.edges if one.kind == "db")
    one = replace(report, edges=(replace(first, own_ms_base=base, own_ms_head=head),))
    assert bool(parse_gate(gate).broken(one)) == broken


def test_a_broken_gate_says_each_measure_in_its_unit(report: Report) -> None:
    first = next(one for one in report.edges if one.kind == "db")
    edge = replace(
        first, own_ms_base=1.25, own_ms_head=2.5, calls_per_unit_base=1.0, calls_per_unit_head=3.5,
        share_base=0.25, share_head=0.125, significant=True,
    )  # fmt: skip
    one = replace(report, edges=(edge,))
    assert parse_gate("db.ms>0").broken(one) == ["db: ms 1.25 ms -> 2.5 ms (+1.25)"]
    assert parse_gate("db.calls>0").broken(one) == ["db: calls 1 -> 3.5 (+2.5)"]
    assert parse_gate("db.share>0").broken(one) == ["db: share 25.0% -> 12.5% (-12.5 pp)"]
    unsure = replace(report, edges=(replace(edge, significant=False),))
    assert parse_gate("db.calls>0").broken(unsure) == ["db: calls 1 -> 3.5 (+2.5); could be chance"]


def test_a_broken_gate_says_what_makes_its_edge_grow(report: Report) -> None:
    """Who waits for somebody else is not to be mended itself."""
    first, second = (edge(report, "cart -> postgresql/cart", operation) for operation in ("SELECT", "INSERT"))
    found = Finding(
        first.key, Mechanism.CONTENDED, "", 1.0, "request",
        victims=(Victim(second.key, 1.0, "request", "waits for a row"),),
    )  # fmt: skip
    explained = replace(report, findings=(found,))
    lines = parse_gate("cart -> postgresql/cart.ms>+9ms").broken(explained)
    assert sum("because of" in line for line in lines) == 1
    (told,) = [line for line in lines if "because of" in line]
    assert told.startswith("cart -> postgresql/cart INSERT: ")
    assert told.endswith("because of cart -> postgresql/cart SELECT: waits for a row")
