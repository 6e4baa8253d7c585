"""Where boxes and edges of a graph stand: layered, left to right, the same for the same graph.

    cycles broken ─► layers ─► dummies on long edges ─► order (fewer crossings) ─► heights ─► routes

    column 0        column 1        column 2
    [gateway] ────── [cart] ──────── [redis]
          ╲                          ╱
           ╲──────── (dummy) ───────╱          an edge that passes a column has its own slot in it,
                                               so it runs around boxes, never through one

Callers stand left of what they call, cycles apart.  Computed once on the union of two periods, so
nothing jumps between base, head and change.  Boxes of a column never overlap, columns never
overlap, curves bend only between columns.

Source: Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System
Structures", IEEE SMC 1981 (layers, barycentres); Barth, Jünger and Mutzel, "Simple and Efficient
Bilayer Cross Counting", GD 2002; heights by least squares under the order: isotonic regression,
pool adjacent violators (Barlow et al., 1972).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tracescope.report.ordering import ordered

#: Room between boxes above each other, beside an edge, and between parts that are not connected.
BOX_GAP: Final = 14.0
EDGE_GAP: Final = 7.0
PART_GAP: Final = 36.0
#: Width of the room between columns: so much, and more where edges climb far.
COLUMN_GAP: Final = 64.0
WIDEST_GAP: Final = 150.0
_RELAXATIONS: Final = 8
_HEIGHT_SWEEPS: Final = 14


@dataclass(frozen=True, slots=True)
class Box:
    """A node to place: its size, and whether work enters the system here."""

    id: str
    width: float
    height: float
    entry: bool = False


@dataclass(frozen=True, slots=True)
class Link:
    """An edge to route; ``weight`` pulls it straight, ``width`` is the room it takes."""

    source: str
    target: str
    weight: float = 1.0
    width: float = 1.0


@dataclass(frozen=True, slots=True)
class Place:
    """A placed box: its left upper corner, its size and its column."""

    x: float
    y: float
    width: float
    height: float
    column: int


@dataclass(frozen=True, slots=True)
class Route:
    """An edge's way: points in pairs, straight within a pair, an S-curve from pair to pair.

    ``points`` are ``(x, y)``, source first.  ``back`` marks an edge that runs right to left because
    it closes a cycle, ``loop`` one from a box to itself.
    """

    points: tuple[tuple[float, float], ...]
    back: bool = False
    loop: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """Places by box id, routes in the order of the links, and the size of it all."""

    places: Mapping[str, Place]
    routes: tuple[Route, ...]
    width: float
    height: float


def layout(boxes: Sequence[Box], links: Sequence[Link], *, widest: float = 1400.0) -> Layout:
    """Place boxes and route links.

    Parameters
    ----------
    boxes
        Ids differ.  The order of boxes and links does not matter for places.
    links
        Ends are ids of boxes; several links may join the same two.
    widest
        Parts that are not connected stand beside each other up to this width.
    """
    by_id = {box.id: box for box in sorted(boxes, key=lambda b: b.id)}
    pairs = _pairs(links)
    parts = [_part(members, by_id, pairs) for members in _components(by_id, pairs)]
    return _packed(parts, links, widest)


@dataclass(slots=True)
class _Pair:
    """All links between two boxes in one direction, routed side by side."""

    weight: float = 0.0
    width: float = 0.0
    links: int = 0


def _pairs(links: Iterable[Link]) -> dict[tuple[str, str], _Pair]:
    pairs: dict[tuple[str, str], _Pair] = defaultdict(_Pair)
    for link in links:
        pair = pairs[link.source, link.target]
        pair.weight += link.weight
        pair.width += link.width + (EDGE_GAP / 2 if pair.links else 0.0)
        pair.links += 1
    return dict(sorted(pairs.items()))


def _components(boxes: Mapping[str, Box], pairs: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Connected parts, largest first; boxes alone come last."""
    near: dict[str, list[str]] = {name: [] for name in boxes}
    for source, target in pairs:
        near[source].append(target)
        near[target].append(source)
    found: list[list[str]] = []
    seen: set[str] = set()
    for name in boxes:
        if name in seen:
            continue
        part, stack = [name], [name]
        seen.add(name)
        while stack:
            for other in near[stack.pop()]:
                if other not in seen:
                    seen.add(other)
                    part.append(other)
                    stack.append(other)
        found.append(sorted(part))
    return sorted(found, key=lambda part: (-len(part), part[0]))


# -- layers -----------------------------------------------------------------------------------------


