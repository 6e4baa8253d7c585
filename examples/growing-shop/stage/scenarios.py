"""What is done to the shop, and what must be found.

Each scenario has a small shop as BASE and a grown one as HEAD.  Some flaws are there from the start and
growth alone brings them out (``latent``); others come with a release in between, as they do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True)
class Scenario:
    """One thing that is wrong, and the finding that it must lead to.

    Attributes
    ----------
    name
        Of the switch.
    words
        What is wrong.
    kind, caller, callee
        The edge that must come first; None for any.
    effects
        Its dominant effect is one of these.
    pattern
        That the edge must carry; None where no pattern describes it.
    latent
        Whether the flaw is in the small shop too.
    """

    name: str
    words: str
    kind: str
    caller: str
    callee: str | None
    effects: tuple[str, ...]
    pattern: str | None = None
    latent: bool = False


#: Slower, whether or not the load model could tell load from growth: it asks for thousands of calls.
SLOWER: Final = ("latency_growth", "latency_load", "latency_unsplit")
HEALTHY: Final = "healthy"
SCENARIOS: Final = (
    Scenario(
        "hot-row", "every order locks the same row with SELECT ... FOR UPDATE",
        "db", "inventory", "postgresql/shop", SLOWER,
    ),
    Scenario(
        "missing-index", "orders of a user are looked up without an index, and the table grows",
        "db", "checkout", "postgresql/shop", SLOWER, latent=True,
    ),
    Scenario(
        "n-plus-one", "the cart asks for the price of each line by itself",
        "http", "checkout", "pricing", ("calls", "new"), "n+1",
    ),
    Scenario(
        "slow-consumer", "the worker takes one message at a time",
        "queue", "order-events", "worker", SLOWER, "queue backs up", latent=True,
    ),
    Scenario(
        "small-pool", "the gateway has two connections to checkout",
        "http", "gateway", "checkout", SLOWER, "gap in front", latent=True,
    ),
    Scenario(
        "new-connection", "checkout keeps no connection to pricing: a TLS handshake a call",
        "http", "checkout", "pricing", SLOWER, "gap in front",
    ),
    Scenario(
        "made-serial", "the gateway asks inventory and pricing one after the other",
        "http", "gateway", None, ("criticality",), "made serial",
    ),
    Scenario(
        "starved", "checkout may use twice the processor time that the small shop took",
        "self", "checkout", None, SLOWER, "starved caller",
    ),
)  # fmt: skip
BY_NAME: Final = {scenario.name: scenario for scenario in SCENARIOS}


def judge(report: dict[str, Any], scenario: Scenario | None) -> list[str]:
    """What of a report (``tracescope diff --format json``) is not as it must be; empty when all is.

    Parameters
    ----------
    report
        As printed.
    scenario
        What was done; None for healthy growth.
    """
    blamed = [edge for edge in report["edges"] if edge["significant"] and edge["credited_ms"] > 0]
    state = report["verdict"]["state"]
    if scenario is None:
        wrong = [f"{name_of(edge)} is blamed for {edge['credited_ms']:+.2f} ms" for edge in blamed]
        return wrong if state == "growth-stable" else [f"the verdict is {state}", *wrong]
    if not blamed:
        return ["nothing is blamed"]
    top = blamed[0]
    wrong = []
    if (top["kind"], top["caller"]) != (scenario.kind, scenario.caller) or (
        scenario.callee is not None and top["callee"] != scenario.callee
    ):
        wrong.append(f"the top edge is {name_of(top)}")
    if dominant(top) not in scenario.effects:
        wrong.append(f"its dominant effect is {dominant(top)}")
    if scenario.pattern is not None and scenario.pattern not in patterns_of(top):
        wrong.append(f"its patterns are {patterns_of(top) or 'none'}")
    if state == "growth-stable":
        wrong.append(f"the verdict is {state}")
    return wrong


def dominant(edge: dict[str, Any]) -> str:
    """The effect that carries most of an edge's change."""
    return max(edge["effects"], key=lambda name: edge["effects"][name] or 0.0)


def patterns_of(edge: dict[str, Any]) -> list[str]:
    """Names of an edge's patterns."""
    return [pattern["name"] for pattern in edge.get("patterns", ())]


def name_of(edge: dict[str, Any]) -> str:
    """An edge in words."""
    callee = edge["callee"] or "(itself)"
    return f"{edge['kind']} {edge['caller']} → {callee} {edge['operation'] or ''}".rstrip()
