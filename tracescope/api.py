"""The public Python API: what a program or a notebook asks, as frames, pictures and plain answers.

    store = tracescope.open_store("~/store")
    report = store.diff("last-month")
    report.edges                                    # a polars frame, strongest growth first
    store.explain("orders -> postgresql/orders", "last-month")
    store.graph("all").to_networkx()

Everything here asks `tracescope.session`, as the command line and the page do, so the numbers are theirs.
Names of this module are stable within a major version; what else the package holds is not.

Every answer has ``to_dict()``, the JSON of the command line, and shows itself in Jupyter.
"""

from __future__ import annotations

import html
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from tracescope import config, schema
from tracescope.analysis.rollups.where import conditions
from tracescope.engine.compare import slot_of
from tracescope.engine.question import Question
from tracescope.engine.rollups import Budget, RollupRequest, rollups
from tracescope.errors import UsageError
from tracescope.periods import parse
from tracescope.report import canonical, diff_json, edge_json, graph_json, path_json
from tracescope.report import explain as explained
from tracescope.report import forecast as foreseen
from tracescope.report.figures import more_of
from tracescope.session import TREND_POINTS, Answers, Session

if TYPE_CHECKING:
    import networkx as nx

    from tracescope.analysis.explain import Explanation as _Explanation
    from tracescope.analysis.report import Report as _Report
    from tracescope.analysis.rollups.trace_path import TracePath
    from tracescope.analysis.topology.graph import Graph as _Graph
    from tracescope.ingest.documents import Form

