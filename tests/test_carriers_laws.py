"""What an attribute's values carry of a change, worked out by hand and against plain loops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from tracescope.analysis.comparison import carriers
from tracescope.analysis.comparison.carriers import clear_carrier, find_carriers
from tracescope.analysis.report import Carrier, Carriers
from tracescope.analysis.rollups.carried import Requests

ALPHA = 0.05


@dataclass(frozen=True)
class One:
    """A request with what it carries, ``key=value`` each."""

    ms: float
    carried: tuple[str, ...] = ()
    entry: str = "GET /"
    failed: bool = False
    weight: float = 1.0


def requests(rows: Sequence[One]) -> Requests:
    """One after another, a second apart."""
    units = pl.DataFrame(
        {
            "unit": np.arange(len(rows)), "start_ns": np.arange(len(rows)) * 10**9,
            "service": ["shop"] * len(rows),
            "operation": [one.entry for one in rows], "ms": [one.ms for one in rows],
            "failed": [one.failed for one in rows], "weight": [one.weight for one in rows],
        }
    )  # fmt: skip
    named = [(at, *pair.split("=")) for at, one in enumerate(rows) for pair in one.carried]
    values = pl.DataFrame(
        {"unit": [row[0] for row in named], "service": [""] * len(named),
         "key": [row[1] for row in named], "value": [row[2] for row in named]},
        schema={"unit": pl.Int64, "service": pl.String, "key": pl.String, "value": pl.String},
    )  # fmt: skip
    return Requests(units, values)


def found(base: Sequence[One], head: Sequence[One], alpha: float = ALPHA) -> dict[str, Carrier]:
    return {one.name: one for one in find_carriers(requests(base), requests(head), alpha).carriers}


OLD, NEW = One(10.0, ("version=1",)), One(60.0, ("version=2",))


def test_a_fifth_of_the_requests_that_take_six_times_as_long_carry_all_of_the_rise() -> None:
    """Weights, means and the part of +10 ms; the old version carries none of it, but lacks what it had."""
    base, head = [OLD] * 160, ([OLD] * 4 + [NEW]) * 32
    told = find_carriers(requests(base), requests(head), ALPHA)
    assert (told.requests_base, told.requests_head, told.notes) == (160, 160, ())
    assert (told.change_ms, told.change_failed) == (pytest.approx(10.0), 0.0)
    (one,) = told.carriers
    assert (one.measure, one.name, one.also) == ("latency", "version=2", ())
    assert (one.weight_base, one.weight_head) == (0.0, pytest.approx(0.2))
    assert (one.mean_base, one.mean_head) == (None, pytest.approx(60.0))
    assert one.carries == pytest.approx(10.0)
    assert one.explained == pytest.approx(1.0)
    assert one.stands_out == pytest.approx(0.2 * (60 - 20))
    assert 0.0 <= one.q_value < 1e-6


@pytest.mark.parametrize(("base", "head", "tell"), [(50, 50, True), (49, 50, False), (50, 49, False)])
def test_fifty_requests_of_either_period_are_needed(base: int, head: int, tell: bool) -> None:
    later = (([OLD] * 4 + [NEW]) * 10)[:head]
    told = find_carriers(requests([OLD] * base), requests(later), ALPHA)
    assert (told.requests_base, told.requests_head) == (base, head)
    assert (told.notes == ()) == tell
    assert bool(told.carriers) == tell
    assert tell or (told.change_ms, told.change_failed) == (0.0, 0.0)


def mixed(rng: np.random.Generator, n: int = 240, slow: float = 1.0) -> list[One]:
    """Two entries, a region each, some sampled; one region is slow."""
    out = []
    for _ in range(n):
        region, entry = (
            str(rng.choice(["eu", "us", "as"], p=[0.5, 0.3, 0.2])),
            str(rng.choice(["GET /", "PUT /"])),
        )
        ms = rng.gamma(4.0, 5.0) * (slow if region == "us" else 1.0)
        out.append(
            One(float(ms), (f"region={region}",), entry, bool(rng.random() < 0.1), float(rng.choice([1, 4])))
        )
    return out


def test_parts_of_an_attribute_that_every_request_carries_add_up_to_the_change() -> None:
    """For latency and for failures; over two entries, whatever was sampled."""
    rng = np.random.default_rng(5)
    base, head = requests(mixed(rng)), requests(mixed(rng, 300, 1.5))
    entries = pl.DataFrame({"service": ["shop"] * 2, "operation": ["GET /", "PUT /"]}).with_row_index("entry")
    for measure in ("ms", "failed"):
        sides = [carriers._side(one, entries, measure) for one in (base, head)]
        change, rows = carriers._test(measure, (sides[0], sides[1]), carriers._carried(base, head), 2)
        assert len(rows) == 3
        assert sum(one.carries for one, _ in rows) == pytest.approx(change)
        assert sum(one.weight_base for one, _ in rows) == pytest.approx(1.0)
        assert sum(one.weight_head for one, _ in rows) == pytest.approx(1.0)
        assert sum(one.stands_out for one, _ in rows) == pytest.approx(0.0, abs=1e-9)


def slowly(base: Sequence[One], head: Sequence[One], pair: str) -> tuple[float, float, float, float]:
    """What a value carries, what stands out, its p-value and the change of the means, by plain loops."""
    names = sorted({one.entry for one in (*base, *head)})

    def part(side: Sequence[One], name: str) -> float:
        return sum(one.weight for one in side if one.entry == name) / sum(one.weight for one in side)

    shares = {name: (part(base, name) + part(head, name)) / 2 for name in names}

    def mean(side: Sequence[One], name: str) -> float:
        mine = [one for one in side if one.entry == name]
        return sum(one.weight * one.ms for one in mine) / sum(one.weight for one in mine)

    change = sum(shares[name] * (mean(head, name) - mean(base, name)) for name in names)
    carries, shown, variances = [], [], []
    for side in (base, head):
        whole, blocks = 0.0, [0.0] * 16
        for at, one in enumerate(side):
            mine = [other for other in side if other.entry == one.entry]
            total = sum(other.weight for other in mine)
            often = sum(other.weight for other in mine if pair in other.carried) / total
            scale, has = shares[one.entry] / total * one.weight, pair in one.carried
            whole += scale * (one.ms - mean(base, one.entry)) * has
            blocks[at * 16 // len(side)] += scale * (has - often) * (one.ms - mean(side, one.entry))
        carries.append(whole)
        shown.append(sum(blocks))
        variances.append(16 / 15 * sum((each - sum(blocks) / 16) ** 2 for each in blocks))
    total = sum(variances)
    dof = total**2 / sum(one**2 / 15 for one in variances)
    out = shown[1] - shown[0]
    least = 0.01 * sum(shares[name] * mean(base, name) for name in names)
    t = (abs(out) - least) / math.sqrt(total)
    return carries[1] - carries[0], out, 2 * float(stats.t.sf(t, dof)) if t > 0 else 1.0, change


def test_what_stands_out_is_tested_over_sixteen_blocks_of_time_as_plain_loops_do() -> None:
    """Beyond a hundredth of base's clock, by Welch's test; and with the plain formula for what it carries."""
    rng = np.random.default_rng(11)
    base, head = mixed(rng, 90), mixed(rng, 120, 1.6)
    sides = requests(base), requests(head)
    entries = pl.DataFrame({"service": ["shop"] * 2, "operation": ["GET /", "PUT /"]}).with_row_index("entry")
    both = [carriers._side(one, entries, "ms") for one in sides]
    change, rows = carriers._test("ms", (both[0], both[1]), carriers._carried(*sides), 2)
    assert [one.value for one, _ in rows] == ["as", "eu", "us"]
    for one, p in rows:
        carries, out, expected, moved = slowly(base, head, one.name)
        assert change == pytest.approx(moved)
        assert one.carries == pytest.approx(carries)
        assert one.explained == pytest.approx(carries / moved)
        assert one.stands_out == pytest.approx(out)
        assert p == pytest.approx(expected, rel=1e-6)


def test_requests_are_put_into_blocks_by_their_time_and_not_by_their_place() -> None:
    """Sixteen stretches with as many requests each, in whatever order they come."""
    rng = np.random.default_rng(2)
    one = requests([OLD] * 40)
    units = one.units.with_columns(start_ns=pl.Series(rng.permutation(40) * 7))
    entries = pl.DataFrame({"service": ["shop"], "operation": ["GET /"]}).with_row_index("entry")
    side = carriers._side(Requests(units, one.values), entries, "ms")
    assert side.block.tolist() == [int(at) // 7 * 16 // 40 for at in units["start_ns"]]


@pytest.mark.parametrize(
    ("values", "carrying", "seen"), [(40, 6, True), (41, 6, False), (2, 5, True), (2, 4, False)]
)
def test_an_attribute_has_forty_values_at_most_and_a_value_five_requests(
    values: int, carrying: int, seen: bool
) -> None:
    """In one period at least; beyond that it names single requests."""
    names = [f"tenant={at}" for at in range(values)]
    head = [One(10.0, (name,)) for name in names for _ in range(carrying)] + [One(10.0)] * 20
    for pair in ((requests([One(10.0)] * 60), requests(head)), (requests(head), requests([One(10.0)] * 60))):
        assert (len(carriers._carried(*pair)) == values) == seen


def test_what_all_requests_carry_tells_nothing() -> None:
    """In both periods; a value of one period alone does."""
    both = requests([OLD] * 60), requests([OLD] * 80)
    assert carriers._carried(*both) == []
    assert len(carriers._carried(both[0], requests([NEW] * 80))) == 2
    assert len(carriers._carried(both[0], requests([OLD] * 80 + [One(1.0)]))) == 1
    assert len(carriers._carried(requests([OLD] * 60 + [One(1.0)]), both[1])) == 1


def test_entries_of_one_period_alone_carry_nothing() -> None:
    """They are new or gone; what changed within the others is told."""
    base, head = [OLD] * 160, ([OLD] * 4 + [NEW]) * 32
    slow = [One(900.0, ("version=2",), "GET /new")] * 40
    one = found(base, [*head, *slow])["version=2"]
    assert one.carries == pytest.approx(10.0)
    assert one.weight_head == pytest.approx(0.2)
    one = found([*base, *slow], head)["version=2"]
    assert one.carries == pytest.approx(10.0)


def test_failures_are_carried_as_latency_is_and_told_after_it() -> None:
    """A tenth of all fail, all with one flag; by measure, and then by what they carry."""
    fails = One(10.0, ("feature_flag=on",), failed=True)
    slow, slower = One(30.0, ("tenant=a",)), One(50.0, ("tenant=b",))
    told = find_carriers(
        requests([One(10.0)] * 160), requests([*[One(10.0)] * 7, fails, slow, slower] * 16), ALPHA
    )
    assert [(one.measure, one.name) for one in told.carriers] == [
        ("latency", "tenant=b"), ("latency", "tenant=a"), ("errors", "feature_flag=on"),
    ]  # fmt: skip
    assert told.change_failed == pytest.approx(0.1)
    last = told.carriers[2]
    assert (last.carries, last.mean_head, last.explained) == (pytest.approx(0.1), 1.0, pytest.approx(1.0))


@pytest.mark.parametrize(("slow", "told"), [(0.0, True), (20.0, True), (22.0, False)])
def test_what_explains_a_twentieth_of_the_change_is_worth_a_word(slow: float, told: bool) -> None:
    """One tenant of ten takes 10 ms more, which is 1 of the 1 + 0.9 x ms that all take more together."""
    quick, tenant = One(20.0, ("tenant=b",)), One(20.0, ("tenant=a",))
    head = [*[One(20.0 + slow, ("tenant=b",))] * 9, One(30.0, ("tenant=a",))] * 16
    one = found([*[quick] * 9, tenant] * 16, head).get("tenant=a")
    expected = 1.0 / (1.0 + 0.9 * slow)
    assert (one is not None) == (expected >= 0.05) == told
    assert one is None or one.explained == pytest.approx(expected)


def carrier(key: str, carries: float = 1.0, measure: str = "latency", **more: object) -> Carrier:
    made = Carrier(measure, "", key, "x", 0.1, 0.2, 1.0, 2.0, carries, 0.9, 1.0)
    return replace(made, **more)


def test_values_that_the_same_requests_carry_are_one_under_the_name_that_says_most() -> None:
    """Nineteen of twenty of the larger; of one measure; a version before a flag before a host."""
    units = np.arange(100)
    names = ("host", "feature_flag.x", "service.version")
    (one,) = carriers._merged([(carrier(name), units) for name in names])
    assert (one.key, one.also) == ("service.version", ("feature_flag.x=x", "host=x"))
    for common, groups in ((95, 1), (94, 2)):
        assert len(carriers._merged([(carrier("a"), units), (carrier("b"), units[:common])])) == groups
        assert len(carriers._merged([(carrier("a"), units[:common]), (carrier("b"), units)])) == groups
    two = carriers._merged([(carrier("a"), units), (carrier("b", measure="errors"), units)])
    assert [one.also for one in two] == [(), ()]
    apart = carriers._merged([(carrier("a"), units), (carrier("b"), units + 200), (carrier("c"), units)])
    assert [(one.key, one.also) for one in apart] == [("a", ("c=x",)), ("b", ())]
    none = np.arange(0)
    assert len(carriers._merged([(carrier("a"), none), (carrier("b"), none)])) == 2


@pytest.mark.parametrize(
    ("more", "clear"),
    [
        ({}, True), ({"explained": 0.5}, True), ({"explained": 0.49}, False), ({"explained": None}, False),
        ({"carries": 0.0}, False), ({"carries": -1.0}, False), ({"weight_head": 0.6}, True),
        ({"weight_head": 0.61}, False),
    ],
)  # fmt: skip
def test_a_value_that_carries_half_of_a_rise_in_few_requests_is_clear(
    more: dict[str, float], clear: bool
) -> None:
    """The first that does."""
    one = carrier("a", **more)
    other = carrier("b", explained=0.1)
    assert clear_carrier(Carriers(1, 1, 1.0, 0.0, (other, one))) is (one if clear else None)


def test_requests_that_stand_for_more_or_for_less_each_carry_the_same() -> None:
    """Weights of one period are relative to each other; a request of weight three is three requests."""
    base, head = [OLD] * 160, ([OLD] * 4 + [NEW]) * 32
    plain = found(base, head)["version=2"]
    for factor in (1e-4, 7.0):
        scaled = found(base, [replace(one, weight=factor) for one in head])["version=2"]
        assert (scaled.carries, scaled.weight_head, scaled.stands_out) == pytest.approx(
            (plain.carries, plain.weight_head, plain.stands_out)
        )
    thrice = found(base, ([replace(OLD, weight=3.0), OLD, NEW]) * 60)["version=2"]
    assert (thrice.carries, thrice.weight_head) == pytest.approx((plain.carries, plain.weight_head))


def test_values_are_alike_by_the_requests_of_head_that_carry_them() -> None:
    """What they were carried by before says nothing of now."""
    quick, tenant, region = One(10.0), One(10.0, ("tenant=a",)), One(10.0, ("region=x",))
    both = One(60.0, ("tenant=a", "region=x"))
    told = find_carriers(
        requests([quick, quick, tenant, region] * 40), requests([quick, quick, quick, both] * 40), ALPHA
    )
    assert [(one.name, one.also) for one in told.carriers] == [("tenant=a", ("region=x",))]


@pytest.mark.parametrize(("failing", "worth"), [(3, False), (5, True)])
def test_what_stands_out_of_failures_is_two_in_a_thousand(failing: int, worth: bool) -> None:
    """Of a thousand, half carry the flag; what fails of these stands out by half of its part of all."""
    off, on = One(10.0, ("flag=off",)), One(10.0, ("flag=on",))
    later = [off, on] * 500
    for at in range(failing):
        later[2 * at * 90 + 1] = replace(on, failed=True)
    pair = requests([off, on] * 500), requests(later)
    entries = pl.DataFrame({"service": ["shop"], "operation": ["GET /"]}).with_row_index("entry")
    sides = [carriers._side(one, entries, "failed") for one in pair]
    _, rows = carriers._test("failed", (sides[0], sides[1]), carriers._carried(*pair), 1)
    (_, (one, p)) = rows
    assert one.stands_out == pytest.approx(0.5 * failing / 1000)
    assert p < 1.0 if worth else p == 1.0
