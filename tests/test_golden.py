"""Rendered text, compared with what somebody read and found good (`--regenerate-goldens` writes it anew)."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from tracescope.analysis.report import (
    EFFECTS,
    Certainty,
    Edge,
    EdgeKey,
    Extent,
    Finding,
    Mechanism,
    Report,
    Standing,
    StandingKind,
    Victim,
)
from tracescope.report import text
from tracescope.schema import DAY_NS

GOLDEN = Path(__file__).parent / "golden"
START_NS = 1_782_864_000 * 10**9  # 2026-07-01


def _edge(name: str, kind: str, operation: str | None, ms: tuple[float, float], **more: object) -> Edge:
    caller, _, callee = name.partition(" -> ")
    given = {
        "unit": "request", "uninstrumented": False, "share_base": ms[0] / 40, "share_head": ms[1] / 60,
        "share_ci": (0.01, 0.02), "own_ms_base": ms[0], "own_ms_head": ms[1], "inclusive_ms_base": ms[0],
        "inclusive_ms_head": ms[1], "credited_ms": ms[1] - ms[0],
        "credited_ms_ci": (ms[1] - ms[0] - 0.5, ms[1] - ms[0] + 0.5), "shrunk_ms": 0.0, "q_value": 0.001,
        "significant": True, "effects": dict.fromkeys(EFFECTS, 0.0), "effects_ci": {},
        "calls_per_unit_base": 1.0, "calls_per_unit_head": 1.0, "note": None,
        "exemplars_base": (), "exemplars_head": (),
    }  # fmt: skip
    return Edge(kind=kind, caller=caller, callee=callee or None, operation=operation, **{**given, **more})


def _report() -> Report:
    """Every kind of row and line: causes, a mix, messages, transient, not significant, a changed rule."""
    zero = dict.fromkeys(EFFECTS, 0.0)
    above = EdgeKey("request", "http", "cart", "pricing", "GET /prices/{id}")
    edges = (
        _edge("cart -> pricing", "http", "GET /prices/{id}", (2.0, 9.5), effects={**zero, "calls": 7.5},
              calls_per_unit_base=0.28, calls_per_unit_head=0.8),
        _edge("inventory -> postgresql/stock", "db", "UPDATE stock", (8.25, 12.5),
              effects={**zero, "latency_unsplit": 3.0, "criticality": 1.25}),
        _edge("order-events -> fulfilment", "queue", "wait", (39.0, 346.0), unit="message",
              share_base=0.975, share_head=0.985,
              effects={**zero, "latency_unsplit": 307.0}),
        _edge("checkout -> fraud.psp.example", "external", "POST /score", (0.0, 1.5),
              effects={**zero, "new": 1.5}),
        _edge("pricing -> postgresql/pricing", "db", "SELECT prices", (0.7, 1.9),
              significant=False, q_value=1.0, credited_ms=0.01, credited_ms_ci=(-0.01, 0.03),
              standing=Standing(StandingKind.FOLLOWS, above)),
        _edge("search", "self", "GET /search", (0.5, 1.05), significant=False, q_value=1.0, credited_ms=0.0,
              credited_ms_ci=(-0.01, 0.01), standing=Standing(StandingKind.MOVED)),
        _edge("mailer -> smtp", "external", "send", (2.0, 3.1), significant=False, q_value=0.2,
              credited_ms_ci=(0.1, 2.1), standing=Standing(StandingKind.UNCERTAIN, decides="q value")),
        _edge("recommendations", "self", "GET /similar/{id}", (4.0, 4.0), significant=False, q_value=0.6,
              effects={**zero, "transient": 0.7}),
        _edge("audit -> a-very-long-service-name-that-does-not-fit.internal", "rpc",
              "audit.v1.Log/WriteManyEntries", (1.0, 0.0), significant=False, q_value=None,
              credited_ms_ci=None, note="blocking rule changed"),
        _edge("gateway -> catalog", "http", "GET /items", (5.0, 3.0),
              effects={**zero, "latency_unsplit": -2.0}),
    )  # fmt: skip
    return Report(
        environment="production",
        notes=("no sampling probability in the traces: volumes are of sampled traces",),
        base=Extent(START_NS, START_NS + 31 * DAY_NS, 3_640_000.0, 744.0, 31, 36_400),
        head=Extent(START_NS + 31 * DAY_NS, START_NS + 62 * DAY_NS, 5_510_000.0, 744.0, 31, 55_100),
        clock={
            "base_ms": 40.0, "head_ms": 60.0, "delta_ms": 20.0, "delta_mix_adjusted_ms": 16.0,
            "base_raw_ms": 40.0, "head_raw_ms": 60.0,
        },
        other_clocks={"message": {"base_ms": 39.2, "head_ms": 346.0, "delta_ms": 306.8}},
        state="drifting",
        stage=None,
        reasons=("cart -> pricing: +7.5 ms per request",),
        edges=edges,
        entries=(),
        effects_total={**zero, "calls": 7.5, "latency_unsplit": 1.0, "mix": 4.0},
        rejected={"invalid_trace_id": 3},
        min_effect_ms=0.2,
        edges_in_all=29,
        findings=(
            Finding(
                edges[1].key, Mechanism.CONTENDED, "a lock at postgresql/stock holds the consumers of "
                "order-events: +4.25 ms per request", 4.25, "request", total_ms=11.0,
                victims=(Victim(edges[2].key, 307.0, "message", "its consumers are busy waiting for it"),),
                certainty=Certainty.CONSISTENT,
            ),
            Finding(edges[0].key, Mechanism.MORE_CALLS, "cart -> pricing: more calls", 7.5, "request"),
        ),
    )  # fmt: skip


def _table(width: int, *, wide: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, no_color=True, highlight=False)
    console.print(text.diff_text(_report(), width=width, wide=wide))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


RENDERED = {
    "diff-80.txt": lambda: _table(80, wide=False),
    "diff-100.txt": lambda: _table(100, wide=False),
    "diff-140.txt": lambda: _table(140, wide=False),
    "diff-piped.txt": lambda: _table(text.UNBOUNDED, wide=False),
    "diff-wide-200.txt": lambda: _table(200, wide=True),
    "diff.md": lambda: text.diff_markdown(_report()),
    "diff.csv": lambda: text.diff_csv(_report()),
}


@pytest.mark.parametrize("name", RENDERED)
def test_rendered_text_is_what_was_read_and_found_good(name: str, request: pytest.FixtureRequest) -> None:
    """Byte for byte; a change of the text is a change of its golden, in the same commit."""
    made = RENDERED[name]()
    if request.config.getoption("--regenerate-goldens"):
        GOLDEN.mkdir(exist_ok=True)
        (GOLDEN / name).write_text(made, encoding="utf-8")
    assert made == (GOLDEN / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    """Whatever the names are; and a figure is whole or not there."""
    lines = _table(width, wide=False).splitlines()
    assert max(len(line) for line in lines) <= width
    assert any("+7.50 ms" in line and line.lstrip().startswith("1") for line in lines)


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_the_reason_stays_at_every_width_and_what_goes_is_said(width: int) -> None:
    """Below its row where there is no room beside; columns that go are named with a flag that shows them."""
    said = " ".join(_table(width, wide=False).split())
    for reason in (
        "more calls (0.28 → 0.80)",
        "slower +3.00, more often waited for +1.25",
        "blocking rule changed",
    ):
        assert all(word in said for word in reason.split())
    heading = next(
        line for line in _table(width, wide=False).splitlines() if line.lstrip().startswith("edge")
    )
    gone = [title for title in ("operation", "share", "kind", "ms per unit", "95 %") if title not in heading]
    assert ("(--format wide)" in said) == bool(gone)
    assert all(title in said for title in gone)


def test_what_is_piped_is_neither_cut_nor_folded() -> None:
    """One line an edge, whole names, nothing left out."""
    lines = _table(text.UNBOUNDED, wide=False).splitlines()
    assert not any("…" in line.replace(" … ", "") or "no room" in line for line in lines)
    for edge in _report().edges:
        kept = [line for line in lines if edge.caller in line and (edge.operation or "") in line]
        assert any(text.why(edge) in line for line in kept)
