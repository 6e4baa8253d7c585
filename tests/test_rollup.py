"""Rollups: the same whatever the order, slices and workers; ids, sketches, hops and the cap."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product

import numpy as np
import polars as pl
import pytest
from builders import EPOCH_NS, MS, Made, frame, tree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import forests

from tracescope import schema
from tracescope.analysis.rollups.merge import Tables, add_up, checksum, join_hops, merge
from tracescope.analysis.rollups.one_off import FEWEST_NAMES, templates
from tracescope.analysis.rollups.process import path_id, process
from tracescope.analysis.rollups.renaming import OTHER, cap_operations
from tracescope.analysis.statistics.sketch import ZERO_BIN, midpoint_of
from tracescope.analysis.statistics.sketch import bin_of as plain_bin_of
from tracescope.engine.slices import process_slices, slices
from tracescope.kernels.sketch import bin_of

HOUR = schema.HOUR_NS
CHECKED = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def sealed(
    parts: list[pl.DataFrame], workers: int = 1, limit: int = 1000, one_off: int = FEWEST_NAMES
) -> Tables:
    """What sealing makes of slices: processed by some workers, merged, hops joined, names capped."""
    with ThreadPoolExecutor(workers) as pool:
        made = list(pool.map(lambda part: process(part).tables, parts))
    merged = merge(made)
    return cap_operations(join_hops(merged, merged["hop_halves"]), limit, one_off)


# -- the same whatever happens --------------------------------------------------------------------


@CHECKED
@given(
    forests(traces=3),
    st.randoms(use_true_random=False),
    st.integers(1, 4),
    st.integers(1, 2),
    st.integers(1, 3),
)
def test_order_slices_workers_and_repeats_change_nothing(  # type: ignore[no-untyped-def]
    spans: list[Made], draw, parts: int, workers: int, limit: int
) -> None:
    """Whole result, whole value: checksums over every table, with caps that bite."""
    whole = sealed([frame(spans)], limit=limit)
    again = draw.sample([*spans, *draw.sample(spans, len(spans) // 2)], len(spans) + len(spans) // 2)
    cut = [frame([span for span in again if span.trace % parts == part]) for part in range(parts)]
    draw.shuffle(cut)
    assert checksum(sealed(cut, workers, limit)) == checksum(whole)


@CHECKED
@given(forests(traces=3))
def test_hours_apart_add_up_to_all_hours_at_once(spans: list[Made]) -> None:
    """`keep` gives each trace to the hour it starts in, once."""
    rows = frame(spans)
    first = int(rows["start_ns"].min()) // HOUR  # type: ignore[arg-type]
    last = int(rows["start_ns"].max()) // HOUR  # type: ignore[arg-type]
    hours = [process(rows, keep=(h * HOUR, (h + 1) * HOUR)).tables for h in range(first, last + 1)]
    assert checksum(merge(hours)) == checksum(merge([process(rows).tables]))


@pytest.mark.parametrize("memory", [10**9, 50_000, 5_000])
def test_slices_cover_every_trace_once(memory: int) -> None:
    """Cut by trace id into as many slices as memory asks for."""
    rng = random.Random(4)
    spans = [
        replace(span, trace=rng.choice([trace, trace << 40, -trace]))
        for trace in range(1, 120)
        for span in tree("a 0-10 server\n  a 1-9 client\n    b 2-8 server", trace=trace)
    ]
    rows = frame(spans).with_columns(trace_hi=pl.col("trace_lo").abs() % 11 - 5)
    parts = [part.collect() for part in slices(rows.lazy(), memory, 2)]
    assert sum(len(part) for part in parts) == len(rows)
    assert checksum(sealed(parts, 2)) == checksum(sealed([rows]))


def test_what_rollups_are_not_made_of_is_not_read() -> None:
    """Most of a span's bytes stay where they are, and what is made without them is the same."""
    rows = frame(tree("a 0-10 server\n  a 1-9 client\n    b 2-8 server"))

    def read(_: pl.Series) -> pl.Series:
        raise AssertionError

    others = [name for name in schema.SPANS if name not in schema.ROLLED]
    guarded = rows.lazy().with_columns(
        pl.col(name).map_batches(read, return_dtype=schema.dtypes(schema.SPANS)[name]) for name in others
    )
    with pytest.raises(AssertionError):
        guarded.collect()
    made = process_slices(guarded, (0, 2**62), 10**9, 1)
    assert checksum(merge([part.tables for part in made])) == checksum(process(rows).tables)


