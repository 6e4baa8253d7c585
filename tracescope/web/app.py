"""The ASGI application: routes, what is allowed to ask, and how errors look.

    GET /page?state ─► guard (host, origin, token, method) ─► View ─► Answers ─► template or JSON

Source: design, section 8; OWASP "DNS rebinding" (why the Host header is checked on loopback too).
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, quote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tracescope import docs
from tracescope.errors import (
    InputError,
    InsufficientDataError,
    StoreBusyError,
    TooLargeError,
    TracescopeError,
    UsageError,
    in_words,
    translated,
)
from tracescope.ingest.access import Problem
from tracescope.report import page, text
from tracescope.report.palette import STYLE
from tracescope.report.review import command_of, review
from tracescope.serving.front import LOCAL_HOSTS, Front
from tracescope.session import Answers, Session
from tracescope.web import api, export, pages
from tracescope.web.map import map_
from tracescope.web.periods import from_days
from tracescope.web.search import search
from tracescope.web.view import View, read

_STATIC: Final = {
    "tracescope.css": "text/css; charset=utf-8",
    "tracescope.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
#: Where a form of the page itself may write; a browser says whose form it is.
_WRITES: Final = ("/mark", "/mute")
#: Where programs may write: JSON, which no other site's page can post without asking first.
_JSON_WRITES: Final = ("/api/mute",)
_JSON: Final = "application/json"
#: A form's bytes at most.
_FORM_BYTES: Final = 4096
Builder = Callable[..., dict[str, Any]]
T = TypeVar("T")


class Guard:
    """Lets through requests that only read, forms of the page's own, and JSON of programs."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        refused = _refused(Request(scope)) if scope["type"] == "http" else None
        await (refused or self._app)(scope, receive, send)


def _refused(request: Request) -> Response | None:
    path = request.url.path
    writes = request.method == "POST" and path in (*_WRITES, *_JSON_WRITES)
    if request.method not in ("GET", "HEAD") and not writes:
        return _other_method(request, "POST" if path in (*_WRITES, *_JSON_WRITES) else "GET, HEAD")
    form = writes and path in _WRITES
    if writes and not form and request.headers.get("content-type", "").partition(";")[0].strip() != _JSON:
        return api.answer({"error": f"{path} takes JSON", "hint": f"say so: content-type: {_JSON}"}, 415)
    host = request.headers.get("host", "").rpartition("@")[2].lower()
    origin = request.headers.get("origin")
    if (origin is None and form) or (origin is not None and origin.partition("://")[2].lower() != host):
        return PlainTextResponse("requests from other sites are refused\n", 403)
    return None


async def _run(work: Callable[..., T], *arguments: Any) -> T:
    """`work` in a thread; what the system or a library refuses it becomes an error of ours."""
    try:
        return await run_in_threadpool(work, *arguments)
    except Exception as error:
        known = translated(error)
        if known is None or known is error:
            raise
        raise known from error


async def _body(request: Request) -> bytes:
    """What was sent, of which no more is held than a form may have.

    Raises
    ------
    TooLargeError
        It is longer.
    UsageError
        Its sender went away.
    """
    body = b""
    try:
        async for piece in request.stream():
            body += piece
            if len(body) > _FORM_BYTES:
                raise TooLargeError(f"the body has more than {_FORM_BYTES} bytes", "write less of a reason")
    except ClientDisconnect as error:
        raise UsageError("the client went away before it had sent all", "send it again") from error
    return body


def _status_of(error: TracescopeError) -> int:
    if isinstance(error, UsageError):
        return 400
    if isinstance(error, TooLargeError):
        return 413
    if isinstance(error, StoreBusyError):
        return 503
    return 404 if isinstance(error, InputError | InsufficientDataError) else 500


def make_app(
    session: Session,
    *,
    hosts: tuple[str, ...] | None = LOCAL_HOSTS,
    allow: Callable[[str | None], bool] | None = None,
    state: Callable[[], str] | None = None,
    receivers: Callable[[], Mapping[str, str]] = dict,
) -> ASGIApp:
    """The application.

    Parameters
    ----------
    session
        What it shows.
    hosts
        Host names it may be asked by; None for any.
    allow
        Whether an ``authorization`` header may ask; None when everybody may.
    state
        One short line on the receiver, shown on top.
    receivers
        Addresses where spans are received, by ``grpc`` and ``http``; none where nobody listens.
    """
    site = _Site(session, state or (lambda: _state(session)), receivers)
    routes = [
        Route("/trace", _open_trace),
        Route("/periods", _periods),
        site.form("/mark", _mark),
        site.form("/mute", api.mute),
        Route("/api/mute", site.mute, methods=["POST"]),
        *(site.file(path, media_type, build) for path, media_type, build in export.FILES),
        Route("/report", site.report),
        Route("/help/{topic}", _manual),
        Route("/static/{name}", _static),
        *(site.html(path, template, build) for path, template, build in _PAGES),
        *(site.data(path, build) for path, build in api.ROUTES),
    ]
    handlers = {404: _not_found, 405: _not_allowed}
    app = Guard(Starlette(routes=routes, exception_handlers=handlers))
    return Front(app, hosts, None if allow is None else partial(_problem, allow))


