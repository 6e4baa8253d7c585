"""The event-driven worlds: what happens in each, who did it, who suffers, and what must not be said.

Sizes are drawn anew for each seed, within what makes a change worth finding.  A world in which nothing is
wrong has no cause; load may still rise there.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from benchmarks.worlds import shop as s
from benchmarks.worlds.drawn import DRAWN
from benchmarks.worlds.events import Calendar
from benchmarks.worlds.parts import Call, Change, Operation, Size, Statement, System, Topic, Users
from benchmarks.worlds.truth import MORE_CALLS, Author, Draw, Name, Truth, Wall, World

STOCK_UPDATE: Final[Name] = ("db", "inventory", "postgresql/stock", "UPDATE stock")
STOCK_SELECT: Final[Name] = ("db", "inventory", "postgresql/stock", "SELECT stock")
MOVEMENTS: Final[Name] = ("db", "reports", "postgresql/stock", "SELECT movements")
INSERT: Final[Name] = ("db", "orders", "postgresql/orders", "INSERT orders")
PRODUCTS: Final[Name] = ("db", "catalog", "postgresql/products", "SELECT products")
SHIPMENTS: Final[Name] = ("db", "fulfilment", "postgresql/shipping", "UPDATE shipments")
DOCS: Final[Name] = ("db", "search", "elasticsearch/docs", "SEARCH docs")
PSP: Final[Name] = (None, "orders", "psp.example", None)
WAIT: Final[Name] = ("queue", s.EVENTS, "fulfilment", "wait")
PUBLISH: Final[Name] = ("queue", "orders", s.EVENTS, None)
RESERVE: Final[Name] = ("http", "orders", "inventory", None)
TO_CART: Final[Name] = ("http", "orders", "cart", None)


def own(service: str) -> Name:
    """A service's own work."""
    return ("self", service, None, None)


WORLDS: dict[str, Author] = {}


def _world(name: str) -> Callable[[Author], Author]:
    def keep(author: Author) -> Author:
        WORLDS[name] = author
        return author

    return keep


def write(name: str, seed: int) -> World:
    """One scenario, its sizes drawn by the seed."""
    drawn = random.Random(f"{name} {seed}")
    system, changes, calendar, truth = WORLDS[name](drawn.uniform)
    return World(name, system, changes, calendar, truth)


def _with(system: System, name: str, **fields: Any) -> System:
    """A system with some fields of one part changed."""
    return system.having(replace(system.parts[name], **fields))


# -- one slow queue backs up an API, one locked row stalls a queue -----------------------------------------


def _bounded(update_ms: float, consumers: int, bound: int | None) -> System:
    """A shop whose order events wait for few consumers, and whose API waits for room in the queue."""
    return s.shop().having(
        Topic(s.EVENTS, s.FULFIL, consumers, bound=bound), Size("shipping cores", 16),
        Statement("postgresql/shipping", "UPDATE shipments", update_ms, pool="shipping cores", lock="shipment",
                  rows=400, spread=0.5),
    )  # fmt: skip


_QUEUE = Calendar(warm_s=5.0)


