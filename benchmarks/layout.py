"""What laying a graph out costs, in CPU time, as a multiple of a networkx baseline in the same run.

    python benchmarks/layout.py

The baseline is networkx's `spring_layout` (50 iterations, its default), the usual answer to "draw this
graph", on the same graph in the same process.  Graphs are synthetic microservice systems: services
call a few services further in, each has a database, and some talk over topics.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable

import networkx as nx

from tracescope.report.layout import Box, Link, layout


def system(nodes: int, seed: int = 1) -> tuple[list[Box], list[Link]]:
    """A made-up system of so many nodes: about 60 % services, the rest databases, topics and hosts."""
    rng = random.Random(seed)
    services = round(nodes * 0.6)
    names = [f"service-{n:03d}" for n in range(services)]
    boxes = [Box(name, 120, 26, entry=n < 3) for n, name in enumerate(names)]
    links: dict[tuple[str, str], float] = {}
    for n in range(1, services):
        for _ in range(1 + (rng.random() < 0.45)):
            caller = names[int(rng.triangular(0, n, n * 0.6))]
            if caller != names[n]:
                links[caller, names[n]] = rng.paretovariate(1.2)
    for n in range(nodes - services):
        name = f"store-{n:03d}"
        boxes.append(Box(name, 130, 26))
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            links[rng.choice(names), name] = rng.paretovariate(1.2)
    for _ in range(nodes // 40):  # calls that close cycles
        a, b = rng.sample(names, 2)
        links.setdefault((a, b), 0.5)
    return boxes, [Link(a, b, weight, min(1 + weight, 9)) for (a, b), weight in links.items()]


def cpu_ms(work: Callable[[], object], repeats: int = 3) -> float:
    """Least CPU time of one run in ms."""
    times: list[float] = []
    gc.disable()
    for _ in range(repeats):
        begun = time.process_time()
        work()
        times.append((time.process_time() - begun) * 1000)
    gc.enable()
    return min(times)


def row(nodes: int, budget_ms: int | None) -> str:
    boxes, links = system(nodes)
    graph = nx.Graph([(link.source, link.target) for link in links])
    ours = cpu_ms(lambda: layout(boxes, links))
    theirs = cpu_ms(lambda: nx.spring_layout(graph, seed=1))
    return (
        f"{nodes:>6} {len(links):>6} {ours:>10.1f} {theirs:>10.1f} {ours / theirs:>7.2f}   {budget_ms or ''}"
    )


def main() -> None:
    print(f"{'nodes':>6} {'edges':>6} {'layout ms':>10} {'spring ms':>10} {'ratio':>7}   budget ms")
    for nodes, budget in ((40, 50), (60, None), (120, None), (300, 500)):
        print(row(nodes, budget))


if __name__ == "__main__":
    main()