def test_a_trace_beyond_its_window_is_cut_and_counted() -> None:
    """A year of one trace is many short ones; each hour is looked at once."""
    spans = [Made(n + 1, n, EPOCH_NS + n * 2 * HOUR, EPOCH_NS + n * 2 * HOUR + MS) for n in range(4000)]
    made = process(frame(spans))
    late = made.tables["counters"].filter(pl.col("reason") == "beyond_window")["count"].sum()
    assert late == 4000 - 2  # the first part holds its hour and two more
    assert len(made.spans()) == 4000
    assert made.tables["entry_hours"]["units"].sum() == 4000


def test_a_duplicate_that_does_not_count_moves_no_trace_to_its_hour() -> None:
    """The smallest content hash stays, and it alone says when the trace starts."""
    stays = Made(1, 0, EPOCH_NS + HOUR, EPOCH_NS + HOUR + MS, content_hash=1)
    goes = replace(stays, start=EPOCH_NS, content_hash=2)
    tables = process(frame([goes, stays])).tables
    assert tables["entry_hours"]["slot"].to_list() == [EPOCH_NS // HOUR + 1]
    assert tables["counters"].rows() == [(EPOCH_NS // HOUR + 1, "duplicate_conflict", 1)]


def test_an_edge_answered_in_one_trace_is_instrumented_in_all() -> None:
    """A lost SERVER span makes no second row of the same path, in one slice or in two."""
    answered = tree("a 0-10 server\n  a 1-9 client http op=GET\n    b 2-8 server http op=GET")
    lost = tree("a 0-10 server\n  a 1-9 client http peer=b op=GET", trace=2)
    one, two = sealed([frame([*answered, *lost])]), sealed([frame(lost), frame(answered)])
    assert checksum(one) == checksum(two)
    http = one["paths"].filter(pl.col("kind") == schema.EDGE_HTTP)
    assert http["uninstrumented"].to_list() == [False]
    calls = one["path_hours"].join(http, on="path_id")["calls"].to_list()
    assert calls == [2]


# -- which edge a segment belongs to ---------------------------------------------------------------


def edges(spans: list[Made]) -> dict[tuple[str, str, str | None, str], tuple[int, int]]:
    """(kind, caller, callee, operation) -> calls and own ms."""
    tables = process(frame(spans)).tables
    rows = tables["path_hours"].join(tables["paths"], on="path_id").iter_rows(named=True)
    out: dict[tuple[str, str, str | None, str], tuple[int, int]] = {}
    for row in rows:
        key = schema.EDGE_KINDS[row["kind"]], row["caller"], row["callee"], row["operation"]
        calls, own = out.get(key, (0, 0))
        out[key] = calls + row["calls"], own + row["own_ns"] // MS
    return out


def test_every_kind_of_edge_gets_its_own_time() -> None:
    """Design, section 4: first match wins; the gap of a call is its own, what it waits for is not."""
    found = edges(
        tree("""
            gw 0-200 server http op='POST /checkout'
              gw 5-105 client http
                orders 10-100 server http op='POST /orders'
                  orders 12-20 internal op=validate
                  orders 20-60 client db peer=postgresql/orders op='INSERT orders'
                  orders 60-80 client rpc peer=legacy op=shop.Stock/Take
                  orders 80-95 producer messaging peer=order-events
              gw 110-150 client peer=api.psp.example op=charge
              gw 150-170 client http peer=mail.example op=POST
        """)
    )
    assert found == {
        ("self", "gw", None, "POST /checkout"): (1, 5 + 5 + 30),
        ("http", "gw", "orders", "POST /orders"): (1, 5 + 5),
        ("self", "orders", None, "POST /orders"): (1, 2 + 8 + 5),
        ("db", "orders", "postgresql/orders", "INSERT orders"): (1, 40),
        ("rpc", "orders", "legacy", "shop.Stock/Take"): (1, 20),
        ("queue", "orders", "order-events", "publish"): (1, 15),
        ("external", "gw", "api.psp.example", "charge"): (1, 40),
        ("http", "gw", "mail.example", "POST"): (1, 20),
    }


def test_a_database_that_sends_spans_is_a_database_still() -> None:
    found = edges(
        tree("""
            a 0-100 server op=GET
              a 10-90 client db peer=tidb/shop op='SELECT x'
                tidb 20-80 server op=query
        """)
    )
    assert found["db", "a", "tidb/shop", "SELECT x"] == (1, 20)
    assert found["self", "tidb", None, "query"] == (1, 60)


def test_the_second_answer_of_a_retried_call_is_not_its_callers_own_time() -> None:
    found = edges(
        tree("""
            a 0-100 server op=GET
              a 10-90 client http
                b 20-40 server http op=/x
                b 50-80 server http op=/x
        """)
    )
    assert found["self", "a", None, "GET"] == (1, 20)
    assert found["http", "a", "b", "/x"] == (1, 30)
    assert found["self", "b", None, "/x"] == (2, 50)


@pytest.mark.parametrize("ids", [(2, 3, 4), (4, 3, 2), (3, 4, 2)])
def test_a_client_that_wraps_clients_is_its_services_own_work_whatever_their_ids(
    ids: tuple[int, ...],
) -> None:
    outer, inner, leaf = ids
    kind = schema.KIND_CLIENT
    spans = [
        Made(1, 0, EPOCH_NS, EPOCH_NS + 100 * MS, kind=schema.KIND_SERVER, operation="GET"),
        Made(outer, 1, EPOCH_NS + 10 * MS, EPOCH_NS + 90 * MS, kind=kind),
        Made(inner, outer, EPOCH_NS + 20 * MS, EPOCH_NS + 80 * MS, kind=kind),
        Made(leaf, inner, EPOCH_NS + 30 * MS, EPOCH_NS + 70 * MS, kind=kind, peer="psp", operation="pay"),
    ]
    assert edges(spans) == {("self", "a", None, "GET"): (1, 60), ("external", "a", "psp", "pay"): (1, 40)}


def test_middleware_spans_make_no_path_new() -> None:
    call = "a 20-80 client db peer=x op=y"
    plain = process(frame(tree(f"a 0-100 server op=GET\n  {call}"))).tables
    layers = tree(f"a 0-100 server op=GET\n  a 5-95 op=auth\n    a 6-94 op=log\n      {call}")
    layered = process(frame(layers)).tables
    assert plain["paths"].equals(layered["paths"])
    assert plain["path_hours"]["own_ns"].to_list() == layered["path_hours"]["own_ns"].to_list()


# -- clocks ----------------------------------------------------------------------------------------


def test_a_host_whose_clock_is_off_is_moved_by_the_least_that_fits() -> None:
    """Everything on the host moves, and what it calls on hosts without a vote of their own stays."""
    spans = tree("""
        a 0-100 server host=h1 op=GET
          a 10-90 client host=h1
            b 110-170 server host=h2 op=/x
              b 120-160 client db peer=x host=h2
    """)
    tables = process(frame(spans)).tables
    counters = dict(tables["counters"].select("reason", "count").iter_rows())
    assert counters == {"skew_corrected": 2}
    assert tables["entry_hours"]["clock_ns"].to_list() == [100 * MS]
    off = dict(process(frame(spans), skew=False).tables["counters"].select("reason", "count").iter_rows())
    assert off == {"detached": 1}


def test_clocks_that_cannot_be_reconciled_are_moved_to_the_middle_and_marked() -> None:
    spans = tree("""
        a 0-300 server host=h1
          a 10-20 client host=h1
            b 30-40 server host=h2
          a 110-120 client host=h1
            b 90-100 server host=h2
    """)
    tables = process(frame(spans)).tables
    assert tables["entry_hours"]["skewed"].sum() == tables["entry_hours"]["units"].sum() == 3
    assert dict(tables["counters"].select("reason", "count").iter_rows())["skew_uncertain"] == 1


# -- messages --------------------------------------------------------------------------------------


def messages(tables: Tables) -> tuple[int, int]:
    """Message units and their clock in ms."""
    rows = tables["entry_hours"].filter(pl.col("unit") == schema.UNIT_MESSAGE)
    return rows["units"].sum(), rows["clock_ns"].sum() // MS


SENT = "a 0-20 server\n  a 5-10 producer peer=orders"


@pytest.mark.parametrize(
    "form",
    [
        tree(f"{SENT}\n    w 30-70 consumer peer=orders"),
        [*tree(SENT), *tree("w 30-70 consumer peer=orders link=2", first=9)],
        [*tree(SENT), *tree("w 30-70 consumer peer=orders link=1:2", trace=2)],
        [*tree(f"{SENT}\n    w 30-70 consumer peer=orders link=2 link=2")],
        [
            *tree(SENT),
            *tree("w 15-90 consumer receive\n  w 30-70 consumer process peer=orders link=1:2", trace=2),
        ],
        [
            *tree(SENT),
            *tree("w 15-90 consumer receive link=1:2\n  w 30-70 consumer process peer=orders", trace=2),
        ],
    ],
    ids=["child", "link", "link across traces", "child and links", "process links", "receive links"],
)
def test_a_message_is_one_hop_whatever_its_form(form: list[Made]) -> None:
    """From the end of publishing (10) to the end of work (70); idle polling is not latency."""
    tables = sealed([frame([span for span in form if span.trace == part]) for part in (1, 2)])
    assert messages(tables) == (1, 60)
    wait = tables["paths"].filter((pl.col("kind") == schema.EDGE_QUEUE) & (pl.col("operation") == "wait"))
    assert wait.select("caller", "callee").rows() == [("orders", "w")]
    rows = tables["path_hours"].join(wait, on="path_id")
    assert rows.select("own_ns", "inclusive_ns", "calls").rows() == [(20 * MS, 60 * MS, 1)]
    sketch = tables["path_sketches"].join(wait, on="path_id")
    assert sketch.select("bin", "count").rows() == [(int(bin_of(np.array([20 * MS]))[0]), 1)]


def test_a_batch_across_traces_makes_a_hop_for_each_link() -> None:
    """Each with its full clock; busy time and load count the batch once."""
    sent = [span for n in (1, 2, 3) for span in tree(SENT, trace=n)]
    batch = tree("w 30-70 consumer peer=orders link=1:2 link=2:2 link=3:2 link=9:9 link=1:2", trace=4)
    tables = sealed([frame(sent), frame(batch)])
    assert messages(tables) == (4, 3 * 60 + 40)
    assert ("unmatched_hop", 1) in tables["counters"].select("reason", "count").rows()
    rows = tables["path_hours"].filter(pl.col("unit") == schema.UNIT_MESSAGE)
    assert rows["own_ns"].sum() == (3 * 60 + 40) * MS
    assert rows["busy_ns"].sum() == (60 + 40) * MS  # three waits, and the work once


def test_consumers_that_look_alike_are_as_many_as_they_are() -> None:
    """One message, read at the same instant by three instances."""
    sent = tree(SENT)
    readers = [span for n in (2, 3, 4) for span in tree("w 30-70 consumer peer=orders link=1:2", trace=n)]
    one = sealed([frame([*sent, *readers])])
    many = sealed([frame(sent), *[frame([reader]) for reader in readers]])
    assert messages(one) == (3, 180)
    assert checksum(one) == checksum(many)


def test_a_message_read_before_it_was_sent_waits_for_nothing_and_is_counted() -> None:
    for trace in (1, 2):
        late = tree("w 3-70 consumer peer=orders link=1:2", trace=trace, first=9)
        tables = sealed([frame([*tree(SENT), *late])])
        assert messages(tables) == (1, 67)
        assert ("negative_wait", 1) in tables["counters"].select("reason", "count").rows()


def test_a_message_read_while_its_publisher_awaits_the_confirm_waits_for_nothing() -> None:
    """Nothing is wrong with anybody's clock then, so nothing is counted."""
    for trace in (1, 2):
        late = tree("w 8-70 consumer peer=orders link=1:2", trace=trace, first=9)
        tables = sealed([frame([*tree(SENT), *late])])
        assert messages(tables) == (1, 62)
        assert "negative_wait" not in tables["counters"]["reason"].to_list()


# -- sampling --------------------------------------------------------------------------------------


def test_the_largest_threshold_of_a_unit_is_its_key_and_mixed_units_are_marked() -> None:
    """Sums stay unweighted: weights are applied when asked for."""
    spans = [
        *tree("a 0-10 server th=0\n  a 1-9 client db peer=x th=36028797018963968"),
        *tree("a 0-10 server\n  a 1-9 client db peer=x", trace=2),
    ]
    rows = process(frame(spans)).tables["entry_hours"].select("threshold", "units", "mixed", "clock_ns")
    assert rows.rows() == [(schema.NO_THRESHOLD, 1, 0, 10 * MS), (2**55, 1, 1, 10 * MS)]


# -- ids -------------------------------------------------------------------------------------------


def test_path_ids_are_these_for_ever() -> None:
    """Golden: a year of rollups is keyed by them."""
    entry = path_id(0, "prod", "gateway", "POST /checkout")
    call = path_id(entry, "http", "gateway", "orders", "POST /orders")
    assert (
        entry,
        call,
        path_id(call, "self", "orders", None, "POST /orders"),
        path_id(0, "", "é", ""),
    ) == GOLDEN
    assert path_id(0, "ab", "c") != path_id(0, "a", "bc")
    assert path_id(0, None) != path_id(0, "")


GOLDEN = (-4148852068198171642, -1165553293738020477, 9913718435741770, -3738748524906033126)


# -- sketches --------------------------------------------------------------------------------------


@CHECKED
@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=50))
def test_a_bin_holds_its_values_and_its_middle_is_within_2_2_percent(values: list[int]) -> None:
    """Bin i holds (2^(i/16), 2^((i+1)/16)]; at a border, as far as doubles tell the two apart."""
    bins = bin_of(np.array(values, np.int64))
    middle = midpoint_of(bins)
    for value, number, got in zip(values, bins.tolist(), middle.tolist(), strict=True):
        if value == 0:
            assert (number, got) == (ZERO_BIN, 0.0)
            continue
        low, high = 2 ** (number / 16), 2 ** ((number + 1) / 16)
        assert low * (1 - 1e-12) < value <= high * (1 + 1e-12)
        assert abs(got - value) <= 0.022 * value


@CHECKED
@given(st.lists(st.integers(-1, 2**63 - 1), min_size=1, max_size=50))
def test_a_value_has_one_bin_with_the_compiler_and_without(values: list[int]) -> None:
    """Edges of bins, and what is just beside them, among them."""
    edges = [int(2 ** (number / 16)) + beside for number in range(16 * 62) for beside in (-1, 0, 1)]
    both = np.array([*values, *edges, 2**63 - 1], np.int64)
    assert plain_bin_of(both).tolist() == bin_of(both).tolist()


@pytest.mark.parametrize("power", range(63))
def test_powers_of_two_end_their_bin(power: int) -> None:
    numbers = bin_of(np.array([2**power, 2**power + 1], np.int64))
    assert numbers[0] == 16 * power - 1
    assert numbers[1] >= 16 * power or power > 50


@CHECKED
@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=60), st.integers(1, 59), st.floats(0.01, 1))
def test_sketches_merge_by_sum_and_give_quantiles_within_2_2_percent(
    values: list[int], cut: int, q: float
) -> None:
    parts = [np.array(part, np.int64) for part in (values[:cut], values[cut:]) if part]
    rows = [np.unique(bin_of(part), return_counts=True) for part in parts]
    merged = pl.concat(
        pl.DataFrame({"bin": bins, "count": counts}).cast({"count": pl.Int64}) for bins, counts in rows
    )
    merged = merged.group_by("bin").agg(pl.col("count").sum()).sort("bin")
    whole = np.unique(bin_of(np.array(values, np.int64)), return_counts=True)
    assert merged["bin"].to_list() == whole[0].tolist()
    assert merged["count"].to_list() == whole[1].tolist()
    reached = merged["count"].cum_sum().to_numpy()
    at = int(np.searchsorted(reached, q * len(values)))
    got = midpoint_of(merged["bin"].to_numpy()[at : at + 1])[0]
    exact = sorted(values)[max(int(np.ceil(q * len(values) - 1e-9)) - 1, 0)]
    assert abs(got - exact) <= 0.022 * exact


