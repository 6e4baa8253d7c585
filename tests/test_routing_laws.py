"""Who hands on each request to one of several, on a tree worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tracescope import schema
from tracescope.analysis.comparison.decompose import Sums, Tree
from tracescope.analysis.comparison.routing import routed

#: Two entries; the first has two branches and work of its own, of which one is a router again.
TREE = Tree(
    parent=np.array([-1, -1, -1, -1, 0, 0, 0, 1]), entry=np.array([0, 0, 0, 1, 0, 0, 0, 0]),
    depth=np.array([1, 1, 1, 1, 2, 2, 2, 2]),
)  # fmt: skip
HTTP, RPC, SELF, DB = schema.EDGE_HTTP, schema.EDGE_RPC, schema.EDGE_SELF, schema.EDGE_DB
KIND = np.array([HTTP, RPC, SELF, HTTP, HTTP, HTTP, SELF, HTTP], np.int8)
USUAL = {"units": [100.0, 40.0], "calls": [60.0, 40.0, 100.0, 40.0, 20.0, 40.0, 60.0, 90.0]}
#: Calls effects; what is mix of these goes to the entry.
EFFECT = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0])


def sums(**more: list[float]) -> Sums:
    """A period with so many calls on each path, as many visits, and units of each entry."""
    made = {**USUAL, **more}
    units, calls = np.array([made["units"]] * 2), np.array([made["calls"]] * 2)
    visits = np.array([made.get("visits", made["calls"])] * 2)
    calls[1] *= 3.0  # a replicate: the whole decides
    return Sums(units, units, calls, calls, visits, calls, calls, calls)


def left(base: Sums, head: Sums, kind: np.ndarray = KIND, tree: Tree = TREE) -> tuple[list[int], list[float]]:
    """Paths whose calls effect is mix, and the mix of each entry."""
    given = {"calls": np.stack([EFFECT, 2 * EFFECT]), "latency": np.stack([EFFECT, EFFECT])}
    effects, mix = routed(given, base, head, tree, kind)
    assert effects["latency"] is given["latency"]
    chosen = np.flatnonzero(effects["calls"][0] == 0)
    expected = np.where(np.isin(np.arange(8), chosen), 0.0, given["calls"])
    np.testing.assert_array_equal(effects["calls"], expected)  # in every replicate
    assert mix.sum() == EFFECT[chosen].sum()
    return chosen.tolist(), mix.tolist()


def changed(at: int, by: float) -> Sums:
    calls = list(USUAL["calls"])
    calls[at] += by
    return sums(calls=calls)


def test_each_request_that_goes_to_one_of_several_is_mix_down_to_the_last_router() -> None:
    """Work of its own is no branch, one branch alone is no choice, and two calls a visit are the code's."""
    assert left(sums(), sums()) == ([0, 1, 4, 5], [1.0 + 2.0 + 16.0 + 32.0, 0.0])


def test_a_single_branch_hands_on_and_its_callee_may_choose() -> None:
    """A proxy in front of a router; the entry of its own has the mix."""
    tree = Tree(np.array([-1, 0, 0]), np.array([1, 1, 1]), np.array([1, 2, 2]))
    base = Sums(*(np.array([row]) for row in ([9.0, 10.0], [9.0, 10.0], *[[10.0, 4.0, 6.0]] * 6)))
    given = {"calls": np.array([[1.0, 2.0, 4.0]])}
    effects, mix = routed(given, base, base, tree, np.array([HTTP, HTTP, RPC], np.int8))
    assert (effects["calls"].tolist(), mix.tolist()) == ([[1.0, 0.0, 0.0]], [0.0, 6.0])


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(("by", "routes"), [(3.0, True), (-3.0, True), (3.1, False), (-3.1, False)])
def test_one_call_a_visit_is_within_three_hundredths(by: float, routes: bool, swapped: bool) -> None:
    """In both periods; of calls made, spans of which may be lost."""
    pair = (sums(), changed(1, by))
    chosen, _ = left(*(reversed(pair) if swapped else pair))
    assert chosen == ([0, 1, 4, 5] if routes else [])


@pytest.mark.parametrize("kind", [DB, schema.EDGE_QUEUE, schema.EDGE_EXTERNAL])
def test_only_calls_of_services_are_branches(kind: int) -> None:
    """Beside a query nobody hands on: not here, and so not below."""
    kinds = KIND.copy()
    kinds[5] = kind
    assert left(sums(), sums(), kinds)[0] == [0, 1]
    kinds = KIND.copy()
    kinds[0] = kind
    assert left(sums(), sums(), kinds)[0] == []


def test_without_visits_nothing_is_handed_on() -> None:
    """Neither of an entry, nor of a service."""
    none = sums(units=[0.0, 40.0], calls=[0.0, 0.0, 0.0, 40.0, *[0.0] * 4])
    assert left(none, none)[0] == left(none, sums())[0] == left(sums(), none)[0] == []
    few = sums(units=[0.5, 40.0], calls=[0.3, 0.2, 0.5, 40.0, 0.1, 0.2, 0.3, 9.0])
    assert left(few, few)[0] == [0, 1, 4, 5]


def test_nothing_is_looked_for_below_a_service_that_keeps_its_requests() -> None:
    """A choice further down is one of the code."""
    assert left(changed(0, 50.0), sums())[0] == []
    effects = {"calls": EFFECT[None]}
    assert routed(effects, changed(0, 50.0), sums(), TREE, KIND)[0] is effects