Level = Literal["service", "dependency", "operation"]


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: spans that are new, that were here already, and that were rejected by reason."""

    new: int
    duplicates: int
    rejected: Mapping[str, int]


class Store:
    """A store to ask.  Made by `open_store`; safe to use from several threads."""

    def __init__(self, paths: Sequence[Path], settings: config.Settings) -> None:
        self.paths = tuple(paths)
        self.settings = settings
        self._session = Session(self.paths, settings)

    @property
    def path(self) -> Path:
        """The folder; of several the first."""
        return self.paths[0]

    def __repr__(self) -> str:
        names = [str(path) for path in self.paths]
        shown = names[0] if len(names) == 1 else names
        return f"open_store({shown!r})"

    def import_files(self, *files: str | Path, format: Form = "auto") -> Imported:  # noqa: A002 - as the flag
        """Read trace files into the store, which is made where there is none.

        Parameters
        ----------
        files
            Names, globs, folders, or URLs, of which only what is new is read.
        format
            What they are; told by their content when ``"auto"``.

        Raises
        ------
        InputError
            A file cannot be read; the store is as it was.
        UsageError
            There are several stores.
        """
        from tracescope.engine.import_files import import_files
        from tracescope.sources import Options, resolve
        from tracescope.store import open_store as opened

        budget = Budget.of(self.settings)
        places = resolve(files, Options(format, budget.workers, settings=self.settings.sources))
        done = import_files(
            opened(Path(self.settings.one_store).expanduser(), create=True),
            places,
            arrived_ns=time.time_ns(),
            form=format,
            workers=budget.workers,
            memory_bytes=budget.memory_bytes,
        )
        return Imported(done.new, done.duplicates, dict(done.rejected))

    def _ask(self, base: str | None, head: str | None, where: Sequence[str], **asked: Any) -> Answers:
        return self._session.ask(
            Question.of(self.settings, base=base, head=head, where=conditions(where), **asked)
        )

    def diff(
        self,
        base: str | None = None,
        head: str | None = None,
        *,
        entry: str | None = None,
        where: Sequence[str] = (),
        quantile: float | None = None,
        by: Literal["operation", "service", "kind"] = "operation",
        env: str | None = None,
    ) -> Report:
        """Compare two periods: which edges take more of the latency, why, and with which uncertainty.

        Parameters
        ----------
        base, head
            Periods as on the command line; without both, last week and this week.
        entry
            A regular expression: only entries whose ``service operation`` matches.
        where
            ``key=value``: only traces that carry these attributes; needs raw spans.
        quantile
            Only each entry's requests above this quantile; needs raw spans.
        by
            What a row of `Report.edges` is.
        env
            ``deployment.environment.name``; the busiest of HEAD when None.

        Raises
        ------
        InsufficientDataError
            A period holds too little.
        PeriodError
            A period cannot be read.
        """
        return Report(self._ask(base, head, where, entry=entry, quantile=quantile, by=by, environment=env))

    def explain(
        self,
        edge: str,
        base: str | None = None,
        head: str | None = None,
        *,
        operation: str | None = None,
        env: str | None = None,
    ) -> Explanation:
        """What one edge's change rests on; `edge` is as `Report.edges` names it.

        Raises
        ------
        UsageError
            No edge has that name, or several do: the message lists them.
        """
        answers = self._ask(base, head, (), environment=env)
        return Explanation(answers, answers.explain(answers.edge(edge, operation)))

    def forecast(
        self, *, horizon_weeks: float = 12.0, growth: Sequence[float] = (), env: str | None = None
    ) -> Forecast:
        """Headroom, weeks to the wall, and latency at multiples of today's users.

        Raises
        ------
        InsufficientDataError
            Fewer weeks were seen than a trend needs.
        """
        return Forecast(self._ask(None, None, (), environment=env), horizon_weeks, tuple(growth))

    def graph(
        self,
        period: str = "all",
        *,
        base: str | None = None,
        level: Level = "dependency",
        env: str | None = None,
    ) -> Graph:
        """Who calls whom in a period; with `base` both periods and the change.

        Raises
        ------
        InsufficientDataError
            The period holds no traces.
        """
        answers = self._ask(base, None if base is None else period, (), environment=env)
        if base is None:
            return Graph(answers.period_map(period, level).graph)
        return Graph(answers.judged(answers.mapped(level, quantiles=True)))

    def trace(self, trace_id: str) -> Trace:
        """One trace with its critical path; raises InputError when it is not here."""
        return Trace(self._session.ask().trace(trace_id))

    def rollups(self, table: str, period: str = "all", *, env: str | None = None) -> pl.DataFrame:
        """Rows of one rollup, or dimension, of a period: integers as `tracescope.schema` describes them.

        Raises
        ------
        UsageError
            There is no such table.
        """
        if table not in schema.ROLLUPS and table not in schema.DIMENSIONS:
            raise UsageError(
                f"no table {table!r}", f"one of {', '.join((*schema.ROLLUPS, *schema.DIMENSIONS))}"
            )
        store = self._session.store()
        chosen = parse(period, self._session.context(store))
        read = (
            ("entry_hours",) if table in schema.DIMENSIONS else tuple(dict.fromkeys((table, "entry_hours")))
        )
        request = RollupRequest(
            chosen.start_ns,
            chosen.end_ns,
            slot_of(chosen),
            env or self.settings.env or None,
            read,
            budget=Budget.of(self.settings),
        )
        return rollups(store, request).tables[table]


def open_store(path: str | Path | Sequence[str | Path] | None = None, **settings: Any) -> Store:
    """Open a store to ask, or several that are read as one.

    Parameters
    ----------
    path
        Its folder, or a list of several; the settings' own when None.  One need not exist before
        `Store.import_files`.
    settings
        Settings by name, such as ``tz="UTC"`` or ``alpha=0.01``; the rest comes from the environment and
        from tracescope.toml, as on the command line.

    Raises
    ------
    ConfigError
        A setting is unknown or of another type.
    """
    given = [path] if isinstance(path, str | Path) else path
    used, _ = config.load({**settings, "store": None if given is None else [str(one) for one in given]})
    return Store([Path(one).expanduser() for one in used.stores], used)


def critical_path(spans: pl.DataFrame | bytes) -> Trace:
    """The critical path of one trace.

    Parameters
    ----------
    spans
        Rows of `tracescope.schema.SPANS`, such as a store's, or an OTLP ``ExportTraceServiceRequest`` in
        protobuf.

    Raises
    ------
    InputError
        There are no spans, or those of several traces.
    MalformedOtlpError
        The bytes are no such request.
    """
    from tracescope.analysis.rollups.trace_path import critical_path as walked
    from tracescope.errors import InputError
    from tracescope.ingest.decode import decode

    frame = decode([spans], arrived_ns=time.time_ns()).spans if isinstance(spans, bytes) else spans
    traces = frame.select("trace_hi", "trace_lo").n_unique() if len(frame) else 0
    if traces != 1:
        raise InputError(f"spans of {traces} traces", "give those of one")
    return Trace(walked(frame))


def _shown(rows: pl.DataFrame, columns: Sequence[str], most: int = 12) -> str:
    """An HTML table of some columns; every text escaped."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    lines = [
        "<tr>" + "".join(f"<td>{html.escape(_text(value))}</td>" for value in row) + "</tr>"
        for row in rows.select(columns).head(most).iter_rows()
    ]
    more = f"<p>{more_of(len(rows) - most, 'row', 'rows')}</p>" if len(rows) > most else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>{more}"


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows whose nested parts are left out: those are in ``to_dict()``."""
    plain = [{k: v for k, v in row.items() if not isinstance(v, dict | list)} for row in rows]
    return pl.DataFrame(plain, infer_schema_length=None)


class Report:
    """The comparison of two periods."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.model: _Report = answers.explained()

    @property
    def state(self) -> str:
        """The verdict, such as ``drifting`` or ``insufficient data``."""
        return self.model.state

    @property
    def reasons(self) -> tuple[str, ...]:
        """What the verdict rests on, a sentence each."""
        return self.model.reasons

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know of the data before trusting the result."""
        return self.model.notes

    @property
    def edges(self) -> pl.DataFrame:
        """Every edge, strongest credited growth first; columns as in the JSON, effects as ``effect_...``."""
        rows: list[dict[str, Any]] = []
        for edge in self.model.edges:
            row: dict[str, Any] = {**edge_json(edge)}
            effects = {f"effect_{name}": value for name, value in row.pop("effects").items()}
            low, high = row.pop("credited_ms_ci") or (None, None)
            rows.append(
                {"edge": edge.name, **row, "credited_low_ms": low, "credited_high_ms": high, **effects}
            )
        return _frame(rows)

    @property
    def entries(self) -> pl.DataFrame:
        """Every entry; columns as in the JSON."""
        return _frame(self.to_dict()["entries"])

    def to_dict(self) -> dict[str, Any]:
        """``tracescope.diff/1``."""
        return canonical(diff_json(self.model))

    def chart(
        self, edge: str, *, measure: Literal["share", "calls_per_unit", "call_ms"] = "share"
    ) -> Picture:
        """One edge over time, both periods; `edge` as `edges` names it."""
        from tracescope.report import charts, page

        chosen = self._answers.edge(edge)
        base, head = self._answers.series([chosen.key], TREND_POINTS)[chosen.key]
        title = f"{chosen.name}: {measure} over time"
        drawn = charts.trend(base, head, measure=measure, title=title, changes=charts.changes_of(chosen))
        return Picture(str(drawn), page.asset("tracescope.css"))

    def __repr__(self) -> str:
        from tracescope.report import text

        return text.headline(self.model)

    def _repr_html_(self) -> str:
        columns = (
            "edge",
            "operation",
            "kind",
            "credited_ms",
            "credited_low_ms",
            "credited_high_ms",
            "significant",
        )
        return f"<p><strong>{html.escape(repr(self))}</strong></p>{_shown(self.edges, columns)}"


class Explanation:
    """What one edge's change rests on."""

    def __init__(self, answers: Answers, model: _Explanation) -> None:
        self._answers = answers
        self.model = model

    def to_dict(self) -> dict[str, Any]:
        """``tracescope.explain/1``."""
        return canonical(explained.explain_json(self.model))

    def __repr__(self) -> str:
        return self.model.sentence

    def _repr_html_(self) -> str:
        from tracescope.report.review import causes_drawn

        drawn = Picture(str(causes_drawn(self.model.edge)))
        return f"<p><strong>{html.escape(repr(self))}</strong></p>{drawn.html()}"


