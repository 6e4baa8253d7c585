"""Laws of load curves: the law itself, queues against exact ones, walls, and the shapes left open."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import brentq

from tracescope.analysis.capacity import curve as curves
from tracescope.analysis.capacity.curve import (
    SHAPES,
    WAITS,
    WALL_TIMES,
    WALLS,
    Curve,
    Shape,
    queueing,
    slowdown,
    slowdowns,
    waiting,
    wall_utilisation,
)

Floats = NDArray[np.float64]
PHIS = (0.0, 0.2, 0.5, 0.8, 1.0)
RHO = np.array([0.0, 0.1, 0.4, 0.7, 0.9, 0.979])


@pytest.mark.parametrize("phi", PHIS)
def test_a_slowdown_solves_the_law_for_the_calls_that_it_keeps_in_the_system(phi: float) -> None:
    """``s = 1 + (1 - phi) z + (phi z / 2)^2`` with ``z = rho s``; the smaller of its two solutions."""
    s = np.exp(slowdown(RHO, phi)[0])
    z = RHO * s
    assert s == pytest.approx(1 + (1 - phi) * z + (phi * z / 2) ** 2, rel=1e-9)
    assert (np.diff(s) > 0).all()
    exact = [
        brentq(
            lambda s, r=r: 1 + (1 - phi) * r * s + (phi * r * s / 2) ** 2 - s, 1.0, 2 / (1 - (1 - phi) * r)
        )
        for r in RHO[1:4].tolist()
    ]
    assert s[1:4] == pytest.approx(exact)


@pytest.mark.parametrize("phi", PHIS)
@pytest.mark.parametrize("less", [0.0, 0.98])
def test_beyond_nearly_all_of_capacity_a_curve_goes_on_as_a_line_of_its_logarithm(
    phi: float, less: float
) -> None:
    """From 98 % on, with the slope that it has there; what is less than all of it bends on."""
    at = np.array([0.98, 0.99, 1.5, 4.0])
    value, slope = slowdown(at, phi)
    assert slope == pytest.approx(np.full(4, slope[0]))
    assert value == pytest.approx(value[0] + slope[0] * (at - 0.98))
    assert slowdown(np.array([0.97]), phi)[1][0] < 0.9 * slope[0]
    told, steep = waiting(at, phi, less)
    assert np.exp(told) == pytest.approx(np.exp(value) - less)
    assert steep == pytest.approx(slope / (1 - less * np.exp(-value)))
    if phi == 0:
        assert slope[0] == pytest.approx(50.0)  # M/M/1: 1 / (1 - rho)
    queue, slopes = queueing(at, 0.5, 2.0, less)
    assert queue == pytest.approx(queue[0] + slopes[0] * (at - 0.98))


@pytest.mark.parametrize(
    ("s", "k", "less"), [(1.0, 1.0, 0.0), (0.5, 2.3, 0.0), (0.2, 3.0, 0.95), (4.0, 1.0, 0.5)]
)
def test_a_queues_slope_is_its_derivative(s: float, k: float, less: float) -> None:
    """By differences; the value is the formula; an empty one is as quick as it gets."""
    rho = np.array([0.1, 0.5, 0.9, 0.97])
    value, slope = queueing(rho, s, k, less)
    assert np.exp(value) == pytest.approx(1 + s * rho**k / (1 - rho) - less)
    step = 1e-6
    ahead, back = (queueing(rho + each, s, k, less)[0] for each in (step, -step))
    assert slope == pytest.approx((ahead - back) / (2 * step), rel=1e-5)
    empty = queueing(np.zeros(1), s, k, less)[0]
    assert empty == pytest.approx(math.log(1 - less), abs=1e-7)


@pytest.mark.parametrize("servers", [1, 2, 4, 8, 16])
def test_a_pool_waits_as_erlangs_does(servers: int) -> None:
    """Oracle: Erlang C, within a fifth of the wait or 3 % of the work, near capacity a 20th; one is exact."""
    for rho in (0.3, 0.6, 0.8, 0.95):
        busy = servers * rho
        terms = [busy**n / math.factorial(n) for n in range(servers + 1)]
        full = terms[-1] / (1 - rho)
        wait = full / (sum(terms[:-1]) + full) / (servers * (1 - rho))
        told = math.exp(float(Shape.pool(servers, 1.0).slowdown(np.array([rho]))[0][0])) - 1
        assert told == pytest.approx(wait, rel=0.05 if rho > 0.9 else 0.2, abs=0.03), rho
        if servers == 1:
            assert told == pytest.approx(wait)
        double = math.exp(float(Shape.pool(servers, 2.0).slowdown(np.array([rho]))[0][0])) - 1
        assert double == pytest.approx(2 * told)


@pytest.mark.parametrize("times", [1.5, WALL_TIMES, 10.0])
def test_a_wall_is_where_latency_is_so_many_times_that_of_no_load(times: float) -> None:
    """Of the law wherever capacity does not end before; of every queue."""
    for phi in PHIS:
        wall = float(wall_utilisation(np.array(phi), times))
        assert Shape(phi=phi).wall(times) == wall
        if times * phi > 2:
            assert wall == 1.0
        else:
            z = wall * times
            assert 1 + (1 - phi) * z + (phi * z / 2) ** 2 == pytest.approx(times)
            assert 0 < wall <= 1
    assert float(wall_utilisation(np.array(2 / times))) <= 1.0
    for servers, variability in ((1, 1.0), (4, 0.5), (32, 4.0)):
        pool = Shape.pool(servers, variability)
        assert pool.queue is not None
        s, k = pool.queue
        wall = pool.wall(times)
        assert 1 + s * wall**k / (1 - wall) == pytest.approx(times, rel=1e-6)
    assert Shape.pool(1, 1.0).wall(times) == pytest.approx(1 - 1 / times)
    assert (WALL_TIMES, Shape.pool(1, 1.0).wall()) == (3.0, pytest.approx(2 / 3))


def test_the_shapes_left_open_are_the_law_by_sixths_usual_pools_and_partial_locks() -> None:
    """Each once; M/M/1 is the law without coherency; their walls are in their table."""
    servers, variability = (1, 2, 3, 4, 6, 8, 12, 16, 32), (0.5, 1.0, 2.0, 4.0)
    pools = {(n, v): Shape.pool(n, v) for n in servers for v in variability if (n, v) != (1, 1.0)}
    assert [shape.phi for shape in SHAPES[:7]] == pytest.approx([0, 1 / 6, 1 / 3, 1 / 2, 2 / 3, 5 / 6, 1])
    assert [shape.queue for shape in SHAPES[7:-3]] == [shape.queue for shape in pools.values()]
    assert [shape.queue for shape in SHAPES[-3:]] == [(0.75, 1.0), (0.5, 1.0), (0.25, 1.0)]
    assert all(shape.queue is None for shape in SHAPES[:7])
    assert pools[4, 2.0].queue == (pytest.approx(0.5), pytest.approx(math.sqrt(10) - 1))
    assert WALLS.tolist() == [shape.wall() for shape in SHAPES]
    one, law = (shape.slowdown(RHO)[0] for shape in (Shape.pool(1, 1.0), Shape()))
    assert one == pytest.approx(law, abs=1e-7)
    assert WAITS == (0.95, 0.98, 0.99, 0.997)


@pytest.mark.parametrize("less", [0.0, 0.95])
def test_each_row_has_the_slowdown_of_its_own_shape(less: float) -> None:
    """All shapes at once, one kind alone, and in any order."""
    rho = np.array([0.05, 0.5, 0.97, 1.2])
    order = np.random.default_rng(3).permutation(len(SHAPES))
    for chosen in (order, order[order < 7], order[order >= 7]):
        value, slope = slowdowns(chosen, np.tile(rho, (len(chosen), 1)), less)
        for row, at in enumerate(chosen.tolist()):
            one, steep = SHAPES[at].slowdown(rho, less)
            assert value[row] == pytest.approx(one), at
            assert slope[row] == pytest.approx(steep), at
    if less:
        whole = slowdowns(order, np.tile(rho, (len(order), 1)))[0]
        assert (
            np.exp(whole[:, :2]) - np.exp(slowdowns(order, np.tile(rho, (len(order), 1)), less)[0][:, :2])
        ) == (pytest.approx(np.full((len(order), 2), less)))


def test_a_curve_is_made_of_the_laws_coefficients_and_gives_them_back() -> None:
    """Latency at a fifth of capacity by hand; at its wall three times that of no load."""
    for a, b in ((0.4, 0.0), (0.0, 0.09), (0.3, 0.01)):
        one = Curve.of(0.02, a, b)
        assert (one.contention, one.coherency) == (pytest.approx(a), pytest.approx(b))
        assert one.capacity == pytest.approx(1 / (0.02 * (a + 2 * math.sqrt(b))))
        took = float(one.latency_s(np.array([one.capacity / 5]))[0])
        held = one.capacity / 5 * took
        assert took == pytest.approx(0.02 * (1 + a * held + b * held**2))
        if one.phi < 2 / 3:
            assert float(one.latency_s(np.array([one.wall]))[0]) == pytest.approx(0.06)
        else:
            assert one.wall == one.capacity
    idle = Curve.of(0.02, 0.0, 0.0)
    assert idle.latency_s(np.array([0.0, 1e9])).tolist() == [0.02, 0.02]
    assert (idle.capacity, idle.phi) == (math.inf, 0.0)
    assert Curve.of(0.02, 1e-3, 0.0).capacity == pytest.approx(50_000.0)


def test_growth_at_equal_load_makes_work_longer_and_takes_capacity() -> None:
    """``e^g`` times as slow at ``e^-g`` times the load; waits leave out what serving takes."""
    one = Curve(0.01, 60.0, 0.3)
    load = np.array([5.0, 20.0, 40.0])
    grown = one.latency_s(load * math.exp(-0.2), 0.2)
    assert grown == pytest.approx(math.exp(0.2) * one.latency_s(load))
    waits = Curve(0.01, 60.0, 0.3, 0.98)
    assert waits.latency_s(load) == pytest.approx(one.latency_s(load) - 0.98 * 0.01)
    for curve in (one, waits):
        for at in (6.0, 30.0, 57.0):
            ahead, back = (float(curve.latency_s(np.array([at * f]))[0]) for f in (1.0001, 0.9999))
            assert curve.elasticity(at) == pytest.approx(
                math.log(ahead / back) / math.log(1.0001 / 0.9999), rel=1e-4
            )
    assert curves.Curve(0.01, 60.0, 0.0).wall == pytest.approx(40.0)
