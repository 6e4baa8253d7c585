"""What every renderer of a diff keeps to, whatever the numbers."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console
from simulated import START_NS, call, compare, period, publish, query, serve, spans

from tracescope import schema
from tracescope.analysis.diff import Options, diff
from tracescope.analysis.report import Report
from tracescope.cli.shell import to_json
from tracescope.report import diff_json, text


def _drawn(report: Report, *, wide: bool) -> str:
    out = io.StringIO()
    Console(file=out, width=160, no_color=True).print(text.diff_text(report, width=160, wide=wide))
    return out.getvalue()


def _table(report: Report) -> str:
    return _drawn(report, wide=True)


RENDERERS: dict[str, Callable[[Report], str]] = {
    "table": _table,
    "json": lambda report: to_json(diff_json(report)),
    "ndjson": text.diff_ndjson,
    "markdown": text.diff_markdown,
    "csv": text.diff_csv,
}


def _days(base, head) -> Report:
    halves = [
        period(
            spans(program, start_ns=START_NS + n * schema.DAY_NS, hours=24, per_hour=2),
            START_NS + n * schema.DAY_NS,
            24,
        )
        for n, program in enumerate((base, head))
    ]
    return diff(halves[0], halves[1], Options())


def test_a_wide_table_tells_of_every_entry_what_would_have_shown() -> None:
    """Beside its rise; where nothing could be told, that stands there."""
    report = compare(serve("a", "x", 2.0), serve("a", "x", 3.0), jitter=0.1)
    (entry,) = report.entries
    assert entry.detectable_ms is not None
    assert re.search(rf"a x .* {re.escape(text.number(entry.detectable_ms))} ms", _table(report))
    unknown = replace(report, entries=(replace(entry, detectable_ms=None),))
    assert re.search(r"a x .* unknown", _table(unknown))
    assert "detectable rise" not in _drawn(report, wide=False)


ODD = {
    "ordinary": lambda: compare(serve("a", "x", 2.0), serve("a", "x", 3.0), jitter=0.1),
    "a clock of zero": lambda: _days(serve("a", "x", 0.0), serve("a", "x", 0.0)),
    "from nothing": lambda: _days(serve("a", "x", 0.0), serve("a", "x", 5.0, [query("db", "q", 1.0)])),
    "to nothing": lambda: _days(serve("a", "x", 5.0, [query("db", "q", 1.0)]), serve("a", "x", 0.0)),
    "messages appear": lambda: _days(
        serve("a", "x", 5.0), serve("a", "x", 5.0, [publish("t", 1.0, "c", 1.0), call("d", "z", 0.0)])
    ),
    "two blocks": lambda: compare(serve("a", "x", 2.0), serve("a", "x", 9.0), hours=2, per_hour=20),
}


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    return {name: make() for name, make in ODD.items()}


@pytest.mark.parametrize("form", RENDERERS)
def test_nan_and_infinity_never_reach_an_output(reports: dict[str, Report], form: str) -> None:
    """Not as a number, not as a word, for periods of nothing, from nothing and to nothing."""
    for name, report in reports.items():
        rendered = RENDERERS[form](report)
        assert not re.search(r"\b(nan|inf(inity)?)\b", rendered, re.IGNORECASE), (name, rendered)
        assert not re.search(r"(^|[\s|,>:\"])\?", rendered), (
            name,
            rendered,
        )  # for a number, not after a question


def _numbers(value: object) -> list[float]:
    if isinstance(value, dict):
        return [number for inner in value.values() for number in _numbers(inner)]
    if isinstance(value, (list, tuple)):
        return [number for inner in value for number in _numbers(inner)]
    return [float(value)] if isinstance(value, (int, float)) else []


def test_every_number_of_the_json_document_is_finite(reports: dict[str, Report]) -> None:
    """Before encoding, which could turn one into null without a word."""
    for name, report in reports.items():
        assert all(math.isfinite(number) for number in _numbers(diff_json(report))), name
        json.dumps(diff_json(report), allow_nan=False)


def test_effects_of_every_odd_pair_add_up_to_the_change(reports: dict[str, Report]) -> None:
    """To 1e-9 of the clock."""
    for name, report in reports.items():
        total = sum(report.effects_total.values())
        clock = report.clock
        assert math.isclose(
            total, clock["delta_ms"], abs_tol=1e-9 * max(clock["base_ms"], clock["head_ms"])
        ), name
