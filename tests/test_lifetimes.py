"""What lives long says so in many ways, and what does not must not be taken for it."""

from __future__ import annotations

import pytest

from tracescope.conventions.lifetimes import LIFE_ATTRIBUTES
from tracescope.conventions.semconv import SPAN_ATTRIBUTES, meaning
from tracescope.schema import (
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_INTERNAL,
    KIND_SERVER,
    LIFE_SCHEDULED,
    LIFE_STREAM,
    MSG_EMPTY,
    MSG_NONE,
    MSG_PROCESS,
    MSG_RECEIVE,
)

HTTP = {"http_method": "GET", "http_route": "/x"}
#: A value of each meaning that says something, and what it says.
TELLING = {
    "http_status": ("101", LIFE_STREAM),
    "protocol": ("websocket", LIFE_STREAM),
    "scheme": ("wss", LIFE_STREAM),
    "upgrade": ("WebSocket", LIFE_STREAM),
    "media_type": ("text/event-stream; charset=utf-8", LIFE_STREAM),
    "call_type": ("SERVER_STREAMING", LIFE_STREAM),
    "trigger": ("timer", LIFE_SCHEDULED),
    "schedule": ("nightly", LIFE_SCHEDULED),
}
HARMLESS = {
    "http_status": "200", "protocol": "http", "scheme": "https", "upgrade": "h2c",
    "media_type": "application/json, text/event-stream", "call_type": "UNARY", "trigger": "http",
}  # fmt: skip


@pytest.mark.parametrize("said", list(TELLING))
def test_each_attribute_that_tells_of_a_long_life_is_heard(said: str) -> None:
    value, life = TELLING[said]
    assert meaning({**HTTP, said: value}, KIND_SERVER, "GET /x").messaging_op == life
    assert meaning({said: value}, KIND_INTERNAL, "work").messaging_op == life


@pytest.mark.parametrize(("said", "value"), list(HARMLESS.items()))
def test_what_every_request_says_is_no_long_life(said: str, value: str) -> None:
    assert meaning({**HTTP, said: value}, KIND_SERVER, "GET /x").messaging_op == MSG_NONE


@pytest.mark.parametrize(
    ("kind", "name", "life"),
    [
        (KIND_SERVER, "/chat websocket", LIFE_STREAM),
        (KIND_INTERNAL, "WebSocket.onMessage", LIFE_STREAM),
        (KIND_INTERNAL, "cron cleanup", LIFE_SCHEDULED),
        (KIND_INTERNAL, "nightly_cron_job", LIFE_SCHEDULED),
        (KIND_INTERNAL, "tasks.scheduled.execution", LIFE_SCHEDULED),
        (KIND_INTERNAL, "micronchip", MSG_NONE),
        (KIND_INTERNAL, "work", MSG_NONE),
    ],
)
def test_names_tell_where_attributes_do_not(kind: int, name: str, life: int) -> None:
    assert meaning({}, kind, name).messaging_op == life


def test_a_request_for_scheduled_things_is_a_request() -> None:
    """Its route says what it is about, not what runs it."""
    found = {"http_method": "GET", "http_route": "/scheduled"}
    assert meaning(found, KIND_SERVER, "GET /scheduled").messaging_op == MSG_NONE


def test_a_receive_that_counts_no_messages_is_empty_and_others_stay_what_they_are() -> None:
    poll = {"messaging_system": "kafka", "messaging_operation": "receive", "messaging_destination": "orders"}
    for kind in (KIND_CLIENT, KIND_CONSUMER):
        assert meaning({**poll, "message_count": "0"}, kind, "poll").messaging_op == MSG_EMPTY
        assert meaning({**poll, "message_count": "10"}, kind, "poll").messaging_op == MSG_RECEIVE
    process = {**poll, "messaging_operation": "process", "message_count": "0", "schedule": "nightly"}
    assert meaning(process, KIND_CONSUMER, "process").messaging_op == MSG_PROCESS


def test_every_name_that_is_listed_is_read() -> None:
    assert all(SPAN_ATTRIBUTES[said] == names for said, names in LIFE_ATTRIBUTES.items())
    assert set(TELLING) | {"message_count"} == set(LIFE_ATTRIBUTES)
