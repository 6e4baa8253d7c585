"""Random systems: services, their operations, and what these call, in which order.

    entry ─► service ─► services below, databases and external APIs shared by callers
                └─► topic ~~► consumer

Every service but the first is called by one above it; some get more callers.  Operations work through
steps: the calls of a step go out one after another, or all at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

VERBS = ("SELECT", "INSERT", "UPDATE")
DATABASES = ("postgresql", "mysql", "mongodb", "redis")


@dataclass(frozen=True, slots=True)
class Call:
    """One call site; ``caller, callee, operation`` are how its edge is named.

    ``mean_ms`` is a leaf's duration, or what network and handshake take in front of a service.
    """

    number: int
    kind: str
    caller: str
    callee: str
    operation: str
    mean_ms: float
    probability: float = 1.0
    repeat: int = 1
    target: int | None = None

    @property
    def edge(self) -> tuple[str, str, str | None, str]:
        """Kind, caller, callee, operation."""
        return self.kind, self.caller, self.callee, self.operation


@dataclass(frozen=True, slots=True)
class Step:
    """Calls made one after another, or all at once; or just one of them, by their probabilities."""

    number: int
    calls: tuple[Call, ...]
    parallel: bool
    one_of: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """What a service does when it is asked; ``own_ms`` is its own work in all."""

    number: int
    service: str
    name: str
    protocol: str
    own_ms: float
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class System:
    """Operations by number, the entries' weights, consumers of topics, replicas of services."""

    operations: dict[int, Operation]
    entries: dict[int, float]
    consumers: dict[str, int]
    replicas: dict[str, int]

    def calls(self) -> Iterator[Call]:
        """Every call site."""
        for operation in self.operations.values():
            for step in operation.steps:
                yield from step.calls

    def with_step(self, operation: int, step: Step) -> System:
        """The same system with one more step in an operation."""
        old = self.operations[operation]
        new = replace(old, steps=(*old.steps, step))
        return replace(self, operations={**self.operations, operation: new})


@dataclass(slots=True)
class _Draft:
    """A system in the making."""

    rng: np.random.Generator
    operations: dict[int, Operation] = field(default_factory=dict[int, Operation])
    numbers: int = 0

    def number(self) -> int:
        self.numbers += 1
        return self.numbers

    def leaf(self, service: str, databases: list[str], externals: list[str]) -> Call:
        """Draw a call to a database or, now and then, to something that sends no spans."""
        rng = self.rng
        if externals and rng.random() < 0.12:
            callee, mean = str(rng.choice(externals)), float(rng.uniform(15, 60))
            return Call(self.number(), "http", service, callee, "POST", mean, float(rng.uniform(0.4, 1)))
        callee = str(rng.choice(databases))
        table = f"t{rng.integers(40)}"
        name = f"{rng.choice(VERBS)} {table}"
        mean = float(rng.lognormal(1.1, 0.7))
        repeat = int(rng.choice([1, 1, 1, 2, 3]))
        return Call(self.number(), "db", service, callee, name, mean, 1.0, repeat)

    def remote(self, service: str, target: Operation) -> Call:
        probability = float(self.rng.choice([1.0, 1.0, 0.8, 0.5]))
        gap = float(self.rng.uniform(0.4, 2.0))
        kind = target.protocol
        return Call(
            self.number(), kind, service, target.service, target.name, gap, probability, 1, target.number
        )

    def steps(self, calls: list[Call]) -> tuple[Step, ...]:
        """Cut calls into steps, some of them parallel."""
        order = [calls[k] for k in self.rng.permutation(len(calls))]
        steps: list[Step] = []
        while order:
            size = int(self.rng.integers(1, 4))
            chosen, order = order[:size], order[size:]
            parallel = len(chosen) > 1 and bool(self.rng.random() < 0.5)
            steps.append(Step(self.number(), tuple(chosen), parallel))
        return tuple(steps)


