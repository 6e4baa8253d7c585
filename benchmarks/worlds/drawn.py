"""Worlds whose topology is drawn by the seed as well: names, depths, rates, and pools of 2 to 16.

    web ─ GET /<a> ─► a ─► b ─► ... ─► postgresql/<last>       a chain of two to five services, a cache beside each
        ─ GET /<x> ─► x ─► mysql/<x>                           beside it, on a database of its own
    <batch> ─ POST /run ─► postgresql/<last>                   a neighbour at the chain's database

What happens in them are the mechanisms of the catalogue; what differs is where.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from benchmarks.worlds import shop
from benchmarks.worlds.events import Calendar
from benchmarks.worlds.parts import Call, Change, Service, Size, Statement, System, Topic, Users
from benchmarks.worlds.truth import MORE_CALLS, Author, Draw, Name, Truth

DRAWN: Final[dict[str, Author]] = {}
_NAMES: Final = (
    "ledger", "quotes", "tariff", "routing", "seats", "claims", "policy", "rooms", "badge", "menu", "fleet", "parcel",
)  # fmt: skip
#: Arrivals at the busiest hour over those of the mean one, as `Calendar` has them.
PEAK: Final = 1.5


def _drawn(name: str) -> Callable[[Author], Author]:
    def keep(author: Author) -> Author:
        DRAWN[name] = author
        return author

    return keep


@dataclass(frozen=True, slots=True)
class Chain:
    """A system of one seed: services from the outermost on, and what its rates and sizes came to.

    ``busy`` is the part of the database's servers that the chain itself keeps busy in the mean hour.
    """

    system: System
    services: tuple[str, ...]
    beside: str
    batch: str
    servers: int
    rate: float
    query_ms: float

    @property
    def last(self) -> str:
        """The service that asks the database."""
        return self.services[-1]

    def operation(self, at: int) -> str:
        """What a service of the chain serves."""
        return _name(self.services[at])

    @property
    def database(self) -> str:
        """The chain's."""
        return f"postgresql/{self.last}"

    @property
    def query(self) -> str:
        """Its statement, as changes name it."""
        return f"{self.database} SELECT {self.last}"

    @property
    def report(self) -> str:
        """The neighbour's statement."""
        return f"{self.database} SELECT history"

    @property
    def query_edge(self) -> Name:
        """The statement's edge."""
        return ("db", self.last, self.database, f"SELECT {self.last}")

    @property
    def report_edge(self) -> Name:
        """The neighbour's."""
        return ("db", self.batch, self.database, "SELECT history")

    def gap(self, at: int) -> Name:
        """What passes in front of a service of the chain."""
        return ("http", "web" if at == 0 else self.services[at - 1], self.services[at], None)

    def having(self, name: str, **fields: Any) -> Chain:
        """With some fields of one part changed."""
        return replace(self, system=self.system.having(replace(self.system.parts[name], **fields)))


def _name(service: str) -> str:
    return f"{service} GET /{service}"


def chain(draw: Draw, busy: float = 0.3) -> Chain:
    """A system whose database the chain keeps busy to a part, and a neighbour to a fifth of that."""
    first, depth = int(draw(0, len(_NAMES))), int(draw(2, 5.999))
    names = [*_NAMES[first:], *_NAMES[:first]]
    services, beside, batch = tuple(names[:depth]), names[depth], names[depth + 1]
    rate, servers = draw(5, 11), int(draw(2, 16.999))
    query_ms = busy * servers / rate * 1e3
    parts: list[Any] = [Service("web", 3), *(Service(name, 2) for name in (*services, beside, batch))]
    parts += [Size("chain servers", servers), Size("beside servers", 4)]
    database = f"postgresql/{services[-1]}"
    parts += [
        Statement(database, f"SELECT {services[-1]}", query_ms, pool="chain servers"),
        Statement(database, "SELECT history", query_ms, pool="chain servers"),
        Statement(f"mysql/{beside}", f"SELECT {beside}", draw(8, 20), pool="beside servers"),
    ]
    web = f"web GET /{services[0]}"
    parts += shop.operation("web", f"GET /{services[0]}", 2.0, Call(web, _name(services[0])))
    for at, name in enumerate(services):
        cache = Statement(f"redis/{name}", "GET", 0.8, spread=0.3)
        below = f"{database} SELECT {name}" if at + 1 == depth else _name(services[at + 1])
        parts += [cache, *shop.operation(
            name, f"GET /{name}", draw(2, 6), Call(_name(name), cache.name), Call(_name(name), below),
        )]  # fmt: skip
    web_beside = f"web GET /{beside}"
    parts += shop.operation("web", f"GET /{beside}", 2.0, Call(web_beside, _name(beside)))
    parts += shop.operation(
        beside, f"GET /{beside}", draw(4, 8), Call(_name(beside), f"mysql/{beside} SELECT {beside}")
    )
    run = f"{batch} POST /run"
    parts += shop.operation(batch, "POST /run", 4.0, Call(run, f"{database} SELECT history"))
    parts += [Users(web, rate), Users(web_beside, draw(4, 8)), Users(run, rate / 5)]
    return Chain(System.of(parts), services, beside, batch, servers, rate, query_ms)


def _calendar(made: Chain) -> Calendar:
    """Warmed up for some times as long as a query takes."""
    return Calendar(warm_s=min(max(2.0, 8 * made.query_ms / 1e3), 6.0))


