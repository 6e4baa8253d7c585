"""A real client of the Model Context Protocol against a real `tracescope mcp` process."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tracescope.cli import main

mcp = pytest.importorskip("mcp", reason="the `mcp` extra brings it")
DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tools") / "store"
    arguments = ["import", str(DATA / "opensearch-otel" / "spans.jsonl"), "--store", str(folder)]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    return folder


async def _ask(store: Path, questions: list[tuple[str, dict[str, Any]]]) -> tuple[list[str], list[Any]]:
    from mcp import ClientSession, StdioServerParameters
    from mcp.client.stdio import stdio_client

    arguments = ["-m", "tracescope", "mcp", "--store", str(store), "--tz", "UTC"]
    server = StdioServerParameters(command=sys.executable, args=arguments, cwd=str(Path.cwd()))
    async with stdio_client(server) as (incoming, outgoing), ClientSession(incoming, outgoing) as session:
        await session.initialize()
        names = [tool.name for tool in (await session.list_tools()).tools]
        answers = [await session.call_tool(name, given) for name, given in questions]
    return names, [json.loads(answer.content[0].text) for answer in answers]


def test_the_tools_answer_as_the_pages_do(store: Path) -> None:
    """diff, then what it names: an edge, the graph, a trace; mistakes get a sentence and a hint."""
    names, (diff, graph, quality, wrong, missing, carried) = asyncio.run(
        _ask(
            store,
            [
                ("diff", {"base": "all"}),
                ("graph", {"base": "all", "level": "service"}),
                ("quality", {}),
                ("diff", {"base": "someday"}),
                ("trace", {"trace_id": "12"}),
                ("diff", {"base": "all", "explain_by": "all"}),
            ],
        )
    )
    assert names == ["diff", "explain", "graph", "trace", "forecast", "mute", "quality"]
    assert diff["schema"] == "tracescope.diff/1"
    assert diff["summary"]
    assert 0 < len(diff["edges"]) <= 10
    golden = json.loads((DATA / "opensearch-otel" / "service_map.json").read_text())
    assert {(e["caller"], e["callee"]) for e in graph["edges"]} == {tuple(edge) for edge in golden["edges"]}
    assert quality["spans"]["stored"] == 974
    assert "someday" in wrong["error"]
    assert wrong["hint"]
    assert "no trace" in missing["error"]
    assert diff["explained_by"] is None
    assert carried["explained_by"]["requests_head"] > 0
    edge, trace = diff["edges"][0], diff["edges"][0]["exemplars"]["head"][0]
    _, (explained, walked) = asyncio.run(
        _ask(
            store,
            [
                ("explain", {"base": "all", "caller": edge["caller"], "callee": edge["callee"] or ""}),
                ("trace", {"trace_id": trace}),
            ],
        )
    )
    assert explained["edge"]["caller"] == edge["caller"]
    assert explained["sentence"]
    assert walked["trace_id"] == trace
    assert all(span["on_path"] for span in walked["spans"])
