"""Reports as answers have them, made by hand: for tests of what is said of them."""

from __future__ import annotations

from typing import Any

from tracescope.analysis.report import EFFECTS, Edge, Extent, Report, State

START_NS = 1_790_812_800 * 10**9  # 2026-10-01
MONTH_NS = 30 * 86_400 * 10**9


def edge(
    name: str,
    own: tuple[float, float] = (1.0, 1.0),
    credited: float = 0.0,
    ci: tuple[float, float] | None = (-0.01, 0.01),
    **more: Any,
) -> Edge:
    """One edge, ``caller -> callee`` or a service by itself; its smallest effect is 0.1 ms."""
    caller, _, callee = name.partition(" -> ")
    given = {
        "unit": "request", "kind": "http" if callee else "self", "operation": None, "uninstrumented": False,
        "share_base": 0.1, "share_head": 0.1, "share_ci": None, "inclusive_ms_base": own[0],
        "inclusive_ms_head": own[1], "shrunk_ms": 0.0, "q_value": 1.0, "significant": False,
        "effects": dict.fromkeys(EFFECTS, 0.0), "effects_ci": {}, "calls_per_unit_base": 1.0,
        "calls_per_unit_head": 1.0, "note": None, "exemplars_base": (), "exemplars_head": (),
        "min_effect_ms": 0.1,
    }  # fmt: skip
    return Edge(
        caller=caller, callee=callee or None, own_ms_base=own[0], own_ms_head=own[1], credited_ms=credited,
        credited_ms_ci=ci, **{**given, **more},
    )  # fmt: skip


def grown(name: str, effect: str, **more: Any) -> Edge:
    """An edge that takes 2 ms more, significantly."""
    effects = {**dict.fromkeys(EFFECTS, 0.0), effect: 2.0}
    return edge(
        name, (1.0, 3.0), 2.0, (1.5, 2.5), significant=True, q_value=0.001, effects=effects, **more
    )  # fmt: skip


def report(edges: tuple[Edge, ...] = (), **more: Any) -> Report:
    """A month against the month before."""
    given: dict[str, Any] = {
        "environment": "", "notes": (),
        "base": Extent(START_NS, START_NS + MONTH_NS, 1000.0, 720.0, 30),
        "head": Extent(START_NS + MONTH_NS, START_NS + 2 * MONTH_NS, 1200.0, 720.0, 30),
        "clock": {
            "base_ms": 20.0, "head_ms": 22.0, "delta_ms": 2.0, "delta_mix_adjusted_ms": 2.0,
            "base_raw_ms": 20.0, "head_raw_ms": 22.0,
        },
        "other_clocks": {}, "state": State.DRIFTING, "stage": None, "reasons": ("a -> b: +2 ms per request",),
        "entries": (), "effects_total": {}, "edges_in_all": len(edges),
    }  # fmt: skip
    return Report(edges=edges, **{**given, **more})
