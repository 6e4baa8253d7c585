"""What the ends of edges are called in a report: as short as tells them apart in it.

    in the store                          in a report
    postgresql/shop@orders-db.internal    postgresql/shop, or the whole where another server has a `shop`
    redis/0@cart-redis.internal           redis/cart-redis.internal: an index is no name
    cart:8080                             cart, or the whole where two of its ports are called
    cart.shop.svc                         cart, where some say so and no other namespace has one
    events@kafka.internal                 events, or the whole where another broker has such a topic
    unknown                               unknown (payment charge): one a caller and operation
    redis, localhost:3500                 the same, or with the caller where several say no more than that

Names depend on the call paths of the report alone, not on their order or their counts; rows keep whole
names beside the short ones, so that sides which are compared can be named together.

Source: design, section 4 (identity of databases, queues and other systems).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

import polars as pl

from tracescope import schema
from tracescope.conventions.identity import (
    EMBEDDED,
    Database,
    is_address,
    is_loopback,
    split_address,
    split_database,
    split_topic,
)

Tables = Mapping[str, pl.DataFrame]

#: Whole names of a path's ends, beside the short ones.
WHOLE: Final = {"caller": "caller_whole", "callee": "callee_whole"}
_EDGE: Final = ["kind", "caller", "callee", "operation"]
_DB, _OUTSIDE, _QUEUE = range(3)


def shorten(*sides: Tables) -> list[dict[str, pl.DataFrame]]:
    """Tables of one report (a period, or two that are compared) under names that are short in it.

    Parameters
    ----------
    sides
        ``paths`` with whole names, or as this function left them.

    Returns
    -------
    list of dict
        The same tables; ``paths`` has the columns of `WHOLE` too, and one ``edge_id`` for each edge.
    """
    whole = [_with_topics(_with_whole(side["paths"]), side["entries"]) for side in sides]
    used = [_referenced(paths, side) for paths, side in zip(whole, sides, strict=True)]
    edges = pl.concat([paths.select(*_EDGE, "uninstrumented") for paths in used])
    edges = edges.group_by(_EDGE).agg(pl.col("uninstrumented").all())
    called = edges.with_columns(_side_of().alias("side")).filter(pl.col("side").is_not_null())
    if called.is_empty():
        return [dict(side) | {"paths": _kept_whole(paths)} for side, paths in zip(sides, whole, strict=True)]
    short = _short_edges(called)
    return [dict(side) | {"paths": _renamed(paths, short)} for side, paths in zip(sides, whole, strict=True)]


def _with_whole(paths: pl.DataFrame) -> pl.DataFrame:
    """Paths under their whole names."""
    if WHOLE["callee"] not in paths.columns:
        return paths
    return paths.with_columns(pl.col(whole).alias(name) for name, whole in WHOLE.items()).drop(
        *WHOLE.values()
    )


def _with_topics(paths: pl.DataFrame, entries: pl.DataFrame) -> pl.DataFrame:
    """Let consumers that name no topic, or not its broker as the producers do, have the one that was sent to.

    Routes that then lead nowhere go; others' targets are as unknown as their consumers' topics.
    """
    queue = pl.col("kind") == schema.EDGE_QUEUE
    route = queue & (pl.col("operation") == schema.QUEUE_ROUTE)
    unnamed = pl.col("callee") == schema.UNKNOWN
    lost = route & (unnamed | (_topic_name("caller") == _topic_name("callee")))
    sources = (
        paths.filter(lost)
        .group_by("entry_id", pl.col("callee").alias("taken"))
        .agg(pl.col("caller").unique().sort().alias("sent"))
    )
    if sources.is_empty():
        return paths
    only = sources.filter(pl.col("sent").list.len() == 1).with_columns(pl.col("sent").list.first())
    services = entries.select("entry_id", "service")
    waits = queue & (pl.col("operation") == schema.QUEUE_WAIT)
    taken = pl.when(lost).then("callee").when(waits).then("caller")
    joined = (
        paths.with_columns(taken=taken)
        .join(only, on=["entry_id", "taken"], how="left", maintain_order="left")
        .join(services, on="entry_id", how="left", maintain_order="left")
    )
    named = joined.filter(~(lost & pl.col("sent").is_not_null())).with_columns(
        pl.when(waits).then(pl.coalesce("sent", "caller")).otherwise(pl.col("caller")).alias("caller"),
        pl.when(lost & unnamed)
        .then(pl.format("unknown ({} wait)", "service"))
        .otherwise(pl.col("callee"))
        .alias("callee"),
    )
    return named.select(paths.columns)


def _topic_name(column: str) -> pl.Expr:
    """A destination's own name, without its broker's."""
    return pl.col(column).map_elements(lambda name: split_topic(name)[0], pl.String)


def _referenced(paths: pl.DataFrame, side: Tables) -> pl.DataFrame:
    """Paths that a side's rows are about: what a store once held makes no name longer."""
    return paths.join(side["path_hours"], on="path_id", how="semi") if "path_hours" in side else paths


