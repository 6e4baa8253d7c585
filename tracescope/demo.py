"""Three months of a growing shop, with the truth known.

The shop's traces are written as OTLP protobuf and go the same way as anybody's: decode, landing,
sealing, rollups.  Spans are stamped, not built one by one: within one operation every span has the
same bytes except ids and times, so a batch is a two-dimensional byte array with those columns
overwritten.

What is true, and what `tracescope diff` should therefore say:

======================  =====================================================================
grows                   inventory -> postgresql/stock (row locks: slower as orders and data grow),
                        cart -> pricing (an N+1 that spreads), order-events (a queue that backs up)
must not be blamed      search (slower than the rest, and more of the traffic in the last month: a
                        shift in mix), recommendations (one bad afternoon)
healthy                 everything else, although traffic grows by 5 % a week
======================  =====================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tracescope.ingest.protobuf import delimited, string_attribute, varint
from tracescope.schema import (
    HOUR_NS,
    KIND_CLIENT,
    KIND_CONSUMER,
    KIND_PRODUCER,
    KIND_SERVER,
)

if TYPE_CHECKING:
    from tracescope.store import SpanStore

Ints = NDArray[np.int64]
Ids = NDArray[np.uint64]
Bytes = NDArray[np.uint8]

DAYS = 91
#: Traffic growth; the demand behind every trend of the shop.
GROWTH_PER_WEEK = 0.05
#: Growth of the stock table's work at equal load, and the load at which its row locks are always held.
STOCK_GROWTH_PER_WEEK = 0.06
STOCK_CAPACITY = 7.5
#: Traces in an average hour of the first week, after sampling.
TRACES_PER_HOUR = 45
#: Head sampling at 1 %, as the shop's SDKs state it in tracestate.
TRACESTATE = b"ot=th:fd70a3d70a3d71"
MS = 1_000_000

_Work = Callable[["_Call", "Ints"], "Ints"]

# -- OTLP protobuf, stamped -----------------------------------------------------------------------


def _attribute(key: str, value: str | int) -> bytes:
    """One OTLP KeyValue."""
    if isinstance(value, str):
        return string_attribute(key, value)
    return delimited(1, key.encode()) + delimited(2, b"\x18" + varint(value))


@dataclass(frozen=True, slots=True)
class _Operation:
    """What all spans of one operation share."""

    service: str
    name: str
    kind: int
    attributes: Mapping[str, str | int]

    def stamp(self, trace: Ids, span: Ids, parent: Ids, start: Ints, end: Ints) -> bytes:
        """`spans` fields of a ScopeSpans message; inputs are ``(n, 2)``, ``(n,)`` ... ``(n,)``."""
        root = not parent.any()
        head = b"\x0a\x10" + bytes(16) + b"\x12\x08" + bytes(8) + delimited(3, TRACESTATE)
        at_parent = len(head) + 2
        if not root:
            head += b"\x22\x08" + bytes(8)
        head += delimited(5, self.name.encode()) + b"\x30" + varint(self.kind)
        at_start = len(head) + 1
        at_end = at_start + 9
        body = head + b"\x39" + bytes(8) + b"\x41" + bytes(8)
        body += b"".join(delimited(9, _attribute(key, value)) for key, value in self.attributes.items())
        prefix = b"\x12" + varint(len(body))
        sheet = np.tile(np.frombuffer(prefix + body, dtype=np.uint8), (len(span), 1))
        at = len(prefix)
        sheet[:, at + 2 : at + 18] = _octets(trace, ">u8")
        sheet[:, at + 20 : at + 28] = _octets(span, ">u8")
        if not root:
            sheet[:, at + at_parent : at + at_parent + 8] = _octets(parent, ">u8")
        sheet[:, at + at_start : at + at_start + 8] = _octets(start, "<i8")
        sheet[:, at + at_end : at + at_end + 8] = _octets(end, "<i8")
        return sheet.tobytes()


def _octets(values: NDArray[Any], order: str) -> Bytes:
    return np.ascontiguousarray(values).astype(order).view(np.uint8).reshape(len(values), -1)


@dataclass(frozen=True, slots=True)
class _Call:
    """Spans about to be written: their traces ``(n, 2)``, ids ``(n,)`` and start times ``(n,)``."""

    trace: Ids
    span: Ids
    start: Ints

    def __getitem__(self, rows: Any) -> _Call:
        return _Call(self.trace[rows], self.span[rows], self.start[rows])

    def __len__(self) -> int:
        return len(self.start)


@dataclass(slots=True)
class _Payload:
    """One ExportTraceServiceRequest in the making: spans grouped by service and instance."""

    day: int
    resources: dict[tuple[str, int], list[bytes]] = field(default_factory=dict[tuple[str, int], list[bytes]])
    spans: int = 0

    def emit(self, operation: _Operation, at: _Call, parent: Ids, end: Ints) -> None:
        """Write one span a row of `at`, each on the instance that its trace is routed to."""
        instance = at.trace[:, 1] % np.uint64(_instances(operation.service, self.day))
        for number in np.unique(instance):
            rows = instance == number
            stamped = operation.stamp(at.trace[rows], at.span[rows], parent[rows], at.start[rows], end[rows])
            self.resources.setdefault((operation.service, int(number)), []).append(stamped)
        self.spans += len(end)

    def finish(self) -> bytes:
        """Return the request's bytes."""
        return b"".join(
            delimited(1, delimited(1, _resource(service, number, self.day)) + delimited(2, b"".join(chunks)))
            for (service, number), chunks in self.resources.items()
        )


