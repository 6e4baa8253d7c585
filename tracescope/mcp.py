"""The store as tools for an agent: the Model Context Protocol over standard input and output.

Each tool is the JSON twin of a page, cut to what fits a conversation; nothing but a mute changes the store.

Source: Model Context Protocol specification (tools).  The ``mcp`` package is an extra.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from tracescope.analysis.explain import sentence
from tracescope.errors import UsageError, translated
from tracescope.near import suggestion
from tracescope.report import canonical, text
from tracescope.session import Answers, Session
from tracescope.version import __version__
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


def _answered(tool: Callable[..., Any]) -> Callable[..., Any]:
    """A tool with the numbers of every surface, that answers what went wrong instead of raising."""

    @wraps(tool)
    def call(*arguments: Any, **named: Any) -> Any:
        try:
            return canonical(tool(*arguments, **named))
        except Exception as error:
            known = translated(error)
            if known is None:
                raise
            return {"error": known.message, "hint": known.hint}

    return call


def _view(**values: Any) -> View:
    return read({name: str(value) for name, value in values.items() if value not in ("", None)})


@dataclass(frozen=True, slots=True)
class Tools:
    """What an agent may ask of a store; lists are cut to `MOST_ROWS`, and say how long they were."""

    session: Session

    def _answers(self, view: View) -> Answers:
        return self.session.ask(view.question(self.session.settings))

    @_answered
    def diff(
        self,
        base: str = "",
        head: str = "",
        kind: str = "",
        service: str = "",
        top: int = 10,
        explain_by: str = "",
    ) -> Any:
        """Edges by credited growth."""
        view = _view(
            base=base, head=head, kind=kind, service=service, top=min(top, MOST_ROWS), explain_by=explain_by
        )
        growth = api.growth(self._answers(view), view)
        growth.pop("series")
        growth["entries"] = growth["entries"][:MOST_ROWS]
        return {"summary": text.headline(self._answers(view).report()), **growth}

    @_answered
    def explain(
        self,
        caller: str,
        callee: str = "",
        kind: str = "",
        operation: str = "",
        base: str = "",
        head: str = "",
    ) -> Any:
        """One edge by its ends, the first of several in the order of the report."""
        report = self._answers(_view(base=base, head=head)).report()
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
            known = [e.name for e in report.edges]
            raise UsageError(
                f"no edge {caller} -> {callee or '(itself)'}",
                f"near it: {', '.join(near[:10])}"
                if near
                else suggestion(f"{caller} -> {callee}", known, "`diff` lists the edges that there are"),
            )
        edge = named[0]
        view = _view(
            base=base, head=head, unit=edge.unit, edge_kind=edge.kind, caller=edge.caller,
            callee=edge.callee or "", operation=edge.operation or "",
        )  # fmt: skip
        answer = api.edge(self._answers(view), view)
        answer.pop("series")
        return {"sentence": sentence(edge), **answer, "same_ends": [e.operation for e in named[1:]]}

    @_answered
    def graph(self, base: str = "", head: str = "", level: str = "dependency", kind: str = "") -> Any:
        """Who calls whom."""
        view = _view(base=base, head=head, level=level, kind=kind)
        answer = api.map_(self._answers(view), view)
        return {**answer, "edges": answer["edges"][:MOST_ROWS], "edges_in_all": len(answer["edges"])}

    @_answered
    def trace(self, trace_id: str) -> Any:
        """The spans of a trace that are on its critical path."""
        answer = api.trace(self.session.ask(), View(), trace_id)
        path = [span for span in answer["spans"] if span["on_path"]]
        return {**answer, "spans": path[:MOST_ROWS], "spans_in_all": len(answer["spans"]), "segments": []}

    @_answered
    def forecast(self, growth: float = 2.0, horizon: int = 12) -> Any:
        """Headroom and walls."""
        view = _view(growth=growth, horizon=horizon)
        answer = api.forecast(self._answers(view), view)
        return {**answer, "edges": answer["edges"][:MOST_ROWS], "entries": answer["entries"][:MOST_ROWS]}

    @_answered
    def mute(self, finding: str, until: str = "", reason: str = "", base: str = "", head: str = "") -> Any:
        """A finding acknowledged, or no more."""
        asked = {"finding": finding, "until": until, "reason": reason}
        return api.mute(self._answers(_view(base=base, head=head)), asked)

    @_answered
    def quality(self) -> Any:
        """What the store holds."""
        return api.quality(self.session.ask(), View())


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

    from mcp.server.mcpserver.exceptions import ToolError
    from pydantic import ValidationError

    tools = Tools(session)

    class Server(MCPServer):
        """Says in our words what is wrong with a call's arguments, those that no tool has included."""

        async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
            tool = getattr(tools, name, None)
            known = list(inspect.signature(tool).parameters) if callable(tool) else list(arguments)
            takes = f"{name} takes {', '.join(known) or 'none'}"
            if strange := [one for one in arguments if one not in known]:
                raise ToolError(f"no argument {strange[0][:60]!r}: {takes}")
            try:
                return await super().call_tool(name, arguments, context)
            except ToolError as error:
                if not isinstance(error.__cause__, ValidationError):
                    raise
                wrong = "; ".join(
                    f"{one['loc'][0]} is missing"
                    if one["type"] == "missing"
                    else f"{one['loc'][0]} is {one['input']!r:.60}: {one['msg'].lower()}"
                    for one in error.__cause__.errors()
                )
                raise ToolError(f"{wrong}: {takes}") from error

    server = Server("tracescope", version=__version__, instructions=_ABOUT)
    for tool, about in (
        (
            tools.diff,
            "What changed between two periods: edges ranked by credited growth, why. explain_by tells which "
            "attribute values (versions, tenants, regions) carry the change: keys with commas between, or "
            f"'all'; it reads raw spans. {_PERIODS}",
        ),
        (tools.explain, f"One edge: effects, quantiles, who calls it, example traces. {_PERIODS}"),
        (
            tools.graph,
            f"The dependency graph of head against base; level service, dependency, operation. {_PERIODS}",
        ),
        (tools.trace, "The critical path of one trace, by its id of 32 hex digits."),
        (
            tools.forecast,
            "Headroom of every edge, weeks to its wall, latency at `growth` times today's load.",
        ),
        (
            tools.mute,
            "Acknowledge a finding of `diff` by its id until an end (2w, a date) with a reason: it stands "
            "after the others and is not sent. Without both the mute ends. Only where a person asks. "
            f"{_PERIODS}",
        ),
        (tools.quality, "What the store holds, what was refused or mended, and whether periods compare."),
    ):
        server.tool(description=about, structured_output=False)(tool)
    return server
