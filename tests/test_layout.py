"""Layouts: nothing overlaps, edges run left to right around boxes, and the same graph looks the same."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import isotonic_regression

from tracescope.report.layout import Box, Layout, Link, Route, _monotone, forward, layers, layout
from tracescope.report.ordering import crossings, ordered

CHECKED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Box], list[Link]]:
    """Graphs of up to 25 boxes with cycles, loops, parallel edges and parts that are not connected."""
    count = draw(st.integers(1, 25))
    names = [f"n{at}" for at in range(count)]
    boxes = [Box(name, draw(st.integers(40, 180)), draw(st.sampled_from([20, 26, 40]))) for name in names]
    ends = st.sampled_from(names)
    links = draw(st.lists(st.builds(Link, ends, ends, st.floats(0, 20), st.floats(1, 9)), max_size=50))
    return boxes, links


def curve(route: Route, steps: int = 16) -> list[tuple[float, float]]:
    """Points along a route, as it is drawn: straight within columns, Bézier S-curves between."""
    out: list[tuple[float, float]] = []
    for number, ((x0, y0), (x1, y1)) in enumerate(zip(route.points, route.points[1:], strict=False)):
        middle = (x0 + x1) / 2
        for step in range(steps + 1):
            t = step / steps
            a, b, c, d = (1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t * t, t**3
            if number % 2:
                out.append((x0 + (x1 - x0) * t, y0 + (y1 - y0) * t))
            else:
                out.append((a * x0 + (b + c) * middle + d * x1, (a + b) * y0 + (c + d) * y1))
    return out


@CHECKED
@given(graphs())
def test_boxes_never_overlap_and_stay_in_the_picture(graph: tuple[list[Box], list[Link]]) -> None:
    made = layout(*graph)
    places = list(made.places.values())
    assert set(made.places) == {box.id for box in graph[0]}
    for at, one in enumerate(places):
        assert one.x >= 0
        assert one.y >= -1e-6
        assert one.x + one.width <= made.width + 1e-6
        assert one.y + one.height <= made.height + 1e-6
        for other in places[at + 1 :]:
            apart = (
                one.x + one.width <= other.x + 1e-6
                or other.x + other.width <= one.x + 1e-6
                or one.y + one.height <= other.y + 1e-6
                or other.y + other.height <= one.y + 1e-6
            )
            assert apart


@CHECKED
@given(graphs())
def test_edges_run_around_boxes(graph: tuple[list[Box], list[Link]]) -> None:
    """No point of a route lies inside a box, its ends touch their own boxes, and only cycles run back."""
    made = layout(*graph)
    for link, route in zip(graph[1], made.routes, strict=True):
        if link.source == link.target:
            assert route.loop
            continue
        source, target = made.places[link.source], made.places[link.target]
        x0, x1 = route.points[0][0], route.points[-1][0]
        assert x0 == pytest.approx(source.x if route.back else source.x + source.width)
        assert x1 == pytest.approx(target.x + target.width if route.back else target.x)
        assert (x1 < x0) if route.back else (x0 < x1)
        for x, y in curve(route):
            for name, place in made.places.items():
                if name in (link.source, link.target):
                    continue
                inside = place.x + 0.1 < x < place.x + place.width - 0.1
                assert not (inside and place.y + 0.1 < y < place.y + place.height - 0.1), (link, name)


@CHECKED
@given(graphs(), st.randoms(use_true_random=False))
def test_the_same_graph_in_any_order_has_the_same_places(
    graph: tuple[list[Box], list[Link]], shuffle: random.Random
) -> None:
    boxes, links = list(graph[0]), list(graph[1])
    made = layout(boxes, links)
    shuffle.shuffle(boxes)
    shuffle.shuffle(links)
    again = layout(boxes, links)
    assert {n: (p.x, p.column) for n, p in made.places.items()} == {
        n: (p.x, p.column) for n, p in again.places.items()
    }
    for name, place in made.places.items():
        assert again.places[name].y == pytest.approx(place.y, abs=1e-6)


def places(made: Layout) -> dict[str, int]:
    return {name: place.column for name, place in made.places.items()}


def boxes(*names: str, entry: str = "") -> list[Box]:
    return [Box(name, 60, 26, entry=name == entry) for name in names]


def test_callers_stand_left_of_what_they_call() -> None:
    made = layout(boxes("a", "b", "c"), [Link("a", "b"), Link("b", "c"), Link("a", "c")])
    assert places(made) == {"a": 0, "b": 1, "c": 2}
    assert not any(route.back for route in made.routes)


def test_a_cycle_is_broken_where_it_returns_to_the_entry() -> None:
    """The edge from a to b closes the cycle when work enters at b."""
    made = layout(boxes("a", "b", "c", entry="b"), [Link("a", "b"), Link("b", "c"), Link("c", "a")])
    assert places(made) == {"b": 0, "c": 1, "a": 2}
    assert [route.back for route in made.routes] == [True, False, False]


def test_a_late_source_stands_near_what_it_calls() -> None:
    """An edge from a second entry does not cross the picture when it need not."""
    links = [Link("a", "b"), Link("b", "c"), Link("c", "d"), Link("late", "d")]
    assert places(layout(boxes("a", "b", "c", "d", "late"), links))["late"] == 2


@CHECKED
@given(graphs())
def test_what_keeps_its_direction_has_no_cycle(graph: tuple[list[Box], list[Link]]) -> None:
    """And layers of it rise along every edge, with none empty."""
    names = [box.id for box in graph[0]]
    pairs = {(link.source, link.target): link.weight for link in graph[1] if link.source != link.target}
    keep = forward(names, pairs, [])
    assert set(keep) == set(pairs)
    right = {ends if keep[ends] else ends[::-1]: weight for ends, weight in pairs.items()}
    layer = layers(names, right)  # pyright: ignore[reportArgumentType]
    assert all(layer[a] < layer[b] for a, b in right)
    assert min(layer.values()) == 0


@CHECKED
@given(st.integers(0, 2**32 - 1))
def test_crossings_are_counted_as_a_slow_twin_counts_them(seed: int) -> None:
    """And ordering never leaves more of them than it found."""
    rng = random.Random(seed)
    columns = [list(range(0, 6)), list(range(6, 13)), list(range(13, 18))]
    pairs = {(rng.choice(columns[at]), rng.choice(columns[at + 1])) for at in (0, 1) for _ in range(12)}
    edges = [(a, b, 1.0) for a, b in sorted(pairs)]

    def slow(orders: list[list[int]]) -> int:
        where = {item: at for order in orders for at, item in enumerate(order)}
        layer = {item: number for number, order in enumerate(orders) for item in order}
        return sum(
            layer[a] == layer[c] and (where[a] - where[c]) * (where[b] - where[d]) < 0
            for at, (a, b, _) in enumerate(edges)
            for c, d, _ in edges[at + 1 :]
        )

    below: list[list[int]] = [[] for _ in range(18)]
    for a, b, _ in edges:
        below[a].append(b)
    position = [0] * 18
    for order in columns:
        for at, item in enumerate(order):
            position[item] = at
    assert crossings(columns, below, position) == slow(columns)
    made = ordered(columns, edges)
    assert [sorted(order) for order in made] == columns
    assert slow(made) <= slow(columns)


def test_a_crossing_that_need_not_be_is_removed() -> None:
    made = ordered([[0, 1], [2, 3]], [(0, 3, 1.0), (1, 2, 1.0)])
    where = {item: at for order in made for at, item in enumerate(order)}
    assert (where[0] - where[1]) * (where[3] - where[2]) > 0


@CHECKED
@given(
    st.lists(st.tuples(st.floats(-100, 100), st.floats(0.1, 10), st.floats(1, 30)), min_size=1, max_size=20)
)
def test_heights_are_the_nearest_that_keep_the_distances(items: list[tuple[float, float, float]]) -> None:
    """The same as scipy's isotonic regression of what is left after the distances."""
    wanted = [each[0] for each in items]
    weights = [each[1] for each in items]
    steps = np.concatenate([[0.0], np.cumsum([each[2] for each in items[1:]])])
    expected = isotonic_regression(np.array(wanted) - steps, weights=np.array(weights)).x + steps
    assert _monotone(wanted, weights, steps.tolist()) == pytest.approx(expected.tolist(), abs=1e-6)
