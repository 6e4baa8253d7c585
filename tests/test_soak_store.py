"""Journal, drain and store against a model, through crashes at every change they make to the disk."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from crashing import Crash, crash_after
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from processes import request, span_numbers

from tracescope.engine.seal import seal
from tracescope.engine.upkeep import status, verify
from tracescope.ingest.decode import judge, scan
from tracescope.ingest.drain import drain
from tracescope.ingest.scanned import Scanned
from tracescope.store import SpanStore, open_store, recover
from tracescope.store import journal as module
from tracescope.store.journal import Journal, segments

HOUR = 3_600 * 10**9


def payload(numbers: list[int], now_ns: int) -> bytes:
    """Spans by number, three hours of them, three to a trace; 255 has no trace id and is refused."""
    message = request(0, 0)
    scope = message.resource_spans[0].scope_spans[0]
    for number in numbers:
        span = request(number, 1, spans_per_trace=3).resource_spans[0].scope_spans[0].spans[0]
        span.start_time_unix_nano = now_ns - (1 + number // 3 % 3) * HOUR + number
        span.end_time_unix_nano = span.start_time_unix_nano + 1_000_000
        if number == 255:
            span.trace_id = b""
        scope.spans.append(span)
    return message.SerializeToString()


class Keeping(RuleBasedStateMachine):
    """A receiver's life in one process: append, drain, seal, crash anywhere, restart, send again.

    The model: the spans that were acknowledged, once each; how often they were, and how many were
    refused.  What was appended without an acknowledgement may be there or not, but not in part.
    """

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="tracescope-"))
        self.now_ns = 1_790_000_000_000_000_000
        self.acknowledged: set[int] = set()
        self.accepted = self.refused = 0
        self.store: SpanStore = open_store(self.root / "store", create=True)
        self.journal = Journal.open(self.store.journal_folder, segment_bytes=2_000)

    def teardown(self) -> None:
        self.journal.close()
        drain(self.store, segments(self.store.journal_folder))
        seal(self.store, workers=1)
        self.agrees()
        assert span_numbers(self.root / "store") == sorted(self.acknowledged)
        assert verify(self.store) == []
        traces = {number // 3 for number in self.acknowledged}
        assert status(self.store).units >= len(traces)
        shutil.rmtree(self.root)

    def agrees(self) -> None:
        found = status(self.store)
        assert found.stored == len(self.acknowledged)
        assert found.accepted == self.accepted
        assert found.rejected == ({"invalid_trace_id": self.refused} if self.refused else {})

    @initialize()
    def first(self) -> None:
        self.append([0, 1, 2, 255])

    @rule(
        numbers=st.lists(st.integers(0, 30) | st.just(255), min_size=1, max_size=12), attached=st.booleans()
    )
    def append(self, numbers: list[int], *, attached: bool = True) -> None:
        """A request is acknowledged; many of its spans were sent before."""
        data = payload(numbers, self.now_ns)
        found = scan([data], self.now_ns)
        accepted, rejected = judge(found)
        scanned = Scanned.of(found, self.now_ns) if attached else None
        self.journal.append(data, self.now_ns, attached=scanned).result(30)
        self.acknowledged |= {number for number in numbers if number != 255}
        self.accepted += accepted
        self.refused += sum(rejected.values())

    @rule(numbers=st.lists(st.integers(0, 30), min_size=1, max_size=8), cut=st.floats(0.0, 0.999))
    def tear(self, numbers: list[int], cut: float) -> None:
        """Killed while it wrote a request that nobody acknowledged: the tail of the segment is torn."""
        aside = Journal.open(self.root / "aside")
        aside.append(payload(numbers, self.now_ns), self.now_ns).result(30)
        aside.close()
        (written,) = segments(self.root / "aside")
        record = written.read_bytes()[8:]
        shutil.rmtree(self.root / "aside")
        newest = segments(self.store.journal_folder)[-1:]
        self.journal.close()
        for segment in newest:
            with segment.open("ab") as file:
                file.write(record[: int(len(record) * cut)])
        self.open()

    @rule()
    def restart(self) -> None:
        self.journal.close()
        self.open()

    def open(self) -> None:
        self.store = open_store(self.root / "store")
        self.journal = Journal.open(self.store.journal_folder, segment_bytes=2_000)
        recover(self.store)

    @rule()
    def drain(self) -> None:
        drain(self.store, self.journal.segments_to_drain(), self.journal)

    @rule(calls=st.integers(0, 40))
    def drain_and_crash(self, calls: int) -> None:
        """Killed at any change to the disk while it drained; restarted."""
        waiting = self.journal.segments_to_drain()
        with crash_after(calls):
            drain(self.store, waiting, self.journal)
        self.restart()

    @rule()
    def seal(self) -> None:
        seal(self.store, workers=1)

    @rule(calls=st.integers(0, 120))
    def seal_and_crash(self, calls: int) -> None:
        """Killed at any change to the disk while it sealed; restarted, and not sealed again at once."""
        with crash_after(calls):
            seal(self.store, workers=1)
        self.restart()

    @precondition(lambda self: self.accepted)
    @rule()
    def count(self) -> None:
        self.agrees()


TestKeeping = Keeping.TestCase
TestKeeping.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def crash_at(root: Path, work: str, calls: int) -> bool:
    """Crash after so many changes to the disk while draining or sealing; whether it came to that."""
    now_ns = 1_790_000_000_000_000_000
    store = open_store(root, create=True)
    journal = Journal.open(store.journal_folder, segment_bytes=500)
    for part in range(2):
        journal.append(payload([part, part + 3, part + 20, 255], now_ns), now_ns).result(30)
    waiting = journal.segments_to_drain()
    journal.close()
    if work == "seal":
        drain(store, waiting)
    with crash_after(calls) as crashing:
        if work == "drain":
            drain(store, waiting)
        else:
            seal(store, workers=1)
    store = open_store(root)
    recover(store)
    for step in ("crashed", "drained", "sealed"):
        if step == "drained":
            drain(store, segments(store.journal_folder))
        if step == "sealed":
            seal(store, workers=1)
            assert verify(store) == []
        found = status(store)
        told = (found.stored, found.accepted, found.rejected)
        assert told == (6, 6, {"invalid_trace_id": 2}), f"{work} crashed after {calls} changes: {step}"
    assert span_numbers(root) == [0, 1, 3, 4, 20, 21]
    return crashing()


@pytest.mark.parametrize(("work", "stride"), [("drain", 3), ("seal", 9)])
def test_a_crash_at_any_change_to_the_disk_loses_and_doubles_nothing(tmp_path, work, stride) -> None:
    """From the first change to the one after the last; benchmarks/soak.py takes every one of them."""
    calls = 0
    while crash_at(tmp_path / str(calls), work, calls):
        calls += stride
    assert calls > 10


def test_the_crash_of_these_tests_stops_every_change_from_its_call_on(tmp_path) -> None:
    """The second file never appears, and cleaning up does not take the first away."""
    with crash_after(1) as crashing:
        (tmp_path / "one").mkdir()
        try:
            (tmp_path / "two").mkdir()
        finally:
            with pytest.raises(Crash):
                (tmp_path / "one").rmdir()
    assert crashing()
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_time_of_these_spans_is_past() -> None:
    """Spans that lay in the future would be refused one day."""
    assert time.time_ns() > 1_790_000_000_000_000_000 - 10 * HOUR


def test_a_segment_begun_while_others_are_taken_is_not_among_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whoever takes segments removes them: what is appended to one later would be lost."""
    journal = Journal.open(tmp_path / "journal")
    journal.append(b"first", 1).result(30)
    looked = module.segments

    def slowly(folder: Path) -> list[Path]:
        done = journal.append(b"second", 2)  # between closing a segment and looking for closed ones
        with suppress(TimeoutError):
            done.result(0.5)
        return looked(folder)

    monkeypatch.setattr(module, "segments", slowly)
    taken = journal.segments_to_drain()
    monkeypatch.undo()
    assert [record.payload for path in taken for record in module.contents(path).records] == [b"first"]
    for path in taken:
        path.unlink()
    journal.append(b"third", 3).result(30)
    journal.close()
    left = [record.payload for path in segments(journal.folder) for record in module.contents(path).records]
    assert left == [b"second", b"third"]
