"""Errors and lost work are part of the answer: systems whose failures are known, and what is said of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulated import START_NS, Work, call, compare, failing, period, publish, query, serve, spans

from tracescope.analysis.diff import diff
from tracescope.analysis.explain import sentence
from tracescope.analysis.gate import parse_gate
from tracescope.analysis.report import Mechanism, MissingWorkKind, Report, State
from tracescope.report import diff_json
from tracescope.report import text as shown

CHARGE = call("payment", "charge", 20.0, [query("postgresql/payment", "INSERT payment", 10.0)])
RESERVE = call("stock", "reserve", 5.0, [query("postgresql/stock", "UPDATE stock", 4.0)])
ORDER = ("gateway", "POST /orders")


def order(*steps: Work, failed: bool = False) -> Work:
    made = serve(*ORDER, 4.0, steps)
    return failing(made) if failed else made


def refused(part: float):  # type: ignore[no-untyped-def]
    """Orders of which a part is refused by the stock: nothing is charged then."""

    def program(rng: np.random.Generator, _: float) -> Work:
        if rng.random() < part:
            return order(failing(call("stock", "reserve", 1.0)), failed=True)
        return order(RESERVE, CHARGE)

    return program


def ask(base: object, head: object, **more: object) -> Report:
    return compare(base, head, hours=168, per_hour=4, jitter=0.1, **more)  # type: ignore[arg-type]


def kinds(report: Report) -> set[MissingWorkKind]:
    return {one.kind for one in report.failures.missing_work}


@pytest.fixture(scope="module")
def fails_fast() -> Report:
    """A fifth of the orders fail after a few milliseconds; before, one in a hundred did."""
    return ask(refused(0.01), refused(0.2))


def test_requests_that_fail_early_are_no_improvement(fails_fast: Report) -> None:
    """The mean falls and the verdict is not growth-stable: the entry's failures grew, and that is said."""
    assert fails_fast.clock["delta_ms"] < -4
    assert fails_fast.state is State.DRIFTING
    assert "% of its requests fail" in fails_fast.reasons[0]
    assert [(e.service, e.operation, e.state) for e in fails_fast.entries] == [(*ORDER, State.DRIFTING)]
    found = fails_fast.failures.grown
    assert [(one.service, one.operation) for one in found] == [ORDER]
    assert found[0].rate.head == pytest.approx(0.2, abs=0.05)
    low, high = found[0].rate.change_ci or (0.0, 0.0)
    assert 0 < low < 0.19 < high
    assert {MissingWorkKind.FAILS_EARLY, MissingWorkKind.NOT_COMPLETED, MissingWorkKind.NOT_REACHED} <= kinds(
        fails_fast
    )


def test_the_mean_of_what_succeeds_stands_beside_the_mean_of_all(fails_fast: Report) -> None:
    """Successful requests take as long as before, of the whole and of the entry."""
    clock = fails_fast.clock
    assert clock["head_ok_ms"] == pytest.approx(clock["base_ok_ms"], rel=0.02)
    assert clock["head_ms"] < 0.9 * clock["head_ok_ms"]
    entry = fails_fast.entries[0]
    assert entry.ok_ms_head == pytest.approx(clock["head_ok_ms"])
    assert fails_fast.failures.entries[0].failed_ms_head == pytest.approx(5.0, rel=0.1)


def test_failures_are_followed_to_where_they_begin(fails_fast: Report) -> None:
    """The service that refuses is the cause; the finding stands first and names the entry."""
    (origin,) = fails_fast.failures.origins
    assert (origin.key.kind, origin.key.caller, origin.entries) == ("self", "stock", (ORDER,))
    first = fails_fast.findings[0]
    assert (first.mechanism, first.cause, first.entries) == (Mechanism.ERRORS, origin.key, (ORDER,))


def test_edges_that_are_not_reached_say_so_and_keep_their_milliseconds(fails_fast: Report) -> None:
    """Effects stay milliseconds and still add up; the payment looks faster by no merit of its own."""
    total = sum(fails_fast.effects_total.values())
    assert total == pytest.approx(fails_fast.clock["delta_ms"], abs=1e-9)
    (edge,) = [e for e in fails_fast.edges if e.callee == "payment"]
    assert edge.credited_ms < -4
    assert any("no improvement" in sentence for sentence in edge.evidence)


