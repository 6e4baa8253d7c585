"""Answers are what their types say: no field more, none less, and JSON Schema of the same definition."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from tracescope import docs
from tracescope.cli import main
from tracescope.config import Settings
from tracescope.report import contract
from tracescope.session import Session
from tracescope.web.app import make_app

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three months of the growing shop."""
    path = tmp_path_factory.mktemp("contract") / "store"
    done = CliRunner().invoke(main, ["demo", "--store", str(path), "--format", "json"])
    assert done.exit_code == 0, done.output
    return path


def answered(*arguments: object) -> dict[str, Any]:
    """What the command line says in JSON."""
    done = CliRunner().invoke(main, [*map(str, arguments), "--format", "json"])
    assert done.exit_code in (0, 3), done.output
    return json.loads(done.stdout)


def held(answer: dict[str, Any]) -> None:
    """The answer read as its type and written again is itself: no field is unknown, none is missing."""
    kind = contract.ANSWERS[answer["schema"]]
    assert json.loads(msgspec.json.encode(msgspec.convert(answer, kind))) == answer


def test_every_answer_of_the_command_line_is_what_its_type_says(store: Path, tmp_path: Path) -> None:
    """Of each schema one; a field that is not in the type would be lost on the way."""
    rules = tmp_path / "rules.toml"
    rules.write_text((DATA.parents[1] / "examples" / "rules.toml").read_text())
    diff = answered("diff", "all", "--store", store)
    edge = diff["edges"][0]
    name = f"{edge['caller']} -> {edge['callee']}" if edge["callee"] else f"{edge['caller']} (itself)"
    trace = edge["exemplars"]["head"][0]
    answers = [
        diff,
        answered("explain", name, "all", "--operation", edge["operation"], "--store", store),
        answered("forecast", "--store", store),
        answered("graph", "--store", store),
        answered("graph", "--diff", "all", "all", "--level", "dependency", "--store", store),
        answered("check", rules, "--store", store),
        answered("status", "--store", store),
    ]
    done = CliRunner().invoke(main, ["path", trace, "--store", str(store), "--format", "json"])
    if done.exit_code == 0:  # the demo keeps the raw spans of its last days
        answers.append(json.loads(done.stdout))
    for answer in answers:
        held(answer)
    assert {answer["schema"] for answer in answers} >= set(contract.ANSWERS) - {"tracescope.path/1"}


def test_the_routes_answer_as_the_openapi_document_says(store: Path) -> None:
    """Every route without a path parameter, validated against the schema of its 200."""
    client = TestClient(
        make_app(Session(store, Settings(store=str(store), tz="UTC"))), base_url="http://127.0.0.1"
    )
    document = client.get("/api/openapi.json").json()
    checked = 0
    for path, item in document["paths"].items():
        if "get" not in item:  # what writes has a test of its own
            continue
        schema = item["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        if "{" in path or path == "/api/edge" or not schema:
            continue
        answer = client.get(path, params={"base": "all"})
        assert answer.status_code == 200, path
        jsonschema.validate(answer.json(), {**schema, "components": document["components"]})
        checked += 1
    assert checked >= 4


def _own_members() -> dict[str, set[str]]:
    """Members of every type of the contract, without those that it inherits."""
    classes = [
        node for node in ast.parse(Path(contract.__file__).read_text()).body if isinstance(node, ast.ClassDef)
    ]
    return {
        kind.name: {
            member.target.id
            for member in kind.body
            if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name)
        }
        for kind in classes
    }


def test_the_manual_names_every_member_of_every_answer() -> None:
    """A row of formats for each type, with its members and no others; inherited ones may stand there too."""
    named: dict[str, set[str]] = {}
    for row in re.finditer(r"^\| `([A-Z]\w+)` \| (.+?) \| .+ \|$", docs.read("formats"), re.MULTILINE):
        named.setdefault(row[1], set()).update(re.findall(r"`(\w+)`", row[2]))
    members = _own_members()
    assert named.keys() == members.keys()
    for name, own in members.items():
        assert own <= named[name] <= set(getattr(contract, name).__annotations__), name
