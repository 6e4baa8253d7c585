"""The JSON twin of every page, and an OpenAPI description of them all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any, Final, cast, get_type_hints

import numpy as np
from starlette.responses import Response

from tracescope.analysis.evidence.series import Series
from tracescope.analysis.report import State
from tracescope.analysis.topology.graph import Level
from tracescope.errors import InsufficientDataError
from tracescope.report import (
    contract,
    diff_json,
    edge_json,
    graph_json,
    iso,
    json_bytes,
    path_json,
    status_json,
)
from tracescope.report.forecast import FORECAST_SCHEMA, forecast_json
from tracescope.session import SPARK_POINTS, TREND_POINTS, Answers, Example, entry_digits
from tracescope.version import __version__
from tracescope.web import pages
from tracescope.web.map import narrowed, of_kind
from tracescope.web.narrow import listed
from tracescope.web.narrow import narrowed as narrowed_report
from tracescope.web.search import search as find_names
from tracescope.web.view import View

Builder = Callable[..., Any]
#: What the body of `mute` may say.
MUTE_FIELDS: Final = ("finding", "until", "reason")


def answer(value: Any, status: int = 200) -> Response:
    """JSON; NaN and infinity are null."""
    return Response(json_bytes(value), status, media_type="application/json")


def _numbers(values: np.ndarray[Any, Any]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]


def series_json(series: Series) -> dict[str, Any]:
    """A series as lists; null where nothing was seen."""
    measures = {f.name: _numbers(getattr(series, f.name)) for f in fields(Series) if f.name != "starts_ns"}
    return {"start": [iso(ns) for ns in series.starts_ns], **measures}


def growth(answers: Answers, view: View) -> contract.Growth:
    """``tracescope.diff/1`` with the view's edges, and the series of those listed."""
    keys_asked = pages.explained_by(answers, view)
    whole = answers.report() if keys_asked is None else answers.explained(keys_asked)
    report = narrowed_report(whole, view)
    edges = listed(report, view)[: view.top]
    keys = tuple(edge.key for edge in edges)
    found = answers.series(keys, SPARK_POINTS)
    series: list[contract.Sides] = [
        {"base": series_json(found[key][0]), "head": series_json(found[key][1])} for key in keys
    ]
    return {**diff_json(report), "edges": [edge_json(edge) for edge in edges], "series": series}


def map_(answers: Answers, view: View) -> contract.Graph:
    """``tracescope.graph/1`` of head against base; all of it without focus, boxes or namespaces."""
    whole = of_kind(answers.mapped(cast("Level", view.level), quantiles=True).graph, view)
    default = View()
    wanted = [getattr(view, name) != getattr(default, name) for name in ("service", "nodes", "spaces", "but")]
    return graph_json(narrowed(whole, view.resolved(len(whole.nodes)))[0] if any(wanted) else whole)


def edge(answers: Answers, view: View) -> contract.EdgePage:
    """One edge: its row, series, quantiles, callers and example traces."""
    found = pages.find_edge(answers.report(), view)
    key = found.key
    base, head = answers.series((key,), TREND_POINTS)[key]
    return {
        "edge": edge_json(found),
        "series": {"base": series_json(base), "head": series_json(head)},
        "quantiles_ms": {k: {"base": v[0], "head": v[1]} for k, v in answers.quantiles(key).items()},
        "callers": pages.callers(answers, view, key),
        "traces": _examples(answers.whole_examples(key)),
    }


def service(answers: Answers, view: View, name: str) -> contract.ServicePage:
    """One service's edges and entries."""
    found = pages.service(answers, view, name)
    return {
        "service": name,
        "outgoing": [edge_json(edge) for edge in found["outgoing"]],
        "incoming": [edge_json(edge) for edge in found["incoming"]],
        "entries": [asdict(entry) for entry in found["its_entries"]],
    }


def paths(answers: Answers, view: View) -> contract.PathsPage:
    """Entries, and the call paths of the chosen one."""
    entries = answers.every_entry()
    found = pages.chosen_entry(answers, view) if entries else None
    if found is not None and view.kind:
        found = replace(found, paths=tuple(path for path in found.paths if path.kind == view.kind))
    return {
        "entries": [
            {"entry": entry_digits(id_), "service": service, "operation": operation, "units": units}
            for id_, service, operation, units in entries
        ],
        "entry": None if found is None else {**asdict(found), "entry_id": entry_digits(found.entry_id)},
    }


def _examples(examples: Sequence[Example]) -> list[contract.Example]:
    return [
        {
            "side": one.side,
            "trace_id": one.trace_id,
            "ms": one.ms,
            "why": one.why,
            "start": iso(one.start_ns if one.whole is None else one.whole.start_ns),
            "service": one.service,
            "operation": one.operation,
            "duration_ms": None if one.whole is None else one.whole.duration_ms,
            "spans": None if one.whole is None else one.whole.spans,
            "errors": None if one.whole is None else one.whole.errors,
        }
        for one in examples
    ]