def _kept_whole(paths: pl.DataFrame) -> pl.DataFrame:
    return paths.with_columns(pl.col(name).alias(whole) for name, whole in WHOLE.items())


def _side_of() -> pl.Expr:
    """Of an edge: whether its callee is a database, another system or a queue; null for all else."""
    kind = pl.col("kind")
    remote = kind.is_in([schema.EDGE_HTTP, schema.EDGE_RPC]) & pl.col("uninstrumented")
    return (
        pl.when(kind == schema.EDGE_DB).then(_DB)
        .when((kind == schema.EDGE_EXTERNAL) | remote).then(_OUTSIDE)
        .when(kind == schema.EDGE_QUEUE).then(_QUEUE)
    )  # fmt: skip


def _short_edges(called: pl.DataFrame) -> pl.DataFrame:
    """``kind, caller, callee, operation``, and their short ``caller_short`` and ``callee_short``."""
    seen = called.filter(pl.col("side") != _QUEUE, pl.col("callee").is_not_null())
    users = seen.group_by("side", "callee").agg(pl.col("caller").n_unique()).sort("side", "callee")
    rows: list[tuple[int, str, str, bool]] = []
    topics = _short_topics(called)
    for side, name_all in ((_DB, _short_databases), (_OUTSIDE, _short_hosts)):
        mine = dict(users.filter(side=side).select("callee", "caller").iter_rows())
        rows += [(side, name, short, own) for name, (short, own) in name_all(mine).items()]
    made = pl.DataFrame(
        rows, {"side": pl.Int32, "callee": pl.String, "short": pl.String, "own": pl.Boolean}, orient="row"
    )
    joined = called.join(made, on=["side", "callee"], how="left", maintain_order="left")
    waits = pl.col("operation") == schema.QUEUE_WAIT
    queue = pl.col("side") == _QUEUE
    sent_to = queue & ~waits & (pl.col("callee") != schema.UNKNOWN)
    taken_from = queue & pl.col("operation").is_in([schema.QUEUE_WAIT, schema.QUEUE_ROUTE])
    callee = (
        pl.when(pl.col("callee") == schema.UNKNOWN)
        .then(pl.format("unknown ({} {})", "caller", "operation"))
        .when(pl.col("own")).then(pl.format("{} ({})", "short", "caller"))
        .when(sent_to).then(pl.col("callee").replace(topics))
        .otherwise(pl.coalesce("short", "callee"))
    )  # fmt: skip
    caller = (
        pl.when(queue & waits & (pl.col("caller") == schema.UNKNOWN))
        .then(pl.format("unknown ({} {})", "callee", "operation"))
        .when(taken_from).then(pl.col("caller").replace(topics))
        .otherwise(pl.col("caller"))
    )  # fmt: skip
    return joined.select(
        *_EDGE,
        caller.alias("caller_short"),
        pl.when(queue & waits).then(pl.col("callee")).otherwise(callee).alias("callee_short"),
    )


