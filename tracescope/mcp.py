"""The store as tools for an agent: the Model Context Protocol over standard input and output.

Each tool is the JSON twin of a page, cut to what fits a conversation; nothing changes the store.

Source: Model Context Protocol specification (tools).  The ``mcp`` package is an extra.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from tracescope import __version__
from tracescope.analysis.explain import sentence
from tracescope.errors import TracescopeError, UsageError
from tracescope.report import text
from tracescope.session import Answers, Session
from tracescope.web import api
from tracescope.web.view import View, read

if TYPE_CHECKING:
    from mcp.server import MCPServer

#: Rows of a list that an answer carries at most.
MOST_ROWS: Final = 50
_ABOUT: Final = (
    "Tracescope finds the coordination edges (database calls, queue hops, API fan-out) that take a growing "
    "share of latency. Begin with `diff`; a change with significant=false could be chance, and "
    "'insufficient data' is an answer."
)
_PERIODS: Final = (
    "Periods: last-week, this-week, last-month, 30d, all, 2026-08, 2026-W40, 2026-08-01/2026-08-15, ISO "
    "instants or marked names; empty for last week and this week."
)


def _answer(build: Callable[[], Any]) -> Any:
    """The answer, or what went wrong and what to do about it."""
    try:
        return build()
    except TracescopeError as error:
        return {"error": error.message, "hint": error.hint}


def _view(**values: Any) -> View:
    return read({name: str(value) for name, value in values.items() if value not in ("", None)})


def make_server(session: Session) -> MCPServer:
    """The server with its tools.

    Raises
    ------
    UsageError
        The ``mcp`` extra is not installed.
    """
    try:
        from mcp.server import MCPServer
    except ModuleNotFoundError as error:
        raise UsageError(
            f"no module {error.name!r}", "install the extra: python -m pip install 'tracescope[mcp]'"
        ) from error

    def asked(view: View) -> Answers:
        return session.ask(view.question(session.settings))

    server = MCPServer("tracescope", version=__version__, instructions=_ABOUT)

    def diff(base: str = "", head: str = "", kind: str = "", service: str = "", top: int = 10) -> Any:
        def build() -> Any:
            view = _view(base=base, head=head, kind=kind, service=service, top=min(top, MOST_ROWS))
            found = api.growth(asked(view), view)
            found.pop("series")
            found["entries"] = found["entries"][:MOST_ROWS]
            return {"summary": text.headline(asked(view).report()), **found}

        return _answer(build)

    def explain(
        caller: str, callee: str = "", kind: str = "", operation: str = "", base: str = "", head: str = ""
    ) -> Any:
        def build() -> Any:
            report = asked(_view(base=base, head=head)).report()
            named = [
                edge
                for edge in report.edges
                if edge.caller == caller
                and (edge.callee or "") == callee
                and (not kind or edge.kind == kind)
                and (not operation or edge.operation == operation)
            ]
            if not named:
                near = [e.name for e in report.edges if caller in (e.caller, e.callee)]
                raise UsageError(
                    f"no edge {caller} -> {callee or '(itself)'}",
                    f"near it: {', '.join(near[:10]) or 'none'}",
                )
            edge = named[0]
            view = _view(
                base=base, head=head, unit=edge.unit, edge_kind=edge.kind, caller=edge.caller,
                callee=edge.callee or "", operation=edge.operation or "",
            )  # fmt: skip
            found = api.edge(asked(view), view)
            found.pop("series")
            return {"sentence": sentence(edge), **found, "same_ends": [e.operation for e in named[1:]]}

        return _answer(build)

    def graph(base: str = "", head: str = "", level: str = "dependency", kind: str = "") -> Any:
        def build() -> Any:
            view = _view(base=base, head=head, level=level, kind=kind)
            found = api.map_(asked(view), view)
            return {**found, "edges": found["edges"][:MOST_ROWS], "edges_in_all": len(found["edges"])}

        return _answer(build)

    def trace(trace_id: str) -> Any:
        def build() -> Any:
            found = api.trace(session.ask(), View(), trace_id)
            path = [span for span in found["spans"] if span["on_path"]]
            return {**found, "spans": path[:MOST_ROWS], "spans_in_all": len(found["spans"]), "segments": []}

        return _answer(build)

    def forecast(growth: float = 2.0, horizon: int = 12) -> Any:
        def build() -> Any:
            view = _view(growth=growth, horizon=horizon)
            found = api.forecast(asked(view), view)
            return {**found, "edges": found["edges"][:MOST_ROWS], "entries": found["entries"][:MOST_ROWS]}

        return _answer(build)

    def quality() -> Any:
        return _answer(lambda: api.quality(session.ask(), View()))

    for tool, about in (
        (diff, f"What changed between two periods: edges ranked by credited growth, why. {_PERIODS}"),
        (explain, f"One edge: effects, quantiles, who calls it, example traces. {_PERIODS}"),
        (
            graph,
            f"The dependency graph of head against base; level service, dependency, operation. {_PERIODS}",
        ),
        (trace, "The critical path of one trace, by its id of 32 hex digits."),
        (forecast, "Headroom of every edge, weeks to its wall, latency at `growth` times today's load."),
        (quality, "What the store holds, what was refused or mended, and whether periods compare."),
    ):
        server.tool(description=about, structured_output=False)(tool)
    return server
