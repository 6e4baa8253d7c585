"""`graph` on a store: the rollups of one period or two, and the services' namespaces."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import polars as pl

from tracescope.analysis.comparison.matched import matched_sums
from tracescope.analysis.rollups.flows import ALL, Selection, Tables
from tracescope.analysis.rollups.long_lived import durations_note, find_long_lived, set_apart
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.topology.graph import TABLES, Graph, Level, graph
from tracescope.engine.compare import Sides, environment_note
from tracescope.engine.rollups import BUDGET, Budget, RollupRequest, rollups
from tracescope.errors import InsufficientDataError
from tracescope.near import suggestion
from tracescope.periods import Period
from tracescope.schema import HOUR_NS
from tracescope.store import Snapshot, SpanStore

#: Attributes that name a service's namespace, the one that wins first.
NAMESPACE_ATTRIBUTES = ("service.namespace", "k8s.namespace.name")
#: Namespaces are read from the raw spans of so many of a period's newest hours.
NAMESPACE_HOURS = 6


@dataclass(frozen=True, slots=True)
class Mapped:
    """A graph, the rollups that it was made of (the base's too, where there is one), and notes.

    ``selection`` is the part of the traffic that it shows.
    """

    graph: Graph
    tables: Tables
    base_tables: Tables | None
    notes: tuple[str, ...]
    selection: Selection = ALL


def map_period(
    store: SpanStore,
    period: Period,
    level: Level,
    *,
    selection: Selection | None = None,
    environment: str | None = None,
    budget: Budget = BUDGET,
) -> Mapped:
    """The graph of a period of a store.

    Raises
    ------
    InsufficientDataError
        The period holds no traces, or none that `selection` keeps.
    """
    found = _rollups_of(store, period, environment, budget)
    made = graph(
        found.tables,
        level,
        selection=selection,
        namespaces=namespaces(store, period.start_ns, period.end_ns),
        environment=found.environment,
        start_ns=found.start_ns,
        end_ns=found.end_ns,
    )
    _check_matches(made, selection, f"{period.text} ({period.utc()})", found.tables)
    notes = list(found.notes)
    if environment is None and (told := environment_note(found)):
        notes.insert(0, told)
    return Mapped(replace(made, notes=tuple(notes)), found.tables, None, tuple(notes), selection or ALL)


def map_sides(
    store: SpanStore,
    sides: Sides,
    level: Level,
    *,
    zone: str,
    selection: Selection | None = None,
    sums: tuple[Tables, Tables] | None = None,
) -> Mapped:
    """The graph of head compared with base, of the same hours as their diff.

    Parameters
    ----------
    store
        Where namespaces are looked up.
    sides
        Read with `COMPARED`.
    level, selection
        As for `tracescope.analysis.topology.graph.graph`.
    zone
        In which hours of the week are matched, as in the diff.
    sums
        What `matched_sums` gives for `sides`, where that is known.

    Raises
    ------
    InsufficientDataError
        A period holds no traces, or `selection` keeps none.
    """
    sides.check_filled(store)
    base, head = sides.base, sides.head
    earlier, later = sums or matched_sums(base, head, zone)
    made = graph(
        later,
        level,
        base=earlier,
        selection=selection,
        namespaces=namespaces(store, head.start_ns, head.end_ns),
        environment=head.environment,
        start_ns=head.start_ns,
        end_ns=head.end_ns,
        base_bounds=(base.start_ns, base.end_ns),
    )
    _check_matches(made, selection, "these periods", later)
    notes = (*sides.notes, *head.notes, *base.notes)
    return Mapped(replace(made, notes=notes), later, earlier, notes, selection or ALL)


def _check_matches(mapped: Graph, selection: Selection | None, where: str, tables: Tables) -> None:
    if mapped.nodes.is_empty() and selection is not None:
        known = {*tables["paths"]["caller"].to_list(), *tables["paths"]["callee"].drop_nulls().to_list()}
        strange = [name for name in (selection.service, selection.through) if name and name not in known]
        otherwise = "ask for less with --entry, --through, --service, --kind and --namespace"
        options = {name: getattr(selection, name) for name in ("through", "service", "namespace")}
        asked = " ".join(f"--{name} {value}" for name, value in options.items() if value)
        raise InsufficientDataError(
            f"nothing in {where} matches {asked or 'what was asked for'}",
            suggestion(strange[0], sorted(known), otherwise) if strange else otherwise,
        )


def _rollups_of(store: SpanStore, period: Period, environment: str | None, budget: Budget) -> PeriodRollups:
    tables = (*TABLES, "entry_sketches", "counters")
    asked = RollupRequest(
        period.start_ns, period.end_ns, environment=environment, tables=tables, budget=budget
    )
    found = rollups(store, asked)
    if found.tables["entry_hours"].is_empty():
        raise InsufficientDataError(
            f"PERIOD {period.text} ({period.utc()}) holds no traces"
            + (f" of environment {environment!r}" if environment else ""),
            "`tracescope status` shows what the store covers",
        )
    apart = find_long_lived(found)
    return replace(set_apart(found, apart), notes=(*found.notes, *durations_note(apart, found)))


def namespaces(store: SpanStore, start_ns: int, end_ns: int) -> dict[str, str]:
    """Namespace of each service that names one, from the newest raw spans of ``[start_ns, end_ns)``.

    Rollups keep no namespaces, so services that sent nothing in the newest hours, and periods whose
    raw spans have gone, have none here.
    """
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

    rows = store.reading(partial(_resources, store, start_ns=start_ns, end_ns=end_ns))
    found: dict[str, str] = {}
    for service, raw in rows.iter_rows():
        attributes = {a.key: a.value.string_value for a in Resource.FromString(raw).attributes}
        space = next((attributes[key] for key in NAMESPACE_ATTRIBUTES if attributes.get(key)), None)
        if space is not None:
            found[service] = space
    return found


def _resources(store: SpanStore, seen: Snapshot, *, start_ns: int, end_ns: int) -> pl.DataFrame:
    """Services and their resources in the newest raw spans, the newest last."""
    first, last = start_ns // HOUR_NS, -(-end_ns // HOUR_NS)
    pointer = seen.pointer
    hours = [hour for hour in pointer.with_raw() if first <= hour < last]
    newest = sorted(hours)[-NAMESPACE_HOURS:]
    wanted = ["service_name", "resource", "start_ns"]
    plans = [seen.pending().filter(pl.col("start_ns") < end_ns).select(wanted)]
    if newest:
        plans.append(store.sealed.spans(pointer, newest).select(wanted))
    distinct = [
        plan.group_by("service_name", "resource").agg(pl.col("start_ns").max()).collect() for plan in plans
    ]
    return pl.concat(distinct).sort("start_ns", "service_name", "resource").select("service_name", "resource")
