"""SPANS and ROLLUPS: every table that crosses a package boundary, with its units.

All times are int64 nanoseconds since the Unix epoch, all durations int64 nanoseconds, all ids
signed int64 (two's complement of the wire's big-endian bytes), because Parquet engines and Delta
Lake agree on those and on nothing unsigned.  Rollup rows are plain integers that merge by SUM
over their key columns (exemplar columns by the rule beside them), so partial results of slices,
workers and machines add up to the same table in any order.

A table that differs from its schema is refused by `check`, at every package boundary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tracescope.errors import StoreError

if TYPE_CHECKING:
    import polars as pl

#: Version of every table written; an unknown newer one is refused.
SCHEMA_VERSION: Final = 3
#: Version of the rules by which spans become units, edges and names; every sealed hour notes whose rules
#: made its rollups.  Raise it whenever the same spans give other ids, names, units or measures.
RULES: Final = 4
#: Rules from which on names and units are today's, ...
NAMED_SINCE: Final = 4
#: ... and from which on what failed is measured, and not only counted.
FAILURES_SINCE: Final = 3

HOUR_NS: Final = 3_600_000_000_000
DAY_NS: Final = 24 * HOUR_NS
#: A trace's spans are looked for up to this many hours after the hour it starts in.
TRACE_WINDOW_HOURS: Final = 2
#: `threshold` of a unit that carries no sampling probability.
NO_THRESHOLD: Final = -1
#: Name of what has none, as OpenTelemetry's resource specification says.
UNKNOWN_SERVICE: Final = "unknown_service"

# -- enumerations; the wire's own numbers where OTLP has them ------------------------------------

KIND_UNSPECIFIED, KIND_INTERNAL, KIND_SERVER, KIND_CLIENT, KIND_PRODUCER, KIND_CONSUMER = range(6)
STATUS_UNSET, STATUS_OK, STATUS_ERROR = range(3)

#: What a span's attributes say it talks to.  MODEL is a call of a generative model; SIDECAR an HTTP or
#: gRPC hop as a proxy of a service mesh reports it; TRANSPORT a socket, a handshake or a look-up.
CLASS_NONE, CLASS_DB, CLASS_MESSAGING, CLASS_RPC, CLASS_HTTP, CLASS_GRAPHQL = range(6)
CLASS_MODEL, CLASS_TRANSPORT, CLASS_SIDECAR = 6, 7, 8
#: `messaging.operation.type`: send, create and publish are one; EMPTY is a receive that found nothing.
MSG_NONE, MSG_SEND, MSG_RECEIVE, MSG_PROCESS, MSG_SETTLE, MSG_EMPTY = range(6)
#: In the same column, of what is no messaging: a connection that stays open, work that a timer starts.
LIFE_STREAM, LIFE_SCHEDULED = 6, 7

#: Units of work: what a clock is put on.  LONG is what nobody waits for as for a request: open connections,
#: scheduled work, background loops.
UNIT_REQUEST, UNIT_MESSAGE, UNIT_DETACHED, UNIT_LONG = range(4)
UNIT_NAMES: Final = ("request", "message", "detached", "long-lived")

#: Edge kinds, by code.
EDGE_HTTP, EDGE_RPC, EDGE_DB, EDGE_QUEUE, EDGE_EXTERNAL, EDGE_SELF = range(6)
EDGE_KINDS: Final = ("http", "rpc", "db", "queue", "external", "self")

#: Operations of `queue` edges: publishing belongs to the producer, waiting to the consumer.
QUEUE_PUBLISH: Final = "publish"
QUEUE_WAIT: Final = "wait"
#: Operation of the `queue` edge from a producer's destination to the one that its consumer names: an
#: exchange and a queue, a topic and its subscription.  It takes no time.
QUEUE_ROUTE: Final = "route"
#: Peer of what names none.
UNKNOWN: Final = "unknown"

# -- tables: column -> dtype name; `dtypes` turns a table into polars types ----------------------

Table = dict[str, str]

#: One row a span, as decoded; landing files and the sealed `spans` table have these columns
#: (sealed adds `hour`, the hour its trace starts in).
SPANS: Final[Table] = {
    "trace_hi": "Int64",  # first 8 bytes of trace_id
    "trace_lo": "Int64",  # last 8 bytes
    "span_id": "Int64",
    "parent_span_id": "Int64",  # 0: none
    "start_ns": "Int64",
    "end_ns": "Int64",  # as sent; the forest mends end < start and counts it
    "kind": "Int8",  # KIND_*
    "status": "Int8",  # STATUS_*, an unset one as the span's attributes say how it ended
    "threshold": "Int64",  # T of tracestate `ot=th:`, 0..2^56-1; NO_THRESHOLD when absent
    "edge_class": "Int8",  # CLASS_*
    "messaging_op": "Int8",  # MSG_* or LIFE_*
    "environment": "String",  # deployment.environment.name; "" when absent
    "service_name": "String",
    "service_instance": "String",  # service.instance.id; null when absent
    "service_version": "String",  # null when absent
    "host": "String",  # a host, pod, container, instance or own address; null when nothing names one
    "name": "String",  # templated; `raw` has none
    "peer": "String",  # resolved peer (database, topic, callee host); null when nothing names one
    "operation": "String",  # resolved, templated operation; never null
    "links": "Binary",  # 24 bytes a link: trace_id, span_id, as on the wire; null for none
    "content_hash": "Int64",  # of the span's and its resource's bytes; settles duplicates
    "resource": "Binary",  # raw OTLP Resource bytes, less what is not kept
    "scope": "String",  # instrumentation scope's name; null when absent
    "raw": "Binary",  # raw OTLP Span bytes, less its name and what is not kept
}
#: Columns of SPANS that rollups are made of; the others, most of the bytes, tell about single spans.
ROLLED: Final[Table] = {
    name: dtype for name, dtype in SPANS.items() if name not in ("name", "resource", "scope", "raw")
}

# Dimensions: names live here once; ids are content-addressed, so they merge by union.
ENTRIES: Final[Table] = {
    "entry_id": "Int64",  # path id of the root: hash of environment, service, operation
    "environment": "String",
    "service": "String",
    "operation": "String",
}
PATHS: Final[Table] = {
    "path_id": "Int64",
    "parent_id": "Int64",  # a path_id, or the entry_id for the first edge
    "entry_id": "Int64",
    "depth": "Int16",  # 1 for the first edge
    "kind": "Int8",  # EDGE_*
    "caller": "String",
    "callee": "String",  # null for self
    "operation": "String",
    "edge_id": "Int64",  # same hash, parent 0, environment-free: the edge wherever it stands
    "uninstrumented": "Boolean",  # the callee sends no spans
}

# Rollups.  `slot` is the hour since the epoch (start of the trace // HOUR_NS); on-the-fly rollups
# of short periods use finer slots of the same table.
PATH_HOURS: Final[Table] = {
    "slot": "Int64",
    "unit": "Int8",  # UNIT_*
    "path_id": "Int64",
    "threshold": "Int64",
    "calls": "Int64",  # all calls
    "calls_visited": "Int64",  # calls made under a parent call that the walk entered
    "visits": "Int64",  # calls that the walk entered
    "own_ns": "Int64",  # critical time of the edge itself
    "inclusive_ns": "Int64",  # critical window: everything below it as well
    "own_all_ns": "Int64",  # own time on or off the critical path
    "busy_ns": "Int64",  # sum of durations, a batch's divided by its messages
    "child_sum_ns": "Int64",  # of the visits: durations of blocking children, summed
    "child_union_ns": "Int64",  # ... and their union
    "detached_calls": "Int64",  # calls that did not block their parent
    "errors": "Int64",  # calls that failed
    "failed_ns": "Int64",  # busy time of calls that failed; 0 of a service's own work
    "retries": "Int64",  # calls that follow a failed one of the same edge under the same span
    "calls_in_failed": "Int64",  # calls in units of work that failed
    "own_in_failed_ns": "Int64",  # critical time of the edge itself in units of work that failed
    "units": "Int64",  # units of work in which the path occurs
    "slow_ns": "Int64",  # exemplar: the longest call (merge: max, ties by smallest trace id) ...
    "slow_hi": "Int64",
    "slow_lo": "Int64",  # ... and its trace
    "typical_hash": "Int64",  # exemplar: smallest hash of a trace id (merge: min), a fair draw
    "typical_hi": "Int64",
    "typical_lo": "Int64",
}
PATH_SKETCHES: Final[Table] = {
    "slot": "Int64",
    "unit": "Int8",
    "path_id": "Int64",
    "threshold": "Int64",
    "bin": "Int16",  # exponential histogram, scale 4, of call durations in ns
    "count": "Int64",
}
ENTRY_HOURS: Final[Table] = {
    "slot": "Int64",
    "unit": "Int8",
    "entry_id": "Int64",
    "threshold": "Int64",
    "units": "Int64",
    "clock_ns": "Int64",
    "incomplete": "Int64",  # units whose root names a parent that is not here
    "skewed": "Int64",  # units of traces whose clocks could not be reconciled
    "mixed": "Int64",  # units whose spans carry different thresholds
    "errors": "Int64",  # units that failed
    "failed_ns": "Int64",  # clock of the units that failed
    "leafless": "Int64",  # units in which nothing was called
}
ENTRY_SKETCHES: Final[Table] = {
    "slot": "Int64",
    "unit": "Int8",
    "entry_id": "Int64",
    "threshold": "Int64",
    "bin": "Int16",  # of the unit's clock in ns
    "count": "Int64",
}
SERVICE_HOURS: Final[Table] = {
    "slot": "Int64",
    "environment": "String",
    "service": "String",
    "instance": "String",  # "" when the resource names none
    "version": "String",  # "" when the resource names none
    "spans": "Int64",
    "first_ns": "Int64",  # merge: min
    "last_ns": "Int64",  # merge: max
}
#: What was mended or set apart while analysing, by reason.
COUNTERS: Final[Table] = {"slot": "Int64", "reason": "String", "count": "Int64"}
#: Queue hops whose two halves lie in different traces, waiting to be joined.
HOP_HALVES: Final[Table] = {
    "slot": "Int64",
    "side": "Int8",  # 0: a producer nobody in its trace consumed; 1: a consumer's link; 2: a mere poll's
    "key_hi": "Int64",  # the producer span's trace and span id
    "key_lo": "Int64",
    "key_span": "Int64",
    "time_ns": "Int64",  # producer: its end; consumer: its start
    "clock_ns": "Int64",  # producer: its duration; consumer: clock counted so far (without the wait)
    "path_id": "Int64",  # consumer: the path of its wait edge; 0 for producers
    "entry_id": "Int64",
    "threshold": "Int64",
    "topic": "String",  # what the span calls the destination; null where it names none
    "failed": "Int8",  # consumer: whether its unit failed
}

#: Tables that `process` returns and sealing keeps, by name; each is keyed by `slot`.
ROLLUPS: Final[dict[str, Table]] = {
    "path_hours": PATH_HOURS,
    "path_sketches": PATH_SKETCHES,
    "entry_hours": ENTRY_HOURS,
    "entry_sketches": ENTRY_SKETCHES,
    "service_hours": SERVICE_HOURS,
    "counters": COUNTERS,
    "hop_halves": HOP_HALVES,
}
#: Dimension tables, merged by union.
DIMENSIONS: Final[dict[str, Table]] = {"entries": ENTRIES, "paths": PATHS}

#: Columns of PATH_HOURS that anybody looks at hour by hour.
HOURLY: Final = (
    "slot", "unit", "path_id", "threshold", "calls", "calls_visited", "visits", "own_ns", "own_all_ns",
    "busy_ns", "units",
)  # fmt: skip

#: Tables whose rows are a rollup's, added up over whole UTC days, by the rollup's name; their `slot` is the
#: first hour of the day.
DAILY: Final[dict[str, str]] = {"path_hours": "path_days", "entry_sketches": "entry_sketch_days"}

#: Columns that identify a row; the rest are measures.
KEYS: Final[dict[str, tuple[str, ...]]] = {
    "path_hours": ("slot", "unit", "path_id", "threshold"),
    "path_sketches": ("slot", "unit", "path_id", "threshold", "bin"),
    "entry_hours": ("slot", "unit", "entry_id", "threshold"),
    "entry_sketches": ("slot", "unit", "entry_id", "threshold", "bin"),
    "service_hours": ("slot", "environment", "service", "instance", "version"),
    "counters": ("slot", "reason"),
    "hop_halves": tuple(HOP_HALVES),
    "entries": ("entry_id",),
    "paths": ("path_id",),
}

#: Counter reasons that `process` uses.
COUNTER_REASONS: Final[dict[str, str]] = {
    "duplicate_conflict": "spans that share ids with a different span; the smallest content hash stays",
    "end_before_start": "spans whose end lay before their start; the end was set to the start",
    "parent_cycle": "parent cycles broken at the earliest start",
    "missing_parent": "spans whose parent is not here; each starts an incomplete unit",
    "skew_uncertain": "traces whose clocks could not be reconciled",
    "skew_corrected": "spans moved by a clock offset",
    "negative_wait": "messages consumed before their publishing began; their wait counts as zero",
    "unmatched_hop": "consumers' links to a producer that is not here",
    "beyond_window": "spans that start later than their trace's window",
    "idle_poll": "polls that brought no message, and loops that only polled; they are no units of work",
    "lone_settle": "acknowledgements that stand alone; they are no units of work",
    "detached": "units that outlive what started them without a queue between",
    "operation_capped": "distinct operations beyond the cap, counted as (other)",
}

#: Reasons for which a span is rejected before it is stored.
REJECT_REASONS: Final[dict[str, str]] = {
    "invalid_trace_id": "trace_id is not 16 bytes, or all zero",
    "invalid_span_id": "span_id is not 8 bytes, or all zero",
    "invalid_time": "start time missing, or beyond what 63 bits hold",
    "future_time": "start or end time more than a day after the span arrived",
    "too_old": "start time more than twenty years before the span arrived",
    "too_long": "longer than 31 days",
    "too_large": "more than 1 MiB, less what is not kept",
    "damaged": "they were acknowledged, and the file that held them was damaged",
    "hour_closed": "the raw spans of its hour have been removed by retention",
}


def dtypes(table: Table) -> dict[str, pl.DataType]:
    """Polars types of a table, in column order."""
    import polars as pl

    return {name: getattr(pl, dtype)() for name, dtype in table.items()}


def empty(table: Table) -> pl.DataFrame:
    """A frame of no rows with exactly the table's columns."""
    import polars as pl

    return pl.DataFrame(schema=dtypes(table))


def check(frame: pl.DataFrame, table: Table, name: str) -> pl.DataFrame:
    """Return `frame` if its columns and types are exactly those of `table`.

    Raises
    ------
    StoreError
        Names the first column that is missing, unexpected, out of order or of another type.
    """
    wanted = dtypes(table)
    have = dict(frame.schema)
    if have == wanted and list(have) == list(wanted):
        return frame
    for column, dtype in wanted.items():
        if column not in have:
            raise StoreError(f"table {name} lacks column {column} ({dtype})")
        if have[column] != dtype:
            raise StoreError(f"table {name}: column {column} is {have[column]}, not {dtype}")
    extra = [column for column in have if column not in wanted]
    if extra:
        raise StoreError(f"table {name} has an unexpected column {extra[0]}")
    raise StoreError(f"table {name} has its columns in another order than its schema")


def trace_hex(hi: int, lo: int) -> str:
    """A trace id, of its two signed halves, as 32 hex digits."""
    return f"{hi & (2**64 - 1):016x}{lo & (2**64 - 1):016x}"