def _instances(service: str, day: int) -> int:
    """Replicas: two of each, and more of inventory as its latency creeps (it does not help)."""
    return 2 + day // 30 if service == "inventory" else 2


def _resource(service: str, number: int, day: int) -> bytes:
    attributes: dict[str, str | int] = {
        "service.name": service,
        "service.namespace": "shop",
        "service.instance.id": f"{service}-{number}",
        "service.version": f"1.{day // 14}.0",
        "deployment.environment.name": "production",
        "telemetry.sdk.language": "python",
    }
    return b"".join(delimited(1, _attribute(key, value)) for key, value in attributes.items())


# -- the shop ---------------------------------------------------------------------------------------


def _server(service: str, method: str, route: str) -> _Operation:
    return _Operation(
        service,
        f"{method} {route}",
        KIND_SERVER,
        {"http.request.method": method, "http.route": route, "url.scheme": "http"},
    )


def _client(service: str, method: str, callee: str) -> _Operation:
    return _Operation(service, method, KIND_CLIENT, {"http.request.method": method, "server.address": callee})


def _database(service: str, system: str, namespace: str, verb: str, collection: str) -> _Operation:
    return _Operation(
        service,
        f"{verb} {collection}",
        KIND_CLIENT,
        {
            "db.system.name": system,
            "db.namespace": namespace,
            "db.operation.name": verb,
            "db.collection.name": collection,
        },
    )


def _messaging(service: str, verb: str, kind: int) -> _Operation:
    return _Operation(
        service,
        f"{verb} order-events",
        kind,
        {
            "messaging.system": "kafka",
            "messaging.destination.name": "order-events",
            "messaging.operation.type": verb,
        },
    )


