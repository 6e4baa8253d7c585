"""The report as Markdown has the parts of the file, and its command makes it again."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from tracescope.cli import main

DATA = Path(__file__).parent / "data" / "nezha"


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("review") / "store"
    run("import", *(DATA / f"ob0822-05.{side}.jsonl.gz" for side in "AB"), "--store", path)
    return path


def parts(text: str) -> list[str]:
    return re.findall(r"^## (.*)$", text, re.MULTILINE)


def test_markdown_has_the_parts_of_the_file(store: Path) -> None:
    """To decide, the graph, findings, edges, method and the command; the headline is the same."""
    text, html = (run("report", "all", "--store", store, "--format", form) for form in ("markdown", "html"))
    assert parts(text)[0] == "To decide"
    assert {"Where it grew", "All edges", "Method and data"} <= set(parts(text))
    assert "```mermaid\nflowchart LR" in text
    if "Forecast</h2>" in html:
        assert "Forecast" in parts(text)


def test_its_command_makes_it_again(store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With every option that changes the answer; only the time of making differs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACESCOPE_STORE", str(store))
    asked = ("--alpha", "0.1", "--min-effect", "2.5", "--tz", "Asia/Kolkata")
    text = run("report", "all", *asked, "--format", "markdown")
    command = re.findall(r"^```sh\n(.*)\n```$", text, re.MULTILINE)[-1]
    words = shlex.split(command)
    assert {"--alpha", "--min-effect", "--tz"} <= set(words)
    run(*words[1:])
    again = (tmp_path / "review.md").read_text()
    stamp = re.compile(r"generated \d+ \w+ \d+ [\d:]+ UTC")
    assert stamp.sub("", again) == stamp.sub("", text)
