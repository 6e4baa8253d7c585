"""Five lines for a chat, in each form that webhooks take; hostile names stay text in all of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from answered import report
from click.testing import CliRunner
from listening import Listening

from tracescope.analysis.report import EdgeKey, Finding, Mechanism, State
from tracescope.cli import main
from tracescope.report import digest

DATA = Path(__file__).parent / "data" / "nezha"
PAGE = "https://tracescope.example/?base=a|b"


def finding(name: str, ms: float = 2.0) -> Finding:
    key = EdgeKey("request", "db", name, "stock", "GET")
    return Finding(key, Mechanism.SLOWER, f"{name} -> stock: slower", ms, "request", weeks_to_wall=3.0)


MANY = report(findings=tuple(finding(f"shop{at}") for at in range(5)))


def test_five_lines_at_most_and_what_is_left_out_is_said() -> None:
    """Verdict, three findings, the rest with the page or the command."""
    lines = digest.lines(MANY, PAGE)
    assert len(lines) == 5
    assert "drifting" in lines[0]
    assert "20.0 → 22.0 ms (+10.0 %)" in lines[0]
    assert [line[:2] for line in lines[1:4]] == ["1.", "2.", "3."]
    assert lines[4] == f"2 more findings: {PAGE}"
    assert "tracescope explain" in digest.lines(MANY)[4]
    quiet = replace(MANY, findings=(), state=State.GROWTH_STABLE, reasons=("nothing grew",))
    assert len(digest.lines(quiet)) == 1


def test_names_are_text_in_every_form() -> None:
    """No mention, no link, no second line, no markup."""
    hostile = "<!channel> [x](http://evil.example) *b*\n\u202e&amp;"
    made = replace(MANY, findings=(finding(hostile),))
    lines = digest.lines(made, PAGE)
    assert all("\n" not in line and "\u202e" not in line for line in lines)
    slack = digest.as_slack(lines, PAGE)
    assert "<!channel>" not in slack["text"]
    kinds = [block["text"]["type"] for block in slack["blocks"]]
    assert kinds == ["plain_text"] * (len(lines) - 1) + ["mrkdwn"]
    assert slack["blocks"][-1]["text"]["text"] == "<https://tracescope.example/?base=a%7Cb|Open the page>"
    card = digest.as_teams(lines, PAGE)["attachments"][0]["content"]
    assert not any("[x](" in block["text"] for block in card["body"])
    assert card["actions"][0]["url"] == PAGE


def test_the_command_sends_it_once_and_says_where_without_the_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it prints in that form; a refusal is exit 1, no webhook and a form of one's own are usage."""
    store = tmp_path / "store"
    where = ("--store", str(store), "--page", "https://scope.example")
    files = [str(DATA / f"ob0822-05.{side}.jsonl.gz") for side in "AB"]
    assert CliRunner().invoke(main, ["import", *files, "--store", str(store)]).exit_code == 0
    missing = CliRunner().invoke(main, ["digest", "--send", *where])
    assert missing.exit_code == 2
    assert "webhook_url" in missing.output
    with Listening() as server:
        monkeypatch.setenv("TRACESCOPE_WEBHOOK_URL", f"{server.url}/hook/s3cret")
        monkeypatch.setenv("TRACESCOPE_WEBHOOK_FORM", "slack")
        sent = CliRunner().invoke(main, ["digest", "--send", *where])
        assert sent.exit_code == 0, sent.output
        assert "s3cret" not in sent.output
        printed = json.loads(CliRunner().invoke(main, ["digest", "--format", "slack", *where]).stdout)
        (got,) = server.received
        assert (got.path, got.body) == ("/hook/s3cret", printed)
        server.statuses.append(404)
        refused = CliRunner().invoke(main, ["digest", "--send", *where])
        assert refused.exit_code == 1
        assert "status 404" in refused.output
        assert "s3cret" not in refused.output
        assert CliRunner().invoke(main, ["digest", "--send", "--format", "json", *where]).exit_code == 2
        assert len(server.received) == 2


@pytest.mark.parametrize("form", ["text", "slack", "teams", "json"])
def test_the_command_prints_each_form(form: str, tmp_path: Path) -> None:
    """JSON but for the text; the verdict is that of `diff`."""
    store = tmp_path / "store"
    files = [str(DATA / f"ob0822-05.{side}.jsonl.gz") for side in "AB"]
    assert CliRunner().invoke(main, ["import", *files, "--store", str(store)]).exit_code == 0
    result = CliRunner().invoke(main, ["digest", "all", "--store", str(store), "--format", form])
    assert result.exit_code == 0, result.output
    if form == "text":
        assert 1 <= len(result.stdout.splitlines()) <= 5
        return
    said = json.loads(result.stdout)
    if form == "json":
        diff = CliRunner().invoke(main, ["diff", "all", "--store", str(store), "--format", "json"])
        assert said["state"] == json.loads(diff.stdout)["verdict"]["state"]
        assert said["schema"] == "tracescope.digest/1"
    wrong = CliRunner().invoke(main, ["digest", "--page", "javascript:1", "--store", str(store)])
    assert wrong.exit_code == 2
