"""What the ends of edges are called in a report: as short as tells them apart in it.

    in the store                          in a report
    postgresql/shop@orders-db.internal    postgresql/shop, or the whole where another server has a `shop`
    redis/0@cart-redis.internal           redis/cart-redis.internal: an index is no name
    cart:8080                             cart, or the whole where two of its ports are called
    unknown                               unknown (payment charge): one a caller and operation
    redis, localhost:3500                 the same, or with the caller where several say no more than that

Names depend on the call paths of the report alone, not on their order or their counts; rows keep whole
names beside the short ones, so that sides which are compared can be named together.

Source: design, section 4 (identity of databases, queues and other systems).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

import polars as pl

from tracescope import schema
from tracescope.identity import (
    EMBEDDED,
    Database,
    is_address,
    is_loopback,
    split_address,
    split_database,
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
    used = [_used(paths, side) for paths, side in zip(whole, sides, strict=True)]
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
    """Let consumers that name no topic have the one that was sent to, where it was one.

    Routes that then lead nowhere go; others' targets are as unknown as their consumers' topics.
    """
    queue = pl.col("kind") == schema.EDGE_QUEUE
    lost = queue & (pl.col("operation") == schema.QUEUE_ROUTE) & (pl.col("callee") == schema.UNKNOWN)
    sources = paths.filter(lost).group_by("entry_id").agg(pl.col("caller").unique().sort().alias("sent"))
    if sources.is_empty():
        return paths
    only = sources.filter(pl.col("sent").list.len() == 1).with_columns(pl.col("sent").list.first())
    services = entries.select("entry_id", "service")
    joined = paths.join(only, on="entry_id", how="left", maintain_order="left").join(
        services, on="entry_id", how="left", maintain_order="left"
    )
    waits = queue & (pl.col("operation") == schema.QUEUE_WAIT) & (pl.col("caller") == schema.UNKNOWN)
    named = joined.filter(~(lost & pl.col("sent").is_not_null())).with_columns(
        pl.when(waits).then(pl.coalesce("sent", "caller")).otherwise(pl.col("caller")).alias("caller"),
        pl.when(lost)
        .then(pl.format("unknown ({} wait)", "service"))
        .otherwise(pl.col("callee"))
        .alias("callee"),
    )
    return named.select(paths.columns)


def _used(paths: pl.DataFrame, side: Tables) -> pl.DataFrame:
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
    for side, name_all in ((_DB, _short_databases), (_OUTSIDE, _short_hosts)):
        mine = dict(users.filter(side=side).select("callee", "caller").iter_rows())
        rows += [(side, name, short, own) for name, (short, own) in name_all(mine).items()]
    made = pl.DataFrame(
        rows, {"side": pl.Int32, "callee": pl.String, "short": pl.String, "own": pl.Boolean}, orient="row"
    )
    joined = called.join(made, on=["side", "callee"], how="left", maintain_order="left")
    waits = pl.col("operation") == schema.QUEUE_WAIT
    callee = (
        pl.when(pl.col("callee") == schema.UNKNOWN)
        .then(pl.format("unknown ({} {})", "caller", "operation"))
        .when(pl.col("own")).then(pl.format("{} ({})", "short", "caller"))
        .otherwise(pl.coalesce("short", "callee"))
    )  # fmt: skip
    caller = (
        pl.when((pl.col("side") == _QUEUE) & waits & (pl.col("caller") == schema.UNKNOWN))
        .then(pl.format("unknown ({} {})", "callee", "operation"))
        .otherwise(pl.col("caller"))
    )
    return joined.select(
        *_EDGE,
        caller.alias("caller_short"),
        pl.when((pl.col("side") == _QUEUE) & waits)
        .then(pl.col("callee"))
        .otherwise(callee)
        .alias("callee_short"),
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


# -- databases ------------------------------------------------------------------------------------


def _short_databases(users: Mapping[str, int]) -> dict[str, tuple[str, bool]]:
    """Short name of each database, and whether every caller has its own of that name.

    Parameters
    ----------
    users
        Callers of each.
    """
    alike: dict[str, list[str]] = defaultdict(list)
    for name in users:
        alike[_family(split_database(name))].append(name)
    out: dict[str, tuple[str, bool]] = {}
    for family, names in alike.items():
        callers = sum(users[name] for name in names)
        servers = sum(1 for name in names if split_database(name).server)
        for name in names:
            parts = split_database(name)
            if not identifies(name):  # several servers are one node; a caller's own is not
                out[name] = (family, callers > 1 and "{" not in parts.server)
            elif not parts.named or servers < 2:
                out[name] = (family, False)
            else:  # whose server nobody names may be any of them
                out[name] = (name, False) if parts.server else (family, True)
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
    ports: dict[str, set[str]] = defaultdict(set)
    for name in users:
        host, port = split_address(name)
        if port:
            ports[host].add(port)
    out: dict[str, tuple[str, bool]] = {}
    for name, callers in users.items():
        host, port = split_address(name)
        if is_loopback(host):
            out[name] = (name, callers > 1)
        elif port and len(ports[host]) == 1 and not is_address(host):
            out[name] = (name[: -len(port) - 1], False)
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
