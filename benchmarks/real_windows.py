"""How often `diff` cries wolf about a real system to which nothing happened.

    python -m benchmarks.real_windows FOLDER... [--deals 10] [--seed 1] [--verbose]

Every file of recorded traces (OTLP, Jaeger or Zipkin, as `import` reads them) is one quiet window.  Its
requests are dealt to two windows at random, `--deals` times, each request at the instant of another one:
whoever did what is then chance alone, and whatever is significant is a false alarm.  Without `--deals` the
first half of each window is compared with its second half, as it was.  Prints the rate of pairs with a
significant edge, with a significant rise and of each verdict, with 95 % intervals.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.calibration import rate
from tracescope import schema
from tracescope.analysis.diff import diff
from tracescope.analysis.report import Report
from tracescope.analysis.rollups.period import PeriodRollups
from tracescope.analysis.rollups.process import process
from tracescope.api import open_store
from tracescope.engine.compare import slot_of
from tracescope.errors import TracescopeError
from tracescope.periods import Period
from tracescope.store import open_store as opened

#: Requests that either half of a window must have.
FEWEST = 40


def spans_of(file: Path) -> pl.DataFrame:
    """SPANS rows of one file."""
    with tempfile.TemporaryDirectory() as folder:
        open_store(folder).import_files(file)
        store = opened(folder)

        def read(found: object) -> pl.DataFrame:
            sealed = store.sealed.scan(found.pointer, "spans")  # type: ignore[attr-defined]
            rows = [sealed.select(list(schema.SPANS)), found.pending().select(list(schema.SPANS))]  # type: ignore[attr-defined]
            return pl.concat([row.collect() for row in rows])

        return store.reading(read)


def starts(spans: pl.DataFrame) -> pl.DataFrame:
    """``trace_hi, trace_lo, at``: when each trace starts, in order."""
    return (
        spans.group_by("trace_hi", "trace_lo")
        .agg(pl.col("start_ns").min().alias("at"))
        .sort("at", "trace_lo")
    )


def rollups(spans: pl.DataFrame, start: int, end: int) -> PeriodRollups:
    """A window's rollups, cut as `diff` cuts it."""
    slot = slot_of(Period(start, end, ""))
    return PeriodRollups(start, end, slot, "", process(spans, slot_ns=slot).tables)


def halves(spans: pl.DataFrame) -> tuple[PeriodRollups, PeriodRollups]:
    """The first and the second half of a window."""
    when = starts(spans)
    low, high = int(when["at"][0]), int(when["at"][-1]) + 1
    middle = int(when["at"][len(when) // 2])
    placed = spans.join(when, on=["trace_hi", "trace_lo"])
    return tuple(  # type: ignore[return-value]
        rollups(placed.filter(pl.col("at").is_between(a, b, closed="left")).select(spans.columns), a, b)
        for a, b in ((low, middle), (middle, high))
    )


def dealt(spans: pl.DataFrame, rng: np.random.Generator) -> tuple[PeriodRollups, PeriodRollups]:
    """Both halves of a window with its requests in another order."""
    when = starts(spans)
    at = when["at"].to_numpy()
    moved = when.with_columns((pl.Series(rng.permutation(at)) - pl.col("at")).alias("by")).drop("at")
    placed = spans.join(moved, on=["trace_hi", "trace_lo"]).with_columns(
        pl.col("start_ns") + pl.col("by"), pl.col("end_ns") + pl.col("by")
    )
    return halves(placed.select(spans.columns))


def words(report: Report) -> list[str]:
    """What is significant."""
    return [
        f"{edge.kind} {edge.name} {edge.operation} {edge.credited_ms:+.3g} q {edge.q_value:.2g} "
        f"{max(edge.effects, key=lambda name: abs(edge.effects[name]))}"
        for edge in report.edges
        if edge.significant
    ]


def windows(folders: Sequence[str]) -> list[Path]:
    """Files of quiet windows: all there are, or of incidents those before the fault (``.A.``)."""
    files = [file for folder in folders for file in sorted(Path(folder).glob("*.jsonl*"))]
    before = [file for file in files if ".A." in file.name and "nokind" not in file.name]
    return before + [file for file in files if ".A." not in file.name and ".B." not in file.name]


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--deals", type=int, default=0, help="0: halves as they were")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--verbose", action="store_true")
    given = parser.parse_args()
    states: Counter[str] = Counter()
    pairs = alarms = rises = 0
    for file in windows(given.folders):
        spans = spans_of(file)
        if len(starts(spans)) < 2 * FEWEST:
            continue
        for deal in range(max(given.deals, 1)):
            rng = np.random.default_rng([given.seed, deal])
            try:
                report = diff(*(dealt(spans, rng) if given.deals else halves(spans)))
            except TracescopeError as error:
                states[type(error).__name__] += 1
                continue
            pairs += 1
            states[report.state] += 1
            found = words(report)
            alarms += bool(found)
            rises += any(edge.significant and edge.credited_ms > 0 for edge in report.edges)
            if found and given.verbose:
                print(f"{file.name} {deal}: " + "; ".join(found), flush=True)
    print(
        f"{pairs} pairs; a significant edge in {rate(alarms, pairs)}, a significant rise in {rate(rises, pairs)}"
    )
    for state, count in states.most_common():
        print(f"  {state}: {rate(count, sum(states.values()))}")


if __name__ == "__main__":
    main()