# -- adding up -------------------------------------------------------------------------------------


@st.composite
def rows_of(draw: st.DrawFn, name: str) -> pl.DataFrame:
    """Rows of a rollup with few keys, and of ids and hashes many that are the same or none."""
    count = draw(st.integers(0, 30))
    few = st.lists(st.integers(0, 2), min_size=count, max_size=count)
    columns = {column: draw(few) for column in schema.ROLLUPS[name]}
    return pl.DataFrame(columns, schema=schema.dtypes(schema.ROLLUPS[name]))


@CHECKED
@given(
    st.sampled_from(("path_hours", "path_sketches", "entry_hours", "entry_sketches")).flatmap(
        lambda name: st.tuples(st.just(name), rows_of(name))
    )
)
def test_rows_of_one_key_are_summed_and_show_the_longest_and_a_drawn_trace(
    case: tuple[str, pl.DataFrame],
) -> None:
    """The longest has an id where it can, the smallest of several; what is drawn the smallest hash set."""
    name, rows = case
    keys = schema.KEYS[name]
    found: dict[tuple[int, ...], list[dict[str, int]]] = {}
    for row in rows.iter_rows(named=True):
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    wanted: list[dict[str, int]] = []
    for _, of_key in sorted(found.items()):
        made = {column: sum(row[column] for row in of_key) for column in rows.columns}
        made |= {key: of_key[0][key] for key in keys}
        if name == "path_hours":
            ids = ["slow_hi", "slow_lo"]
            longest = min(
                of_key, key=lambda r: (-r["slow_ns"], not any(r[i] for i in ids), *(r[i] for i in ids))
            )
            drawn = min(
                of_key,
                key=lambda r: (not r["typical_hash"], r["typical_hash"], r["typical_hi"], r["typical_lo"]),
            )
            made |= {column: longest[column] for column in ("slow_ns", *ids)}
            made |= {column: drawn[column] for column in ("typical_hash", "typical_hi", "typical_lo")}
        wanted.append(made)
    got = add_up(name, rows)
    assert got.schema == rows.schema
    assert got.to_dicts() == wanted


