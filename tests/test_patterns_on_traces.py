"""Patterns on traces: spans of a pool between repeats, attempts that fail, the last of a fan-out."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from simulated import START_NS, Program, Work, edge, inside, parallel, period, query, serve, spans

from tracescope import schema
from tracescope.analysis.diff import diff
from tracescope.analysis.report import Report

HOURS = 24
#: How long an attempt takes that fails.
FAILS_NS = 30_000_000


def compare(base: Program, head: Program) -> Report:
    """Two days of six requests an hour; calls that take exactly `FAILS_NS` have failed."""
    sides = []
    for number, program in enumerate((base, head)):
        start = START_NS + number * HOURS * schema.HOUR_NS
        made = spans(program, start_ns=start, hours=HOURS, per_hour=6, seed=number)
        failed = (pl.col("end_ns") - pl.col("start_ns") == FAILS_NS) & pl.col("peer").is_not_null()
        status = pl.when(failed).then(schema.STATUS_ERROR).otherwise(pl.col("status"))
        made = made.with_columns(status.cast(made.schema["status"]).alias("status"))
        sides.append(period(made, start, HOURS))
    return diff(*sides)


def repeated(times: int, between: list[Work]) -> Program:
    """The same query so many times, something between each two."""

    def program(rng: np.random.Generator, _: float) -> Work:
        steps = [step for _ in range(times) for step in (*between, query("mysql/shop", "SELECT item", 3.0))]
        return serve("shop", "GET /", 2.0 + rng.random() / 10, steps)

    return program


POOLS = {
    "nothing": [],
    "an internal span of the pool": [inside("HikariPool.getConnection", 0.3)],
    "a client span of the pool": [query("pool", "acquire connection", 0.3)],
    "the pool's ping and the wait": [inside("pool.acquire", 0.2), query("mysql/shop", "SELECT 1", 0.1)],
}


@pytest.mark.parametrize("between", POOLS)
def test_repeats_are_an_n_plus_one_whatever_the_pool_does_between_them(between: str) -> None:
    """1 then 6 queries one after another; spans of a connection pool stand between each two."""
    found = compare(repeated(1, POOLS[between]), repeated(6, POOLS[between]))
    first = edge(found, "shop -> mysql/shop", "SELECT item")
    assert found.edges[0] == first
    (pattern,) = [one for one in first.patterns if one.name == "n+1"]
    assert pattern.certainty == "found"
    assert "1 → 6 calls" in pattern.evidence[0]


def test_repeats_at_the_same_time_are_no_certain_n_plus_one() -> None:
    """A fan-out that got wider is none: nobody waits for one after another."""
    calls = [query("mysql/shop", "SELECT item", 3.0 + n) for n in range(6)]
    found = compare(
        lambda _, at: serve("shop", "GET /", 2.0 + at / 100, [calls[0]]),
        lambda _, at: serve("shop", "GET /", 2.0 + at / 100, [parallel(*calls)]),
    )
    patterns = [one for one in found.patterns if one.name == "n+1"]
    assert all(one.certainty == "possible" for one in patterns)


def test_attempts_that_fail_are_retries_and_what_lies_between_them_is_backing_off() -> None:
    """Every second request fails once, waits 50 ms by itself, and tries again."""

    def program(retries: bool) -> Program:
        def run(rng: np.random.Generator, at: float) -> Work:
            again = retries and round(at * HOURS * 6) % 2 == 0
            failed = [query("psp", "charge", FAILS_NS / 1e6), inside("backoff", 50.0)] if again else []
            return serve("shop", "POST /pay", 2.0, [*failed, query("psp", "charge", 10.0 + rng.random())])

        return run

    found = compare(program(False), program(True))
    (pattern,) = [one for one in edge(found, "shop -> psp").patterns if one.name == "retries"]
    assert pattern.certainty == "found"
    assert "0.0% → 33.3% of calls fail" in pattern.evidence[0]
    assert "1 → 1.5 calls" in pattern.evidence[1]
    assert "shop itself takes +25 ms" in pattern.evidence[2]
    assert not [one for one in found.patterns if one.name == "n+1"]


def test_the_slowest_of_a_fan_out_is_a_straggler_with_its_excess() -> None:
    """Eight shards at once, 5 ms each; later one of them, whichever, takes 40 ms and all wait for it."""

    def program(slow_ms: float) -> Program:
        def run(rng: np.random.Generator, _: float) -> Work:
            late = int(rng.integers(8))
            times = [5.0 + rng.random() / 10 if n != late else slow_ms for n in range(8)]
            return serve("search", "GET /", 1.0, [parallel(*[query("shards", "GET", ms) for ms in times])])

        return run

    found = compare(program(5.2), program(40.0))
    first = found.edges[0]
    assert first.name == "search -> shards"
    (pattern,) = [one for one in first.patterns if one.name == "stragglers"]
    assert "8 calls at once" in pattern.evidence[0]
    assert "takes 40 ms, the mean 9." in pattern.evidence[1]
    assert "→ 30.6 ms" in pattern.evidence[2]
