"""Runs scenarios on the stage, asks tracescope, and says whether it found what was made.

    small shop |--- BASE ---|  grows, and goes wrong  |--- HEAD ---|  diff  →  expected?

Every scenario gets a BASE of its own just before its HEAD, so that a machine that is busy with something
else blurs both.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from stage import growth, scenarios
from stage.errors import StageError
from stage.evidence import Samples, Watch
from stage.plan import Plan
from stage.scenarios import HEALTHY, Scenario
from stage.sizes import Size
from stage.supervisor import Stage

#: Exit code of a diff that could tell nothing; it prints its report all the same.
INSUFFICIENT = 4
Say = Callable[[str], None]


@dataclass
class Outcome:
    """What one scenario led to."""

    name: str
    wrong: list[str]
    verdict: str
    top: str
    credited_ms: float
    effect: str
    patterns: list[str]
    base_ms: float
    head_ms: float
    evidence: list[str]
    load_average: float
    report: dict[str, Any] = field(repr=False, default_factory=dict)

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"{'ok   ' if not self.wrong else 'WRONG'} {self.name}: {self.verdict}"
        clock = f"{self.base_ms:.1f} → {self.head_ms:.1f} ms a request"
        yield f"      {clock}, load average {self.load_average:.1f}"
        if self.top:
            patterns = f", {', '.join(self.patterns)}" if self.patterns else ""
            yield f"      first: {self.top} {self.credited_ms:+.2f} ms, {self.effect}{patterns}"
        for wrong in self.wrong:
            yield f"      but {wrong}"
        for line in self.evidence:
            yield f"      PostgreSQL says: {line}"


def instant() -> str:
    """Now, as tracescope reads it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def run(stage: Stage, names: Sequence[str], size: Size) -> Iterator[Outcome]:
    """Run scenarios one after another; `HEALTHY` is growth with nothing wrong."""
    growth.users(stage.plan.places, size.grown_users)
    stage.wait(size.warm_s)  # imports, connections, caches: a shop that has just started is no BASE
    for name in names:
        scenario = None if name == HEALTHY else scenarios.BY_NAME[name]
        yield one(stage, scenario, size)


def one(stage: Stage, scenario: Scenario | None, size: Size) -> Outcome:
    """A small shop, a grown one, and what tracescope says of the two."""
    plan = stage.plan
    name = HEALTHY if scenario is None else scenario.name
    latent = scenario is not None and scenario.latent
    growth.users(plan.places, 0)
    stage.wait(2.0)
    growth.orders(plan.places, size.orders, size.users)
    _throw(plan, name if latent else None)
    begin, before = time.monotonic(), stage.cpu_seconds("checkout")
    base = _period(stage, size.users, size.settle_s, size.base_s)
    used_pct = 100 * (stage.cpu_seconds("checkout") - before) / (time.monotonic() - begin)
    growth.users(plan.places, 0)
    stage.wait(1.0)
    growth.orders(plan.places, size.grown_orders, size.grown_users)
    _throw(plan, name if scenario is not None else None)
    with _starved(stage, used_pct * size.quota_times if name == "starved" else None), Watch(plan) as samples:
        head = _period(stage, size.grown_users, size.settle_s, size.head_s)
    with open("/proc/loadavg") as text:
        load_average = float(text.read().split()[0])
    growth.users(plan.places, 0)
    _throw(plan, None)
    stage.wait(4.0)  # spans on their way: the SDK's second, the Collector's, the receiver's
    for period, (start, end) in (("base", base), ("head", head)):
        _tracescope(plan, "mark", f"{name}-{period}", start)
        _tracescope(plan, "mark", f"{name}-{period}-end", end)
    report = compare(plan, base, head, size.min_effect_ms)
    return _outcome(name, scenario, report, samples, load_average)


def _outcome(
    name: str, scenario: Scenario | None, report: dict[str, Any], samples: Samples, load: float
) -> Outcome:
    blamed = [edge for edge in report["edges"] if edge["significant"] and edge["credited_ms"] > 0]
    top = blamed[0] if blamed else None
    return Outcome(
        name,
        scenarios.judge(report, scenario),
        report["verdict"]["state"],
        scenarios.name_of(top) if top else "",
        top["credited_ms"] if top else 0.0,
        scenarios.dominant(top) if top else "",
        scenarios.patterns_of(top) if top else [],
        report["clock"]["base_ms"],
        report["clock"]["head_ms"],
        samples.lines(),
        load,
        report,
    )


def compare(plan: Plan, base: tuple[str, str], head: tuple[str, str], min_effect_ms: float) -> dict[str, Any]:
    """``tracescope diff`` of two stretches of time, as JSON."""
    asked = "--format", "json", "--top", "40", "--min-effect", str(min_effect_ms)
    said = _tracescope(plan, "diff", "/".join(base), "/".join(head), *asked)
    return json.loads(said)


def _tracescope(plan: Plan, *arguments: str) -> str:
    command = plan.tracescope(*arguments)
    done = subprocess.run(command, env=plan.environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, INSUFFICIENT):
        raise StageError(
            f"tracescope ended with code {done.returncode}: {done.stderr.strip()[-800:]}",
            f"by hand: {' '.join(command)}",
        )
    return done.stdout


def _period(stage: Stage, users: int, settle_s: float, length_s: float) -> tuple[str, str]:
    """Let users come, wait until things are as they stay, and watch."""
    growth.users(stage.plan.places, users)
    stage.wait(settle_s)
    start = instant()
    stage.wait(length_s)
    return start, instant()


def _throw(plan: Plan, name: str | None) -> None:
    """Make something go wrong, and nothing else."""
    growth.throw(plan.places, [] if name is None else [name])


@contextmanager
def _starved(stage: Stage, quota_pct: float | None) -> Iterator[None]:
    """Let checkout have only so much of a processor, as a container's limit does."""
    if quota_pct is None:
        yield
        return
    limit = str(max(round(quota_pct), 1))
    stage.say(f"checkout may use {limit} % of a processor")
    command = ["cpulimit", "--pid", str(stage.process_id("checkout")), "--limit", limit]
    with stage.log("cpulimit").open("ab") as log:
        limiter = subprocess.Popen(
            command, env=stage.plan.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        limiter.terminate()
        limiter.wait()


def as_json(outcomes: Sequence[Outcome], size: Size, seconds: float) -> str:
    """Everything, for keeping."""
    return json.dumps(
        {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": round(seconds),
            "size": asdict(size),
            "outcomes": [asdict(outcome) for outcome in outcomes],
        },
        indent=1,
    )
