"""gRPC clients that no library would be: slow, broken and rude, frame by frame."""

from __future__ import annotations

import time

from frames import DATA, END_STREAM, RST_STREAM, SETTINGS, Wire, frame, message
from receivers import Running, eventually, request

from tracescope.ingest.otlp_grpc import EXPORT

QUICK = {"slow_client_s": 1, "web": "off"}


def well(answer: bytes | None) -> bool:
    """Whether a call ended, and without a message, which every failure has."""
    return answer is not None and b"grpc-message\x00" in answer


def body(first: int, count: int = 5) -> bytes:
    return message(request(first, count).SerializeToString())


def test_hand_made_frames_are_a_request_like_any_other(tmp_path) -> None:
    """What the other tests do wrong is done right here, piece by piece within the time allowed."""
    with Running(tmp_path / "store", QUICK) as receiver, Wire(receiver.grpc) as wire:
        wire.open_call(1, EXPORT)
        data = body(0)
        for at in range(0, len(data), 100):
            wire.send(frame(DATA, 0, 1, data[at : at + 100]))
        wire.send(frame(DATA, END_STREAM, 1))
        assert well(wire.ended(1, 10))
        assert receiver.counts() == (5, 5)


def test_a_client_that_trickles_its_request_is_ended_and_holds_nobody_up(tmp_path) -> None:
    """A byte now and then: each call ends after `slow_client_s`, and others on the connection do well."""
    with Running(tmp_path / "store", QUICK) as receiver, Wire(receiver.grpc) as wire:
        slow = range(1, 61, 2)
        for stream in slow:
            wire.open_call(stream, EXPORT)
            wire.send(frame(DATA, 0, stream, message(b"\x0a", length=2**20)))
        receiver.send(request(0, 5))
        wire.open_call(101, EXPORT)
        wire.send(frame(DATA, END_STREAM, 101, body(5)))
        deadline, ended = time.monotonic() + 30, {}
        while len(ended) < 31 and time.monotonic() < deadline:
            for kind, flags, stream, payload in wire.frames(0.2):
                if kind == 1 and flags & END_STREAM:
                    ended[stream] = payload
            for stream in slow:
                if stream not in ended:
                    wire.send(frame(DATA, 0, stream, b"\0"))
        assert sorted(ended) == [*slow, 101]
        assert all(b"took longer than 1 s" in ended[stream] for stream in slow)
        assert well(ended[101])
        assert receiver.counts() == (10, 10)
        # the connection is as good as new
        wire.open_call(103, EXPORT)
        wire.send(frame(DATA, END_STREAM, 103, body(10)))
        assert well(wire.ended(103, 10))
        assert b"refused" in receiver.runtime.meters.exposition()


def test_a_call_without_a_request_is_refused(tmp_path) -> None:
    """It ends as INVALID_ARGUMENT, at once."""
    with Running(tmp_path / "store", QUICK) as receiver, Wire(receiver.grpc) as wire:
        wire.open_call(1, EXPORT)
        wire.send(frame(DATA, END_STREAM, 1))
        answer = wire.ended(1, 10)
        assert answer is not None
        assert b"without a request" in answer


def test_who_may_not_send_is_told_before_anything_was_sent(tmp_path) -> None:
    """Without a token no body is waited for; with one the call goes on."""
    tokens = tmp_path / "tokens"
    tokens.write_text("secret-secret-secret\n")
    tokens.chmod(0o600)
    used = {**QUICK, "slow_client_s": 30, "token_file": str(tokens)}
    with Running(tmp_path / "store", used) as receiver, Wire(receiver.grpc) as wire:
        wire.open_call(1, EXPORT)
        answer = wire.ended(1, 10)
        assert answer is not None
        assert b"no valid bearer token" in answer
        wire.open_call(3, EXPORT, ("authorization", "Bearer secret-secret-secret"))
        wire.send(frame(DATA, END_STREAM, 3, body(0)))
        assert well(wire.ended(3, 10))


def test_half_a_request_is_counted_and_under_pressure_none_is_begun(tmp_path) -> None:
    """What gRPC holds of it cannot be seen; how many there are can, and that no more come."""
    with Running(tmp_path / "store", {**QUICK, "slow_client_s": 30}) as receiver:
        receiving = receiver.runtime.meters.receiving._value.get
        with Wire(receiver.grpc) as wire:
            for stream in (1, 3):
                wire.open_call(stream, EXPORT)
                wire.send(frame(DATA, 0, stream, body(stream * 10)[:-1]))
            eventually(lambda: receiving() == 2, "both are counted")
            receiver.runtime._pressure.memory_limit_bytes = 1
            eventually(lambda: receiver.runtime.intake.pressure != "", "pressure is seen")
            wire.open_call(5, EXPORT)
            answer = wire.ended(5, 10)
            assert answer is not None
            assert b"MiB of memory" in answer
            assert receiving() == 2
            receiver.runtime._pressure.memory_limit_bytes = 0
            eventually(lambda: receiver.runtime.intake.pressure == "", "it is over")
            wire.send(frame(DATA, END_STREAM, 1, body(10)[-1:]))
            assert well(wire.ended(1, 10))
        eventually(lambda: receiving() == 0, "the other one went with its connection")
        assert receiver.counts() == (5, 5)


def test_a_client_that_goes_away_in_the_middle_leaves_nothing_behind(tmp_path) -> None:
    """Twenty connections are cut within a request; nothing of them counts, and nothing waits."""
    with Running(tmp_path / "store", QUICK) as receiver:
        for stream in range(20):
            with Wire(receiver.grpc) as wire:
                wire.open_call(1, EXPORT)
                wire.send(frame(DATA, 0, 1, body(stream * 5)[:-1]))
        receiver.send(request(500, 5))
        assert receiver.counts() == (5, 5)
        eventually(lambda: receiver.runtime.intake.in_flight_bytes == 0, "nothing in flight")


def test_more_streams_than_allowed_are_not_served_on_one_connection(tmp_path) -> None:
    """The server says how many, and resets what a client opens beyond; other connections have their own."""
    with Running(tmp_path / "store", {**QUICK, "slow_client_s": 30, "max_streams": 2}) as receiver:
        with Wire(receiver.grpc) as wire:
            said = b"".join(payload for kind, _, _, payload in wire.frames(0.5) if kind == SETTINGS)
            assert b"\x00\x03\x00\x00\x00\x02" in said  # SETTINGS_MAX_CONCURRENT_STREAMS
            for stream in (1, 3, 5, 7):
                wire.open_call(stream, EXPORT)
            reset = {stream for kind, _, stream, _ in wire.frames(1) if kind == RST_STREAM}
            assert reset == {5, 7}
            receiver.send(request(0, 5))
        assert receiver.counts() == (5, 5)
