"""The shop that most event-driven worlds are variations of.

gateway ─ POST /orders ─► orders ─► cart ─► redis/cart
─► inventory ─► postgresql/stock
─► psp.example
─► postgresql/orders, topic order-events ─► fulfilment ─► postgresql/shipping
─ GET /products/{id} ─► catalog ─► redis/products, postgresql/products where that has missed
─ GET /search ─► search ─► elasticsearch/docs
reports ─ GET /export ─► postgresql/stock
"""

from __future__ import annotations

from benchmarks.worlds.parts import (
    Call,
    Operation,
    Part,
    Service,
    Size,
    Statement,
    Step,
    System,
    Topic,
    Users,
)  # fmt: skip

ORDER, PRODUCT, SEARCH, EXPORT = (
    "gateway POST /orders", "gateway GET /products/{id}", "gateway GET /search", "reports GET /export",
)  # fmt: skip
PLACE, RESERVE, CART = "orders POST /orders", "inventory POST /reserve", "cart GET /cart"
LOOK, FIND, FULFIL = "catalog GET /products/{id}", "search GET /search", "fulfilment process order-events"
UPDATE_STOCK, SELECT_STOCK = "postgresql/stock UPDATE stock", "postgresql/stock SELECT stock"
SELECT_ALL, INSERT_ORDER = "postgresql/stock SELECT movements", "postgresql/orders INSERT orders"
GET_CART, GET_PRODUCT = "redis/cart GET cart", "redis/products GET product"
SELECT_PRODUCT, FIND_DOCS = "postgresql/products SELECT products", "elasticsearch/docs SEARCH docs"
UPDATE_SHIPMENT, CHARGE = "postgresql/shipping UPDATE shipments", "psp.example POST"
EVENTS = "order-events"


def after(caller: str, *calls: Call, parallel: bool = False, number: int = 0) -> list[Part]:
    """Calls of an operation that make one step, with the step."""
    return [*calls, Step(f"{caller} #{number}", tuple(call.name for call in calls), parallel)]


def steps_of(caller: str, count: int) -> tuple[str, ...]:
    """Names of an operation's first steps."""
    return tuple(f"{caller} #{number}" for number in range(count))


def operation(service: str, served: str, own_ms: float, *calls: Call) -> list[Part]:
    """An operation that makes calls one after another, a step each."""
    name = f"{service} {served}"
    parts: list[Part] = [Operation(service, served, own_ms, steps_of(name, len(calls)))]
    for number, call in enumerate(calls):
        parts += after(name, call, number=number)
    return parts


def shop(scale: float = 1.0) -> System:
    """The shop at `scale` times its usual arrivals; its resources are half busy at peak."""
    return System.of(
        [
            *(Service(name, count) for name, count in (
                ("gateway", 3), ("orders", 3), ("inventory", 2), ("cart", 2), ("catalog", 2), ("search", 2),
                ("fulfilment", 2), ("reports", 1),
            )),
            *operation("gateway", "POST /orders", 3.0, Call(ORDER, PLACE)),
            *operation("gateway", "GET /products/{id}", 2.0, Call(PRODUCT, LOOK)),
            *operation("gateway", "GET /search", 2.0, Call(SEARCH, FIND)),
            *operation(
                "orders", "POST /orders", 5.0,
                Call(PLACE, CART), Call(PLACE, RESERVE), Call(PLACE, CHARGE), Call(PLACE, INSERT_ORDER),
                Call(PLACE, EVENTS),
            ),
            *operation("cart", "GET /cart", 2.0, Call(CART, GET_CART)),
            *operation("inventory", "POST /reserve", 3.0, Call(RESERVE, SELECT_STOCK), Call(RESERVE, UPDATE_STOCK)),
            *operation("catalog", "GET /products/{id}", 2.0, Call(LOOK, GET_PRODUCT), Call(LOOK, SELECT_PRODUCT, times=0.2)),
            *operation("search", "GET /search", 4.0, Call(FIND, FIND_DOCS)),
            *operation("fulfilment", "process order-events", 6.0, Call(FULFIL, UPDATE_SHIPMENT)),
            *operation("reports", "GET /export", 5.0, Call(EXPORT, SELECT_ALL)),
            Statement("postgresql/stock", "SELECT stock", 4.0, pool="stock cores"),
            Statement("postgresql/stock", "UPDATE stock", 7.0, pool="stock cores", lock="stock", rows=50),
            Statement("postgresql/stock", "SELECT movements", 25.0, pool="stock cores"),
            Statement("postgresql/orders", "INSERT orders", 6.0, pool="orders cores"),
            Statement("postgresql/products", "SELECT products", 9.0, pool="products cores"),
            Statement("postgresql/shipping", "UPDATE shipments", 12.0, pool="shipping cores"),
            Statement("redis/cart", "GET cart", 0.8, spread=0.3),
            Statement("redis/products", "GET product", 0.8, spread=0.3),
            Statement("elasticsearch/docs", "SEARCH docs", 18.0, pool="docs cores"),
            Statement("psp.example", "POST", 35.0, kind="external", spread=0.4),
            Topic(EVENTS, FULFIL, consumers=4),
            *(Size(f"{name} cores", size) for name, size in (
                ("stock", 4), ("orders", 2), ("products", 2), ("shipping", 4), ("docs", 4),
            )),
            Users(ORDER, 7.0 * scale), Users(PRODUCT, 10.0 * scale), Users(SEARCH, 4.0 * scale), Users(EXPORT, 1.0 * scale),
        ]
    )  # fmt: skip
