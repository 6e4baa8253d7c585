"""A graph drawn as SVG: one string that stands alone, or a part of a page.

    arranged = arrange(graph)                      # once, on the union of both periods
    draw(graph, arranged, Look(view="base"))       # boxes stay where they are
    draw(graph, arranged, Look(view="change"))

Width is the share of the clock, colour what its change adds to the mean, dashes are queue hops; the bar
in a box is a service's own work, its tint what that adds.
Colours are CSS variables that follow light and dark; there is no script, no
`style` attribute and no foreign resource, so a page with a strict content policy can hold it (with
`STYLE` in its own style sheet and ``embed_style=False``).  Every name is escaped, and shortened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

from tracescope.report.figures import number
from tracescope.report.layout import Box, Layout, Link, Place, Route, layout
from tracescope.report.names import escaped, one_line, shortened, text_width
from tracescope.report.palette import INKS, MARKS, STYLE, style

if TYPE_CHECKING:
    from tracescope.analysis.topology.graph import Graph

__all__ = ["INKS", "STYLE", "Look", "arrange", "draw", "ink"]

View = Literal["change", "head", "base"]
Width = Literal["share", "inclusive_share"]
Theme = Literal["auto", "light", "dark"]

BOX_HEIGHT: Final = 26.0
#: A slide of 16 by 9, px.
SLIDE: Final = (1600, 900)
_MARGIN: Final = 18.0
_FONT: Final = 11.0
_LETTERS: Final = 26
#: Room of a badge in a box.
_BADGE: Final = 44.0
_LEGEND: Final = 34.0
_THICKEST: Final = 9.0
#: A figure stands beside a line, never on it, when that is how far from its middle it would be.
THICK: Final = 10.0
#: Database systems that keep nothing: drawn as caches.
_CACHES: Final = ("redis", "memcached", "valkey", "hazelcast", "keydb")
#: A change of share below this is not labelled; a share below this neither.
_WORTH_A_LABEL: Final = 0.004

#: Steps of what an edge adds, in parts of the mean clock before.
_STEPS: Final = (0.01, 0.05)

_Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Look:
    """How to draw.

    Attributes
    ----------
    view
        ``change`` (widths of the head, colours of the change), ``head`` or ``base`` (widths of that
        period; what is not in it is drawn faint).  Without a base always ``head``.
    width
        Which share widths and colours show: the edge's own, or all that lies below it too.
    labels
        So many of the strongest edges carry a figure.
    theme
        ``auto`` follows the reader; ``light`` and ``dark`` write colours out, for programs that know
        no variables.
    heading
        A line above the drawing.
    title, description
        What a screen reader says; made from the graph when empty.
    node_href, edge_href
        Given a row of nodes or edges, the address it links to; None for none.
    prefix
        Of element ids, to put several drawings on one page.
    fit
        Width and height in px that the drawing is scaled into, such as a slide's; None for its own size.
    embed_style, legend
        Whether the drawing holds its style sheet, and its legend.
    """

    view: View = "change"
    width: Width = "share"
    labels: int = 8
    theme: Theme = "auto"
    heading: str = ""
    title: str = ""
    description: str = ""
    node_href: Callable[[_Row], str | None] | None = None
    edge_href: Callable[[_Row], str | None] | None = None
    prefix: str = "ts"
    fit: tuple[int, int] | None = None
    embed_style: bool = True
    legend: bool = True


def label_of(node: _Row) -> str:
    """A node's name as its box shows it."""
    return shortened(node["name"], _LETTERS) or "(no name)"


def thickness(share: float) -> float:
    """Line width in px of an edge with this share of the clock."""
    return min(1.1 + 36.0 * max(share, 0.0), _THICKEST)


def arrange(graph: Graph, *, width: Width = "share", widest: float = 1400.0) -> Layout:
    """Lay out a graph's boxes and edges; the same for every view of it."""
    boxes = [
        Box(
            node["id"],
            1.06 * text_width(label_of(node), _FONT) + 38 + (_BADGE if node.get("inside") else 0.0),
            BOX_HEIGHT,
            node["entry"],
        )
        for node in graph.nodes.iter_rows(named=True)
    ]
    links: list[Link] = []
    for edge in graph.edges.iter_rows(named=True):
        share = max(edge[width], edge.get(f"{width}_base", 0.0))
        links.append(Link(edge["caller"], edge["callee"], 20 * share, thickness(share)))
    return layout(boxes, links, widest=widest)


def ink_of(part: float) -> str:
    """Which of `INKS` shows what something adds, in parts of the mean clock before."""
    if part <= 0:
        return "down" if part < 0 else "flat"
    return "up3" if part > _STEPS[1] else "up2" if part > _STEPS[0] else "up1"