@dataclass(frozen=True, slots=True)
class _Site:
    """What routes answer from: the session, a line on the receiver's state, and where it listens."""

    session: Session
    state: Callable[[], str]
    receivers: Callable[[], Mapping[str, str]]

    def ask(self, view: View) -> Answers:
        """Answers to what the address says."""
        return self.session.ask(view.question(self.session.settings))

    def html(self, path: str, template: str, build: Builder) -> Route:
        """A page: values built from answers, rendered by a template."""

        async def show(request: Request) -> Response:
            begin = time.perf_counter()
            view = View()
            try:
                view = read(request.query_params)
                values = await _run(partial(build, self.ask(view), view, **request.path_params))
                shown = {**pages.common(view, path), "state": await _run(self.state), **values}
                shown["twin"] = view.url("/api" + _place(path, request.path_params))
                body = await _run(partial(page.render, template, **shown))
            except TracescopeError as error:
                if path == "/" and await _run(_is_empty, self.session):
                    return _welcome(self.receivers())
                return _failed(error, view, _place(path, request.path_params))
            duration = f"app;dur={(time.perf_counter() - begin) * 1e3:.0f}"
            return HTMLResponse(body, headers={"server-timing": duration})

        return Route(path, show)

    def data(self, path: str, build: Callable[..., Any]) -> Route:
        """A JSON answer."""

        async def show(request: Request) -> Response:
            try:
                view = read(request.query_params)
                content = await _run(partial(build, self.ask(view), view, **request.path_params))
            except TracescopeError as error:
                return api.answer({"error": error.message, "hint": error.hint}, _status_of(error))
            return api.answer(content)

        return Route(path, show)

    def file(self, path: str, media_type: str, build: Callable[..., str | bytes]) -> Route:
        """A file that a browser saves."""

        async def show(request: Request) -> Response:
            view = View()
            try:
                view = read(request.query_params)
                content = await _run(partial(build, self.ask(view), view))
            except TracescopeError as error:
                return _failed(error, view, "")
            name = path.rpartition("/")[2]
            headers = {"content-disposition": f'attachment; filename="tracescope-{name}"'}
            return Response(content, media_type=media_type, headers=headers)

        return Route(path, show)

    async def report(self, request: Request) -> Response:
        """The review as a file of its own."""
        try:
            answers = self.ask(read(request.query_params))
            command = await _run(partial(command_of, answers))
            body = await _run(partial(review, answers, command))
        except TracescopeError as error:
            return _failed(error, View(), "/report")
        # opened in place the page's policy would forbid the file's own style sheet, so it is saved
        return HTMLResponse(
            body, headers={"content-disposition": 'attachment; filename="tracescope-review.html"'}
        )

    def form(self, path: str, write: Callable[[Answers, Mapping[str, str]], object]) -> Route:
        """What a form of the page writes; then back to the page it came from."""

        async def accept(request: Request) -> Response:
            try:
                form = dict(parse_qsl((await _body(request)).decode("utf-8", "replace")))
                view = read(_state_of(form))
                await _run(write, self.ask(view), form)
            except TracescopeError as error:
                return _failed(error, View(), "")
            return RedirectResponse(view.url(_page_of(form)), 303)

        return Route(path, accept, methods=["POST"])

    async def mute(self, request: Request) -> Response:
        """A finding muted, or no more, as a program asks for it."""
        try:
            answers, fields = self.ask(read(request.query_params)), _fields(await _body(request))
            muted = await _run(api.mute, answers, fields)
        except TracescopeError as error:
            return api.answer({"error": error.message, "hint": error.hint}, _status_of(error))
        return api.answer(muted)


async def _manual(request: Request) -> Response:
    topic = request.path_params["topic"]
    try:
        body = page.manual(docs.read(topic))
    except TracescopeError as error:
        return _failed(error, View(), "")
    values = {**pages.common(View(), ""), "state": "", "title": topic, "body": body, "topics": docs.TOPICS}
    return HTMLResponse(page.render("help.html", **values))


async def _open_trace(request: Request) -> Response:
    digits = request.query_params.get("id", "").strip()
    return RedirectResponse(f"/trace/{quote(digits, safe='')}" if digits else "/traces", 303)