class Forecast:
    """What comes: headroom, weeks to the wall, what if there were more users."""

    def __init__(self, answers: Answers, horizon_weeks: float, growth: tuple[float, ...]) -> None:
        self.model, self.verdict = answers.forecast(horizon_weeks=horizon_weeks, multiples=growth)

    @property
    def state(self) -> str:
        """The verdict, such as ``approaching``."""
        return self.verdict.state

    @property
    def edges(self) -> pl.DataFrame:
        """Every edge, the most urgent first; what is not identifiable is null."""
        return _frame(self.to_dict()["edges"])

    @property
    def entries(self) -> pl.DataFrame:
        """Every entry."""
        return _frame(self.to_dict()["entries"])

    def to_dict(self) -> dict[str, Any]:
        """``tracescope.forecast/1``."""
        return canonical(foreseen.forecast_json(self.model, self.verdict))

    def __repr__(self) -> str:
        return f"{self.state}: {'; '.join(self.verdict.reasons)}"

    def _repr_html_(self) -> str:
        wanted = ("caller", "callee", "operation", "kind", "headroom", "weeks_to_wall")
        edges = self.edges
        columns = [name for name in wanted if name in edges.columns]
        return f"<p><strong>{html.escape(repr(self))}</strong></p>{_shown(edges, columns)}"