def ink(edge: _Row, look: Look, *, compared: bool) -> str:
    """Which of `INKS` an edge or node is drawn in."""
    if compared and look.view == "change":
        if edge.get("significant") is False:
            return "flat"
        if "added_part" in edge:
            return ink_of(edge["added_part"])
        points = 100 * (edge[look.width] - edge[f"{look.width}_base"])
        if points <= -1:
            return "down"
        return "up3" if points > 4 else "up2" if points > 1 else "up1" if points > 0.4 else "flat"
    share = edge[f"{look.width}_base"] if compared and look.view == "base" else edge[look.width]
    return "share3" if share > 0.1 else "share2" if share > 0.03 else "share1" if share > 0.01 else "flat"


def draw(graph: Graph, arranged: Layout, look: Look | None = None) -> str:
    """The drawing as one SVG element.

    Parameters
    ----------
    graph
        What to draw; its nodes must be among `arranged`'s places, its edges in the order that it was
        arranged with.
    arranged
        What `arrange` gave for it.
    look
        How; by default the change, else the shares, in the reader's colours.
    """
    look = look or Look()
    compared = graph.base is not None
    top = _MARGIN + (26.0 if look.heading else 0.0)
    judged = "added_part" in graph.edges.columns
    legend = _legend(look, compared=compared, judged=judged) if look.legend else ("", 0.0)
    width = max(arranged.width + 2 * _MARGIN, legend[1] + 2 * _MARGIN)
    height = arranged.height + top + _MARGIN + (_LEGEND if look.legend else 0.0)
    scale = 1.0 if look.fit is None else min(look.fit[0] / width, look.fit[1] / height)
    title = look.title or f"Dependencies of {graph.environment or 'the system'}"
    about = look.description or _described(graph, look)
    # a picture has no parts that can be reached; one with links does
    role = "group" if look.node_href or look.edge_href else "img"
    style_sheet = f"<style>{style(look.theme)}</style>" if look.embed_style else ""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="ts-graph" role="{role}" '
        f'aria-labelledby="{look.prefix}-title {look.prefix}-desc" width="{width * scale:.0f}" '
        f'height="{height * scale:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="system-ui, sans-serif" font-size="{_FONT:g}">',
        f'<title id="{look.prefix}-title">{escaped(one_line(title))}</title>',
        f'<desc id="{look.prefix}-desc">{escaped(one_line(about, 4000))}</desc>',
        style_sheet,
        '<rect class="ts-paper" width="100%" height="100%"/>',
    ]
    if look.heading:
        heading = escaped(shortened(look.heading, 160))
        parts.append(f'<text class="ts-heading" x="{_MARGIN:g}" y="{_MARGIN + 8:g}">{heading}</text>')
    parts.append(f'<g transform="translate({_MARGIN:g} {top:g})">')
    parts += _edges(graph, arranged, look, compared=compared)
    parts += _nodes(graph, arranged, look, compared=compared)
    parts += _labels(graph, arranged, look, compared=compared)
    parts.append("</g>")
    if look.legend:
        parts.append(f'<g transform="translate({_MARGIN:g} {height - _LEGEND / 2 - 4:g})">{legend[0]}</g>')
    return "".join([*parts, "</svg>"])


def _described(graph: Graph, look: Look) -> str:
    """The drawing in words: its size and its strongest edges."""
    rows = _by_strength(graph, look, compared=graph.base is not None)[:3]
    edges = graph.edges.rows(named=True)
    said = "; ".join(_sentence(edges[at], compared=graph.base is not None) for at in rows)
    return f"{len(graph.nodes)} nodes and {len(edges)} edges. Strongest: {said}." if said else "No edges."


def _sentence(edge: _Row, *, compared: bool) -> str:
    name = f"{shortened(edge['caller'])} → {shortened(edge['callee'])}"
    operation = f" {shortened(edge['operation'])}" if edge["operation"] else ""
    text = f"{name}{operation}, {edge['kind']}: {edge['share'] * 100:.1f} % of the clock"
    if compared:
        text += ", no clear change" if edge.get("significant") is False else f", {_added(edge)}"
        text += "" if edge["state"] == "both" else f", {edge['state']}"
    if edge["calls_per_unit"]:
        text += f", {edge['calls_per_unit']:.3g} calls per {edge['unit']}"
    return text


def _added(edge: _Row) -> str:
    """What an edge adds, in ms where the graph was judged, else how its share changed."""
    if "added_ms" not in edge:
        return _points(edge["change"])
    per = "" if edge["unit"] == "request" else f" / {edge['unit']}"
    return f"{number(edge['added_ms'], sign=True)} ms{per}"