class _Shop:
    """A day of the shop.  Every method draws one part of many traces at once.

    Methods that are given ``at``, the calling spans, and ``t``, the instants ``(n,)`` at which the
    callers get there, return the instants at which they go on.
    """

    def __init__(self, rng: np.random.Generator, day: int) -> None:
        self.rng = rng
        self.day = day
        self.week = day / 7
        self.payload = _Payload(day)

    # -- pieces --

    def lasting(self, n: int, mean_ms: float | NDArray[np.float64], spread: float = 0.35) -> Ints:
        """Lognormal durations with the given mean in ms, in ns ``(n,)``."""
        drawn = self.rng.lognormal(-(spread**2) / 2, spread, n)
        return np.maximum(drawn * mean_ms * MS, 20_000).astype(np.int64)

    def ids(self, n: int) -> Ids:
        """Fresh span ids ``(n,)``."""
        return self.rng.integers(1, 2**63, n).astype(np.uint64)

    def leaf(self, at: _Call, t: Ints, operation: _Operation, duration: Ints) -> Ints:
        """Make one call that has no spans below it."""
        self.payload.emit(operation, _Call(at.trace, self.ids(len(t)), t), at.span, t + duration)
        return t + duration

    def remote(self, at: _Call, t: Ints, route: tuple[str, str, str, str], work: _Work) -> Ints:
        """Make one HTTP call; `route` is caller, method, callee and route."""
        caller, method, callee, path = route
        n = len(t)
        client = _Call(at.trace, self.ids(n), t)
        server = _Call(at.trace, self.ids(n), t + self.lasting(n, 0.6))
        done = work(server, server.start)
        back = done + self.lasting(n, 0.5)
        self.payload.emit(_client(caller, method, callee), client, at.span, back)
        self.payload.emit(_server(callee, method, path), server, client.span, done)
        return back

    def load(self, t: Ints) -> NDArray[np.float64]:
        """Traffic at `t`, as a multiple of the first week's mean."""
        return _traffic(t) * (1 + GROWTH_PER_WEEK) ** self.week

    def orders(self, t: Ints) -> NDArray[np.float64]:
        """Checkouts at `t`, as a multiple of the first week's mean."""
        return self.load(t) * (_mix(self.day)["POST /api/checkout"] / _mix(0)["POST /api/checkout"])

    # -- entries --

    def serve(self, entry: str, start: Ints) -> None:
        """Write the traces of one entry that start at `start`."""
        n = len(start)
        trace = self.rng.integers(1, 2**63, (n, 2)).astype(np.uint64)
        at = _Call(trace, self.ids(n), start)
        method, path = entry.split(" ")
        work, callee = {
            "POST /api/checkout": (self.checkout, "checkout"),
            "GET /api/cart": (self.cart, "cart"),
            "GET /api/products/{id}": (self.product, "catalog"),
            "GET /api/search": (self.search, "search"),
        }[entry]
        route = ("gateway", method, callee, path.removeprefix("/api"))
        done = self.remote(at, start + self.lasting(n, 1.2), route, work) + self.lasting(n, 0.8)
        self.payload.emit(_server("gateway", method, path), at, np.zeros(n, np.uint64), done)

    def checkout(self, at: _Call, t: Ints) -> Ints:
        """Reserve, charge, write the order, publish it."""
        n = len(t)
        t = self.remote(
            at, t + self.lasting(n, 3), ("checkout", "POST", "inventory", "/reserve"), self.reserve
        )
        t = self.remote(at, t, ("checkout", "POST", "payment", "/charge"), self.charge)
        insert = _database("checkout", "postgresql", "orders", "INSERT", "orders")
        clear = _database("checkout", "redis", "sessions", "DEL", "cart")
        t = np.maximum(
            self.leaf(at, t, insert, self.lasting(n, 5)), self.leaf(at, t + 30_000, clear, self.lasting(n, 1))
        )
        sent = _Call(at.trace, self.ids(n), t)
        done = t + self.lasting(n, 2)
        self.payload.emit(_messaging("checkout", "send", KIND_PRODUCER), sent, at.span, done)
        self.fulfil(sent, done)
        return done + self.lasting(n, 1)

    def reserve(self, at: _Call, t: Ints) -> Ints:
        """Update the stock under a row lock: slower under load, and slower every week."""
        n = len(t)
        grown = (1 + STOCK_GROWTH_PER_WEEK) ** self.week  # more work for one update takes capacity too
        held = 9 * grown / (1 - self.orders(t) * grown / STOCK_CAPACITY)
        update = _database("inventory", "postgresql", "stock", "UPDATE", "stock")
        return self.leaf(at, t + self.lasting(n, 1), update, self.lasting(n, held, 0.5)) + self.lasting(
            n, 0.5
        )

    def charge(self, at: _Call, t: Ints) -> Ints:
        """Call the payment provider, which sends no spans."""
        n = len(t)
        call = _client("payment", "POST", "api.psp.example")
        return self.leaf(at, t + self.lasting(n, 1), call, self.lasting(n, 55)) + self.lasting(n, 0.5)

    def fulfil(self, producer: _Call, published: Ints) -> None:
        """Consume the order: the wait grows as arrivals outpace one worker."""
        n = len(producer)
        busy = np.minimum(0.37 * self.orders(published), 0.985)
        start = published + self.lasting(n, 25 * busy / (1 - busy) + 1, 0.6)
        at = _Call(producer.trace, self.ids(n), start)
        insert = _database("fulfilment", "postgresql", "shipments", "INSERT", "shipments")
        done = self.leaf(at, start + self.lasting(n, 2), insert, self.lasting(n, 6)) + self.lasting(n, 4)
        self.payload.emit(_messaging("fulfilment", "process", KIND_CONSUMER), at, producer.span, done)

    def cart(self, at: _Call, t: Ints) -> Ints:
        """Read the cart, then price it: once at first, once for each item as the change spreads."""
        n = len(t)
        read = _database("cart", "redis", "sessions", "HGETALL", "cart")
        t = self.leaf(at, t + self.lasting(n, 1.5), read, self.lasting(n, 1))
        converted = self.rng.random(n) < np.clip((self.week - 5) / 7, 0, 1)
        calls = np.where(converted, 1 + self.rng.poisson(3, n), 1)
        for number in range(int(calls.max(initial=0))):
            rows = calls > number
            route = ("cart", "GET", "pricing", "/prices/{id}")
            t = t.copy()
            t[rows] = self.remote(at[rows], t[rows], route, self.price)
        return t + self.lasting(n, 1)

    def price(self, at: _Call, t: Ints) -> Ints:
        """Look one price up."""
        select = _database("pricing", "postgresql", "pricing", "SELECT", "prices")
        n = len(t)
        return self.leaf(at, t + self.lasting(n, 0.8), select, self.lasting(n, 2.5)) + self.lasting(n, 0.4)

    def product(self, at: _Call, t: Ints) -> Ints:
        """Read a product and, beside it, what others bought."""
        n = len(t)
        t = t + self.lasting(n, 1)
        select = _database("catalog", "postgresql", "catalog", "SELECT", "products")
        read = self.leaf(at, t, select, self.lasting(n, 6))
        route = ("catalog", "GET", "recommendations", "/similar/{id}")
        return np.maximum(read, self.remote(at, t + 50_000, route, self.recommend)) + self.lasting(n, 1)

    def recommend(self, at: _Call, t: Ints) -> Ints:
        """Rank; ten times slower on one afternoon."""
        slow = np.where(_bad_afternoon(t, self.day), 10.0, 1.0)
        return t + self.lasting(len(t), 9 * slow)

    def search(self, at: _Call, t: Ints) -> Ints:
        """Query the index."""
        n = len(t)
        query = _database("search", "elasticsearch", "products", "search", "products")
        return self.leaf(at, t + self.lasting(n, 2), query, self.lasting(n, 32)) + self.lasting(n, 1.5)