def forward(
    names: Sequence[str], pairs: Mapping[tuple[str, str], float], entries: Iterable[str]
) -> dict[tuple[str, str], bool]:
    """Which edges keep their direction; the others close cycles as one walks in from the entries.

    Parameters
    ----------
    names, pairs
        Nodes, and the weight of each edge between two different ones.
    entries
        Where walking begins; then nodes that nothing calls, then whatever is left.
    """
    below: dict[str, list[str]] = {name: [] for name in names}
    called: set[str] = set()
    for source, target in pairs:
        below[source].append(target)
        called.add(target)
    for source, targets in below.items():
        targets.sort(key=lambda target: (-pairs[source, target], target))
    first = sorted(set(entries))
    starts = [*first, *(n for n in sorted(names) if n not in called), *sorted(names)]
    keep: dict[tuple[str, str], bool] = {}
    state: dict[str, int] = {}  # 1: on the way down, 2: done
    for start in starts:
        if start in state:
            continue
        state[start] = 1
        stack = [(start, iter(below[start]))]
        while stack:
            node, rest = stack[-1]
            target = next(rest, None)
            if target is None:
                state[node] = 2
                stack.pop()
            else:
                keep[node, target] = state.get(target) != 1
                if target not in state:
                    state[target] = 1
                    stack.append((target, iter(below[target])))
    return keep