def _renamed(paths: pl.DataFrame, short: pl.DataFrame) -> pl.DataFrame:
    """Paths under short names; edges that are called alike have one id."""
    named = paths.join(short, on=_EDGE, how="left", nulls_equal=True, maintain_order="left")
    named = named.with_columns(
        *(pl.col(name).alias(whole) for name, whole in WHOLE.items()),
        *(pl.coalesce(f"{name}_short", name).alias(name) for name in WHOLE),
    )
    same = ["kind", "caller", "callee", "operation"]
    return named.with_columns(pl.col("edge_id").min().over(same)).select(*paths.columns, *WHOLE.values())


# -- queues ---------------------------------------------------------------------------------------


def _short_topics(called: pl.DataFrame) -> dict[str, str]:
    """Short name of each destination: its own, unless several brokers have one of that name."""
    queue = called.filter(side=_QUEUE)
    waits = pl.col("operation") == schema.QUEUE_WAIT
    sent = queue.filter(~waits)["callee"]
    taken = queue.filter(pl.col("operation").is_in([schema.QUEUE_WAIT, schema.QUEUE_ROUTE]))["caller"]
    whole = sorted(set(sent.drop_nulls()) | set(taken.drop_nulls()))
    parts = {name: split_topic(name) for name in whole}
    alike = _one_host(broker for _, broker in parts.values() if broker)
    brokers: dict[str, set[str]] = defaultdict(set)
    for own, broker in parts.values():
        if broker:
            brokers[own].add(alike.get(broker, broker))
    out: dict[str, str] = {}
    for name, (own, broker) in parts.items():
        if broker:
            out[name] = own if len(brokers[own]) == 1 else f"{own}@{alike.get(broker, broker)}"
    return out


# -- hosts by several names -----------------------------------------------------------------------


def _one_host(names: Iterable[str]) -> dict[str, str]:
    """Short name of every host that some call by its service alone and others by its namespace too.

    ``cart``, ``cart.shop`` and ``cart.shop.svc`` (with ports or without) are one where no second
    namespace has a ``cart``: within Kubernetes the first two are looked up as the third.
    """
    given = {name: split_address(name) for name in set(names)}
    hosts = {host for host, _ in given.values()}
    spaces: dict[str, set[str]] = defaultdict(set)
    for host in hosts:
        service, _, space = host.removesuffix(".svc").rpartition(".")
        if host.endswith(".svc") and service:
            spaces[service].add(space)
    alike: dict[str, str] = {}
    for service, of in spaces.items():
        (space, *others) = sorted(of)
        same = {service, f"{service}.{space}", f"{service}.{space}.svc"}
        if not others and len(same & hosts) > 1:
            alike |= dict.fromkeys(same, service)
    return {
        name: f"{alike[host]}:{port}" if port else alike[host]
        for name, (host, port) in given.items()
        if host in alike
    }


# -- databases ------------------------------------------------------------------------------------


def _short_databases(users: Mapping[str, int]) -> dict[str, tuple[str, bool]]:
    """Short name of each database, and whether every caller has its own of that name.

    Parameters
    ----------
    users
        Callers of each.
    """
    parts_of = _on_one_host({name: split_database(name) for name in users})
    alike: dict[str, list[str]] = defaultdict(list)
    for name, parts in parts_of.items():
        alike[_family(parts)].append(name)
    out: dict[str, tuple[str, bool]] = {}
    for family, names in alike.items():
        callers = sum(users[name] for name in names)
        servers = len({parts_of[name].server for name in names} - {""})
        for name in names:
            parts = parts_of[name]
            if not identifies(name):  # several servers are one node; a caller's own is not
                out[name] = (family, callers > 1 and "{" not in parts.server)
            elif not parts.named or servers < 2:
                out[name] = (family, False)
            else:  # whose server nobody names may be any of them
                out[name] = (f"{family}@{parts.server}", False) if parts.server else (family, True)
    return out