# -- the cap ---------------------------------------------------------------------------------------


def many_operations(count: int, hot: int = 0) -> list[Made]:
    """A service that puts ids into its operations; `hot` of them are called twice."""
    out: list[Made] = []
    for n in range(count + hot):
        name = f"GET /u/{n % count:05d}x"
        out += tree(
            f"a 0-10 server op=GET\n  a 1-9 client http\n    b 2-8 server http op='{name}'\n"
            f"      b 3-7 client db peer=pg/x op='SELECT {n % 3}'",
            trace=n + 1,
        )
    return out


def test_ten_thousand_operations_become_a_thousand_and_other() -> None:
    """Rows are bounded, nothing is lost, and the kept ones are the most called, then by name."""
    rows = frame(many_operations(10_000, hot=5))
    plain = sealed([rows], limit=10**6, one_off=10**6)
    capped = sealed([rows], one_off=10**6)
    names = capped["paths"].filter((pl.col("kind") == schema.EDGE_SELF) & (pl.col("caller") == "b"))
    kept = set(names["operation"])
    assert kept == {OTHER, *(f"GET /u/{n:05d}x" for n in range(1000))}
    assert len(plain["path_hours"]) > 30_000
    assert len(capped["path_hours"]) < 3_100 + 3 * 1001
    for column in ("calls", "visits", "own_ns", "own_all_ns", "busy_ns", "inclusive_ns"):
        assert capped["path_hours"][column].sum() == plain["path_hours"][column].sum()
    assert capped["path_sketches"]["count"].sum() == plain["path_sketches"]["count"].sum()
    assert ("operation_capped", 9_000) in capped["counters"].select("reason", "count").rows()


