"""Hostile names in every place of a store, through every command, format and page."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from markdown_it import MarkdownIt
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.testclient import TestClient
from stores import DAY, SECOND

import tracescope
from tracescope.cli import VERBS, diff, graph, main
from tracescope.config import Settings
from tracescope.report.names import csv_cell, markdown
from tracescope.serving.events import logfmt
from tracescope.session import Session
from tracescope.store import open_store
from tracescope.visible import json_text, line, lines, visible
from tracescope.web.app import make_app

#: A bell, a colour, a title, C1's own CSI, DEL, NUL, all direction marks, all without a width, line breaks.
UNSEEN = (
    "\x07\x1b[31m\x1b]0;title\x07\x9b2J\x7f\x00"
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
    "\u200b\u200c\u200d\u2060\ufeff\u00ad\u2028\u2029\x85\r\n\t\U000e0041"
)
MARKUP = "[red]a[/] <img src=x> [l](http://e.vil) |b| `c`"
FORMULA = "=HYPERLINK(0)"
HALVES = ("2026-09-30T10:00Z/2026-09-30T10:30Z", "2026-09-30T10:30Z/2026-09-30T11:00Z")


def forbidden(text: str) -> set[str]:
    """Code points that may not leave, whatever put them there."""
    kinds = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    return {f"U+{ord(c):04X}" for c in set(text) - {"\n"} if unicodedata.category(c) in kinds}


def name(of: str) -> str:
    return f"{FORMULA}{of}{UNSEEN}{MARKUP}"


def traffic(environment: str = "") -> Iterator[ExportTraceServiceRequest]:
    """A trace every two minutes of an hour; a database call takes longer in the second half."""
    for minute in range(0, 60, 2):
        message = ExportTraceServiceRequest()
        late = minute >= 30
        begin = DAY + (10 * 3600 + minute * 60) * SECOND
        spans = (
            ("web", "GET", 2, 0, 5 if late else 2, {}),
            ("shop", "buy", 2, 0, 5 if late else 2, {"tier": name("tier")}),
            ("shop", "SELECT", 3, 0, 4 if late else 1,
             {"db.system.name": "postgresql", "db.namespace": name("db"), "db.query.summary": name("query")}),
        )  # fmt: skip
        for number, (service, operation, kind, start, length, attributes) in enumerate(spans, 1):
            part = message.resource_spans.add()
            resource = {
                "service.name": name(service),
                "service.version": name("late" if late else "early"),
                "service.namespace": name("space"),
                "deployment.environment.name": environment or name("env"),
            }
            span = part.scope_spans.add().spans.add()
            for target, values in ((part.resource.attributes, resource), (span.attributes, attributes)):
                for key, value in values.items():
                    target.add(key=key).value.string_value = value
            span.trace_id, span.span_id = (
                minute.to_bytes(4, "big").rjust(16, b"\1"),
                bytes([*b"spanspa", number]),
            )
            span.parent_span_id = bytes([*b"spanspa", number - 1]) if number > 1 else b""
            span.name, span.kind = name(operation), kind
            span.start_time_unix_nano = begin + start * SECOND
            span.end_time_unix_nano = begin + length * SECOND
        yield message


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@dataclass(frozen=True)
class Hostile:
    """A store whose every name is hostile, and what its commands must be told."""

    store: Path
    edge: str
    trace: str
    rules: Path


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    folder = tmp_path_factory.mktemp("hostile")
    store, file, rules = folder / "store", folder / "spans.pb", folder / "rules.toml"
    message = ExportTraceServiceRequest()
    for one in traffic():
        message.MergeFrom(one)
    file.write_bytes(message.SerializeToString())
    assert run("import", file, "--store", store).exit_code == 0
    open_store(str(store)).mark(name("mark"), DAY)
    reason = "".join(f"\\U{ord(char):08x}" for char in name("why"))
    rules.write_text(f"[[forbid]]\ncaller = '*'\nkind = 'db'\nreason = \"{reason}\"\n")
    found = json.loads(run("diff", *HALVES, "--store", store, "--format", "json").stdout)
    edge = next(edge for edge in found["edges"] if edge["kind"] == "db")
    assert found["findings"]
    for one in found["findings"][1:]:  # the first is shown as one that is not muted
        open_store(str(store)).mute(one["id"], 2**62, name("reason"), now_ns=DAY)
    open_store(str(store)).mute("00000000", 2**62, name("reason"), now_ns=DAY)
    return Hostile(store, f"{edge['caller']} -> {edge['callee']}", edge["exemplars"]["head"][0], rules)


def commands(at: Hostile) -> dict[str, tuple[str | Path, ...]]:
    """Every verb that says names of a store, in every format that is text."""
    made: dict[str, tuple[str | Path, ...]] = {
        "mark": ("mark",),
        "mute": ("mute",),
        "verify": ("verify",),
        "rebuild": ("rebuild",),
    }
    made |= {
        f"{verb} {form}": (verb, *words, "--format", form)
        for verb, words, forms in (
            ("diff", HALVES, diff.FORMS),
            ("diff", (*HALVES, "--by", "service"), ("table",)),
            ("explain", (line(at.edge), *HALVES), ("table", "json")),
            ("forecast", (), ("table", "json")),
            ("graph", ("all",), tuple(form for form in graph.FORMS if form != "png")),
            ("graph", (HALVES[1], "--diff", HALVES[0], "--level", "operation"), ("table", "csv", "tree")),
            ("check", (at.rules,), ("text", "json")),
            ("path", (at.trace,), ("table", "json")),
            ("report", HALVES, ("html", "markdown")),
            ("digest", HALVES, ("text", "slack", "teams", "json")),
            ("status", (), ("text", "json")),
        )
        for form in forms
    }
    made |= {
        "several edges": ("explain", "shop", *HALVES),
        "no such edge": ("explain", "nobody -> nothing", *HALVES),
        "no such environment": ("diff", *HALVES, "--env", "nowhere"),
        "a hostile environment": ("diff", *HALVES, "--env", name("none")),
        "a hostile period": ("diff", UNSEEN.replace("\x00", "")),
        "a hostile option": ("diff", "--" + UNSEEN.replace("\x00", "")),
        "a hostile condition": ("diff", *HALVES, "--where", f"tier={name('tier')}"),
        "a hostile trace": ("path", name("trace")),
        "a hostile gate": ("diff", *HALVES, "--fail-on", name("gate")),
        "a gate that fails": ("diff", *HALVES, "--fail-on", "db.share>+0.1pp"),
    }
    return made


def test_nothing_unseen_leaves_by_any_command_or_format(hostile: Hostile, tmp_path: Path) -> None:
    """To stdout, to stderr and to a file; and JSON gives back the very names."""
    said: dict[str, str] = {}
    for told, words in commands(hostile).items():
        result = run(*words, "--store", hostile.store)
        assert result.exception is None or isinstance(result.exception, SystemExit), (told, result.exception)
        assert forbidden(result.stdout) | forbidden(result.stderr) == set(), told
        said[told] = result.stdout
        if "--format" in words and words[0] != "status":
            run(*words, "--store", hostile.store, "-o", tmp_path / "out")
            assert forbidden((tmp_path / "out").read_text()) == set(), told
    assert {words[0] for words in commands(hostile).values()} >= {
        verb for verb in VERBS
        if verb not in {
            "import", "backfill", "seal", "serve", "mcp", "demo", "prune", "warmup", "config", "help",
            "completion",
        }
    }  # fmt: skip
    for told in ("diff json", "explain json", "path json", "graph json", "graph cytoscape", "check json"):
        assert json.loads(said[told] or "null"), told
    services = {edge["caller"] for edge in json.loads(said["diff json"])["edges"]}
    assert services == {name("web"), name("shop")}
    for told in ("diff table", "explain table", "path table", "graph table", "mark"):
        assert "HYPERLINK" in said[told], told


def test_nothing_unseen_leaves_by_any_page(hostile: Hostile) -> None:
    """Nor by the twin of a page in JSON."""
    client = TestClient(make_app(Session(str(hostile.store), Settings(store=str(hostile.store), tz="UTC"))))
    client.base_url = "http://127.0.0.1"
    query = dict(zip(("base", "head"), HALVES, strict=True))
    edge = client.get("/api/growth", params=query).json()["edges"][0]
    named = {"edge_kind": edge["kind"], "caller": edge["caller"], "unit": edge["unit"]}
    named |= {"callee": edge["callee"] or "", "operation": edge["operation"] or ""}
    pages = {
        "": query,
        "edge": {**query, **named},
        "paths": query,
        "traces": query,
        "forecast": {},
        "quality": {},
    }
    pages |= {"growth": query, "map": query, f"trace/{hostile.trace}": {}, "trace/\u202e": {}, "\u202e": {}}
    for (page, values), twin in itertools.product(pages.items(), ("/", "/api/")):
        answer = client.get(twin + page, params=values)
        assert answer.status_code in (200, 404, 400), (twin + page, answer.text)
        assert forbidden(answer.text) == set(), twin + page


def test_a_cell_that_a_spreadsheet_would_run_is_text(hostile: Hostile) -> None:
    """In each CSV; and figures stay figures."""
    for words in (("diff", *HALVES), ("graph", "all", "--level", "operation")):
        made = run(*words, "--format", "csv", "--store", hostile.store).stdout
        rows = list(csv.DictReader(io.StringIO(made)))
        assert rows
        for row in rows:
            assert row["caller"].startswith("'=HYPERLINK")
            for value in row.values():
                number = re.fullmatch(r"[+-]?\d.*", value)
                assert float(value) < 1e12 if number else not value.startswith(("=", "+", "-", "@")), value


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t=1", "\r1", " =1", "＝1", "\n-1"])
def test_every_beginning_of_a_formula_is_quoted(text: str) -> None:
    assert csv_cell(text).startswith("'")
    assert (csv_cell(-1.5), csv_cell(None), csv_cell("a=1")) == (-1.5, "", "a=1")


def test_markdown_reads_a_name_as_text(hostile: Hostile) -> None:
    """No link, tag, code or column comes out of one, and its letters stay what they were."""
    reader = MarkdownIt("commonmark").enable("table")
    for words in (("diff", *HALVES), ("report", *HALVES)):
        made = reader.render(run(*words, "--format", "markdown", "--store", hostile.store).stdout)
        # the command, the flowchart and trace ids are code; no name is any
        ours = r"<pre><code[^>]*>.*?</code></pre>|<code>[0-9a-f]{32}</code>"
        made = re.sub(ours, "", made, flags=re.DOTALL)
        assert not re.search(r"<(a|img|code|em|del)\b", made)
        rows = [row.count("<td") for row in made.split("<tr>")[2:]]
        assert len(rows) > 1
        assert set(rows) == {9}
    for text in (MARKUP, "a_b __c__ *d* ~~e~~ &lt; \\| www.e.vil http://e.vil <http://e.vil>"):
        tokens = reader.parseInline(markdown(text))[0].children or []
        assert "".join(token.content for token in tokens) == text
        assert {token.type for token in tokens} <= {"text", "text_special"}
    assert markdown("GET /items/{id} order_events") == "GET /items/{id} order_events"


def test_lines_stay_where_the_program_made_them() -> None:
    """A name is one line; a text keeps its own breaks; what is seen stays as it is."""
    assert forbidden(line(UNSEEN)) == set()
    assert "\n" not in line(UNSEEN)
    assert lines(f"a\n{UNSEEN}").startswith("a\n")
    seen = "名前 → naïve ½ 😀 \u00a0x"
    assert line(seen) is seen or line(seen) == seen


def test_json_escapes_keep_the_value() -> None:
    """Also beyond the basic plane, and between lines."""
    value: Any = {UNSEEN: [UNSEEN, "😀 \U000e0041"]}
    made = json_text(json.dumps(value, ensure_ascii=False, indent=1))
    assert forbidden(made) == set()
    assert json.loads(made) == value


def test_a_log_line_is_one_line_that_is_seen() -> None:
    """Whatever a client sent as its name."""
    made = logfmt({"client": UNSEEN, "form": "a"})
    assert forbidden(made) == set()
    assert "\n" not in made


def test_what_needs_no_cleaning_is_given_back() -> None:
    """Reports of thousands of edges are not copied in vain; what does is cleaned at any depth."""
    clean = {"a": ["b", ("c", 1)]}
    assert visible(clean) is clean
    found: Any = visible({"a\x00": [("\u202e", 1.5)]})
    assert found == {"a·": [("·", 1.5)]}


def test_a_verb_speaks_through_the_shell_only() -> None:
    """What a verb would print by itself, nobody would have cleaned."""
    for path in (Path(tracescope.__file__).parent / "cli").glob("*.py"):
        if path.name not in {"shell.py", "__init__.py"}:
            assert not re.search(r"\b(click\.s?echo|print)\(", path.read_text()), path.name