def _points(change: float) -> str:
    return f"{change * 100:+.1f} pt".replace("-", "−")


def _shown_share(edge: _Row, look: Look, *, compared: bool) -> float:
    return edge[f"{look.width}_base"] if compared and look.view == "base" else edge[look.width]


def _absent(edge: _Row, look: Look) -> bool:
    """Whether an edge is not in the period that is drawn."""
    state = edge.get("state", "both")
    return (look.view == "base" and state == "new") or (look.view == "head" and state == "gone")


# -- edges ------------------------------------------------------------------------------------------


def _edges(graph: Graph, arranged: Layout, look: Look, *, compared: bool) -> list[str]:
    """All edges, the weak ones first so that strong ones lie on top."""
    rows = graph.edges.rows(named=True)
    order = _by_strength(graph, look, compared=compared)[::-1]
    return [_edge(at, rows[at], arranged.routes[at], look, compared=compared) for at in order]


def _by_strength(graph: Graph, look: Look, *, compared: bool) -> list[int]:
    """Edge numbers, strongest first: by change where there is one, then by share."""
    rows = graph.edges.rows(named=True)

    def strength(at: int) -> tuple[float, float, int]:
        edge = rows[at]
        change = 0.0
        if compared and look.view == "change":
            change = edge.get("added_part", edge[look.width] - edge[f"{look.width}_base"])
        return (-abs(change), -_shown_share(edge, look, compared=compared), at)

    return sorted(range(len(rows)), key=strength)


def _edge(at: int, edge: _Row, route: Route, look: Look, *, compared: bool) -> str:
    line = thickness(_shown_share(edge, look, compared=compared))
    color = ink(edge, look, compared=compared)
    if _absent(edge, look):
        line, color = 1.0, "absent"
    arrow = 4.5 + 0.7 * line
    dashed = _dots(line) if edge["kind"] == "queue" else ""
    if edge.get("state") == "gone" and look.view == "change":
        dashed = ' stroke-dasharray="8 4"'
    drawn = (
        f'<path class="ts-line ts-{color}" d="{path_data(route, arrow)}" stroke-width="{line:.2f}"{dashed}/>'
        f'<path class="ts-tip ts-{color}" d="{_tip(route, arrow, line)}"/>'
    )
    about = _sentence(edge, compared=compared)
    body = _linked(drawn, look.edge_href(edge) if look.edge_href else None, about)
    return f'<g class="ts-edge" data-edge="{at}"><title>{escaped(about)}</title>{body}</g>'


def _linked(drawn: str, href: str | None, about: str) -> str:
    """`drawn` as a link that says where it leads; itself without an address."""
    if href is None:
        return drawn
    return f'<a href="{escaped(one_line(href, 4000))}" aria-label="{escaped(about)}">{drawn}</a>'


def _dots(line: float) -> str:
    """Short dashes for thin lines, round dots for thick ones, where dashes would melt together."""
    dash, gap = (3.0, 4.0) if line < 2.5 else (0.1, 1.7 * line)
    return f' stroke-dasharray="{dash:g} {gap:.1f}" stroke-linecap="{"butt" if line < 2.5 else "round"}"'


def path_data(route: Route, arrow: float = 0.0) -> str:
    """A route as SVG path data: S-curves between columns, straight through them."""
    points = list(route.points)
    if route.loop:
        (x0, y0), (_, ym), (x1, y1) = points
        return f"M{x0:.1f} {y0:.1f}C{x0:.1f} {ym - 6:.1f} {x1:.1f} {ym - 6:.1f} {x1:.1f} {y1 - arrow:.1f}"
    x, y = points[-1]
    points[-1] = (x + arrow if route.back else x - arrow, y)
    parts = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for at in range(1, len(points)):
        (x0, y0), (x1, y1) = points[at - 1], points[at]
        if at % 2 == 0 or abs(y0 - y1) < 0.05:
            parts.append(f"L{x1:.1f} {y1:.1f}")
        else:
            middle = (x0 + x1) / 2
            parts.append(f"C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}")
    return "".join(parts)


def _tip(route: Route, arrow: float, line: float) -> str:
    x, y = route.points[-1]
    half = 2.2 + line * 0.75
    if route.loop:
        return f"M{x:.1f} {y:.1f}l{-half:.1f} {-arrow:.1f}h{2 * half:.1f}z"
    step = arrow if route.back else -arrow
    return f"M{x:.1f} {y:.1f}l{step:.1f} {-half:.1f}v{2 * half:.1f}z"