def layers(names: Sequence[str], edges: Mapping[tuple[str, str], float]) -> dict[str, int]:
    """Layer of each node of an acyclic graph: each edge goes right, and edges are short.

    Longest paths first; then nodes move to where the weighted length of their edges is least.
    """
    above: dict[str, list[tuple[str, float]]] = {name: [] for name in names}
    below: dict[str, list[tuple[str, float]]] = {name: [] for name in names}
    for (source, target), weight in edges.items():
        below[source].append((target, weight))
        above[target].append((source, weight))
    waiting = {name: len(above[name]) for name in names}
    order = sorted(name for name in names if not waiting[name])
    layer = dict.fromkeys(names, 0)
    for node in order:  # grows as it is walked
        for target, _ in below[node]:
            layer[target] = max(layer[target], layer[node] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                order.append(target)
    for sweep in range(_RELAXATIONS):
        moved = False
        for node in order if sweep % 2 else reversed(order):
            low = max((layer[s] + 1 for s, _ in above[node]), default=None)
            high = min((layer[t] - 1 for t, _ in below[node]), default=None)
            # its edges pull with their weights; where they pull alike, it stands near its callers
            pull = sum(1 + w for _, w in below[node]) - sum(1 + w for _, w in above[node])
            best = layer[node]
            if low is None:
                best = best if high is None else high
            elif high is None or pull <= 0:
                best = low
            else:
                best = high
            moved |= best != layer[node]
            layer[node] = best
        if not moved:
            break
    least = min(layer.values(), default=0)
    return {name: at - least for name, at in layer.items()}


# -- one connected part -----------------------------------------------------------------------------


@dataclass(slots=True)
class _Part:
    """A laid out part: places and, for each pair of boxes, the spine of its route."""

    places: dict[str, Place]
    spines: dict[tuple[str, str], tuple[list[tuple[float, float]], bool]]
    width: float
    height: float


def _part(members: Sequence[str], boxes: Mapping[str, Box], pairs: Mapping[tuple[str, str], _Pair]) -> _Part:
    inside = set(members)
    mine = {(s, t): p for (s, t), p in pairs.items() if s in inside and s != t}
    keep = forward(
        members, {ends: p.weight for ends, p in mine.items()}, (n for n in members if boxes[n].entry)
    )
    right: dict[tuple[str, str], float] = defaultdict(float)
    for (source, target), pair in mine.items():
        right[(source, target) if keep[source, target] else (target, source)] += pair.weight
    layer = layers(members, right)
    grid = _Grid(members, boxes, layer)
    chains = {ends: grid.chain(*_rightward(ends, keep), pair) for ends, pair in mine.items()}
    orders = ordered(grid.columns, grid.edges)
    heights = _heights(orders, grid)
    return _placed(grid, orders, heights, chains, keep)


def _rightward(ends: tuple[str, str], keep: Mapping[tuple[str, str], bool]) -> tuple[str, str]:
    return ends if keep[ends] else (ends[1], ends[0])


class _Grid:
    """Boxes and dummies of a part as numbered items, column by column."""

    def __init__(self, members: Sequence[str], boxes: Mapping[str, Box], layer: Mapping[str, int]) -> None:
        self.boxes = boxes
        self.names: list[str | None] = list(members)
        self.number = {name: at for at, name in enumerate(members)}
        self.layer = [layer[name] for name in members]
        self.size = [boxes[name].height for name in members]
        self.columns: list[list[int]] = [[] for _ in range(max(self.layer, default=0) + 1)]
        for at, column in enumerate(self.layer):
            self.columns[column].append(at)
        self.edges: list[tuple[int, int, float]] = []  # item, item in the next column, pull

    def chain(self, source: str, target: str, pair: _Pair) -> list[int]:
        """Items that a pair of boxes is joined by, left to right, dummies between."""
        first, last = self.number[source], self.number[target]
        items = [first]
        for column in range(self.layer[first] + 1, self.layer[last]):
            items.append(len(self.names))
            self.names.append(None)
            self.layer.append(column)
            self.size.append(max(pair.width, 1.0))
            self.columns[column].append(items[-1])
        items.append(last)
        long = len(items) > 2
        for at in range(len(items) - 1):
            inner = 0 < at < len(items) - 2
            # long edges should run straight: the more so between two dummies
            self.edges.append(
                (items[at], items[at + 1], (8.0 if inner else 2.0 if long else 1.0) + pair.weight)
            )
        return items

    def apart(self, upper: int, lower: int) -> float:
        """Least distance of the middles of two neighbours in a column."""
        gap = BOX_GAP if self.names[upper] is not None and self.names[lower] is not None else EDGE_GAP
        return (self.size[upper] + self.size[lower]) / 2 + gap


def _heights(orders: Sequence[Sequence[int]], grid: _Grid) -> list[float]:
    """Middle height of each item: near its neighbours in the next columns, under the order."""
    y = [0.0] * len(grid.names)
    steps: list[list[float]] = []
    for order in orders:
        step = [0.0]
        for upper, lower in pairwise(order):
            step.append(step[-1] + grid.apart(upper, lower))
        steps.append(step)
        for at, item in enumerate(order):
            y[item] = step[at] - step[-1] / 2
    sides: tuple[list[list[tuple[int, float]]], list[list[tuple[int, float]]]] = (
        [[] for _ in y],
        [[] for _ in y],
    )
    for left, right, pull in grid.edges:
        sides[0][right].append((left, pull))
        sides[1][left].append((right, pull))
    last = len(orders) - 1
    for sweep in range(_HEIGHT_SWEEPS):
        columns = range(1, last + 1) if sweep % 2 == 0 else range(last - 1, -1, -1)
        both = sweep >= _HEIGHT_SWEEPS - 4
        for column in columns if not both else range(last + 1):
            near = (sides[0], sides[1]) if both else (sides[sweep % 2],)
            wanted: list[float] = []
            weights: list[float] = []
            for item in orders[column]:
                total = sum(pull for side in near for _, pull in side[item])
                where = sum(y[other] * pull for side in near for other, pull in side[item])
                wanted.append(where / total if total else y[item])
                weights.append(total or 0.1)
            for item, height in zip(orders[column], _monotone(wanted, weights, steps[column]), strict=True):
                y[item] = height
    return y


def _monotone(targets: Sequence[float], weights: Sequence[float], steps: Sequence[float]) -> list[float]:
    """The values nearest to `targets` (weighted squares) that are at least `steps` apart."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, items
    for value, weight, step in zip(targets, weights, steps, strict=True):
        mean, total, count = value - step, weight, 1
        while blocks and blocks[-1][0] > mean:
            other, more, items = blocks.pop()
            mean = (mean * total + other * more) / (total + more)
            total, count = total + more, count + items
        blocks.append((mean, total, count))
    flat = [mean for mean, _, count in blocks for _ in range(count)]
    return [mean + step for mean, step in zip(flat, steps, strict=True)]


def _placed(
    grid: _Grid,
    orders: Sequence[Sequence[int]],
    y: Sequence[float],
    chains: Mapping[tuple[str, str], list[int]],
    keep: Mapping[tuple[str, str], bool],
) -> _Part:
    top = min((y[item] - grid.size[item] / 2 for order in orders for item in order), default=0.0)
    low = max((y[item] + grid.size[item] / 2 for order in orders for item in order), default=0.0)
    lefts, widths = _columns(grid, orders, y)
    places: dict[str, Place] = {}
    for column, order in enumerate(orders):
        for item in order:
            name = grid.names[item]
            if name is not None:
                height = grid.size[item]
                at = y[item] - height / 2 - top
                places[name] = Place(lefts[column], at, widths[column], height, column)
    ports = _ports(grid, y, chains)
    spines: dict[tuple[str, str], tuple[list[tuple[float, float]], bool]] = {}
    for ends, items in chains.items():
        points: list[tuple[float, float]] = []
        for at, item in enumerate(items):
            column, height = grid.layer[item], y[item] - top
            if at == 0:
                points.append((lefts[column] + widths[column], height + ports[ends][0]))
            elif at == len(items) - 1:
                points.append((lefts[column], height + ports[ends][1]))
            else:
                points += [(lefts[column], height), (lefts[column] + widths[column], height)]
        spines[ends] = (points if keep[ends] else points[::-1], not keep[ends])
    return _Part(places, spines, lefts[-1] + widths[-1], low - top)


def _columns(
    grid: _Grid, orders: Sequence[Sequence[int]], y: Sequence[float]
) -> tuple[list[float], list[float]]:
    """Left edge and width of each column; more room where edges climb far."""
    climbs = [0.0] * len(orders)
    for left, right, _ in grid.edges:
        climbs[grid.layer[left]] = max(climbs[grid.layer[left]], abs(y[left] - y[right]))
    lefts: list[float] = []
    widths: list[float] = []
    x = 0.0
    for column, order in enumerate(orders):
        sizes = [grid.boxes[name].width for item in order if (name := grid.names[item]) is not None]
        lefts.append(x)
        widths.append(max(sizes))
        x += widths[-1] + min(max(COLUMN_GAP, 0.28 * climbs[column]), WIDEST_GAP)
    return lefts, widths


def _ports(
    grid: _Grid, y: Sequence[float], chains: Mapping[tuple[str, str], list[int]]
) -> dict[tuple[str, str], list[float]]:
    """Where a pair leaves its left box and enters its right one, from the box's middle."""
    at: dict[tuple[str, str], list[float]] = {ends: [0.0, 0.0] for ends in chains}
    for side in (0, 1):
        using: dict[int, list[tuple[float, tuple[str, str]]]] = defaultdict(list)
        for ends, items in chains.items():
            box, near = (items[0], items[1]) if side == 0 else (items[-1], items[-2])
            using[box].append((y[near], ends))
        for box, users in using.items():
            users.sort()
            room = grid.size[box] - 10
            step = min(6.0, room / max(len(users) - 1, 1))
            for rank, (_, ends) in enumerate(users):
                at[ends][side] = (rank - (len(users) - 1) / 2) * step
    return at


# -- all parts together -----------------------------------------------------------------------------


def _packed(parts: Sequence[_Part], links: Sequence[Link], widest: float) -> Layout:
    """Parts on shelves, the largest first; then every link's own lane beside its pair's spine."""
    room = max([widest, *(part.width for part in parts)]) if parts else 0.0
    x = y = shelf = width = 0.0
    places: dict[str, Place] = {}
    spines: dict[tuple[str, str], tuple[list[tuple[float, float]], bool]] = {}
    for part in parts:
        if x and x + part.width > room:
            x, y, shelf = 0.0, y + shelf + PART_GAP, 0.0
        for name, place in part.places.items():
            places[name] = Place(place.x + x, place.y + y, place.width, place.height, place.column)
        for ends, (points, back) in part.spines.items():
            spines[ends] = ([(px + x, py + y) for px, py in points], back)
        width, shelf = max(width, x + part.width), max(shelf, part.height)
        x += part.width + PART_GAP
    lanes = _lanes(links)
    routes: list[Route] = []
    for link, lane in zip(links, lanes, strict=True):
        if link.source == link.target:
            routes.append(_loop(places[link.source], lane))
            continue
        points, back = spines[link.source, link.target]
        routes.append(Route(tuple((px, py + lane) for px, py in points), back=back))
    return Layout(places, tuple(routes), width, y + shelf)


def _lanes(links: Sequence[Link]) -> list[float]:
    """Height of each link above or below the middle of its pair's lanes."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for at, link in enumerate(links):
        groups[link.source, link.target].append(at)
    lanes = [0.0] * len(links)
    for group in groups.values():
        room = sum(links[at].width for at in group) + EDGE_GAP / 2 * (len(group) - 1)
        top = -room / 2
        for at in group:
            lanes[at] = top + links[at].width / 2
            top += links[at].width + EDGE_GAP / 2
    return lanes


def _loop(place: Place, lane: float) -> Route:
    right, top = place.x + place.width, place.y
    reach = 9.0 + abs(lane)
    return Route(((right - 26 - reach, top), (right - 12, top - reach), (right - 6, top)), loop=True)