def _traffic(t: Ints) -> NDArray[np.float64]:
    """Hour of the day and day of the week, mean about 1, for instants in ns."""
    hour = (t % (24 * HOUR_NS)) / HOUR_NS
    weekday = (t // (24 * HOUR_NS) + 3) % 7  # the epoch was a Thursday; Monday is 0
    return (1 + 0.55 * np.sin((hour - 9) / 24 * 2 * np.pi)) * np.where(weekday >= 5, 0.75, 1.1)


def _bad_afternoon(t: Ints, day: int) -> NDArray[np.bool_]:
    hour = (t % (24 * HOUR_NS)) // HOUR_NS
    return (day == DAYS - 12) & (hour >= 13) & (hour < 16)


def _mix(day: int) -> dict[str, float]:
    """Entries and their part of the traffic; a campaign brings searchers in the last month."""
    search = 0.14 if day < DAYS - 30 else 0.30
    rest = 1 - search
    return {
        "POST /api/checkout": 0.22 * rest,
        "GET /api/cart": 0.33 * rest,
        "GET /api/products/{id}": 0.45 * rest,
        "GET /api/search": search,
    }


def payloads(seed: int, now_ns: int, days: int = DAYS) -> Iterator[tuple[int, bytes]]:
    """Yield the shop's days, oldest first: their end in ns and one OTLP request.

    The last day ends at the hour that `now_ns` lies in.
    """
    end = now_ns // HOUR_NS * HOUR_NS
    for day in range(DAYS - days, DAYS):
        rng = np.random.default_rng([seed, day])
        shop = _Shop(rng, day)
        begin = end - (DAYS - day) * 24 * HOUR_NS
        hours = begin + np.arange(24, dtype=np.int64) * HOUR_NS
        for entry, part in _mix(day).items():
            arrivals = rng.poisson(TRACES_PER_HOUR * part * shop.load(hours + HOUR_NS // 2))
            # the last minute stays free, so that no hour of the demo is open at its end
            starts = np.repeat(hours, arrivals) + rng.integers(
                0, HOUR_NS - 60 * 1000 * MS, int(arrivals.sum())
            )
            shop.serve(entry, np.sort(starts))
        yield begin + 24 * HOUR_NS, shop.payload.finish()


def generate(
    store: SpanStore,
    *,
    seed: int = 1,
    now_ns: int,
    workers: int = 2,
    memory_bytes: int = 768 * 1024 * 1024,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Seal the shop's three months into `store`, all at once.

    They need not land first: until they are sealed, whoever makes them can make them again.

    Parameters
    ----------
    store
        An open store, marked as a demo by its maker.
    seed
        Same seed and hour, same spans.
    now_ns
        The demo ends at this instant's hour.
    workers, memory_bytes
        Slices sealed at once, and what they may take together, beside the spans themselves.
    progress
        Called with days made and days in all.
    """
    from tracescope.engine.seal import seal
    from tracescope.engine.unlanded import Batch, Unlanded
    from tracescope.ingest.decode import decode

    batches: list[Batch] = []
    week: list[tuple[int, bytes]] = []
    for number, day in enumerate(payloads(seed, now_ns), 1):
        week.append(day)
        if len(week) == 7 or number == DAYS:
            decoded = decode([payload for _, payload in week], [end_ns for end_ns, _ in week])
            batches.append(Batch.of(f"demo-{number:03d}", decoded.spans, decoded.rejected, now_ns))
            week.clear()
        if progress is not None:
            progress(number, DAYS)
    with store.group("demo") as group:
        seal(store, workers=workers, memory_bytes=memory_bytes, unlanded=Unlanded(batches, group))