class Graph:
    """Who calls whom."""

    def __init__(self, model: _Graph) -> None:
        self.model = model

    @property
    def nodes(self) -> pl.DataFrame:
        """``id, name, type, ...``, a row a node."""
        return self.model.nodes

    @property
    def edges(self) -> pl.DataFrame:
        """``kind, caller, callee, calls, ...``, a row an edge."""
        return self.model.edges

    def to_networkx(self) -> nx.MultiDiGraph[str]:
        """As a networkx multigraph; attributes are the frames' columns."""
        return self.model.view()

    def to_dict(self) -> dict[str, Any]:
        """``tracescope.graph/1``."""
        return canonical(graph_json(self.model))

    def map(self, *, nodes: int = 60) -> Picture:
        """The graph drawn; a large one as its backbone of at most this many nodes."""
        from tracescope.analysis.topology.backbone import backbone
        from tracescope.report.svg import Look, arrange, draw

        shown = backbone(self.model, nodes)
        return Picture(draw(shown, arrange(shown), Look(theme="auto")))

    def __repr__(self) -> str:
        return f"{len(self.nodes)} nodes, {len(self.edges)} edges"

    def _repr_html_(self) -> str:
        return self.map().html()


class Trace:
    """One trace and its critical path."""

    def __init__(self, model: TracePath) -> None:
        self.model = model

    @property
    def spans(self) -> pl.DataFrame:
        """Spans in reading order: times since the trace's start in ns, own and inclusive time on the path."""
        return self.model.spans

    @property
    def segments(self) -> pl.DataFrame:
        """Segments of the path, which tile each unit: ``unit, span`` (a row of `spans`), times in ns."""
        return self.model.segments

    def to_dict(self) -> dict[str, Any]:
        """``tracescope.path/1``."""
        return canonical(path_json(self.model))

    def __repr__(self) -> str:
        return f"trace {self.model.trace_id}: {len(self.spans)} spans, {len(self.segments)} segments"

    def _repr_html_(self) -> str:
        from tracescope.report import page
        from tracescope.report.waterfall import waterfall

        return Picture(str(waterfall(self.model)), page.asset("tracescope.css")).html()


@dataclass(frozen=True, slots=True, repr=False)
class Picture:
    """A drawing: SVG, and the style sheet that it needs."""

    svg: str
    css: str = ""

    def save(self, path: str | Path) -> None:
        """Write it where a browser can open it, style sheet and all."""
        Path(path).write_text(self.html(), encoding="utf-8")

    def __repr__(self) -> str:
        return f"Picture of {len(self.svg) >> 10} KiB"

    def _repr_html_(self) -> str:
        return self.html()

    def html(self) -> str:
        """As a part of a page, with its style sheet in a frame of its own."""
        if not self.css:
            return self.svg
        # a frame of its own: the page's style sheet is not the notebook's
        inner = f"<!doctype html><style>{self.css}</style><body>{self.svg}</body>"
        framed = html.escape(inner, quote=True)
        return f'<iframe srcdoc="{framed}" style="width:100%;height:420px;border:0" sandbox></iframe>'