def _on_one_host(databases: Mapping[str, Database]) -> dict[str, Database]:
    """Parts of each database, servers by one name where they have several (`_one_host`).

    A server's short name alone is taken for a namespace when an identity is split; beside the same
    server's whole name it is known for what it is.
    """
    out = dict(databases)
    for system in {parts.system for parts in databases.values()}:
        mine = {name: parts for name, parts in databases.items() if parts.system == system}
        one = _one_host(parts.server or parts.namespace for parts in mine.values())
        for name, (_, namespace, server) in mine.items():
            if server in one:
                out[name] = Database(system, namespace, one[server])
            elif not server and namespace in one:
                out[name] = Database(system, "", one[namespace])
    return out


def _family(parts: Database) -> str:
    """What databases are called that a short name would not tell apart."""
    if parts.named or not parts.server:
        return f"{parts.system}/{parts.namespace}" if parts.namespace else parts.system
    return f"{parts.system}/{parts.server}"


def identifies(name: str) -> bool:
    """Whether a database's whole name says which one it is: by its own name, or by its server's."""
    parts = split_database(name)
    if parts.system in EMBEDDED:
        return False
    if parts.named and "{" not in parts.namespace:
        return True
    return bool(parts.server) and says_where(parts.server)


def says_where(server: str) -> bool:
    """Whether a server's name or address is that of one server, whoever says it."""
    host = split_address(server)[0]
    return "{" not in server and not is_loopback(host) and host != schema.UNKNOWN


# -- other systems --------------------------------------------------------------------------------


def _short_hosts(users: Mapping[str, int]) -> dict[str, tuple[str, bool]]:
    """Short name of each host, and whether every caller has its own of that name."""
    one = _one_host(users)
    ports: dict[str, set[str]] = defaultdict(set)
    for name in users:
        host, port = split_address(one.get(name, name))
        if port:
            ports[host].add(port)
    out: dict[str, tuple[str, bool]] = {}
    for name, callers in users.items():
        said = one.get(name, name)
        host, port = split_address(said)
        if is_loopback(host):
            out[name] = (said, callers > 1)
        elif port and len(ports[host]) == 1 and not is_address(host):
            out[name] = (said[: -len(port) - 1], False)
        elif said != name:
            out[name] = (said, False)
    return out


# -- what findings may rest on --------------------------------------------------------------------


def one_thing(rows: pl.DataFrame) -> pl.Series:
    """Of flows ``(n,)``: whether what is called is one thing, however many call something of its name.

    A template stands for several things; what says neither which nor where is a caller's own, and several
    callers' are as many things; of a database whose server one caller names and another does not, only the
    first is known to be the one.
    """
    whole = WHOLE["callee"] if WHOLE["callee"] in rows.columns else "callee"
    called = rows.select("caller", "callee", "callee_type", pl.col(whole).alias("whole"))
    names = called.group_by("callee_type", "callee", "whole").agg(pl.lit(None).alias("_")).drop("_")
    counted = called.group_by("callee_type", "callee").agg(pl.col("caller").n_unique())
    callers = {(kind, name): count for kind, name, count in counted.iter_rows()}
    known: dict[tuple[str, str], bool] = defaultdict(bool)
    for kind, name, full in names.iter_rows():
        if kind == "database":
            known[kind, name] |= bool(split_database(full).server)
    said = [
        (kind, name, full, _is_one(kind, full, callers[kind, name] > 1, known[kind, name]))
        for kind, name, full in names.iter_rows()
    ]
    schema_of = {"callee_type": pl.String, "callee": pl.String, "whole": pl.String, "one": pl.Boolean}
    found = pl.DataFrame(said, schema_of, orient="row")
    return called.join(
        found, on=["callee_type", "callee", "whole"], how="left", nulls_equal=True, maintain_order="left"
    )["one"]


def _is_one(kind: str | None, whole: str | None, shared: bool, server_known: bool) -> bool:
    if whole is None or kind not in ("database", "external"):
        return True
    if kind == "external":
        host = split_address(whole)[0]
        return "{" not in whole and not (shared and (is_loopback(host) or host == schema.UNKNOWN))
    parts = split_database(whole)
    if not parts.named and "{" in whole:
        return False
    if not identifies(whole):
        return not shared
    return bool(parts.server) or not (shared and server_known)