def test_names_that_are_used_once_become_one_whatever_slices_saw_them() -> None:
    """6,000 of them are one operation, with one that is called often among them, and nothing is lost."""
    spans: list[Made] = []
    for n in range(6000):
        word = "".join("abcdefghij"[int(digit)] for digit in f"{n:04d}")
        spans += tree(
            f"a 0-10 server op=GET\n  a 1-9 client http\n    b 2-8 server http op='greet {word}'", trace=n + 1
        )
    for n in range(60):
        spans += tree("b 0-10 server op='greet everybody'", trace=10_000 + n)
    rows = frame(spans)
    whole = sealed([rows])
    halves = [rows.filter(rows["trace_lo"] % 2 == half) for half in (0, 1)]
    assert checksum(sealed(halves, workers=2)) == checksum(whole)
    names = set(whole["paths"].filter(pl.col("caller") == "b")["operation"])
    assert names == {"greet {id}"}
    assert len(whole["paths"]) < 12
    plain = sealed([rows], limit=10**6, one_off=10**6)
    assert whole["path_hours"]["calls"].sum() == plain["path_hours"]["calls"].sum()


def test_words_that_take_few_values_and_names_that_are_called_often_stay() -> None:
    """Two verbs are two operations; a hundred routes that are all used are a hundred."""
    people = ["".join(pair) for pair in product("abcdefgh", "ijklmnop")]
    calls = {f"{verb} {name}": 1.0 for verb in ("greet", "dismiss") for name in people}
    assert set(templates(calls).values()) == {"greet {id}", "dismiss {id}"}
    assert templates(dict.fromkeys(calls, 40.0)) == {}
    assert templates(dict.fromkeys(list(calls)[:15], 1.0)) == {}


