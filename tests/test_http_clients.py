"""HTTP clients that no library would be: noise, half requests and broken bodies, some hundreds of them."""

from __future__ import annotations

import gzip
import random
import socket
from collections.abc import Iterator

import pytest
from frames import DATA, END_STREAM, HEADERS, Wire, call_headers, frame, message
from receivers import Running, request

from tracescope.ingest.otlp_grpc import EXPORT

ROUNDS = 150
GOOD = request(0, 20).SerializeToString()


@pytest.fixture(scope="module")
def receiver(tmp_path_factory) -> Iterator[Running]:
    used = {"max_request_mb": 1, "slow_client_s": 2}
    with Running(tmp_path_factory.mktemp("fuzz") / "store", used) as running:
        yield running


def damaged(draw: random.Random, data: bytes) -> bytes:
    """Some bytes changed, removed or doubled."""
    out = bytearray(data)
    for _ in range(draw.randrange(1, 6)):
        at = draw.randrange(len(out))
        match draw.randrange(4):
            case 0:
                out[at] = draw.randrange(256)
            case 1:
                del out[at : at + draw.randrange(1, 40)]
            case 2:
                out[at:at] = out[at : at + draw.randrange(1, 40)]
            case _:
                out[at:at] = draw.randbytes(draw.randrange(1, 8))
        if not out:
            break
    return bytes(out)


def exchange(address: str, sent: bytes, silent_s: float = 0.15) -> bytes:
    """What comes back before the server closes, or has been silent for so long."""
    host, _, port = address.rpartition(":")
    got = b""
    with socket.create_connection((host, int(port)), timeout=10) as opened:
        try:
            opened.sendall(sent)
            opened.settimeout(silent_s)
            while piece := opened.recv(65_536):
                got += piece
        except (ConnectionError, TimeoutError):
            pass
    return got


def still_well(receiver: Running, first: int) -> None:
    """A request like any other is answered, over both transports, and nothing is left in flight."""
    before = receiver.counts()
    assert receiver.post(request(first, 3).SerializeToString()).status_code == 200
    assert not receiver.send(request(first + 3, 3)).HasField("partial_success")
    after = receiver.counts()
    assert (after[0] - before[0], after[1] - before[1]) == (6, 6)
    assert receiver.runtime.intake.in_flight_bytes == 0
    assert receiver.runtime.readiness()[0]
    assert "Traceback" not in receiver.log.getvalue()


def test_broken_bodies_get_an_answer_of_their_own(receiver) -> None:
    """Damaged protobuf, JSON and gzip: accepted, or refused as the sender's fault; never the server's."""
    draw = random.Random(1)
    text = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c",'
    text += b'"spanId":"eee19b7ec3c1b174","name":"x","kind":2,"startTimeUnixNano":"1790000000000000000",'
    text += (
        b'"endTimeUnixNano":1790000000000000001,"attributes":[{"key":"a","value":{"intValue":"7"}}]}]}]}]}'
    )
    seen: set[int] = set()
    for number in range(ROUNDS):
        kind, data = draw.choice([("application/x-protobuf", GOOD), ("application/json", text)])
        packed = draw.random() < 0.4
        body = damaged(draw, gzip.compress(data) if packed else data)
        if packed and draw.random() < 0.5:
            body = gzip.compress(damaged(draw, data))
        headers = {"content_encoding": "gzip"} if packed else {}
        status = receiver.post(body, kind, **headers).status_code
        assert status in (200, 400, 413), (number, kind, body)
        seen.add(status)
    assert seen >= {200, 400}
    still_well(receiver, 10_000)


def test_noise_on_the_http_port_is_answered_or_hung_up_on(receiver) -> None:
    """Random bytes, damaged requests, lying lengths; a server error is never the answer."""
    draw = random.Random(2)
    head = b"POST /v1/traces HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
    head += b"content-type: application/x-protobuf\r\n"
    good = head + b"content-length: %d\r\n\r\n" % len(GOOD) + GOOD
    chunked = head + b"transfer-encoding: chunked\r\n\r\n%x\r\n" % len(GOOD) + GOOD + b"\r\n0\r\n\r\n"
    assert exchange(receiver.http, good, 10).startswith(b"HTTP/1.1 200")
    assert exchange(receiver.http, chunked, 10).startswith(b"HTTP/1.1 200")
    rude = [
        head + b"content-length: 99999999999999999999\r\n\r\n",
        head + b"content-length: -1\r\n\r\n",
        head + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        head + b"content-length: 10\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        head + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        head + b"x: " + b"y" * 100_000 + b"\r\n\r\n",
        b"POST /v1/traces HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"\r\n" * 5000,
        b"GET " + b"/" * 70_000 + b" HTTP/1.1\r\n\r\n",
    ]  # fmt: skip
    for number in range(ROUNDS):
        if number < len(rude):
            sent = rude[number]
        else:
            sent = draw.choice([draw.randbytes(200), damaged(draw, good), damaged(draw, chunked)])
        answer = exchange(receiver.http, sent)
        assert not answer or answer.startswith(b"HTTP/1.1 "), (number, sent)
        # 501 is what RFC 9112 has for a transfer coding that is not known
        assert not answer.startswith((b"HTTP/1.1 500", b"HTTP/1.1 502")), (number, sent, answer)
    still_well(receiver, 20_000)


def test_noise_on_the_grpc_port_ends_its_own_connection_only(receiver) -> None:
    """Random bytes, damaged frames, messages that lie about length and compression; others go on."""
    draw = random.Random(3)
    call = frame(HEADERS, 4, 1, call_headers(EXPORT))
    good = call + frame(DATA, END_STREAM, 1, message(GOOD))
    for number in range(ROUNDS // 2):
        with Wire(receiver.grpc) as wire:
            sent = draw.choice(
                [
                    draw.randbytes(300),
                    damaged(draw, good),
                    call + frame(DATA, END_STREAM, 1, damaged(draw, message(GOOD))),
                    call + frame(DATA, END_STREAM, 1, message(GOOD, compressed=draw.randrange(256))),
                    call + frame(DATA, END_STREAM, 1, message(GOOD, length=draw.randrange(2**32))),
                    call + frame(DATA, END_STREAM, 1, message(gzip.compress(GOOD)[: draw.randrange(300)])),
                    frame(HEADERS, 5, 1, call_headers("/no/such/Method")),
                    b"".join(frame(HEADERS, 5, 1 + 2 * k, call_headers("/x")) for k in range(300)),
                ]
            )
            try:
                wire.send(sent)
                wire.frames(0.05)
            except ConnectionError:
                continue  # it has hung up already
        if number % 25 == 0:
            still_well(receiver, 30_000 + 10 * number)
    still_well(receiver, 50_000)