# -- nodes ------------------------------------------------------------------------------------------


def _nodes(graph: Graph, arranged: Layout, look: Look, *, compared: bool) -> list[str]:
    joined: set[str] = set()
    if compared and look.view != "change":
        for edge in graph.edges.iter_rows(named=True):
            if not _absent(edge, look):
                joined |= {edge["caller"], edge["callee"]}
    out: list[str] = []
    for node in graph.nodes.iter_rows(named=True):
        now = node["share_base"] if compared and look.view == "base" else node["share"]
        faint = compared and look.view != "change" and node["id"] not in joined and not now
        out.append(_node(node, arranged.places[node["id"]], look, faint=faint, compared=compared))
    return out


def _mark(node: _Row) -> str:
    if node["type"] == "database" and node["name"].partition("/")[0].lower() in _CACHES:
        return "cache"
    return node["type"]


def _node(node: _Row, place: Place, look: Look, *, faint: bool, compared: bool) -> str:
    mark = _mark(node)
    x, y, width, height = place.x, place.y, place.width, place.height
    round_by = height / 2 if mark == "queue" else 4
    share = node["share_base"] if compared and look.view == "base" else node["share"]
    title = f"{shortened(node['name'], 200)} ({node['type']})"
    if share:
        what = "own work" if node["type"] == "service" else "time in it"
        title += f": {what} {share * 100:.1f} % of the clock"
    bar = ""
    if share >= 0.005 and node["type"] in ("service", "namespace"):
        long = max((width - 12) * min(share * 2, 1.0), 2.0)  # half of the clock fills the box
        bar = (
            f'<rect class="ts-own" x="{x + 6:.1f}" y="{y + height - 4:.1f}" width="{long:.1f}" '
            'height="2" rx="1"/>'
        )
    tint = ""
    if compared and look.view == "change" and node.get("own_added_part"):
        title += f", {number(node['own_added_ms'], sign=True)} ms of its own"
        tint = (
            f'<rect class="ts-tint ts-{ink_of(node["own_added_part"])}" x="{x:.1f}" y="{y:.1f}" '
            f'width="{width:.1f}" height="{height:.1f}" rx="{round_by:g}"/>'
        )
    badge = _badge(node, place)
    title += f", {node['inside']} nodes inside" if node.get("inside") else ""
    title += f", {node['growing']} of its edges grow" if node.get("inside") and node.get("growing") else ""
    drawn = (
        f'<rect class="ts-box ts-{mark}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'rx="{round_by:g}"/>{tint}'
        f'<path class="ts-mark ts-{mark}" transform="translate({x + 9:.1f} {y + height / 2 - 5:.1f})" '
        f'd="{MARKS[mark]}"/><text class="ts-name" x="{x + 25:.1f}" y="{y + height / 2 + 3.8:.1f}">'
        f"{escaped(label_of(node))}</text>{bar}{badge}"
    )
    body = _linked(drawn, look.node_href(node) if look.node_href else None, title)
    entry = " ts-entry" if node["entry"] else ""
    ghost = " ts-faint" if faint else ""
    return (
        f'<g class="ts-node{entry}{ghost}" data-node="{escaped(one_line(node["id"]))}">'
        f"<title>{escaped(title)}</title>{body}</g>"
    )


def _badge(node: _Row, place: Place) -> str:
    """What is inside of a collapsed box: how many nodes, and how much of it grows."""
    if not node.get("inside"):
        return ""
    right, middle = place.x + place.width - 6, place.y + place.height / 2 + 3.4
    growing = f'<tspan class="ts-badge ts-up2">▲{node["growing"]} </tspan>' if node.get("growing") else ""
    return (
        f'<text class="ts-badge" x="{right:.1f}" y="{middle:.1f}" text-anchor="end">{growing}'
        f"{node['inside']}</text>"
    )


# -- figures beside edges ---------------------------------------------------------------------------

_Area = tuple[float, float, float, float]