def test_a_capped_hour_is_closed_under_its_names() -> None:
    """Ids are hashes of the names beside them, parents are there, and capping again changes nothing."""
    spans = [*many_operations(12), *tree("b 0-10 server op='GET /zebra'", trace=99)]
    capped = sealed([frame(spans)], limit=4)
    again = cap_operations(capped, 4)
    assert checksum(again) == checksum(capped)
    entries = {row["entry_id"]: row for row in capped["entries"].iter_rows(named=True)}
    paths = {row["path_id"]: row for row in capped["paths"].iter_rows(named=True)}
    for number, row in entries.items():
        assert number == path_id(0, row["environment"], row["service"], row["operation"])
    for number, row in paths.items():
        names = schema.EDGE_KINDS[row["kind"]], row["caller"], row["callee"], row["operation"]
        assert number == path_id(row["parent_id"], *names)
        assert row["edge_id"] == path_id(0, *names)
        assert row["parent_id"] in paths or row["parent_id"] in entries
        assert row["entry_id"] in entries
    for name in ("path_hours", "path_sketches"):
        assert set(capped[name]["path_id"]) <= set(paths)
    assert set(capped["entry_hours"]["entry_id"]) <= set(entries)
    assert OTHER in {row["operation"] for row in entries.values()}


def test_each_hour_is_capped_by_itself() -> None:
    """A quiet hour keeps the names that a busy one folds."""
    busy = many_operations(6)
    quiet = [
        replace(span, trace=span.trace + 100, start=span.start + HOUR, end=span.end + HOUR)
        for span in many_operations(2)
    ]
    capped = sealed([frame([*busy, *quiet])], limit=3)
    alone = sealed([frame(quiet)], limit=3)
    later = capped["path_hours"].filter(pl.col("slot") == EPOCH_NS // HOUR + 1)
    assert later.equals(alone["path_hours"])