async def _periods(request: Request) -> Response:
    form = dict(request.query_params)
    try:
        view = read(_state_of(form) | from_days(form))
    except TracescopeError as error:
        return _failed(error, View(), "")
    return RedirectResponse(view.url(_page_of(form)), 303)


def _state_of(form: Mapping[str, str]) -> dict[str, str]:
    """What of a form is the page's state."""
    return {name: value for name, value in form.items() if name in View.__dataclass_fields__}


def _problem(allow: Callable[[str | None], bool], authorization: str | None, client: str) -> Problem | None:
    return None if allow(authorization) else Problem("a bearer token is needed")


_PAGES: Final[tuple[tuple[str, str, Builder], ...]] = (
    ("/", "growth.html", pages.growth),
    ("/map", "map.html", map_),
    ("/edge", "edge.html", pages.edge),
    ("/service/{name:path}", "service.html", pages.service),
    ("/paths", "paths.html", pages.paths),
    ("/traces", "traces.html", pages.traces),
    ("/trace/{trace_id}", "trace.html", pages.trace),
    ("/forecast", "forecast.html", pages.forecast),
    ("/quality", "quality.html", pages.quality),
    ("/search", "search.html", search),
)


def _mark(answers: Answers, form: Mapping[str, str]) -> object:
    return answers.session.mark(form.get("name", ""), form.get("at", ""))


def _fields(body: bytes) -> dict[str, str]:
    """Members of a JSON object whose values are text; raises UsageError for anything else."""
    such = 'such as {"finding": "1a2b3c4d", "until": "2w", "reason": "known"}'
    try:
        content = json.loads(body)
        if isinstance(content, dict):
            "".join(map(str, content.values())).encode()  # half a character can be kept nowhere
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the body is no JSON: {in_words(error)}", such) from error
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise UsageError("the body is no JSON object of texts", such)
    for name in content:
        if name not in (*api.MUTE_FIELDS, "page"):  # a form's, which says where it came from
            raise UsageError(
                f"the body has {name[:60]!r}, which is none of {', '.join(api.MUTE_FIELDS)}", such
            )
    return content


def _page_of(form: Mapping[str, str]) -> str:
    """The page that a form came from: a path of this site."""
    path = form.get("page", "/")
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"


def _place(path: str, params: Mapping[str, str]) -> str:
    if path == "/":
        return "/growth"
    for name, value in params.items():
        path = path.replace(f"{{{name}:path}}", quote(value)).replace(f"{{{name}}}", quote(value))
    return path


def _state(session: Session) -> str:
    try:
        status = session.status()
    except TracescopeError:
        return "no store yet"
    return f"{text.count(status.stored)} spans · {text.count(status.disk_bytes)}B"


def _failed(error: TracescopeError, view: View, path: str) -> Response:
    values = {**pages.common(view, path), "state": "", "title": "Error"}
    if path == "/growth":  # what `_place` calls the first page
        values |= {"here": "/", "twin": view.url("/api/growth")}
    body = page.render("error.html", **values, message=error.message, hint=error.hint or "")
    return HTMLResponse(body, _status_of(error))


def _is_empty(session: Session) -> bool:
    """Whether there is a store, and no span in it yet."""
    try:
        found = session.status()
    except TracescopeError:
        return False
    return not (found.stored or found.landing_spans)


def _welcome(receivers: Mapping[str, str]) -> Response:
    """The page of a store that is still empty: where it listens, and how spans get there."""
    values = {**pages.common(View(), "/"), "state": "no span yet", "title": "Listening"}
    return HTMLResponse(page.render("welcome.html", **values, receivers=receivers))


def _other_method(request: Request, allowed: str) -> Response:
    """The answer to a method that a path does not take."""
    said, headers = f"{request.url.path[:80]} takes {allowed}, not {request.method[:20]}", {"allow": allowed}
    if request.url.path.startswith("/api/"):
        refused = api.answer({"error": said, "hint": "/api/openapi.json lists what there is"}, 405)
        refused.headers.update(headers)
        return refused
    return PlainTextResponse(f"{said}\n", 405, headers)


def _not_allowed(request: Request, error: Exception) -> Awaitable[Response] | Response:
    return _other_method(request, "POST")


def _not_found(request: Request, error: Exception) -> Awaitable[Response] | Response:
    if request.url.path.startswith("/api/"):
        return api.answer(
            {"error": f"no route {request.url.path}", "hint": "/api/openapi.json lists all"}, 404
        )
    missing = InputError(f"no page {request.url.path}", "the pages are named above")
    return _failed(missing, View(), "")


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        return PlainTextResponse("no such file\n", 404)
    content = page.asset(name) + (STYLE if name.endswith(".css") else "")
    return Response(content, media_type=_STATIC[name], headers={"cache-control": "max-age=300"})
