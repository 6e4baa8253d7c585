"""Owners and mutes: what people say of findings changes their place, and nothing that was measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from answered import report
from click.testing import CliRunner, Result
from starlette.testclient import TestClient
from test_surfaces import store as store  # noqa: PLC0414 - a fixture

from tracescope import config
from tracescope.analysis.report import EdgeKey, Finding, Mechanism, Mute, Report
from tracescope.cli import main
from tracescope.config import Settings
from tracescope.engine.attention import attend, owner_of
from tracescope.engine.repair import other_problems
from tracescope.errors import ConfigError
from tracescope.mcp import Tools
from tracescope.report import diff_json, digest, text
from tracescope.session import Session
from tracescope.store import open_store
from tracescope.web.app import make_app

DAY_NS = 86_400 * 10**9
NOW_NS = 1_795_000_000 * 10**9
REASON = "known: <b>fixed</b> with\n the next release"


def finding(name: str) -> Finding:
    key = EdgeKey("request", "db", name, "stock", "GET")
    return Finding(key, Mechanism.SLOWER, f"{name} -> stock: slower", 2.0, "request", weeks_to_wall=3.0)


def muted_report() -> Report:
    made = report(findings=(finding("shop"), finding("pay"), finding("cart")))
    until = {finding("shop").id: (NOW_NS + DAY_NS, REASON), finding("pay").id: (NOW_NS, "over")}
    return attend(made, {"shop": "team-a", "*": "team-b"}, until, NOW_NS)


def test_a_muted_finding_stands_last_with_reason_and_end_and_measures_the_same() -> None:
    """A mute that is over is none."""
    made = muted_report()
    assert [each.cause.caller for each in made.findings] == ["pay", "cart", "shop"]
    assert [each.mute for each in made.findings] == [None, None, Mute(NOW_NS + DAY_NS, REASON)]
    bare = {replace(each, owner="", mute=None) for each in made.findings}
    assert bare == {finding("shop"), finding("pay"), finding("cart")}
    untouched = report(findings=(finding("shop"),))
    assert attend(untouched, {}, {}, NOW_NS) is untouched


@pytest.mark.parametrize(
    ("callee", "owner"),
    [("stock", "callee"), ("postgresql/a", "long"), ("redis/a", "caller"), (None, "caller")],
)
def test_the_owner_is_that_of_what_is_called_or_else_of_who_calls(callee: str | None, owner: str) -> None:
    """A whole name over a pattern, a longer pattern over a shorter one."""
    owners = {
        "stock": "callee",
        "st*": "short",
        "postgresql*": "short",
        "postgresql/*": "long",
        "shop": "caller",
    }
    assert owner_of(EdgeKey("request", "db", "shop", callee, None), owners) == owner
    assert owner_of(EdgeKey("request", "db", "shop", callee, None), {}) == ""


def test_every_surface_sets_it_apart_and_says_why() -> None:
    """Terminal, digest, alerts and JSON; the reason is one line of text."""
    made = muted_report()
    told = text.causes(made)
    (line,) = [line for line in told if line.startswith("muted until ")]
    assert finding("shop").id in line
    assert "<b>fixed</b> with·" in line or "<b>fixed</b> with " in line
    assert not any("\n" in line for line in told)
    assert [line[:2] for line in told if line[:1].isdigit()] == ["1.", "2."]
    assert any("owner: team-b" in line for line in told)
    lines = digest.lines(made)
    assert lines[-1].startswith("1 muted: ")
    assert not any("shop" in line for line in lines[1:])
    alerts = digest.payload(made, "json")["findings"]
    assert [one["alert"]["labels"]["owner"] for one in alerts] == ["team-b", "team-b"]
    assert [one["alert"]["labels"]["caller"] for one in alerts] == ["pay", "cart"]
    rows = diff_json(made)["findings"]
    assert [row["owner"] for row in rows] == ["team-b", "team-b", "team-a"]
    assert rows[0]["muted"] is None
    assert rows[2]["muted"] is not None
    assert rows[2]["muted"]["reason"] == REASON
    assert len({row["id"] for row in rows}) == 3


def run(*arguments: str, code: int = 0) -> Result:
    done = CliRunner().invoke(main, list(arguments))
    assert done.exit_code == code, done.output
    return done


def found(store: Path) -> list[dict[str, Any]]:
    return json.loads(run("diff", "--store", str(store), "--format", "json").stdout)["findings"]


def test_page_api_and_tool_mute_as_the_command_does(store: Path) -> None:
    """A form of the page, JSON of programs, never another site; what is refused changes nothing."""
    where = ("--store", str(store))
    before = found(store)
    name = before[0]["id"]
    session = Session(store, Settings(store=str(store)))
    client = TestClient(make_app(session), base_url="http://127.0.0.1")
    own, evil = {"origin": "http://127.0.0.1"}, {"origin": "http://evil.example"}
    form = {"finding": name, "until": "2w", "reason": REASON, "page": "/"}
    assert client.post("/mute", data=form).status_code == 403
    assert client.post("/mute", data=form, headers=evil).status_code == 403
    assert client.post("/api/mute", json=form, headers=evil).status_code == 403
    assert client.post("/api/mute", data=form, headers=own).status_code == 415
    for wrong, code in [({"until": "soon"}, 400), ({"reason": " "}, 400), ({"finding": "zz"}, 404)]:
        assert client.post("/api/mute", json={**form, **wrong}).status_code == code
        assert client.post("/mute", data={**form, **wrong}, headers=own).status_code == code
    assert (
        client.post("/api/mute", content=b"[]", headers={"content-type": "application/json"}).status_code
        == 400
    )
    assert client.get("/api/mute").status_code == 405
    assert found(store) == before
    assert f'value="{name}"' in client.get("/").text
    done = client.post("/mute", data=form, headers=own, follow_redirects=False)
    assert (done.status_code, done.headers["location"]) == (303, "/")
    assert found(store)[-1]["muted"]["reason"] == REASON.strip()
    assert "End the mute" in client.get("/").text
    ended = client.post("/mute", data={"finding": name, "page": "/"}, headers=own, follow_redirects=False)
    assert ended.status_code == 303
    assert found(store) == before
    muted = client.post("/api/mute", json={"finding": name[:6], "until": "3d", "reason": "known"}).json()
    assert muted["finding"] == name
    assert found(store)[-1]["muted"]["until"] == muted["until"]
    assert client.post("/api/mute", json={"finding": name}).json() == {"finding": name, "until": None}
    tools = Tools(session)
    assert tools.mute(name, "2w", "known")["finding"] == name
    assert found(store)[-1]["muted"]["reason"] == "known"
    assert tools.mute(name) == {"finding": name, "until": None}
    assert "no finding" in tools.mute("zz", "2w", "x")["error"]
    assert run("mute", *where).stdout == ""


def test_the_command_mutes_lists_and_ends(store: Path) -> None:
    """By an id's first digits; page and diff follow at once, and what it refuses says what there is."""
    where = ("--store", str(store))
    before = found(store)
    name = before[0]["id"]
    run("mute", name[:5], "--until", "2w", "--reason", REASON, *where)
    after = found(store)
    assert after[-1]["id"] == name
    assert after[-1]["muted"]["reason"] == REASON
    assert [row["id"] for row in after[:-1]] == [row["id"] for row in before[1:]]
    client = TestClient(make_app(Session(store, Settings(store=str(store)))), base_url="http://127.0.0.1")
    page = client.get("/").text
    assert "1 muted finding<" in page
    assert "<b>fixed</b>" not in page
    listed = run("mute", *where).stdout
    assert listed.startswith(f"{name}  until ")
    assert listed.count("\n") == 1
    run("mute", name, "--end", *where)
    assert found(store) == before
    assert run("mute", *where).stdout == ""
    for arguments, code, words in [
        (("zz", "--until", "2w", "--reason", "x"), 1, name),
        ((name, "--until", "2w"), 2, "its end and its reason"),
        ((name, "--until", "2020-01-01", "--reason", "x"), 2, "has passed"),
        ((name, "--until", "soon", "--reason", "x"), 2, "soon"),
        ((name, "--until", "2w", "--reason", "x" * 500), 2, "500 characters"),
        ((name, "--end"), 1, "is muted"),
        (("--reason", "x"), 2, "no finding is named"),
    ]:
        refused = CliRunner().invoke(main, ["mute", *arguments, *where])
        assert refused.exit_code == code, refused.output
        assert words in " ".join(refused.output.split()), refused.output
    assert found(store) == before


