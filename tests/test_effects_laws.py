"""What a few blocks carry, shares of time and sums of effects, worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from tracescope import schema
from tracescope.analysis.comparison.decompose import Tree, decompose
from tracescope.analysis.comparison.effects import LEVELS, Cells, shares, split, transient
from tracescope.analysis.comparison.entry_groups import add_up
from tracescope.analysis.comparison.matched import Side, Unit
from tracescope.analysis.statistics.blocks import Matched, Slots
from tracescope.analysis.statistics.significance import combine, jackknife

MS = 1_000_000
HOUR_NS = schema.HOUR_NS
NOTHING = np.zeros(0)


def side(ms: list[list[float]], units: list[list[float]] | None = None, visits: float = 5.0) -> Side:
    """Each row a block: own ms of a visit of each path, visited so often, and units of each entry."""
    value = np.array(ms)
    count = np.where(value < 0, 0.0, visits)
    whole = np.full((len(ms), 1), 10.0) if units is None else np.array(units)
    own = count * value * MS
    paths = dict.fromkeys(("calls", "calls_visited", "visits"), count)
    return Side(
        {**paths, "own_ns": own, "child_sum_ns": 0 * own, "child_union_ns": 0 * own},
        {"units": whole, "clock_ns": whole * 50.0 * MS},
        NOTHING,
        NOTHING,
    )


def unit(base: Side, head: Side, entry: list[int] | None = None, **more: Any) -> Unit:
    paths = base.paths["visits"].shape[1]
    names = more.get("names", [("http", "a", f"s{at}", None) for at in range(paths)])
    columns = ("kind", "caller", "callee", "operation")
    frame = pl.DataFrame(
        [(schema.EDGE_KINDS.index(row[0]), *row[1:]) for row in names],
        schema={"kind": pl.Int8, **dict.fromkeys(columns[1:], pl.String)}, orient="row",
    ).with_columns(uninstrumented=pl.Series(more.get("lost", [False] * paths)))  # fmt: skip
    of = np.array(entry or [0] * paths)
    entries = pl.DataFrame({"entry_id": np.arange(of.max() + 1), "service": "a", "operation": "GET"})
    tree = Tree(np.full(paths, -1), of, np.ones(paths, np.int64))
    return Unit(0, entries.with_row_index("index"), frame, tree, base, head, 0.0)


def excess(base: list[float], head: list[float], slot_ns: int = HOUR_NS, **more: Any) -> float:
    """Of one path with these ms a visit in each block, half as many visits as units: -1 is none at all."""
    made = unit(side([[ms] for ms in base], **more), side([[ms] for ms in head], **more))
    return float(transient(made, slot_ns)[0])


QUIET = [10.0] * 10


def with_spikes(count: int, blocks: int, ms: float = 30.0, first: int = 2) -> list[float]:
    return [ms if first <= at < first + count else 10.0 for at in range(blocks)]


@pytest.mark.parametrize(
    ("blocks", "carried"),
    [
        (with_spikes(1, 10), 1), (with_spikes(2, 10), 0), (with_spikes(2, 20), 2), (with_spikes(3, 20), 0),
        (with_spikes(1, 8), 1), (with_spikes(1, 7), 0), (with_spikes(1, 10, first=9), 0),
        (with_spikes(1, 10, first=0), 1),
    ],
)  # fmt: skip
def test_a_tenth_of_the_blocks_may_be_outliers_and_none_of_them_the_last(
    blocks: list[float], carried: int
) -> None:
    """One at least, of eight blocks or more: 20 ms more in each of their visits, half a visit a unit."""
    expected = carried * 20.0 * 0.5 / len(blocks)
    assert excess([10.0] * len(blocks), blocks) == pytest.approx(expected)
    assert excess(blocks, [10.0] * len(blocks)) == pytest.approx(-expected)
    assert excess(blocks, blocks) == pytest.approx(0.0)
    assert excess([10.0] * len(blocks), blocks, HOUR_NS - 1) == 0.0


@pytest.mark.parametrize(
    ("usual", "spike", "carried"),
    [
        ([10.0, 10.0], 12.4, False), ([10.0, 10.0], 12.6, True), ([9.0, 11.0], 18.8, False),
        ([9.0, 11.0], 19.0, True),
        ([10.0, 10.0], 5.0, False),
    ],
)  # fmt: skip
def test_an_outlier_lies_six_deviations_and_a_quarter_above_the_median(
    usual: list[float], spike: float, carried: bool
) -> None:
    """Deviations from the median that half of the blocks do not exceed, as of a normal distribution."""
    blocks = [usual[0], spike, *usual * 5, 10.0]
    found = excess([10.0] * 13, blocks)
    assert found == pytest.approx((spike - 10.0) * 0.5 / 13 if carried else 0.0)


def test_a_path_that_most_blocks_do_not_visit_has_no_outliers() -> None:
    """It was not there, or did nothing."""
    assert excess(QUIET, [-1.0] * 8 + [30.0, 10.0]) == 0.0
    assert excess(QUIET, [0.0] * 8 + [30.0, 0.0]) == 0.0
    assert excess(QUIET, [-1.0, 30.0, *[10.0] * 8]) == pytest.approx(20.0 * 0.5 / 10)


def test_what_is_carried_counts_as_its_entry_does_in_both_periods() -> None:
    """Half of the units of base and a quarter of those of head; one of a single period not at all."""
    spiky = [[30.0 if at == 3 else 10.0] * 3 for at in range(10)]
    base = side([[10.0] * 3] * 10, [[10.0, 10.0, 0.0]] * 10)
    head = side(spiky, [[10.0, 20.0, 10.0]] * 10)
    found = transient(unit(base, head, [0, 1, 2]), HOUR_NS)
    assert found.tolist() == pytest.approx([0.5 * 2.0 * 0.375, 0.25 * 2.0 * 0.5, 0.0])
    back = transient(unit(head, base, [0, 1, 2]), HOUR_NS)
    assert back.tolist() == pytest.approx([-0.5 * 2.0 * 0.375, -0.25 * 2.0 * 0.5, 0.0])


# -- sums -------------------------------------------------------------------------------------------


def noisy(seed: int, blocks: int = 6, paths: int = 3) -> Side:
    rng = np.random.default_rng(seed)
    return side(rng.uniform(5.0, 15.0, (blocks, paths)).tolist())


def slots(blocks: int) -> Slots:
    return Slots(
        pl.DataFrame(), blocks, np.arange(blocks, dtype=float)[:, None], np.zeros((blocks, 0)), False
    )


MATCHED = Matched(slots(6), slots(6), ())


def test_shares_are_parts_of_all_time_and_their_errors_those_of_leaving_blocks_out() -> None:
    """Head less base; by plain loops."""
    base, head = noisy(1), noisy(2)
    edge = np.array([0, 1, 0])
    made = SimpleNamespace(by_edge=lambda values: add_up(values, edge, 2))
    change, spread = shares(unit(base, head), made, MATCHED)  # type: ignore[arg-type]
    whole, errors = [], []
    for one in (base, head):
        own = np.stack([one.paths["own_ns"][:, edge == at].sum(axis=1) for at in (0, 1)], axis=1)
        clock = one.entries["clock_ns"].sum(axis=1)
        without = [
            np.delete(own, at, axis=0).sum(axis=0) / np.delete(clock, at).sum() for at in range(len(own))
        ]
        whole.append(own.sum(axis=0) / clock.sum())
        errors.append(jackknife(whole[-1], np.array(without), MATCHED.base.shape))
    np.testing.assert_allclose(change, whole[1] - whole[0])
    np.testing.assert_allclose(spread.error, combine(*errors).error)


NAMES = [
    ("http", "a", "s", "GET"),
    ("http", "a", "s", "GET"),
    ("http", "a", "s", "PUT"),
    ("self", "a", None, None),
]


def test_edges_add_up_their_paths_by_the_level_asked_for() -> None:
    """Operations, or services, or kinds; each replicate is as if it were alone."""
    base, head = noisy(1, paths=4), noisy(2, paths=4)
    given = unit(base, head, names=NAMES, lost=[True, False, False, False])
    alone = decompose(base.replicates()[0], head.replicates()[0], given.tree)
    total = sum(alone.values())[0] / MS
    for by, edge in (("operation", [0, 0, 1, 2]), ("service", [0, 0, 0, 1]), ("kind", [0, 0, 0, 1])):
        made = split(given, MATCHED, by)
        assert made.edge.tolist() == edge
        np.testing.assert_allclose(made.credit, total)
        np.testing.assert_allclose(sum(made.by_edges.whole.values()), np.bincount(edge, total))
        np.testing.assert_allclose(made.by_edge(total), np.bincount(edge, total))
        assert made.edges["uninstrumented"].to_list() == [True] + [False] * max(edge)
    assert made.edges.select("caller", "callee", "operation").rows() == [
        ("(all)", "(all)", None),
        ("(all)", None, None),
    ]
    assert list(LEVELS) == ["operation", "service", "kind"]


def test_effects_without_a_block_are_those_of_the_others() -> None:
    """Of base and of head apart; mix and what is routed are of the whole."""
    base, head = noisy(1), noisy(2, blocks=4)
    given = unit(base, head)
    made = split(given, Matched(slots(6), slots(4), ()))
    assert made.cells.without_base["latency"].shape == (6, 3)
    assert made.cells.without_head["latency"].shape == (4, 3)
    wholes = [one.replicates()[0] for one in (base, head)]
    for at in range(4):
        less = [
            Side(
                {name: np.delete(values, at, axis=0) for name, values in one.paths.items()},
                {name: np.delete(values, at, axis=0) for name, values in one.entries.items()},
                NOTHING,
                NOTHING,
            ).replicates()[0]
            for one in (base, head)
        ]
        for found, expected in (
            (made.cells.without_base, decompose(less[0], wholes[1], given.tree)),
            (made.cells.without_head, decompose(wholes[0], less[1], given.tree)),
        ):
            for name, values in expected.items():
                np.testing.assert_allclose(found[name][at], values[0] / MS, atol=1e-9, err_msg=name)
    assert made.mix.tolist() == [0.0]
    assert made.routed.tolist() == [0.0]
    assert made.patterns == ()


def test_mix_is_that_of_each_entry_in_ms() -> None:
    base = side([[10.0, 40.0]] * 4, [[50.0, 5.0], [10.0, 15.0], [29.0, 10.0], [31.0, 10.0]])
    head = side([[10.0, 40.0]] * 4, [[1.0, 19.0], [19.0, 1.0], [12.0, 13.0], [8.0, 7.0]])
    for one, ms in ((base, (10.0, 40.0)), (head, (10.0, 40.0))):
        one.entries["clock_ns"] = one.entries["units"] * np.array(ms) * MS
    matched = Matched(slots(4), slots(4), ())
    assert split(unit(base, head, [0, 1]), matched).mix.tolist() == pytest.approx([-0.25 * 10.0, 0.25 * 40.0])


def test_cells_add_up_to_edges_whatever_group_they_are_of() -> None:
    """Rows of an edge and a group; of edges alone every group is the first."""
    rows = {"calls": np.array([1.0, 2.0, 4.0])}
    blocks = {"calls": np.array([[1.0, 2.0, 4.0], [3.0, 0.0, 1.0]])}
    made = Cells(np.array([2, 0, 1, 1]), np.array([0, 1, 0]), np.array([0, 0, 1]), rows, blocks, blocks)
    assert made.add_up(np.array([8.0, 1.0, 2.0, 4.0])).tolist() == [1.0, 6.0, 8.0]
    edges = made.by_edge(2)
    assert (edges.number.tolist(), edges.edge.tolist(), edges.group.tolist()) == (
        [0, 0, 1, 1],
        [0, 1],
        [0, 0],
    )
    assert edges.whole["calls"].tolist() == [5.0, 2.0]
    assert edges.without_base["calls"].tolist() == [[5.0, 2.0], [4.0, 0.0]]


def test_rows_are_of_an_edge_and_a_group_of_entries() -> None:
    """An edge in a quick entry and in one that is a thousand times as slow stands in two rows."""
    base = side([[10.0, 10.0, 4.0]] * 4, [[90.0, 10.0]] * 4)
    base.entries["clock_ns"] = base.entries["units"] * np.array([10.0, 10_000.0]) * MS
    names = [("http", "a", "s", "GET"), ("http", "a", "s", "GET"), ("http", "a", "s", None)]
    matched = Matched(slots(4), slots(4), ())
    made = split(unit(base, base, [0, 1, 1], names=names), matched)
    assert made.edges["operation"].to_list() == ["GET", None]  # names before what has none
    assert made.groups.of.tolist() == [0, 1]
    assert (made.cells.edge.tolist(), made.cells.group.tolist()) == ([0, 0, 1], [0, 1, 1])
    assert made.cells.number.tolist() == [0, 1, 2]


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_what_is_carried_does_not_depend_on_how_much_was_seen(factor: float) -> None:
    """Of either period, for each unit of work."""
    spiky = [[30.0] if at == 3 else [10.0] for at in range(10)]
    sides = [side([[10.0]] * 10), side(spiky)]
    expected = transient(unit(*sides), HOUR_NS)
    for scaled in (0, 1):
        for part in (sides[scaled].paths, sides[scaled].entries):
            for name, values in part.items():
                part[name] = values * factor
        assert transient(unit(*sides), HOUR_NS).tolist() == pytest.approx(expected.tolist())