def draw_system(rng: np.random.Generator, services: int) -> System:
    """A random system.

    Parameters
    ----------
    rng
        Decides everything.
    services
        How many, 5 to 40 make sense.
    """
    draft = _Draft(rng)
    names = [f"svc-{k:02d}" for k in range(services)]
    databases = [f"{rng.choice(DATABASES)}/db{k}" for k in range(max(1, services // 4))]
    externals = [f"api{k}.example" for k in range(int(rng.integers(1, 3)))]
    depth = [0] * services
    above: list[list[int]] = [[] for _ in names]
    for k in range(1, services):
        allowed = [j for j in range(k) if depth[j] < 4 and len(above[j]) < 5]
        parent = int(rng.choice(allowed[: max(3, len(allowed) // 2 + 1)]))
        depth[k] = depth[parent] + 1
        above[parent].append(k)
    leafs = [k for k in range(1, services) if not above[k]]
    size: dict[int, int] = {}
    own: dict[int, Operation] = {}
    topics = [f"topic-{k}" for k in range(int(rng.integers(0, 3)))]
    consumers: dict[str, int] = {}
    for k in range(services - 1, 0, -1):
        service = names[k]
        called = [draft.remote(service, own[j]) for j in above[k]]
        spans = 1 + sum(2 + size[j] for j in above[k])
        shared = [j for j in leafs if j > k and j not in above[k]]
        if shared and rng.random() < 0.4 and spans < 30:
            other = int(rng.choice(shared))
            called.append(draft.remote(service, own[other]))
            spans += 2 + size[other]
        if rng.random() < 0.8 or not called:
            called += [draft.leaf(service, databases, externals) for _ in range(int(rng.choice([1, 1, 2])))]
        if topics and rng.random() < 2 / services:
            called.append(Call(draft.number(), "queue", service, str(rng.choice(topics)), "publish", 0.8))
        protocol = str(rng.choice(["http", "rpc"]))
        name = f"GET /{service}/{{id}}" if protocol == "http" else f"shop.{service.replace('-', '')}/Get"
        own_ms = float(rng.lognormal(1.0, 0.6))
        number = draft.number()
        own[k] = Operation(number, service, name, protocol, own_ms, draft.steps(called))
        size[k] = spans + len(called)
        draft.operations[number] = own[k]
    entries = _entries(draft, names[0], [own[j] for j in above[0]], databases, externals, topics)
    for topic in topics:
        consumers[topic] = _consumer(draft, topic, databases)
    replicas = {name: int(rng.integers(1, 5)) for name in [*names, *(f"worker-{t}" for t in topics)]}
    return System(draft.operations, entries, consumers, replicas)


def _entries(
    draft: _Draft, gateway: str, below: list[Operation], databases: list[str], externals: list[str],
    topics: list[str],
) -> dict[int, float]:  # fmt: skip
    """Entries of the gateway, each over a part of what it calls; all of it is called by some."""
    rng = draft.rng
    count = int(rng.integers(2, 5))
    entries: dict[int, float] = {}
    for k in range(count):
        chosen = [op for at, op in enumerate(below) if at % count == k or rng.random() < 0.35]
        called = [draft.remote(gateway, op) for op in chosen]
        if rng.random() < 0.5 or not called:
            called.append(draft.leaf(gateway, databases, externals))
        if topics and (k == 0 or rng.random() < 0.3):
            called.append(Call(draft.number(), "queue", gateway, topics[k % len(topics)], "publish", 0.8))
        number = draft.number()
        name = f"GET /api/v1/entry{k}"
        own_ms = float(rng.lognormal(1.0, 0.5))
        draft.operations[number] = Operation(number, gateway, name, "http", own_ms, draft.steps(called))
        entries[number] = float(rng.uniform(0.5, 2))
    return entries


def _consumer(draft: _Draft, topic: str, databases: list[str]) -> int:
    service = f"worker-{topic}"
    number = draft.number()
    calls = [draft.leaf(service, databases, [])]
    draft.operations[number] = Operation(
        number, service, f"process {topic}", "queue", 2.0, draft.steps(calls)
    )
    return number