@_drawn("drawn: slower query")
def _query(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """The chain's statement takes longer."""
    made = chain(draw)
    change = Change(made.query, "ms", times=draw(1.4, 1.6))
    never = tuple(made.gap(at) for at in range(len(made.services)))
    return made.system, (change,), _calendar(made), Truth((made.query_edge,), never=never)


@_drawn("drawn: slower query, from some day on")
def _query_later(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """The same, since some day of HEAD."""
    made = chain(draw)
    change = Change(made.query, "ms", times=draw(1.5, 1.7), since=draw(0.3, 0.7))
    return made.system, (change,), _calendar(made), Truth((made.query_edge,))


def _threads(made: Chain, at: int, busy: float, times: float = 1.0) -> int:
    """Threads of a service of the chain that are busy to a part at the peak, where a query takes `times` as long."""
    held_s = (times * made.query_ms + 10.0 * (len(made.services) - at)) / 1e3
    return max(math.ceil(PEAK * made.rate * held_s / busy), 2)


@_drawn("drawn: threads behind a slower query")
def _full(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A service above the statement has just enough threads, and its callers wait for one."""
    made = chain(draw, 0.25)
    at, times = int(draw(0, len(made.services) - 0.001)), draw(1.6, 1.8)
    made = made.having(made.services[at], instances=1, threads=_threads(made, at, 0.97, times))
    change = Change(made.query, "ms", times=times)
    truth = Truth((made.query_edge,), victims=(made.gap(at),), never=(made.gap(at),))
    return made.system, (change,), _calendar(made), truth


@_drawn("drawn: fewer threads")
def _fewer(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A service of the chain has fewer threads, and nothing is slower."""
    made = chain(draw, 0.25)
    at = int(draw(0, len(made.services) - 0.001))
    need = _threads(made, at, 0.95)
    made = made.having(made.services[at], instances=1, threads=4 * need)
    change = Change(made.services[at], "threads", to=need)
    return made.system, (change,), _calendar(made), Truth((made.gap(at),), never=(made.query_edge,))


@_drawn("drawn: neighbour calls more")
def _neighbour(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """Each run of the batch asks the chain's database several times as often."""
    made = chain(draw, 0.35)
    change = Change(f"{made.batch} POST /run > {made.report}", "times", to=draw(2.6, 3.2))
    truth = Truth((made.report_edge,), MORE_CALLS, victims=(made.query_edge,), never=(made.query_edge,))
    return made.system, (change,), _calendar(made), truth


@_drawn("drawn: time-outs, retries with jitter")
def _timeouts(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """The statement takes longer than a caller above it waits, which calls again."""
    made = chain(draw, 0.2)
    at = len(made.services) - 1
    caller = "web GET /" + made.services[0] if at == 0 else made.operation(at - 1)
    call = f"{caller} > {made.operation(at)}"
    made = made.having(
        call, retries=2, jitter=0.5, backoff_ms=draw(20, 60), timeout_ms=3.5 * made.query_ms + 20
    )
    change = Change(made.query, "ms", times=draw(1.9, 2.2))
    truth = Truth((made.query_edge,), fails=(("web", f"GET /{made.services[0]}"),))
    return made.system, (change,), _calendar(made), truth


@_drawn("drawn: two causes at once")
def _two(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """The chain's statement takes longer, and a service beside it computes longer."""
    made = chain(draw)
    changes = (
        Change(made.query, "ms", times=draw(1.4, 1.6)),
        Change(_name(made.beside), "own_ms", times=draw(2.5, 3.5)),
    )
    beside: Name = ("self", made.beside, None, None)
    truth = Truth((made.query_edge, beside), besides=(made.query_edge, beside))
    return made.system, changes, _calendar(made), truth


@_drawn("drawn: queue behind a locked row")
def _queue(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """What the chain publishes is worked on by consumers that now wait for one row."""
    made = chain(draw)
    consumers = int(draw(3, 12.999))
    worker, topic = f"{made.batch}-worker", f"{made.last}-events"
    # one row serves 1 / ms of one consumer alone; a little more comes at the peak
    busy_ms = 1.02 / (PEAK * made.rate) * 1e3
    update_ms = min(0.35 * consumers / made.rate * 1e3, draw(0.6, 0.9) * busy_ms)
    update = Statement("postgresql/mail", "UPDATE mail", update_ms, lock="mail", rows=400, spread=0.5)
    process = f"{worker} process {topic}"
    operation = made.operation(len(made.services) - 1)
    system = made.system.having(
        Service(worker, 2), update, *shop.operation(worker, f"process {topic}", 3.0, Call(process, update.name)),
        Topic(topic, process, consumers), *shop.after(operation, Call(operation, topic), number=2),
        replace(made.system.parts[operation], steps=shop.steps_of(operation, 3)),  # type: ignore[type-var]
    )  # fmt: skip
    changes = (Change(update.name, "rows", to=1), Change(update.name, "ms", to=busy_ms))
    wait: Name = ("queue", topic, worker, "wait")
    truth = Truth((("db", worker, "postgresql/mail", "UPDATE mail"),), victims=(wait,), never=(wait,))
    return system, changes, Calendar(warm_s=5.0), truth


@_drawn("drawn: unchanged")
def _unchanged(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """As before, with a busy database."""
    made = chain(draw, draw(0.25, 0.45))
    return made.system, (), _calendar(made), Truth()


@_drawn("drawn: more users")
def _more_users(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """More of everything in HEAD."""
    made = chain(draw, draw(0.3, 0.4))
    times = draw(1.15, 1.3)
    users = [name for name, part in made.system.parts.items() if isinstance(part, Users)]
    changes = tuple(Change(name, "per_s", times=times) for name in users)
    return made.system, changes, _calendar(made), Truth(load=True)