def test_an_edge_by_itself_tells_of_its_failures(fails_fast: Report) -> None:
    """Its sentence says how many calls fail, and of one that is not reached that it is no improvement."""
    (called,) = [e for e in fails_fast.edges if e.callee == "stock"]
    assert "% of its calls" in sentence(called)
    (unreached,) = [e for e in fails_fast.edges if e.callee == "payment"]
    assert "no improvement (not reached: requests fail before it)" in sentence(unreached)


def test_every_surface_tells_of_failures(fails_fast: Report) -> None:
    """JSON in a block of its own and at each edge and entry; text as lines and as a column."""
    made = diff_json(fails_fast)
    assert made["errors"]["entries"][0]["rate"]["significant"] is True
    assert made["entries"][0]["errors"] == made["errors"]["entries"][0]["rate"]
    of_stock = [e for e in made["edges"] if e["callee"] == "stock"]
    assert of_stock[0]["errors"] is not None
    assert of_stock[0]["errors"]["head"] > 0.1
    for text in (shown.diff_markdown(fails_fast), shown.diff_csv(fails_fast)):
        assert "error" in text
    assert "of requests fail" in shown.diff_markdown(fails_fast)


def retried(often: float):  # type: ignore[no-untyped-def]
    """Orders whose charges fail now and then, and are made again until they succeed."""

    def program(rng: np.random.Generator, _: float) -> Work:
        vain = 0
        while vain < 3 and rng.random() < often:
            vain += 1
        return order(RESERVE, *[failing(replace(CHARGE, ms=2.0))] * vain, CHARGE)

    return program


def test_retries_are_counted_although_every_request_succeeds() -> None:
    """No request fails; the calls made again are told, with their part of all calls."""
    report = ask(retried(0.0), retried(0.4))
    assert report.failures.grown == ()
    (edge,) = [e for e in report.failures.edges if e.key.callee == "payment"]
    assert edge.rate.grew
    assert edge.retries is not None
    assert edge.retries.grew
    assert edge.retries.head == pytest.approx(edge.rate.head)
    assert MissingWorkKind.RETRIED in kinds(report)


def test_retries_are_counted_before_they_are_netted_against_calls_never_made() -> None:
    """As many charges as before: half of the orders never come to them, the others make them twice."""

    def program(rng: np.random.Generator, _: float) -> Work:
        if rng.random() < 0.5:
            return order(failing(call("stock", "reserve", 1.0)), failed=True)
        return order(RESERVE, failing(CHARGE), CHARGE)

    report = ask(order(RESERVE, CHARGE), program)
    (edge,) = [e for e in report.edges if e.callee == "payment"]
    assert edge.calls_per_unit_head == pytest.approx(edge.calls_per_unit_base, abs=0.15)
    (found,) = [e for e in report.failures.edges if e.key.callee == "payment"]
    assert found.retries is not None
    assert found.retries.head == pytest.approx(0.5, abs=0.01)
    assert report.failures.grown


def test_failures_as_before_are_no_change() -> None:
    """Two periods alike, failures and retries in both: nothing is lost, and the rates stand there."""
    report = ask(refused(0.1), refused(0.1))
    assert report.state in (State.GROWTH_STABLE, State.INSUFFICIENT)
    assert report.failures.entries
    assert not any(entry.rate.significant for entry in report.failures.entries)
    assert not any(edge.rate.significant for edge in report.failures.edges)
    assert report.failures.missing_work == ()
    assert report.findings == ()


def test_a_few_failures_among_many_requests_are_not_yet_a_change() -> None:
    """Two of 576 requests, and none before, could be chance wherever they lie."""

    def program(_: np.random.Generator, passed: float) -> Work:
        return order(RESERVE, CHARGE, failed=passed > 0.996)

    report = ask(order(RESERVE, CHARGE), program)
    assert sum(one.rate.head * one.rate.of_head for one in report.failures.entries) == pytest.approx(2.0)
    assert not report.failures.grown


