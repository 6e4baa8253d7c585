"""The manual: every topic is told by `tracescope help` and by the page, and its words are the program's."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from tracescope import docs
from tracescope.analysis.report import EFFECTS, Effect, State
from tracescope.cli import main
from tracescope.config import Settings
from tracescope.session import Session
from tracescope.web.app import make_app

PACKAGE = Path(docs.__file__).parents[1]


@pytest.mark.parametrize("topic", docs.TOPICS)
def test_a_topic_is_told_in_the_terminal_and_on_the_page(topic: str, tmp_path: Path) -> None:
    """The same text; without a store too."""
    told = CliRunner().invoke(main, ["help", topic])
    assert told.exit_code == 0
    assert told.stdout.startswith("# ")
    app = make_app(Session(tmp_path, Settings(store=str(tmp_path))))
    shown = TestClient(app, base_url="http://127.0.0.1").get(f"/help/{topic}")
    assert shown.status_code == 200
    assert f"<h1>{told.stdout.splitlines()[0].removeprefix('# ')}</h1>" in shown.text
    assert "<script>" not in shown.text


def test_without_a_topic_all_are_listed_and_an_unknown_one_is_refused_with_them() -> None:
    """No page is a secret."""
    listed = CliRunner().invoke(main, ["help"]).stdout
    assert all(topic in listed for topic in docs.TOPICS)
    refused = CliRunner().invoke(main, ["help", "nonsense"])
    assert refused.exit_code == 2
    assert "glossary" in refused.stderr
    pages = {path.stem for path in (PACKAGE / "docs").glob("*.md")}
    assert pages == set(docs.TOPICS)


def test_every_section_of_the_design_that_a_docstring_cites_is_there() -> None:
    """A source that cannot be looked up is none."""
    headings = set(re.findall(r"^## (\d+)\.", docs.read("design"), re.MULTILINE))
    cited = {
        section
        for path in PACKAGE.rglob("*.py")
        for section in re.findall(r"design,? sections? (\d+)", path.read_text())
    }
    assert cited
    assert cited <= headings


def test_the_glossary_has_every_verdict_and_every_effect() -> None:
    """What an answer may say, it can be asked about."""
    words = docs.glossary()
    for state in set(State) - {State.COMPARED}:
        assert state in words, state
    told = {"calls", "criticality", "transient", "load", "growth"}
    assert told <= set(words)
    assert {name.removeprefix("latency_") for name in EFFECTS} - {"unsplit", "new", "gone"} <= set(words)
    assert all(len(meaning) > 10 for meaning in words.values())


def test_verdicts_and_causes_are_compared_by_name_not_by_spelling() -> None:
    """A literal beside the enum is a comparison that a renamed state makes false without a sound."""
    worded = {str(state) for state in State} | {Effect.GROWTH, Effect.LOAD, Effect.UNSPLIT, Effect.TRANSIENT}
    spelt = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.value!r}"
        for path in PACKAGE.rglob("*.py")
        if path != PACKAGE / "analysis" / "report.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in worded
    ]
    assert not spelt