@_world("locked row stalls a queue")
def _locked_row(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """All shipments of a carrier now update one row: consumers wait for each other, then publishers for them."""
    system = _bounded(draw(55, 65), 8, 6)
    # one row serves 1 / 115 ms = 8.7/s; at peak 11/s come
    changes = (Change(s.UPDATE_SHIPMENT, "rows", to=1), Change(s.UPDATE_SHIPMENT, "ms", times=draw(1.8, 2.0)))
    return system, changes, _QUEUE, Truth((SHIPMENTS,), victims=(WAIT, PUBLISH), never=(PUBLISH, WAIT))


@_world("slow queue backs up an API")
def _slow_queue(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """The consumer's own work takes longer: the queue fills, and publishing waits for room."""
    system = _bounded(draw(25, 30), 2, 6)
    # two consumers of about 40 ms serve 50/s, of about 190 ms 10.5/s; at peak 11/s come
    changes = (Change(s.FULFIL, "own_ms", to=draw(150, 165)),)
    return (
        system,
        changes,
        _QUEUE,
        Truth((own("fulfilment"),), victims=(WAIT, PUBLISH), never=(PUBLISH, WAIT)),
    )


@_world("slow consumer database")
def _slow_consumer_db(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A statement of the consumer takes longer, and messages wait for consumers that are busy with it."""
    system = _bounded(draw(25, 30), 2, None)
    changes = (Change(s.UPDATE_SHIPMENT, "ms", times=draw(4.5, 5.0)),)
    return system, changes, _QUEUE, Truth((SHIPMENTS,), victims=(WAIT,), never=(WAIT,))


@_world("fewer consumers")
def _fewer_consumers(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """Nothing is slower, but fewer consume."""
    system = _bounded(draw(60, 70), 4, None)
    changes = (Change(s.EVENTS, "consumers", to=1),)
    return system, changes, _QUEUE, Truth((WAIT,), ("slow consumer", "queue backs up", "contended resource"))


# -- resources that several share ---------------------------------------------------------------------------


def _crowded(scale: float = 1.0, cores: int = 1) -> System:
    """A shop whose stock database is busy to nearly 60 % at peak."""
    system = s.shop(scale).having(Size("stock cores", cores))
    for name, ms in ((s.SELECT_STOCK, 18.0), (s.UPDATE_STOCK, 28.0), (s.SELECT_ALL, 60.0)):
        system = _with(system, name, ms=ms)
    return system


@_world("noisy neighbour, heavier calls")
def _noisy_heavier(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """An export reads far more at each call, and everybody at its database waits."""
    changes = (Change(s.SELECT_ALL, "ms", times=draw(3, 4)),)
    truth = Truth((MOVEMENTS,), victims=(STOCK_UPDATE, STOCK_SELECT), never=(STOCK_UPDATE, STOCK_SELECT))
    return _crowded(), changes, Calendar(), truth


@_world("noisy neighbour, more calls")
def _noisy_more(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """Each export makes many more of the same calls, and everybody at its database waits."""
    changes = (Change(f"{s.EXPORT} > {s.SELECT_ALL}", "times", to=draw(3, 4)),)
    truth = Truth((MOVEMENTS,), MORE_CALLS, victims=(STOCK_UPDATE,), never=(STOCK_UPDATE, STOCK_SELECT))
    return _crowded(), changes, Calendar(), truth


@_world("neighbour holds a lock")
def _neighbour_lock(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """An export now locks what it reads, which orders must wait for."""
    system = _with(s.shop(), s.UPDATE_STOCK, rows=1, ms=4.0)
    changes = (
        Change(s.SELECT_ALL, "lock", to="stock"), Change(s.SELECT_ALL, "ms", times=draw(5, 7)),
    )  # fmt: skip
    return system, changes, Calendar(), Truth((MOVEMENTS,), victims=(STOCK_UPDATE,), never=(STOCK_UPDATE,))


@_world("hot row")
def _hot_row(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """Fewer rows are updated by the same number of orders; the service's threads wait, and its callers."""
    system = _with(_with(s.shop(), s.UPDATE_STOCK, ms=35.0, spread=0.5), "inventory", threads=2)
    system = system.having(Size("stock cores", 16))
    changes = (Change(s.UPDATE_STOCK, "rows", to=1), Change(s.UPDATE_STOCK, "ms", times=draw(2.0, 2.2)))
    return system, changes, Calendar(warm_s=4.0), Truth((STOCK_UPDATE,), victims=(RESERVE,), never=(RESERVE,))


@_world("shared pool in the caller")
def _shared_pool(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A slow partner holds connections of a pool that calls of healthy services need as well."""
    system = s.shop().having(Size("orders connections", 4))
    for call in (s.CART, s.RESERVE, s.CHARGE):
        system = _with(system, f"{s.PLACE} > {call}", pool="orders connections")
    # at peak 11 orders a second of 35 ms, then 300 ms
    changes = (Change(s.CHARGE, "ms", times=draw(8.0, 9.0)),)
    return system, changes, Calendar(), Truth((PSP,), victims=(TO_CART, RESERVE), never=(TO_CART, RESERVE))


@_world("pool in the caller")
def _small_pool(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A caller has fewer connections; the database is as quick as before."""
    system = s.shop().having(Size("orders db connections", 8), Size("orders cores", 8))
    system = _with(
        _with(system, s.INSERT_ORDER, ms=draw(45, 55)),
        f"{s.PLACE} > {s.INSERT_ORDER}",
        pool="orders db connections",
    )
    changes = (Change("orders db connections", "size", to=1),)
    return (
        system,
        changes,
        Calendar(),
        Truth((INSERT,), ("connection pool", "contended resource", "slower work", "starved caller")),
    )


@_world("pool before the span")
def _pool_outside(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """The same, with a driver whose span begins when it has its connection: the caller's own time grows."""
    system, changes, calendar, _ = _small_pool(draw)
    system = _with(system, f"{s.PLACE} > {s.INSERT_ORDER}", pool_inside=False)
    return system, changes, calendar, Truth((own("orders"),), never=(INSERT,))


@_world("fewer threads")
def _fewer_threads(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A service has fewer threads, and its callers wait in front of it."""
    system = _with(_with(s.shop(), "inventory", threads=8), s.SELECT_STOCK, ms=draw(28, 34))
    system = system.having(Size("stock cores", 16))
    changes = (Change("inventory", "threads", to=1), Change("inventory", "instances", to=1))
    return system, changes, Calendar(), Truth((RESERVE,), never=(STOCK_SELECT, STOCK_UPDATE))


@_world("starved caller")
def _starved(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A service's processors are too few: its own work waits, and each of its calls seems slow from its side."""
    system = _with(_with(s.shop(), "orders", instances=1, cores=4), s.PLACE, own_ms=draw(38, 42))
    changes = (Change("orders", "cores", to=1), Change(s.PLACE, "own_ms", times=draw(1.3, 1.5)))
    return system, changes, Calendar(), Truth((own("orders"),), never=(INSERT, PSP, RESERVE))


# -- retries and errors -------------------------------------------------------------------------------------


@_world("retry storm")
def _retries(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """Calls fail now and then and are made again."""
    system = _with(s.shop(), f"{s.PLACE} > {s.RESERVE}", retries=3)
    changes = (Change(s.RESERVE, "fails", to=draw(0.35, 0.45)), Change(s.RESERVE, "fails_after", to=2))
    truth = Truth((RESERVE, own("inventory")), ("retry amplification", "errors", "more calls"))
    return system, changes, Calendar(), truth


@_world("time-outs and retries")
def _timeouts(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A statement gets slower, its callers give up and call again, and the load grows by that."""
    system = _with(s.shop(), f"{s.PLACE} > {s.RESERVE}", retries=2, timeout_ms=150.0)
    system = _with(system.having(Size("stock cores", 2)), s.UPDATE_STOCK, ms=20.0)
    changes = (Change(s.UPDATE_STOCK, "ms", times=draw(3.8, 4.2)),)
    truth = Truth((STOCK_UPDATE,), victims=(RESERVE,), fails=(("gateway", "POST /orders"),))
    return system, changes, Calendar(), truth


@_world("fails fast")
def _fails_fast(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A service gives up early: requests end sooner, and less is asked of what comes after."""
    changes = (Change(s.RESERVE, "fails", to=draw(0.12, 0.2)), Change(s.RESERVE, "fails_after", to=1))
    truth = Truth((own("inventory"), RESERVE), ("errors",), fails=(("gateway", "POST /orders"),))
    return s.shop(), changes, Calendar(), truth


@_world("partner refuses")
def _partner_refuses(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A partner answers with errors, at once."""
    changes = (Change(s.CHARGE, "fails", to=draw(0.1, 0.18)),)
    return s.shop(), changes, Calendar(), Truth((PSP,), ("errors",), fails=(("gateway", "POST /orders"),))


@_world("fails fast from the middle of HEAD")
def _fails_late(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """The same, since some day of HEAD."""
    changes = (
        Change(s.RESERVE, "fails", to=draw(0.15, 0.25), since=0.5), Change(s.RESERVE, "fails_after", to=1),
    )  # fmt: skip
    truth = Truth((own("inventory"), RESERVE), ("errors",), fails=(("gateway", "POST /orders"),))
    return s.shop(), changes, Calendar(), truth


# -- slower, more, new --------------------------------------------------------------------------------------


@_world("cache hit rate falls")
def _cache(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """More reads miss the cache and ask the database."""
    changes = (Change(f"{s.LOOK} > {s.SELECT_PRODUCT}", "times", to=draw(0.5, 0.7)),)
    return s.shop(), changes, Calendar(), Truth((PRODUCTS,), MORE_CALLS)


@_world("canary at a tenth")
def _canary(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """One instance of ten runs a version whose own work is slow."""
    system = _with(s.shop(), "catalog", instances=10)
    changes = (Change("catalog", "canary", to=0.1), Change("catalog", "canary_times", to=draw(9, 12)))
    return system, changes, Calendar(), Truth((own("catalog"),))


@_world("tenant grows")
def _tenant(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A tenant with many items in each order sends more of the orders."""
    call = f"{s.RESERVE} > {s.SELECT_STOCK}"
    before, after = (0.35, 0.35, 0.27, 0.03), (0.27, 0.27, 0.2, draw(0.22, 0.3))
    users = Users(s.ORDER, 7.0, before, (1.0, 1.0, 1.0, 10.0), (call,))
    changes = (Change(users.name, "tenants", to=after),)
    return s.shop().having(users), changes, Calendar(), Truth((STOCK_SELECT,), MORE_CALLS)


@_world("N+1")
def _n_plus_one(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A statement is made for each item."""
    changes = (Change(f"{s.RESERVE} > {s.SELECT_STOCK}", "times", to=draw(3.5, 5)),)
    return s.shop(), changes, Calendar(), Truth((STOCK_SELECT,), MORE_CALLS)


@_world("step in the middle of HEAD")
def _step(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A search gets slower at one instant of HEAD."""
    changes = (Change(s.FIND_DOCS, "ms", times=draw(1.8, 2.2), since=draw(0.4, 0.6)),)
    return s.shop(), changes, Calendar(), Truth((DOCS,))


@_world("step late in HEAD")
def _late_step(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A partner gets slower in the last days of HEAD."""
    changes = (Change(s.CHARGE, "ms", times=draw(1.8, 2.2), since=draw(0.75, 0.85)),)
    return s.shop(), changes, Calendar(), Truth((PSP,))


@_world("ramp in HEAD")
def _ramp(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A partner gets slower day by day."""
    changes = (Change(s.CHARGE, "ms", times=draw(1.6, 2.0), ramp=True),)
    return s.shop(), changes, Calendar(), Truth((PSP,))


def _home(calls: tuple[str, ...], parallel: bool = True) -> System:
    """A shop with a home page that asks several services at once."""
    page = "gateway GET /home"
    made = [Call(page, to) for to in calls]
    parts = s.after(page, *made, parallel=parallel)
    return s.shop().having(
        *parts, Operation("gateway", "GET /home", 3.0, s.steps_of(page, 1)), Users(page, 5.0)
    )


_PAGE = (s.LOOK, s.FIND, s.CART)


@_world("serialised fan-out")
def _serialised(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """Calls that went out at once go out one after another."""
    system = _home(_PAGE)
    for name in (s.LOOK, s.FIND, s.CART):
        system = _with(system, name, own_ms=draw(12, 20))
    changes = (Change("gateway GET /home #0", "parallel", to=False),)
    causes: tuple[Name, ...] = tuple(("http", "gateway", to.split(" ")[0], None) for to in _PAGE)
    causes += tuple(own(to.split(" ")[0]) for to in _PAGE)
    return system, changes, Calendar(), Truth(causes, ("serialised calls", "more often waited for"))


@_world("new dependency")
def _new(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """Orders are checked by somebody else first."""
    check = Statement("fraud.example", "POST", draw(15, 25), kind="external", spread=0.5)
    system = s.shop()
    system = system.having(check, *s.after(s.PLACE, Call(s.PLACE, check.name, times=0.0), number=5))
    system = _with(system, s.PLACE, steps=s.steps_of(s.PLACE, 6))
    changes = (Change(f"{s.PLACE} > {check.name}", "times", to=1.0),)
    return (
        system,
        changes,
        Calendar(),
        Truth(((None, "orders", "fraud.example", None),), ("new dependency",)),
    )


@_world("renamed caller with growth")
def _renamed_growth(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A service has a new name, and one of its statements is slower."""
    changes = (
        Change("inventory", "shown", to="stock-keeping"),
        Change(s.UPDATE_STOCK, "ms", times=draw(2.5, 3.2)),
    )
    causes: tuple[Name, ...] = (("db", "stock-keeping", "postgresql/stock", "UPDATE stock"), STOCK_UPDATE)
    never: tuple[Name, ...] = (("http", "orders", "stock-keeping", None), own("stock-keeping"))
    return (
        s.shop(),
        changes,
        Calendar(),
        Truth(causes, ("slower work", "contended resource", "more load"), never=never),
    )


@_world("slower index")
def _index(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A search takes longer for the same load."""
    changes = (Change(s.FIND_DOCS, "ms", times=draw(1.5, 1.9)),)
    return s.shop(), changes, Calendar(), Truth((DOCS,), never=(own("search"), own("gateway")))


@_world("slower own work")
def _own_work(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A service computes longer."""
    changes = (Change(s.PLACE, "own_ms", times=draw(2.5, 3.5)),)
    return s.shop(), changes, Calendar(), Truth((own("orders"),), never=(INSERT, PSP, RESERVE))


@_world("slower network")
def _network(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """The way to one service takes longer."""
    changes = (Change(f"{s.PLACE} > {s.RESERVE}", "gap_ms", to=draw(8, 14)),)
    return s.shop(), changes, Calendar(), Truth((RESERVE,), never=(own("inventory"), STOCK_UPDATE))


@_world("slower database, two callers")
def _both_callers(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A database is slower for everybody."""
    times = draw(1.9, 2.3)
    changes = tuple(
        Change(name, "ms", times=times) for name in (s.SELECT_STOCK, s.UPDATE_STOCK, s.SELECT_ALL)
    )
    return s.shop(), changes, Calendar(), Truth((STOCK_UPDATE, STOCK_SELECT, MOVEMENTS))


@_world("tail")
def _tail(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A partner is as quick in the mean, but some of its answers take very long."""
    changes = (Change(s.CHARGE, "spread", to=0.99), Change(s.CHARGE, "ms", times=draw(1.15, 1.25)))
    return s.shop(), changes, Calendar(), Truth((PSP,))


# -- nothing is wrong ---------------------------------------------------------------------------------------


def _nothing(
    system: System, *changes: Change, load: bool = False, **fields: Any
) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    return system, changes, replace(Calendar(), **fields), Truth(load=load)


@_world("unchanged")
def _unchanged(_: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """As before."""
    return _nothing(s.shop())


@_world("more users")
def _more_users(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """Everything is used more each week, far from any wall."""
    return _nothing(s.shop(0.7), load=True, growth_per_week=draw(0.02, 0.05))


@_world("more users, busy database")
def _busier(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """Load rises, and with it the wait at a database."""
    return _nothing(_crowded(0.9), load=True, growth_per_week=draw(0.03, 0.06))


@_world("a burst of users in HEAD")
def _more_in_head(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """All of HEAD has more users than all of BASE."""
    times = draw(1.2, 1.35)
    users = (s.ORDER, s.PRODUCT, s.SEARCH, s.EXPORT)
    return _nothing(_crowded(), *(Change(f"users {name}", "per_s", times=times) for name in users), load=True)


@_world("mix shift")
def _mix(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """More of the requests are of the slow kind."""
    return _nothing(s.shop(), Change(f"users {s.SEARCH}", "per_s", times=draw(1.6, 2.2)), load=True)


@_world("neighbour has more users")
def _neighbour(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """More exports are asked for, and the database that they share is busier: load, not growth."""
    changes = (Change(f"users {s.EXPORT}", "per_s", times=draw(2, 3)),)
    return _crowded(), changes, Calendar(), Truth(load=True, brings=(MOVEMENTS,))


@_world("noisy days")
def _noise(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """Days differ by themselves."""
    return _nothing(s.shop(), day_noise=draw(0.06, 0.1))


@_world("thin traffic")
def _thin(_: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A few requests an hour."""
    return _nothing(s.shop(0.08))


@_world("thin traffic, pure contention")
def _thin_contention(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A busy database of which few calls are seen, and more load in HEAD."""
    times = draw(1.2, 1.3)
    changes = (
        Change(f"users {name}", "per_s", times=times) for name in (s.ORDER, s.PRODUCT, s.SEARCH, s.EXPORT)
    )
    return _nothing(_crowded(), *changes, load=True, window_s=0.6, every_hours=1)


@_world("one bad afternoon")
def _afternoon(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A partner is slow for some hours and recovers."""
    began = draw(0.2, 0.8)
    return _nothing(s.shop(), Change(s.CHARGE, "ms", times=4.0, since=began, until=began + 0.015))


@_world("renamed only")
def _renamed(_: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A service has a new name."""
    return _nothing(s.shop(), Change("inventory", "shown", to="stock-keeping"))


@_world("deployed, nothing else")
def _deployed(_: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """New versions and more instances, and everything takes as long."""
    changes = [Change(name, "version", to="2.0.0") for name in ("orders", "inventory", "search")]
    return _nothing(s.shop(), *changes, Change("search", "instances", to=4))


@_world("errors as before")
def _steady_errors(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """Some calls fail and are made again, in both periods alike."""
    system = _with(s.shop(), f"{s.PLACE} > {s.RESERVE}", retries=2)
    system = _with(system, s.RESERVE, fails=draw(0.04, 0.08), fails_after=1)
    return _nothing(_with(system, s.CHARGE, fails=0.02))


@_world("fan-out as before")
def _same_page(_: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A page that asks several services at once, and tenants of different sizes."""
    users = Users(s.ORDER, 7.0, (0.5, 0.3, 0.2), (1.0, 2.0, 4.0), (f"{s.RESERVE} > {s.SELECT_STOCK}",))
    return _nothing(_home(_PAGE).having(users))


def _slow_jobs(per_s: float, consumers: int) -> tuple[System, Calendar]:
    """Jobs of a minute that lie in a queue for hours: every one of them is seen."""
    system = s.shop(0.0)
    for name in (s.PRODUCT, s.SEARCH, s.EXPORT):
        system = _with(system, f"users {name}", per_s=0.0)
    system = system.having(Users(s.ORDER, per_s), Topic(s.EVENTS, s.FULFIL, consumers))
    system = _with(system, s.FULFIL, own_ms=60_000.0)
    return system, Calendar(every_hours=1, window_s=3600.0, warm_s=0.0, memory=True, swing=0.7)


@_world("a backlog every day")
def _backlog(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """More jobs come by day than are done, and the backlog lasts for hours; by night it is gone."""
    system, calendar = _slow_jobs(draw(0.0104, 0.011), 1)
    return _nothing(system, **{name: getattr(calendar, name) for name in calendar.__dataclass_fields__})


@_world("a longer backlog with more jobs")
def _longer_backlog(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """The same with more jobs in HEAD: the backlog of the morning is the load of the evening."""
    system, calendar = _slow_jobs(draw(0.0096, 0.0102), 1)
    change = Change(f"users {s.ORDER}", "per_s", times=draw(1.08, 1.12))
    fields = {name: getattr(calendar, name) for name in calendar.__dataclass_fields__}
    return _nothing(system, change, load=True, **fields)


# -- walls --------------------------------------------------------------------------------------------------


def _walled(servers: int, growth: float, peak: float) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A search index of so many servers, busy to `peak` at the end, and more users every week."""
    calendar = replace(Calendar(), growth_per_week=growth, every_hours=1)
    service_ms = 20.0
    system = s.shop(0.2).having(
        Size("docs cores", servers),
        Statement("elasticsearch/docs", "SEARCH docs", service_ms, pool="docs cores"),
    )
    last = max(calendar.demand(at) for at, _ in calendar.hours())
    per_s = peak * servers / (service_ms / 1e3) / last
    window = min(3.0, 60.0 / per_s)
    system = _with(system, f"users {s.SEARCH}", per_s=per_s)
    truth = Truth(load=True, wall=Wall(DOCS, servers, service_ms, per_s))
    return system, (), replace(calendar, window_s=window, warm_s=min(2.0, 2 * window)), truth


@_world("wall of one server")
def _wall_1(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A wall in sight."""
    return _walled(1, draw(0.03, 0.08), draw(0.4, 0.65))


@_world("wall of four servers")
def _wall_4(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A wall behind a pool."""
    return _walled(4, draw(0.03, 0.08), draw(0.6, 0.85))


@_world("wall of sixteen servers")
def _wall_16(draw: Draw) -> tuple[System, tuple[Change, ...], Calendar, Truth]:
    """A wall that stays hidden until shortly before."""
    return _walled(16, draw(0.03, 0.08), draw(0.6, 0.85))


WORLDS.update(DRAWN)
CULPRITS: Final = tuple(name for name in WORLDS if write(name, 0).truth.causes)
WALLS: Final = tuple(name for name in WORLDS if write(name, 0).truth.wall is not None)
UNCHANGED: Final = tuple(name for name in WORLDS if name not in CULPRITS and name not in WALLS)


def known_weeks(headroom: float, growth_per_week: float) -> float:
    """Weeks until load has grown by so much."""
    return math.log(max(headroom, 1.0)) / math.log1p(growth_per_week)
