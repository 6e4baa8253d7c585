"""How large the shop is, how fast it grows, and for how long it is watched; options of `run.py`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """How large the shop is, and for how long it is watched.

    Attributes
    ----------
    users, grown_users
        In BASE and HEAD.
    orders, grown_orders
        Old orders in the table.
    base_s, head_s
        Length of the periods.
    settle_s
        Time that is not looked at, after each change.
    warm_s
        Load before the first scenario.
    quota_times
        A starved service may use so many times the part of a processor that it used in BASE.
    min_effect_ms
        Given to ``tracescope diff --min-effect``: less is nobody's concern here.
    """

    users: int = 400
    grown_users: int = 1000
    orders: int = 2_000
    grown_orders: int = 500_000
    base_s: float = 60.0
    head_s: float = 120.0
    settle_s: float = 5.0
    warm_s: float = 12.0
    quota_times: float = 2.0
    min_effect_ms: float = 1.0


@dataclass(frozen=True)
class Walk:
    """How the shop grows.

    Attributes
    ----------
    switch
        What is wrong from the start.
    users, orders
        At the start.
    growth
        Factor of users from step to step.
    steps, step_s
        How many, and how long each is.
    slo_ms
        95 % of orders are to be answered in this time.
    min_effect_ms
        As in `Size`.
    """

    switch: str = "hot-row"
    users: int = 400
    orders: int = 20_000
    growth: float = 1.35
    steps: int = 7
    step_s: float = 60.0
    slo_ms: float = 500.0
    min_effect_ms: float = Size.min_effect_ms