def test_calls_that_vanish_without_an_error_are_told_at_the_top_of_what_is_missing() -> None:
    """A subtree is gone: its top is named once, with how much hung below it."""
    report = ask(order(RESERVE, CHARGE), order(RESERVE))
    vanished = [one for one in report.failures.missing_work if one.kind is MissingWorkKind.VANISHED]
    assert [(one.edge.caller, one.edge.callee) for one in vanished if one.edge] == [("gateway", "payment")]
    assert "2 call paths below it" in vanished[0].sentence
    assert report.failures.grown == ()


def test_a_dependency_that_is_called_by_another_name_has_not_vanished() -> None:
    """The same callee under a new operation is a rename."""
    renamed = call("payment", "charge/v2", 20.0, [query("postgresql/payment", "INSERT payment", 10.0)])
    assert kinds(ask(order(RESERVE, CHARGE), order(RESERVE, renamed))) == set()


def test_a_call_that_was_always_made_is_missed_in_a_handful_of_requests() -> None:
    """Forty requests of an afternoon made it, of forty more a part does not: a caller gives up halfway."""

    def program(rng: np.random.Generator, _: float) -> Work:
        return order(RESERVE) if rng.random() < 0.4 else order(RESERVE, CHARGE)

    report = compare(order(RESERVE, CHARGE), program, hours=10, per_hour=4)
    vanished = [one for one in report.failures.missing_work if one.kind is MissingWorkKind.VANISHED]
    assert [(one.edge.caller, one.edge.callee) for one in vanished if one.edge] == [("gateway", "payment")]
    assert "(0 of 40 before)" in vanished[0].sentence


def test_calls_that_are_made_now_and_then_may_be_missed() -> None:
    """A cache answers half of the time, in both periods: nothing is missing."""

    def program(rng: np.random.Generator, _: float) -> Work:
        return order(RESERVE) if rng.random() < 0.5 else order(RESERVE, CHARGE)

    assert compare(program, program, hours=10, per_hour=4).failures.missing_work == ()


def test_units_that_call_nothing_any_more_are_told() -> None:
    """A part of the orders ends without any call, though no status says that it failed."""

    def program(rng: np.random.Generator, _: float) -> Work:
        return order() if rng.random() < 0.2 else order(RESERVE, CHARGE)

    report = ask(order(RESERVE, CHARGE), program)
    assert MissingWorkKind.LEAFLESS in kinds(report)
    (entry,) = report.failures.entries
    assert entry.leafless is not None
    assert entry.leafless.head == pytest.approx(0.2, abs=0.05)


def test_messages_that_nobody_consumes_are_told() -> None:
    """Published as before and consumed by half: throughput downstream fell behind demand."""
    sent = publish("jobs", 5.0, "worker", 10.0)

    def program(rng: np.random.Generator, _: float) -> Work:
        return order(sent if rng.random() < 0.5 else Work("publish_alone", peer="jobs", operation="jobs"))

    report = ask(order(sent), program)
    (lost,) = [one for one in report.failures.missing_work if one.kind is MissingWorkKind.NOT_CONSUMED]
    assert "consumers fell behind demand" in lost.sentence


def test_what_an_earlier_version_did_not_measure_is_unknown_and_not_nothing() -> None:
    """Rates are told, means of successful units are null, and the text names the command."""
    halves = []
    for number in (0, 1):
        start = START_NS + number * 168 * 3600 * 10**9
        made = spans(refused(0.02 + 0.2 * number), start_ns=start, hours=168, per_hour=4, seed=number)
        halves.append(replace(period(made, start, 168), rules=frozenset({2})))
    report = diff(*halves)
    assert report.failures.grown
    assert not report.failures.measured
    clock = diff_json(report)["clock"]
    assert (clock["base_ok_ms"], clock["head_ok_ms"]) == (None, None)
    assert "tracescope rebuild" in shown.diff_markdown(report)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("requests.errors>+5pp", ["gateway POST /orders"]),
        ("gateway -> stock.errors>10pp", ["gateway -> stock reserve"]),
        ("any.errors>+100%", ["gateway -> stock reserve"]),
        ("requests.errors>+50pp", []),
        ("db.errors>0pp", []),
    ],
)
def test_a_build_can_be_held_by_failures(fails_fast: Report, text: str, names: list[str]) -> None:
    """Of requests and of calls, as a change or a level; what never failed breaks no gate."""
    broken = parse_gate(text).broken(fails_fast)
    assert [line.split(":")[0] for line in broken] == names
    assert not any("could be chance" in line for line in broken)
