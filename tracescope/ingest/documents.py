"""What a JSON document is, by its content, and the OTLP requests in it.

OTLP    ``resourceSpans``, ``resource_spans``, ``batches`` (Tempo), one bare ResourceSpans
Jaeger  traces, spans, Elasticsearch documents
Zipkin  records of version 2 and 1

each as it is or in ``data``, ``result``, ``trace``, ``_source``, ``hits``, and in lists of lists.  Metrics,
logs and what else tools write between traces are skipped and counted by name; a document that is
none of all these is refused, by its own name where it has one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from tracescope.ingest import foreign, jaeger, otlp_json, zipkin
from tracescope.ingest.otlp_json import Json, Malformed
from tracescope.kernels import plain_jaeger, plain_json, plain_zipkin

Form = Literal["auto", "otlp-json", "otlp-proto", "jaeger", "zipkin"]

#: What documents of other signals are called.
_SIGNALS = {
    "resourceMetrics": "metrics", "resource_metrics": "metrics",
    "resourceLogs": "logs", "resource_logs": "logs",
    "resourceProfiles": "profiles", "resource_profiles": "profiles",
}  # fmt: skip
_SPANS = ("resourceSpans", "resource_spans", "batches")
_GROUPS = ("scopeSpans", "scope_spans", "instrumentationLibrarySpans")
_BARE_SPANS = ({"traceId", "spanId", "startTimeUnixNano"}, {"trace_id", "span_id", "start_time_unix_nano"})
#: Objects that only hold a document or a list of them.
_WRAPPERS = ("data", "result", "trace", "_source", "hits")
#: Lines of Elasticsearch's bulk requests, which say where the next line goes.
_BULK = ({"index"}, {"create"})
_DEEPEST = 16
#: Where a document begins to tell what it is.
_HEAD = 4096
#: Groups of a request without spans that are looked at.
_LOOKED_AT = 1000
_NAME = re.compile(rb'"(\w+)"\s*:')


@dataclass(slots=True)
class Requests:
    """What documents hold: requests, and how many of them were skipped as what."""

    requests: list[bytes] = field(default_factory=list[bytes])
    skipped: Counter[str] = field(default_factory=Counter[str])


class NoTracesError(Malformed):
    """A document that is something else than traces, and whether that is known by a name of its own."""

    named = False


@dataclass(slots=True)
class _Sorting:
    """Sorts a document's parts by what they are."""

    form: Form
    otlp: list[Json] = field(default_factory=list[Json])
    jaeger: list[Json] = field(default_factory=list[Json])
    zipkin: list[Json] = field(default_factory=list[Json])
    skipped: Counter[str] = field(default_factory=Counter[str])

    def add(self, document: Any, depth: int = 0) -> None:
        """Sort one document, and what it holds."""
        if depth > _DEEPEST:
            raise NoTracesError(f"lists and objects in more than {_DEEPEST} others before any span")
        if isinstance(document, list):
            for item in document:  # pyright: ignore[reportUnknownVariableType]
                self.add(item, depth + 1)
        elif isinstance(document, dict):
            self._add_object(document, depth)  # pyright: ignore[reportUnknownArgumentType]
        elif document is not None:
            raise NoTracesError(f"{_shown(document)} where a trace or span should stand")

    def _add_object(self, document: Json, depth: int) -> None:
        form = self.form
        if form == "jaeger" and not any(name in document for name in _WRAPPERS):
            self.jaeger.append(document)
        elif form == "zipkin":
            self.zipkin.append(document)
        elif any(name in document for name in _SPANS):
            self.otlp.append(document)
            self.skipped.update(_signals(document))
        elif form == "otlp-json" or not self._add_known(document):
            self._add_other(document, depth)

    def _add_known(self, document: Json) -> bool:
        """Sort what is known by its own members; whether it was."""
        names = document.keys()
        given = document.get("spans")
        spans: list[Any] = given if isinstance(given, list) else []
        of_trace = isinstance(given, list) and all(isinstance(span, dict) for span in spans)
        if of_trace and ("processes" in names or any("spanID" in span for span in spans[:1])):
            self.jaeger.append(document)
        elif of_trace and not spans and "traceID" in names:
            pass
        elif {"traceID", "spanID"} <= names:
            self.jaeger.append(document)
        elif any(name in names for name in _GROUPS):
            self.otlp.append({"resourceSpans": [document]})
        elif any(members <= names for members in _BARE_SPANS):
            self.otlp.append({"resourceSpans": [{"scopeSpans": [{"spans": [document]}]}]})
        elif {"traceId", "id"} <= names and foreign.known_document(document) is None:
            self.zipkin.append(document)
        else:
            return False
        return True

    def _add_other(self, document: Json, depth: int) -> None:
        """Sort other signals and wrappers; refuse what is neither."""
        if signals := _signals(document):
            self.skipped.update(signals)
            return
        if not document:
            self.skipped["empty"] += 1
            return
        if document.keys() in _BULK:
            self.skipped["bulk action"] += 1
            return
        if (found := foreign.known_document(document)) is not None:
            known = NoTracesError(f"{found.name}, which cannot be read", found.way)
            known.named = True
            raise known
        for name in _WRAPPERS:
            if isinstance(document.get(name), (dict, list)):
                self.add(document[name], depth + 1)
                return
        if "errors" in document or "error" in document:
            said = document.get("errors") or document.get("error")
            raise NoTracesError(
                f"an answer that is an error and no trace: {_shown(said)}", "ask for it again"
            )
        if document.keys() & set(_WRAPPERS):  # an answer with nothing in it
            self.skipped["empty"] += 1
            return
        if self.form == "otlp-json":
            raise NoTracesError("no resourceSpans: not OTLP traces", "leave out --format to find out")
        named = ", ".join(sorted(map(str, document))[:6])
        raise NoTracesError(
            f"JSON, but neither OTLP, Jaeger nor Zipkin: an object of {named}",
            "leave it out, or name its --format",
        )

    def requests(self) -> Requests:
        """The requests of all parts."""
        requests = [otlp_json.encode_request(document, lenient=True) for document in self.otlp]
        if self.jaeger:
            requests.append(jaeger.encode(self.jaeger))
        if self.zipkin:
            requests.append(zipkin.encode(self.zipkin))
        return Requests(requests, self.skipped)


