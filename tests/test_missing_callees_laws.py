"""Calls whose callee's span was lost go to the same calls that have theirs; worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from tracescope import schema
from tracescope.analysis.comparison.decompose import Tree
from tracescope.analysis.comparison.missing_callees import missing_callees, rejoin

Call = tuple[str, str, str | None, str, bool]


def paths(*calls: Call, **more: Any) -> pl.DataFrame:
    """Kind, caller, callee, operation, and whether its callee's span is missing; all under one call."""
    names = ("kind", "caller", "callee", "operation", "uninstrumented")
    rows = [(schema.EDGE_KINDS.index(kind), *rest) for kind, *rest in calls]
    parents = more.get("parents", [7] * len(rows))
    return pl.DataFrame(rows, schema=list(names), orient="row").with_row_index("index").with_columns(
        parent_id=pl.Series(parents, dtype=pl.Int64)
    )  # fmt: skip


def pairs(*calls: Call, **more: Any) -> list[tuple[int, int]]:
    return missing_callees(paths(*calls, **more))


CART = ("http", "web", "cart", "GET", False)


@pytest.mark.parametrize(
    ("peer", "found"),
    [("cart", True), ("cart.shop.svc", True), ("cart:8080", True), ("cart.shop.svc:8080", True),
     ("http://cart:8080", True), ("carts", False), ("shop.cart", False)],
)  # fmt: skip
def test_a_call_without_a_span_is_of_the_service_that_its_peer_names(peer: str, found: bool) -> None:
    """By its host, with or without domain and port; else by the operation, if one call alone has it."""
    lost = ("external", "web", peer, "PUT", True)
    assert pairs(CART, lost) == ([(1, 0)] if found else [])
    assert pairs(CART, ("external", "web", peer, "GET", True)) == [(1, 0)]


def test_a_call_that_could_be_one_of_several_is_none() -> None:
    """Unless the operation tells them apart; the peer's name decides before it."""
    put, other = ("http", "web", "cart", "PUT", False), ("http", "web", "mail", "GET", False)
    lost = ("http", "web", "cart", "GET", True)
    assert pairs(CART, put, lost) == [(2, 0)]
    assert pairs(CART, put, ("http", "web", "cart", "DELETE", True)) == []
    assert pairs(put, other, lost) == [(2, 0)]
    assert pairs(CART, other, ("http", "web", "10.0.0.1", "GET", True)) == []
    assert pairs(CART, other, lost, ("rpc", "web", "mail", "GET", True)) == [(2, 0), (3, 1)]


def test_only_calls_beside_it_of_the_same_caller_count() -> None:
    """Queries and messages have no span of their callee; neither has what has none beside it."""
    lost = ("http", "web", "cart", "GET", True)
    assert pairs(CART, lost, parents=[7, 8]) == []
    assert pairs(CART, ("http", "shop", "cart", "GET", True)) == []
    for kind in ("db", "queue", "self"):
        assert pairs(CART, (kind, "web", "cart", "GET", True)) == []
        assert pairs((kind, "web", "cart", "GET", False), lost) == []
    for kind in ("http", "rpc", "external"):
        assert pairs(CART, (kind, "web", "cart", "GET", True)) == [(1, 0)]
    assert pairs(CART, ("http", "web", None, "GET", True)) == []


# -- putting back -----------------------------------------------------------------------------------

#: A call, what is below it twice, the same call without spans, and another.
TREE = Tree(np.array([-1, -1, -1, 0, 3]), np.zeros(5, np.int64), np.array([1, 1, 1, 2, 3]))
NAMES = ("calls", "calls_visited", "visits", "detached_calls", "own_ns", "inclusive_ns")


def side(calls: list[list[float]], own: list[list[float]]) -> dict[str, Any]:
    """Sums by block of all paths; visits and the like are as many as calls."""
    made = {name: np.array(calls, float) for name in NAMES[:4]}
    return {**made, "own_ns": np.array(own, float), "inclusive_ns": 2 * np.array(own, float)}


def test_what_was_lost_is_spread_over_the_subtree_in_proportion() -> None:
    """Counts by the visits, times by the time; sums of time stay what they were, block by block."""
    one = side([[100, 10, 5, 200, 50]], [[300, 60, 9, 200, 100]])
    other = side([[100, 0, 5, 100, 100]], [[300, 0, 9, 200, 100]])
    before = {name: values.copy() for name, values in other.items()}
    assert rejoin([(1, 0)], TREE, [one, other]) == pytest.approx(10 / 110)
    assert one["calls"][0].tolist() == pytest.approx([110, 0, 5, 220, 55])
    assert one["detached_calls"][0].tolist() == pytest.approx([110, 0, 5, 220, 55])
    assert one["own_ns"][0].tolist() == pytest.approx([330, 0, 9, 220, 110])
    assert one["inclusive_ns"][0].tolist() == pytest.approx([660, 0, 18, 440, 220])
    for name, values in other.items():
        assert (values == before[name]).all()


def test_a_block_without_the_call_gets_the_sums_as_they_are() -> None:
    """Nothing is there to be spread over."""
    one = side([[100, 4, 0, 100, 0], [0, 3, 0, 0, 0]], [[400, 20, 0, 100, 0], [0, 7, 0, 0, 0]])
    rejoin([(1, 0)], TREE, [one])
    assert one["calls"].tolist() == [[104, 0, 0, 104, 0], [3, 0, 0, 0, 0]]
    assert one["own_ns"].tolist() == [[416, 0, 0, 104, 0], [7, 0, 0, 0, 0]]
    still = side([[100, 2, 0, 100, 0]], [[0, 5, 0, 0, 0]])  # it took no time
    rejoin([(1, 0)], TREE, [still])
    assert still["own_ns"].tolist() == [[5, 0, 0, 0, 0]]
    assert still["visits"].tolist() == [[102, 0, 0, 100, 0]]
    unseen = side([[100, 2, 0, 100, 0]], [[50, 5, 0, 0, 0]])
    unseen["visits"][0, 0] = 0.0
    rejoin([(1, 0)], TREE, [unseen])
    assert unseen["own_ns"].tolist() == [[55, 0, 0, 0, 0]]


@pytest.mark.parametrize(("lost", "back"), [(10, True), (11, False)])
def test_a_tenth_may_be_lost_and_with_more_the_callee_sends_none(lost: float, back: bool) -> None:
    """In either period."""
    for order in (1, -1):
        sides = [side([[100, n, 0, 1, 1]], [[9, 9, 9, 9, 9]]) for n in (lost, 1)][::order]
        found = rejoin([(1, 0)], TREE, sides)
        assert (found > 0) == back
        assert all((one["calls"][0, 1] == 0) == back for one in sides)


def test_the_part_is_that_of_the_period_and_the_call_that_lost_most() -> None:
    """Nothing without pairs."""
    sides = [side([[100, 5, 2, 1, 1]], [[9] * 5]), side([[100, 8, 9, 1, 1]], [[9] * 5])]
    assert rejoin([(1, 0), (2, 0)], TREE, sides) == pytest.approx(9 / 117)
    assert rejoin([], TREE, sides) == 0.0
