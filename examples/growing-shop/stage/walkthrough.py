"""Growth until something breaks, and who says so first: tracescope, or uptime, CPU and error rate.

    users  ____,----'----'----'----'----'   more each step; one flaw is there from the start
                    ^ tracescope speaks              ^ SLO missed     ^ first error

After each step ``tracescope diff`` compares it with the first one.  The other columns are what dashboards
of the same run show: they are measured by the load generator and from ``/proc``, not from traces.
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from stage import check, growth, scenarios
from stage.parts import SERVICES, listening
from stage.plan import Plan
from stage.sizes import Walk
from stage.supervisor import Stage

#: Requests of one kind in a window of so many seconds; its 95th percentile is the SLO.
WINDOW_S: Final = 10.0
SLO_KIND: Final = "order"
FEWEST: Final = 10
#: What of everything that runs is the shop: its services, the worker, databases, cache and broker.
SHOP: Final = (*SERVICES, "worker", "postgresql", "redis", "rabbitmq")


@dataclass(frozen=True)
class Request:
    """One request as its sender saw it: when it was answered, and in which time."""

    done: float
    kind: str
    status: int
    ms: float


@dataclass(frozen=True)
class Step:
    """One step, on every dashboard.

    Attributes
    ----------
    minute
        Since the first step began, at its end.
    users, rate
        Users, and requests a second.
    uptime, cpu, errors
        Parts of one: of the looks at which the gateway answered, of the machine's processors that the shop
        used, of the requests that failed.
    p95_ms
        Of orders.
    says
        What tracescope says; empty as long as it blames nobody.
    """

    minute: float
    users: int
    rate: float
    uptime: float
    cpu: float
    errors: float
    p95_ms: float
    says: str


@dataclass(frozen=True)
class Story:
    """All steps, and the minutes at which tracescope spoke, the SLO was missed, the first error came."""

    steps: list[Step]
    spoke: float | None
    slo_missed: float | None
    first_error: float | None

    def lines(self) -> Iterator[str]:
        """A table in Markdown, and the sum of it."""
        yield "| minute | users | requests/s | uptime | CPU | errors | p95 of orders | tracescope |"
        yield "|---|---|---|---|---|---|---|---|"
        for s in self.steps:
            yield (
                f"| {s.minute:.1f} | {s.users:,} | {s.rate:.0f} | {s.uptime:.0%} | {s.cpu:.0%} "
                f"| {s.errors:.1%} | {s.p95_ms:.0f} ms | {s.says or 'growth-stable'} |"
            )
        yield ""
        told = (("tracescope spoke", self.spoke), ("SLO missed", self.slo_missed))
        for what, minute in (*told, ("first error", self.first_error)):
            yield f"{what}: {'not in this run' if minute is None else f'minute {minute:.1f}'}"
        failed = [minute for minute in (self.slo_missed, self.first_error) if minute is not None]
        if self.spoke is not None and failed:
            yield f"early warning: {min(failed) - self.spoke:.1f} minutes"


def walk(stage: Stage, given: Walk, say: check.Say) -> Story:
    """Grow step by step, and look at every dashboard after each."""
    plan = stage.plan
    users = given.users
    growth.orders(plan.places, given.orders, users)
    growth.throw(plan.places, [given.switch])
    growth.users(plan.places, users)
    stage.wait(15.0)  # a shop that has just started is no BASE
    begin, steps = time.time(), list[Step]()
    base: tuple[str, str] | None = None
    spoke: float | None = None
    for number in range(given.steps):
        growth.users(plan.places, users)
        growth.more_orders(plan.places, round(given.orders * (given.growth - 1)), users)
        seen, before, start, at = list[bool](), stage.cpu_seconds(*SHOP), check.instant(), time.time()
        while time.time() < at + given.step_s:
            stage.wait(1.0)
            seen.append(listening(plan, "gateway"))
        end, length = check.instant(), time.time() - at
        used = (stage.cpu_seconds(*SHOP) - before) / length / (os.cpu_count() or 1)
        says = ""
        if base is None:
            base = start, end
        else:
            stage.wait(3.0)  # spans on their way
            says = _said(plan, base, (start, end), given.min_effect_ms)
        if says and spoke is None:
            spoke = (time.time() - begin) / 60
        some = [r for r in requests(plan.requests) if at <= r.done < at + length]
        orders = [r.ms for r in some if r.kind == SLO_KIND]
        steps.append(
            Step(
                (at + length - begin) / 60, users, len(some) / length, sum(seen) / len(seen), used,
                sum(failed(r) for r in some) / max(len(some), 1), percentile(orders), says,
            )
        )  # fmt: skip
        say(f"step {number + 1} of {given.steps}: {steps[-1]}")
        users = round(users * given.growth)
    everything = [r for r in requests(plan.requests) if r.done >= begin]
    errors = [r.done for r in everything if failed(r)]
    missed = slo_missed(everything, given.slo_ms)
    return Story(
        steps,
        spoke,
        None if missed is None else (missed - begin) / 60,
        (min(errors) - begin) / 60 if errors else None,
    )


def _said(plan: Plan, base: tuple[str, str], head: tuple[str, str], min_effect_ms: float) -> str:
    report = check.compare(plan, base, head, min_effect_ms)
    blamed = [edge for edge in report["edges"] if edge["significant"] and edge["credited_ms"] > 0]
    if not blamed:
        return ""
    return f"{report['verdict']['state']}: {scenarios.name_of(blamed[0])} {blamed[0]['credited_ms']:+.1f} ms"


def failed(request: Request) -> bool:
    """A server's error, no answer, or turned away."""
    return request.status >= 500


def percentile(values: Sequence[float], part: float = 0.95) -> float:
    """The smallest value that `part` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def slo_missed(seen: Sequence[Request], slo_ms: float) -> float | None:
    """End of the first window in which too many orders took too long; None when there is none."""
    orders = sorted((r for r in seen if r.kind == SLO_KIND), key=lambda r: r.done)
    if not orders:
        return None
    first, last = orders[0].done, orders[-1].done
    edges = [first + WINDOW_S * n for n in range(int((last - first) / WINDOW_S) + 1)]
    for start, end in pairwise(edges):
        window = [r.ms for r in orders if start <= r.done < end]
        if len(window) >= FEWEST and percentile(window) > slo_ms:
            return end
    return None


def requests(path: Path) -> list[Request]:
    """What the load generator wrote."""
    with path.open() as lines:
        rows = list(csv.DictReader(lines))
    complete = [row for row in rows if row["ms"]]  # the last line may be half written
    return [
        Request(float(r["at"]) + float(r["ms"]) / 1000, r["kind"], int(r["status"]), float(r["ms"]))
        for r in complete
    ]