def _signals(document: Json) -> set[str]:
    """The other signals in a document."""
    return {_SIGNALS[name] for name in document.keys() & _SIGNALS.keys()}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def read(text: bytes, form: Form = "auto") -> Requests:
    """The requests in one document.

    Parameters
    ----------
    text
        A document in UTF-8, or a portion of one.
    form
        What it is, where that is known.

    Raises
    ------
    NoTracesError
        It is something else than traces.
    Malformed
        It is damaged.
    """
    guess = guess_form(text) if form == "auto" else form
    if guess == "otlp-json" and (written := plain_json.transcode(text, lenient=True)) is not None:
        return Requests([written])
    fast = {"jaeger": plain_jaeger, "zipkin": plain_zipkin}.get(guess)
    if fast is None or (transcoded := fast.transcode(text)) is None:
        return read_any(text, form)
    requests = Requests([transcoded[0]])
    for odd in transcoded[1]:  # traces that are not plain
        slow = read_any(odd, guess)
        requests.requests += slow.requests
        requests.skipped += slow.skipped
    return requests


#: Of which every document has one, of those that are read together.
_MARKS: Final[dict[Form, tuple[bytes, bytes]]] = {
    "jaeger": (b'"spanID"', b'"processes"'), "otlp-json": (b'"resourceSpans"', b'"batches"'),
}  # fmt: skip


def read_together(texts: Sequence[bytes], form: Form = "auto") -> Requests | None:
    """The same of documents of one kind, at once; None where each is to be read by itself."""
    guess = guess_form(texts[0]) if form == "auto" else form
    marks = _MARKS.get(guess)
    if len(texts) == 1 or marks is None:
        return None
    often, seldom = marks
    if form == "auto" and not all(often in text or seldom in text for text in texts):
        return None
    text = b"[" + b",".join(texts) + b"]"
    if guess == "jaeger":  # which refuses what is something else after all
        transcoded = plain_jaeger.transcode(text)
        return Requests([transcoded[0]]) if transcoded is not None and not transcoded[1] else None
    written = plain_json.transcode(text, lenient=True)
    return None if written is None else Requests([written])


def read_any(text: bytes, form: Form = "auto") -> Requests:
    """The same, of documents that are not plain."""
    sorting = _Sorting(form)
    sorting.add(otlp_json.parse(text))
    return sorting.requests()


def guess_form(text: bytes) -> Form:
    """What a document probably is: kernels say so if it is not."""
    head = text[:_HEAD]
    if b'"resourceSpans"' in head or b'"batches"' in head:
        return "otlp-json"
    if b'"spanID"' in head or (b'"traceID"' in head and b'"processes"' in head):
        return "jaeger"
    if b'"traceId"' not in head or b'"id"' not in head:
        return "auto"
    names = dict.fromkeys(name.decode() for name in _NAME.findall(head))
    return "zipkin" if foreign.known_document(names) is None else "auto"


def name_of(document: Any) -> str:
    """What a document of another kind is called, and how it can be had; empty for an unknown one."""
    sorting = _Sorting("auto")
    try:
        sorting.add(document)
    except NoTracesError as error:
        return error.message if error.named else ""
    for name, found in (("Jaeger JSON", sorting.jaeger), ("Zipkin JSON", sorting.zipkin)):
        if found:
            return f"{name}, which `tracescope import` reads"
    if sorting.otlp:
        return "wrapped OTLP, which `tracescope import` reads"
    return f"{', '.join(sorting.skipped)}, and no traces" if sorting.skipped.keys() - {"empty"} else ""


def refuse_strays(document: Any) -> None:
    """Refuse a request without spans that has members which no request has: their sender meant something.

    Raises
    ------
    Malformed
        The first such member, and what the document is where that is known.
    """
    stray = _stray(document)
    if stray:
        about = name_of(document)
        raise Malformed(f"no span, and {stray}{about and f': {about}'}")


def _stray(document: Any) -> str:
    """The first member of a request, down to its scopes, that no request has."""
    known = (
        ("a request", frozenset(("resourceSpans", "resource_spans", "batches"))),
        ("a group of spans", frozenset((*_GROUPS, "resource", "schemaUrl", "schema_url"))),
        (
            "a scope's spans",
            frozenset(("scope", "spans", "schemaUrl", "schema_url", "instrumentationLibrary")),
        ),
    )
    level: list[Any] = [document]
    for what, names in known:
        inner: list[Any] = []
        for item in level[:_LOOKED_AT]:
            if not isinstance(item, dict):
                continue
            for name, value in item.items():  # pyright: ignore[reportUnknownVariableType]
                if name not in names:
                    return f"{_shown(name)} is not a member of {what}"
                if isinstance(value, list):
                    inner += value[:_LOOKED_AT]
        level = inner
    return ""
