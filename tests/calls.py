"""Generated traces of calls between hosts whose clocks differ, with the true times known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from builders import EPOCH_NS, MS, Made

from tracescope import schema

SERVICES = "abcde"


@dataclass(frozen=True)
class Sent:
    """Spans as one clock for all would have timed them, as they were sent, and each span's clock."""

    true: list[Made]
    spans: list[Made]
    clock: dict[int, str]


def calls(seed: int, *, named: float = 1.0, skewed: float = 0.6, trace: int = 1, serial: bool = True) -> Sent:
    """One request's calls, one after another, between up to ten hosts.

    Parameters
    ----------
    seed
        The same seed makes the same trace.
    named
        Part of the services that name the hosts of their spans; of the others each has one clock.
    skewed
        Part of the clocks that are off, by up to half a second.
    trace
        Its number.
    serial
        Off, calls may overlap.
    """
    random = Random(seed)
    hosts = {service: [f"{service}{k}" for k in range(random.choice((1, 1, 2)))] for service in SERVICES}
    names = {service: random.random() < named for service in SERVICES}
    hosts = {service: found if names[service] else found[:1] for service, found in hosts.items()}
    off = {
        host: random.randint(-500, 500) * MS // random.choice((1, 1, 20)) if random.random() < skewed else 0
        for found in hosts.values() for host in found
    }  # fmt: skip
    off[hosts["a"][0]] = 0  # the entry's is right
    made: list[Made] = []
    clock: dict[int, str] = {}

    def add(service: str, host: str, parent: int, start: int, end: int, kind: int) -> int:
        number = len(made) + 1
        named_host = host if names[service] else None
        operation = f"{service}{number}"
        made.append(
            Made(number, parent, start, end, trace, service, kind, host=named_host, operation=operation)
        )
        clock[number] = host
        return number

    def serve(service: str, host: str, parent: int, start: int, end: int, depth: int) -> None:
        number = add(service, host, parent, start, end, schema.KIND_SERVER)
        at = start
        for _ in range(random.randint(0 if depth else 2, 4 - depth)):
            length = (end - start) // random.randint(3, 6)
            at += random.randint(0, length // 4)
            if length < MS or at + length > end:
                break
            call = add(service, host, number, at, at + length, schema.KIND_CLIENT)
            callee = random.choice(SERVICES)
            lead, tail = (random.randint(0, length // random.choice((5, 50))) for _ in range(2))
            to = random.choice(hosts[callee])
            serve(callee, to, call, at + lead, at + length - tail, depth + 1)
            at += length if serial else random.randint(0, length)

    serve("a", hosts["a"][0], 0, EPOCH_NS, EPOCH_NS + 1000 * MS, 0)
    spans = [
        replace(one, start=one.start + off[clock[one.span]], end=one.end + off[clock[one.span]])
        for one in made
    ]
    return Sent(made, spans, clock)


def outside(spans: list[Made]) -> list[int]:
    """SERVERs that do not lie inside their CLIENT."""
    by = {one.span: one for one in spans}
    return [
        one.span
        for one in spans
        if one.kind == schema.KIND_SERVER
        and one.parent
        and not by[one.parent].start <= one.start <= one.end <= by[one.parent].end
    ]
