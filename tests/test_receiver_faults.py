"""What fails under a receiver: the disk, the drain, the process.  What was acknowledged stays."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx2 as httpx
import pytest
from click.testing import CliRunner
from receivers import Running, eventually, request

from tracescope.cli import main
from tracescope.config import Settings
from tracescope.ingest.meters import Meters
from tracescope.serving import state
from tracescope.serving.graph_metrics import GraphSeries
from tracescope.serving.pressure import Pressure
from tracescope.session import Session
from tracescope.store import journal as journals
from tracescope.store import landing, modes


class FaultyOs:
    """The os module as the journal sees it, in which one function may fail."""

    def __init__(self) -> None:
        self.failing: dict[str, int] = {}

    def __getattr__(self, name: str) -> object:
        if name in self.failing:
            number = self.failing[name]

            def fail(*args: object, **more: object) -> None:
                raise OSError(number, os.strerror(number))

            return fail
        return getattr(os, name)


@pytest.mark.parametrize(
    ("function", "number"),
    [("fsync", errno.EIO), ("write", errno.ENOSPC), ("open", errno.EROFS)],
    ids=["an fsync error", "a full disk", "a read-only disk"],
)
def test_a_journal_that_cannot_be_written_stops_acknowledgement_and_recovers(
    tmp_path, monkeypatch, function, number
) -> None:
    """UNAVAILABLE while it lasts, the reason in /readyz; afterwards every acknowledged span is there."""
    faulty = FaultyOs()
    monkeypatch.setattr(journals, "os", faulty)
    monkeypatch.setattr(modes, "os", faulty)
    with Running(tmp_path / "store") as receiver:
        receiver.send(request(0, 10))
        receiver.journal.segments_to_drain()  # so that the next write opens a segment
        faulty.failing[function] = number
        with pytest.raises(grpc.RpcError) as failure:
            receiver.send(request(100, 10))
        assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
        assert os.strerror(number) in failure.value.details()
        ready = f"http://{receiver.http}/readyz"
        eventually(lambda: httpx.get(ready).status_code == 503, "not ready")
        assert os.strerror(number) in httpx.get(ready).json()["reasons"][0]
        assert receiver.post(request(200, 10).SerializeToString()).status_code == 503
        faulty.failing.clear()
        eventually(lambda: httpx.get(ready).status_code == 200, "ready again")
        receiver.send(request(300, 10))
        assert receiver.counts() == (20, 20)
    assert receiver.counts() == (20, 20)


def test_the_drain_outlives_a_folder_that_cannot_be_looked_at(tmp_path, monkeypatch) -> None:
    """Spans stay in the journal, /readyz says why in words, and they land once the folder can be read."""
    with Running(tmp_path / "store") as receiver:
        receiver.send(request(0, 10))
        eventually(lambda: receiver.counts() == (10, 10), "drained")

        def hidden(folder: Path) -> list[Path]:
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))

        with monkeypatch.context() as patched:
            patched.setattr(landing, "_entries", hidden)
            receiver.send(request(100, 10))
            eventually(lambda: "drain_failed" in receiver.log.getvalue(), "told")
        said = [json.loads(line) for line in receiver.log.getvalue().splitlines()]
        why = next(event["message"] for event in said if event["event"] == "drain_failed")
        assert f"{receiver.store.root / 'landing'}: Permission denied" in why
        assert "PermissionError" not in why
        eventually(lambda: receiver.counts() == (20, 20), "drained again")


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of 3 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small tmpfs needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_refuses_and_when_there_is_room_again_goes_on(small_disk) -> None:
    """A real file system without room: nothing acknowledged is lost, nothing is there twice."""
    with Running(small_disk / "store") as receiver:
        receiver.send(request(0, 100))
        acknowledged = 100
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file:
            while shutil.disk_usage(small_disk).free:
                file.write(bytes(min(65_536, shutil.disk_usage(small_disk).free)))
        answers: list[int] = []
        for first in range(1000, 200_000, 1000):
            answers.append(receiver.post(request(first, 400).SerializeToString()).status_code)
            if answers.count(503) == 3:
                break
        assert answers.count(503) == 3
        acknowledged += 400 * answers.count(200)
        assert set(answers) <= {200, 503}
        ready = f"http://{receiver.http}/readyz"
        eventually(lambda: httpx.get(ready).status_code == 503, "not ready")
        assert os.strerror(errno.ENOSPC) in httpx.get(ready).json()["reasons"][0]
        ballast.unlink()
        eventually(lambda: httpx.get(ready).status_code == 200, "ready again")
        receiver.send(request(900_000, 50))
        acknowledged += 50
        eventually(lambda: receiver.counts() == (acknowledged, acknowledged), "all is there")
    assert receiver.counts() == (acknowledged, acknowledged)


def test_a_segment_that_cannot_be_read_does_not_hold_up_its_neighbours(tmp_path, monkeypatch) -> None:
    """Segments land together; one that spoils that is set aside and counted, and the others land."""
    monkeypatch.setattr("tracescope.serving.runtime.DRAIN_TICK_S", 3600)  # drained by hand, below
    with Running(tmp_path / "store") as receiver:
        for number in range(3):
            payload = request(number, 1).SerializeToString()
            receiver.journal.append(payload, time.time_ns()).result(10)
            receiver.journal.segments_to_drain()
        _, bad, _ = journals.segments(receiver.store.journal_folder)
        data = bad.read_bytes()
        bad.write_bytes(b"NOT OURS" + data[8:])
        receiver.runtime._drain(0.0)
        assert journals.segments(receiver.store.journal_folder) == []
        aside = list((receiver.store.root / "quarantine").rglob("*.journal"))
        assert [one.read_bytes() for one in aside] == [b"NOT OURS" + data[8:]]
        assert receiver.counts() == (3, 3), "its record could be read all the same"
        assert receiver.store.status().quarantined == 1


def test_what_cannot_be_drained_in_time_waits_in_the_journal(tmp_path, monkeypatch) -> None:
    """A stop keeps its deadline; the next start drains what was left, once."""
    from tracescope.serving import runtime

    def broken(store: object, segments: list[Path]) -> int:
        raise OSError(errno.EIO, "landing is broken")

    with monkeypatch.context() as patch:
        patch.setattr(runtime, "drain", broken)
        with Running(tmp_path / "store") as receiver:
            receiver.send(request(0, 30))
            ready = f"http://{receiver.http}/readyz"
            eventually(lambda: httpx.get(ready).json()["reasons"] != [], "the problem shows")
            assert httpx.get(ready).status_code == 200, "the journal takes more"
            receiver.send(request(100, 30))
        assert journals.segments(tmp_path / "store" / "journal") != []
        assert receiver.counts() == (60, 60)
    with Running(tmp_path / "store") as receiver:
        eventually(lambda: not journals.segments(tmp_path / "store" / "journal"), "drained")
        assert receiver.counts() == (60, 60)
    assert receiver.counts() == (60, 60)


def test_bounds_ask_senders_to_wait_before_they_are_reached() -> None:
    """Memory refuses at 90 % and takes again at 80 %; disk reclaims from 85 % and refuses at 95 %."""
    pressure = Pressure(1000, 1000)

    def refuses(memory: int, disk: int, error: OSError | None = None) -> bool:
        return bool(pressure.reason(memory_bytes=memory, disk_bytes=disk, journal_error=error))

    assert [refuses(m, 0) for m in (850, 901, 850, 801, 799, 850)] == [False, True, True, True, False, False]
    assert [refuses(0, d) for d in (940, 951, 940)] == [False, True, False]
    assert pressure.excess_bytes(840) == 0
    assert 0 < pressure.excess_bytes(860) < 860
    assert refuses(0, 0, OSError(errno.EIO, "broken"))
    assert not Pressure(0, 0).reason(memory_bytes=10**12, disk_bytes=10**15, journal_error=None)


def test_requests_in_work_are_bounded(tmp_path) -> None:
    """What is being read and checked counts; beyond it UNAVAILABLE, and later it is taken."""
    with Running(tmp_path / "store") as receiver:
        receiver.runtime.intake.hold(receiver.runtime.intake.max_in_flight_bytes)
        with pytest.raises(grpc.RpcError) as failure:
            receiver.send(request(0, 1))
        assert failure.value.code() == grpc.StatusCode.UNAVAILABLE
        receiver.runtime.intake.hold(-receiver.runtime.intake.max_in_flight_bytes)
        receiver.send(request(0, 1))


def test_metrics_tell_what_happened_and_status_reads_the_same(tmp_path) -> None:
    with Running(tmp_path / "store") as receiver:
        receiver.send(request(0, 7))
        damaged = request(100, 3)
        damaged.resource_spans[0].scope_spans[0].spans[0].span_id = bytes(8)
        receiver.post(damaged.SerializeToString())
        receiver.post(b"\xff\xff")
        eventually(lambda: value(receiver, "tracescope_spans_decoded_total") == 9, "drained")
        assert value(receiver, "tracescope_spans_accepted_total") == 9
        assert value(receiver, 'tracescope_spans_rejected_total{reason="invalid_span_id"}') == 1
        assert value(receiver, 'tracescope_requests_total{outcome="accepted",transport="grpc"}') == 1
        assert value(receiver, 'tracescope_requests_total{outcome="partial",transport="http"}') == 1
        assert value(receiver, 'tracescope_requests_total{outcome="malformed",transport="http"}') == 1
        assert value(receiver, "tracescope_ready") == 1
        eventually(lambda: value(receiver, "tracescope_journal_bytes") == 0, "the journal is empty")
        assert value(receiver, "tracescope_disk_bytes") > 0
        assert value(receiver, "tracescope_memory_bytes") > 1e6
        eventually((tmp_path / "store" / state.FILE).exists, "figures are written")
        figures = state.read(receiver.store)
        assert figures is not None
        assert figures["grpc"] == receiver.grpc
        assert figures["ready"] is True
        told = CliRunner().invoke(main, ["status", "--store", str(tmp_path / "store"), "--format", "json"])
        assert json.loads(told.stdout)["receiver"]["grpc"] == receiver.grpc
        told = CliRunner().invoke(main, ["status", "--store", str(tmp_path / "store")])
        assert f"receiver   accepting on grpc {receiver.grpc}, http {receiver.http};" in told.stdout
    assert state.read(receiver.store) is None, "no receiver runs"
    events = [json.loads(line) for line in receiver.log.getvalue().splitlines()]
    assert [event["event"] for event in events] == ["listening", "stopped"]
    assert all({"time", "level", "event"} <= set(event) for event in events)


def value(receiver: Running, series: str) -> float:
    lines = httpx.get(f"http://{receiver.http}/metrics").text.splitlines()
    found = [line.rpartition(" ")[2] for line in lines if line.rpartition(" ")[0] == series]
    return float(found[0]) if found else 0.0


def test_every_metric_is_documented() -> None:
    """Each name stands in the receiver's page, and no other does."""
    text = (Path(__file__).parent.parent / "collector-config" / "receiver.md").read_text()
    table = {line.split("`")[1] for line in text.splitlines() if line.startswith("| `tracescope_")}
    from_rollups = {family.name for family in GraphSeries(Session("none", Settings())).describe()}
    assert table - from_rollups == set(Meters().names())
