"""`graph` on a store: the rollups of one period or two, and the services' namespaces."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from tracescope.analysis.flows import Selection, Tables
from tracescope.analysis.graph import TABLES, Graph, Level, graph
from tracescope.engine.periods import PeriodRollups, rollups
from tracescope.errors import InsufficientDataError
from tracescope.periods import Period
from tracescope.schema import HOUR_NS
from tracescope.store import SpanStore

#: Attributes that name a service's namespace, the one that wins first.
NAMESPACE_ATTRIBUTES = ("service.namespace", "k8s.namespace.name")
#: Namespaces are read from the raw spans of so many of a period's newest hours.
NAMESPACE_HOURS = 6


@dataclass(frozen=True, slots=True)
class Mapped:
    """A graph, the rollups that it was made of (the base's too, where there is one), and notes."""

    graph: Graph
    tables: Tables
    base_tables: Tables | None
    notes: tuple[str, ...]


def map_period(
    store: SpanStore,
    period: Period,
    level: Level,
    *,
    base: Period | None = None,
    selection: Selection | None = None,
    environment: str | None = None,
) -> Mapped:
    """The graph of a period of a store, compared with `base` where one is given.

    Raises
    ------
    InsufficientDataError
        A period holds no traces, or none that `selection` keeps.
    """
    later = _found(store, period, environment, "PERIOD" if base is None else "HEAD")
    chosen = environment if environment is not None else later.environment
    earlier = None if base is None else _found(store, base, chosen, "BASE")
    made = graph(
        later.tables,
        level,
        base=None if earlier is None else earlier.tables,
        selection=selection,
        namespaces=namespaces(store, period),
        environment=later.environment,
        start_ns=later.start_ns,
        end_ns=later.end_ns,
        base_bounds=(0, 0) if earlier is None else (earlier.start_ns, earlier.end_ns),
    )
    if made.nodes.is_empty() and selection is not None:
        raise InsufficientDataError(
            f"nothing in {period.text} ({period.utc()}) matches what was asked for",
            "ask for less with --entry, --through, --service, --kind and --namespace",
        )
    notes = [*later.notes, *(() if earlier is None else earlier.notes)]
    if environment is None and len(later.environments) > 1:
        others = ", ".join(repr(name) for name in list(later.environments)[1:4])
        notes.insert(0, f"environment {later.environment!r}, the busiest; others: {others} (--env)")
    return Mapped(made, later.tables, None if earlier is None else earlier.tables, tuple(notes))


def _found(store: SpanStore, period: Period, environment: str | None, name: str) -> PeriodRollups:
    found = rollups(store, period.start_ns, period.end_ns, environment=environment, tables=TABLES)
    if found.tables["entry_hours"].is_empty():
        raise InsufficientDataError(
            f"{name} {period.text} ({period.utc()}) holds no traces"
            + (f" of environment {environment!r}" if environment else ""),
            "`tracescope status` shows what the store covers",
        )
    return found


def namespaces(store: SpanStore, period: Period) -> dict[str, str]:
    """Namespace of each service that names one, from a period's newest raw spans.

    Rollups keep no namespaces, so services that sent nothing in the newest hours, and periods whose
    raw spans have gone, have none here.
    """
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    first, last = period.start_ns // HOUR_NS, -(-period.end_ns // HOUR_NS)
    pointer = store.sealed.pointer()
    hours = [hour for hour, (_, _, raw) in pointer.hours.items() if raw and first <= hour < last]
    newest = sorted(hours)[-NAMESPACE_HOURS:]
    wanted = ["service_name", "resource", "start_ns"]
    plans = [store.pending().filter(pl.col("start_ns") < period.end_ns).select(wanted)]
    if newest:
        sealed = store.sealed.scan(pointer, "spans")
        plans.append(sealed.filter(pl.col("hour").is_in(newest)).select(wanted))
    distinct = [
        plan.group_by("service_name", "resource").agg(pl.col("start_ns").max()).collect() for plan in plans
    ]
    rows = pl.concat(distinct).sort("start_ns", "service_name", "resource").select("service_name", "resource")
    found: dict[str, str] = {}
    for service, raw in rows.iter_rows():
        attributes = {a.key: a.value.string_value for a in Resource.FromString(raw).attributes}
        space = next((attributes[key] for key in NAMESPACE_ATTRIBUTES if attributes.get(key)), None)
        if space is not None:
            found[service] = space
    return found
