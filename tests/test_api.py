"""The public API: few names, the command line's own numbers, frames and pictures."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

import tracescope
from tracescope.cli import main
from tracescope.errors import ConfigError, InputError, UsageError

DATA = Path(__file__).parent / "data"
ROOT = Path(__file__).parent.parent


def said(*arguments: object) -> dict[str, Any]:
    """What the command line answers in JSON."""
    done = CliRunner().invoke(main, [*map(str, arguments), "--format", "json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tracescope.Store:
    """Requests to a hotel at six loads, read through the API."""
    opened = tracescope.open_store(tmp_path_factory.mktemp("api") / "store", tz="UTC")
    done = opened.import_files(DATA / "dsb-hotel")
    assert done.new > 1000
    assert opened.import_files(DATA / "dsb-hotel").new == 0
    return opened


def test_the_api_gives_what_the_command_line_gives(store: tracescope.Store) -> None:
    """Diff, graph, explain and trace: one question, one answer."""
    report = store.diff("all")
    flags = ("--store", store.path, "--tz", "UTC")
    assert report.to_dict() == said("diff", "all", *flags)
    assert (
        store.graph("all").to_dict()["edges"]
        == said("graph", "all", "--level", "dependency", *flags)["edges"]
    )
    first = report.model.edges[0]
    explained = store.explain(first.name, "all", operation=first.operation)
    assert explained.to_dict() == said("explain", first.name, "all", "--operation", first.operation, *flags)
    trace = first.exemplars_head[0]
    assert store.trace(trace).to_dict() == said("path", trace, "--store", store.path)


def test_frames_hold_a_row_an_edge_an_entry_and_a_node(store: tracescope.Store) -> None:
    """Effects are columns; rows of rollups are integers; unknown tables are named."""
    report = store.diff("all")
    assert len(report.edges) == len(report.model.edges)
    assert {"edge", "credited_ms", "credited_low_ms", "effect_calls"} <= set(report.edges.columns)
    assert len(report.entries) == len(report.model.entries)
    hours = store.rollups("entry_hours")
    assert hours["units"].dtype.is_integer()
    assert set(store.rollups("paths").columns) >= {"path_id", "caller", "callee"}
    with pytest.raises(UsageError, match="no table 'nonsense'"):
        store.rollups("nonsense")


def test_a_graph_is_a_networkx_graph_too(store: tracescope.Store) -> None:
    """With the nodes and edges of its frames."""
    graph = store.graph()
    made = graph.to_networkx()
    assert set(made.nodes) == set(graph.nodes["id"].to_list())
    assert made.number_of_edges() == len(graph.edges)


def test_answers_show_themselves_in_a_notebook_and_escape_names(
    store: tracescope.Store, tmp_path: Path
) -> None:
    """Tables, a map, a chart: HTML without scripts."""
    report = store.diff("all")
    edge = report.model.edges[0]
    shown = [
        report._repr_html_(),
        store.graph()._repr_html_(),
        report.chart(f"{edge.name} {edge.operation}")._repr_html_(),
        store.explain(edge.name, "all", operation=edge.operation)._repr_html_(),
        store.trace(edge.exemplars_head[0])._repr_html_(),
    ]
    for part in shown:
        assert "<script" not in part
        assert "<svg" in part or "&lt;svg" in part or "<table>" in part
    store.graph().map().save(tmp_path / "map.html")
    assert "<svg" in (tmp_path / "map.html").read_text()


def test_the_critical_path_of_spans_of_ones_own(store: tracescope.Store) -> None:
    """From an OTLP request; spans of several traces, or none, are refused in words."""
    from stores import request

    body = request("A web GET 10:00:00 +3s\n  A shop buy 10:00:01 +1s").SerializeToString()
    trace = tracescope.critical_path(body)
    assert trace.segments.select((pl.col("end_ns") - pl.col("start_ns")).sum()).item() == 3 * 10**9
    with pytest.raises(InputError, match="spans of 2 traces"):
        tracescope.critical_path(
            request("A web GET 10:00:00 +1s\nB web GET 10:00:01 +1s").SerializeToString()
        )


def test_settings_are_checked_as_on_the_command_line(tmp_path: Path) -> None:
    """An unknown one is an error with its name."""
    with pytest.raises(ConfigError, match="unknown setting 'colour'"):
        tracescope.open_store(tmp_path, colour="red")


def test_importing_the_package_loads_no_analysis() -> None:
    """The names are loaded when they are asked for; a name that is none is an AttributeError."""
    code = "import sys, tracescope as ts; print('polars' in sys.modules, sorted(ts.__all__) == dir(ts))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        tracescope.nonsense  # noqa: B018


def test_the_example_notebook_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each code cell, in order; what a cell ends with can be shown."""
    cells = json.loads((ROOT / "examples" / "notebook.ipynb").read_text())["cells"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACES", str(DATA / "dsb-hotel"))
    names: dict[str, Any] = {}
    shown = 0
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        body = ast.parse("".join(cell["source"])).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        if last is not None:
            assert eval(compile(ast.Expression(last.value), "cell", "eval"), names) is not None
            shown += 1
    assert shown >= 4