def traces(answers: Answers, view: View) -> contract.TracesPage:
    """Traces that are looked for, the slowest first, and example traces."""
    key = view.edge_key if view.edge_kind else None
    found = answers.search(
        pages.trace_conditions(answers, view), side="base" if view.side == "base" else "head"
    )
    rows = [{**asdict(one), "start": iso(one.start_ns)} for one in found.traces]
    return {"traces": _examples(answers.whole_examples(key)), "found": rows, "whole": found.whole}


def trace(answers: Answers, view: View, trace_id: str) -> contract.Path:
    """``tracescope.path/1``."""
    return path_json(answers.trace(trace_id, near_periods=bool(view.base)))


def forecast(answers: Answers, view: View) -> Any:
    """``tracescope.forecast/1``; without edges and entries where too little was seen."""
    try:
        return forecast_json(*answers.forecast(horizon_weeks=view.horizon, multiples=view.multiples))
    except InsufficientDataError as error:
        verdict = {"state": State.INSUFFICIENT.value, "stage": None, "reasons": [error.message]}
        return {"schema": FORECAST_SCHEMA, "verdict": verdict, "edges": [], "entries": []}


def quality(answers: Answers, view: View) -> Any:
    """``tracescope.status/1``, and what can be said of the periods."""
    found = pages.quality(answers, view)
    return {
        **status_json(found["status"]),
        "periods": [{"what": name, "base": base, "head": head} for name, base, head in found["sides"]],
        "notes": list(found["report"].notes) if found["report"] else [],
        "summary": found["sentence"],
    }


def state(answers: Answers, view: View) -> contract.StoreState:
    """How many spans the store holds: what an open page asks to know when to look again."""
    found = answers.status()
    return {"spans": found.stored, "unsealed_spans": found.landing_spans, "last": iso(found.last_ns)}


def search(answers: Answers, view: View) -> contract.SearchPage:
    """What has the words of ``q`` in its name."""
    found = find_names(answers, view)["found"]
    return {"found": [{"what": what, "name": name, "page": url} for what, name, url in found]}


def mute(answers: Answers, asked: Mapping[str, str]) -> contract.Muting:
    """Acknowledge the finding that is named until an end, with a reason; without both it is muted no more."""
    digits, until = asked.get("finding", ""), asked.get("until", "")
    if not until and not asked.get("reason"):
        return {"finding": answers.session.unmute(digits), "until": None}
    name, end_ns = answers.mute(digits, until, asked.get("reason", ""))
    return {"finding": name, "until": iso(end_ns)}


def openapi(answers: Answers, view: View) -> Any:
    """OpenAPI 3.1 of these routes."""
    parameters = [
        {
            "name": f.name,
            "in": "query",
            "required": False,
            "schema": {"type": {"str": "string", "int": "integer", "float": "number"}[str(f.type)]},
        }
        for f in fields(View)
    ]
    paths_: dict[str, Any] = {}
    kinds = [get_type_hints(build)["return"] for _, build in ROUTES]
    answered = [kind for kind in kinds if kind is not Any]
    known = dict(zip(map(id, answered), (made := contract.json_schemas(*answered))[0], strict=True))
    for (path, build), kind in zip(ROUTES, kinds, strict=True):
        name = path.replace(":path", "")
        inside = [
            {"name": part[1:-1], "in": "path", "required": True, "schema": {"type": "string"}}
            for part in name.split("/")
            if part.startswith("{")
        ]
        responses = {
            "200": {
                "description": (build.__doc__ or "").strip(),
                "content": {"application/json": {"schema": known.get(id(kind), {})}},
            },
            "400": {"description": "a parameter that cannot be read"},
            "404": {"description": "nothing there, or too little data"},
        }
        paths_[name] = {
            "get": {
                "summary": (build.__doc__ or "").strip().split("\n")[0],
                "operationId": build.__name__.rstrip("_"),
                "parameters": [*inside, *parameters],
                "responses": responses,
            }
        }
    paths_["/api/mute"] = {"post": _muting(parameters)}
    about = {"title": "tracescope", "version": __version__}
    return {"openapi": "3.1.0", "info": about, "paths": paths_, "components": {"schemas": made[1]}}


def _muting(parameters: list[dict[str, Any]]) -> dict[str, Any]:
    """The one route that writes, as OpenAPI has it."""
    texts = {name: {"type": "string"} for name in MUTE_FIELDS}
    body = {"type": "object", "properties": texts, "required": ["finding"]}
    muted = contract.json_schemas(contract.Muting)[0][0]
    return {
        "summary": (mute.__doc__ or "").strip(),
        "operationId": "mute",
        "parameters": parameters,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {"description": "done", "content": {"application/json": {"schema": muted}}},
            "400": {"description": "an end that has passed, or no reason"},
            "403": {"description": "asked from another site"},
            "404": {"description": "no such finding"},
            "413": {"description": "too long"},
            "415": {"description": "no JSON"},
        },
    }


ROUTES: Final[tuple[tuple[str, Builder], ...]] = (
    ("/api/growth", growth),
    ("/api/map", map_),
    ("/api/edge", edge),
    ("/api/service/{name:path}", service),
    ("/api/paths", paths),
    ("/api/traces", traces),
    ("/api/trace/{trace_id}", trace),
    ("/api/forecast", forecast),
    ("/api/quality", quality),
    ("/api/search", search),
    ("/api/state", state),
    ("/api/openapi.json", openapi),
)