def test_damaged_mutes_are_told_and_mute_nothing(tmp_path: Path) -> None:
    """`verify` names the file; findings are all there."""
    made = open_store(tmp_path, create=True)
    made.mute("1a2b3c4d", NOW_NS, "x", now_ns=NOW_NS)
    made.mute("ffffffff", NOW_NS + 200 * DAY_NS, "y", now_ns=NOW_NS + 100 * DAY_NS)
    assert made.mutes() == {"ffffffff": (NOW_NS + 200 * DAY_NS, "y")}  # what was long over is forgotten
    assert not list(other_problems(made))
    path = tmp_path / "mutes.json"
    path.write_bytes(path.read_bytes().replace(b'"y"', b'"z"'))
    assert made.mutes() == {}
    assert [file for file, _ in other_problems(made)] == [path]


def test_owners_are_a_table_or_a_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else, with the place."""
    monkeypatch.chdir(tmp_path)
    Path("tracescope.toml").write_text('[owners]\norders = "team-a"\n"pay*" = " team-b "\n')
    assert config.load()[0].owners == {"orders": "team-a", "pay*": "team-b"}
    monkeypatch.setenv("TRACESCOPE_OWNERS", "a b=c; d = e f")
    assert config.load()[0].owners == {"a b": "c", "d": "e f"}
    for wrong in (3, {"a": 3}, {"a": " "}):
        with pytest.raises(ConfigError, match="owners"):
            config.load({"owners": wrong})
