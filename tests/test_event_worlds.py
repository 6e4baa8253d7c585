"""Event-driven worlds: requests that wait for each other, their spans, and what is said of them.

`benchmarks/judge_worlds.py` judges all of them, each over many seeds.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

import tracescope
from benchmarks.judge_worlds import ask, is_good, judge, plan, run, table
from benchmarks.queues import Kind
from benchmarks.worlds import shop
from benchmarks.worlds.catalogue import CULPRITS, UNCHANGED, WALLS, WORLDS, write
from benchmarks.worlds.event_loop import Gate, Loop, Pool, Process, Race
from benchmarks.worlds.events import Calendar, Simulation
from benchmarks.worlds.parts import Change, System, Topic
from benchmarks.worlds.truth import Truth, World
from tracescope.ingest.decode import decode

SHORT = Calendar(base_days=2, head_days=2, every_hours=6, window_s=1.0, warm_s=0.5)


def _busy(loop: Loop, pool: Pool, seconds: float, ends: list[float]) -> Process:
    yield pool
    yield seconds
    pool.leave()
    ends.append(loop.now)
    return True


def test_a_pool_serves_in_turn_and_a_gate_opens_after_the_last() -> None:
    """Three jobs of a second at two places end at 1, 1 and 2; who waits for all goes on at 2."""
    loop, ends, opened = Loop(), list[float](), list[float]()
    pool, gate = Pool(loop, 2), Gate(loop, 3)

    def waits() -> Process:
        well = yield gate
        assert well
        opened.append(loop.now)

    for _ in range(3):
        loop.step(gate.run(_busy(loop, pool, 1.0, ends)))
    loop.step(waits())
    loop.run(10.0)
    assert (ends, opened) == ([1.0, 1.0, 2.0], [2.0])


@pytest.mark.parametrize(("takes", "told"), [(0.5, (0.5, True)), (2.0, (1.0, "late"))])
def test_a_race_ends_with_whichever_is_first(takes: float, told: tuple[float, object]) -> None:
    """Work against a time-out of a second; work that is late goes on to its end."""
    loop, ends, heard = Loop(), list[float](), list[tuple[float, object]]()
    race = Race(loop)

    def waits() -> Process:
        loop.step(race.run(_busy(loop, Pool(loop, 1), takes, ends)))
        loop.step(race.timer(1.0))
        result = yield race
        heard.append((loop.now, result))

    loop.step(waits())
    loop.run(10.0)
    assert heard == [told]
    assert ends == [takes]


@pytest.mark.parametrize("servers", [1, 4])
def test_a_pool_waits_as_queueing_theory_says(servers: int) -> None:
    """Mean time at an M/M/c queue that is busy to seven tenths, within five per cent of Erlang C."""
    rng, loop, spent = random.Random(3), Loop(), list[float]()
    pool = Pool(loop, servers)

    def job() -> Process:
        came = loop.now
        yield pool
        yield rng.expovariate(100.0)
        pool.leave()
        spent.append(loop.now - came)

    def arrivals() -> Process:
        for _ in range(60_000):
            yield rng.expovariate(70.0 * servers)
            loop.step(job())

    loop.step(arrivals())
    loop.run(10_000.0)
    assert sum(spent) / len(spent) == pytest.approx(Kind(servers).latency(70.0 * servers), rel=0.05)


@pytest.mark.parametrize("name", list(WORLDS))
def test_a_worlds_changes_name_what_is_there(name: str) -> None:
    """Each change applies to a part of the world, and makes it another one at some time in HEAD."""
    world = write(name, 5)
    for change in world.changes:
        middle = (max(change.since, 0.0) + change.until) / 2
        assert world.system.at((change,), middle).parts[change.of] != world.system.parts[change.of], change
        assert world.system.at((change,), -0.5).parts == world.system.parts, change


def test_the_catalogue_is_as_large_as_it_says() -> None:
    """At least 26 worlds with a culprit and 14 without."""
    assert len(CULPRITS) >= 26
    assert len(UNCHANGED) >= 14
    assert len(WALLS) >= 3
    assert plan(4, 2, ("a", "b")) == [("a", 2000), ("b", 2000), ("a", 2001), ("b", 2001)]


def test_a_world_is_the_same_each_time_and_its_spans_are_whole() -> None:
    """Same seed, same spans; all are decoded, each parent is there, and children lie after their start."""
    world = write("locked row stalls a queue", 3)
    runs = [Simulation(world.system, world.changes, SHORT, 9).run() for _ in range(2)]
    assert runs[0].rows == runs[1].rows
    decoded = decode(list(runs[0].requests()), arrived_ns=SHORT.end_ns)
    assert len(decoded.spans) == len(runs[0].rows) > 500
    started = {span: start for _, _, span, _, start, _ in runs[0].rows}
    for _, _, _, parent, start, end in runs[0].rows:
        assert start <= end
        assert parent == 0 or started[parent] <= start


def test_messages_that_wait_overnight_are_served_next_day() -> None:
    """With memory a queue is handed on from window to window: waits of hours are seen, none is lost."""
    world = write("a backlog every day", 1)
    calendar = replace(world.calendar, base_days=2, head_days=1)
    spans = Simulation(world.system, (), calendar, 4).run()
    sent = {span: end for t, _, span, _, _, end in spans.rows}
    waits = [
        start - sent[parent] for _, _, _, parent, start, _ in spans.rows if parent and start > sent[parent]
    ]
    assert max(waits) > 3600e9
    made = decode(list(spans.requests()), arrived_ns=calendar.end_ns).spans
    names = made["name"].to_list()
    assert names.count(f"send {shop.EVENTS}") == names.count(f"process {shop.EVENTS}") > 500


def test_a_world_can_be_written_and_imported(tmp_path: Path) -> None:
    """The files are what `tracescope import` reads, and every span in them is new."""
    spans = Simulation(shop.shop(), (), SHORT, 2).run()
    store = tracescope.open_store(tmp_path / "store")
    done = store.import_files(*spans.write(tmp_path / "world"))
    assert (done.new, done.duplicates, done.rejected) == (len(spans.rows), 0, {})


def test_parts_that_are_not_there_are_refused() -> None:
    """A topic without its consumer, and two parts of one name, are mistakes in a world."""
    with pytest.raises(ValueError, match="which is not there"):
        System.of([Topic("events", "nobody", 1)])
    with pytest.raises(ValueError, match="two parts"):
        System.of([*shop.shop().parts.values(), shop.shop().parts["orders"]])


def test_a_culprit_is_found_and_an_unchanged_world_is_left_alone() -> None:
    """Two worlds of the catalogue, whole: the true cause comes first; where nothing is wrong, nobody."""
    found, quiet = run("N+1", 11), run("fan-out as before", 11)
    assert found.first, found
    assert is_good(found), found
    assert quiet.alarms == (), quiet
    rows = table([found, quiet]).splitlines()
    assert rows[1].split()[:2] == ["N+1", "1/1"]
    assert len(rows) == 4


def test_the_judge_calls_a_wrong_answer_wrong() -> None:
    """A right answer is wrong for another truth, and an alarm where nobody is to blame."""
    slower = Change(shop.CHARGE, "ms", times=3.0)
    world = World("", shop.shop(), (slower,), Calendar(every_hours=4), Truth())
    answer = ask(world, 3)
    right = replace(world, truth=Truth(((None, "orders", "psp.example", None),)))
    wrong = replace(
        world, truth=Truth((("db", None, None, None),), never=((None, None, "psp.example", None),))
    )
    assert judge(right, answer, 3).first
    assert not judge(wrong, answer, 3).first
    assert judge(wrong, answer, 3).forbidden
    assert judge(world, answer, 3).alarms


def test_who_waits_in_quiet_times_too_is_not_the_holder() -> None:
    """A database so busy that its quiet hours are busy: the neighbour leads, not who waits."""
    outcome = run("noisy neighbour, heavier calls", 2_000)
    assert is_good(outcome), outcome
    assert outcome.victims == (2, 2)


def test_what_keeps_a_database_busier_leads_though_its_own_rise_is_hardly_sure() -> None:
    """A neighbour that calls four times as often waits in the line that it makes."""
    outcome = run("noisy neighbour, more calls", 3_000)
    assert outcome.first, outcome
    assert outcome.mechanism, outcome
    assert outcome.forbidden == ()


def test_a_query_that_is_slower_by_chance_does_not_lead_what_waits_for_threads() -> None:
    """A service with fewer threads, above a database that is as it was: the gap in front of it leads."""
    outcome = run("drawn: fewer threads", 5_000)
    assert is_good(outcome), outcome


def test_of_two_causes_each_is_told_and_the_line_behind_one_leads_neither() -> None:
    """A slower query beside slower work; a neighbour at the same database waits, and is no cause."""
    outcome = run("drawn: two causes at once", 1_000)
    assert is_good(outcome), outcome


def test_an_entry_that_grew_by_one_edge_speaks_for_no_other() -> None:
    """A service computes longer, by 4 ms; a statement that is 0.1 ms slower by chance is no finding."""
    outcome = run("slower own work", 2_000)
    assert is_good(outcome), outcome