def _labels(graph: Graph, arranged: Layout, look: Look, *, compared: bool) -> list[str]:
    """Figures of the strongest edges, where they cover neither a box nor each other."""
    rows = graph.edges.rows(named=True)
    taken: list[_Area] = [(p.x, p.y, p.x + p.width, p.y + p.height) for p in arranged.places.values()]
    out: list[str] = []
    for at in _by_strength(graph, look, compared=compared):
        edge = rows[at]
        if len(out) >= look.labels:
            break
        text = _figure(edge, look, compared=compared)
        if text is None or _absent(edge, look) or ink(edge, look, compared=compared) == "flat":
            continue
        wide = text_width(text, 10) + 8
        line = thickness(_shown_share(edge, look, compared=compared))
        spot = _free(arranged.routes[at], wide, line / 2 + 8, taken)
        if spot is None:
            continue
        x, y = spot
        taken.append((x - wide / 2, y - 7, x + wide / 2, y + 7))
        color = ink(edge, look, compared=compared)
        out.append(
            f'<g class="ts-figure"><rect class="ts-halo" x="{x - wide / 2:.1f}" y="{y - 7:.1f}" '
            f'width="{wide:.1f}" height="14" rx="7"/>'
            f'<text class="ts-say ts-{color}" x="{x:.1f}" y="{y + 3.5:.1f}" text-anchor="middle">'
            f"{escaped(text)}</text></g>"
        )
    return out


def _figure(edge: _Row, look: Look, *, compared: bool) -> str | None:
    if compared and look.view == "change":
        change = edge[look.width] - edge[f"{look.width}_base"]
        if "added_ms" in edge:
            return None if not edge["added_ms"] else _added(edge)
        if abs(change) < _WORTH_A_LABEL:
            return None
        return _points(change) + ("" if edge["state"] == "both" else f" {edge['state']}")
    share = _shown_share(edge, look, compared=compared)
    return None if share < _WORTH_A_LABEL else f"{share * 100:.1f} %"


def _free(route: Route, wide: float, beside: float, covered: Sequence[_Area]) -> tuple[float, float] | None:
    """A spot near the route's middle that covers nothing: on steep parts, `beside` flat ones."""
    points = route.points
    if route.loop:
        spots = [(*points[1], True)]
    else:
        spots = [
            ((x0 + x1) / 2, (y0 + y1) / 2, abs(y1 - y0) > 12)
            for (x0, y0), (x1, y1) in pairwise(points)
            if abs(x1 - x0) > 1
        ]
        middle = (len(spots) - 1) / 2
        ranked = sorted(enumerate(spots), key=lambda pair: (abs(pair[0] - middle), pair[0]))
        spots = [spot for _, spot in ranked]
    for x, y, steep in spots:
        for shift in (0.0, -10.0, 10.0) if steep and beside < THICK else (-beside, beside):
            area = (x - wide / 2 - 1, y + shift - 7, x + wide / 2 + 1, y + shift + 7)
            if not any(a < area[2] and area[0] < c and b < area[3] and area[1] < d for a, b, c, d in covered):
                return x, y + shift
    return None


# -- legend -----------------------------------------------------------------------------------------

_CHANGES: Final = (
    ("up3", "> +4 pt"), ("up2", "+1 … 4"), ("up1", "+0.4 … 1"), ("flat", "no clear change"),
    ("down", "< −1 pt"),
)  # fmt: skip
_ADDS: Final = (
    ("up3", "over 5 % of the mean"), ("up2", "1 … 5 %"), ("up1", "less"), ("flat", "no clear change"),
    ("down", "takes less"),
)  # fmt: skip
_SHARES: Final = (("share3", "> 10 %"), ("share2", "3 … 10"), ("share1", "1 … 3"), ("flat", "less"))


def _legend(look: Look, *, compared: bool, judged: bool) -> tuple[str, float]:
    """The legend and its width in px."""
    change = compared and look.view == "change"
    what = "share of the clock" if look.width == "share" else "share of the clock with all below"
    of = {"base": " in base", "head": " in head", "change": " in head"}[look.view] if compared else ""
    out: list[str] = []
    x = 0.0

    def say(text: str) -> None:
        nonlocal x
        out.append(f'<text class="ts-legend" x="{x:.1f}" y="4">{escaped(text)}</text>')
        x += 1.14 * text_width(text, _FONT) + 12  # wider fonts than the one estimated for

    say(f"width = {what}{of}; colour = {_colour(change, judged)}")
    for color, text in (_ADDS if judged else _CHANGES) if change else _SHARES:
        out.append(f'<path class="ts-line ts-{color}" d="M{x:.1f} 0h22" stroke-width="3.5"/>')
        x += 28
        say(text)
    out.append(f'<path class="ts-line ts-flat" d="M{x:.1f} 0h22" stroke-width="2"{_dots(2)}/>')
    x += 28
    say("queue hop")
    out.append(f'<rect class="ts-own" x="{x:.1f}" y="-1" width="22" height="2" rx="1"/>')
    x += 28
    say("own work")
    return "".join(out), x


def _colour(change: bool, judged: bool) -> str:
    """What colours of edges tell."""
    if not change:
        return "share"
    return "milliseconds added" if judged else "change of share"
