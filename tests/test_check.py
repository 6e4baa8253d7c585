"""`tracescope check`: rules that hold, rules that are broken, and rules files with a slip in them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from flows import rollups
from test_findings import SHOP

from tracescope.analysis.topology.graph import graph
from tracescope.analysis.topology.rules import Checked, check, parse_rules
from tracescope.cli import main
from tracescope.errors import ConfigError, UsageError
from tracescope.report.png import as_png

DATA = Path(__file__).parent / "data"
EXAMPLE = Path(__file__).parents[1] / "examples" / "rules.toml"


def checked(rules: str) -> Checked:
    tables = rollups(SHOP)
    return check(parse_rules(rules, "rules.toml"), graph(tables, "dependency"), tables)


def broken(rules: str) -> list[str]:
    return [each.text for each in checked(rules).violations]


def test_a_forbidden_edge_is_told_with_its_reason() -> None:
    made = checked('[[forbid]]\ncaller = "cat*"\nkind = "db"\nreason = "not its data"')
    (violation,) = made.violations
    assert violation.text == "catalog → postgresql/shop (db) must not be: 600 calls"
    assert (violation.rule, violation.reason) == ("forbid[1]", "not its data")
    assert broken('[[forbid]]\ncaller = "web"\ncallee = "postgresql/*"') == []


def test_only_named_callers_may_use_a_database() -> None:
    rule = '[[database]]\nname = "postgresql/shop"\ncallers = {}'
    assert broken(rule.format('["orders", "cata?og"]')) == []
    assert broken(rule.format('["orders"]')) == [
        "catalog uses postgresql/shop, which is for orders: 600 calls"
    ]
    assert len(broken(rule.format("[]"))) == 2


def test_depth_counts_synchronous_hops() -> None:
    """Each way past the limit is told once, although deeper flows share it."""
    assert broken("max_depth = 2") == []
    assert [text.partition(" has ")[0] for text in broken("max_depth = 1")] == [
        "web → catalog → postgresql/shop",
        "web → cart → redis/carts",
        "web → orders → postgresql/shop",
    ]


def test_cycles_are_told_only_when_asked_about() -> None:
    tables = rollups("""
request a GET /: 10 units, 100 ms
  http a -> b [x]: 10 calls, 10 own, 50 inclusive
    http b -> a [y]: 7 calls, 10 own
""")
    made = graph(tables, "dependency")
    assert [v.text for v in check(parse_rules("no_cycles = true", "r"), made, tables).violations] == [
        "a → b → a"
    ]
    assert not check(parse_rules("no_cycles = false\nmax_depth = 9", "r"), made, tables).violations


def test_a_share_has_a_limit() -> None:
    rule = '[[share]]\ncallee = "postgresql/shop"\nmax_pct = {}'
    assert broken(rule.format(20)) == []
    assert broken(rule.format(17.5)) == [
        "catalog → postgresql/shop (db) takes 20.0 % of the requests' clock, more than 17.5 %"
    ]


def test_a_rule_that_matches_nothing_is_told() -> None:
    """A slip in a name would otherwise hold for ever; forbidding what is not there is the point."""
    made = checked(
        '[[database]]\nname = "postgresql/shp"\ncallers = []\n[[share]]\ncallee = "nobody"\nmax_pct = 1'
    )
    assert made.notes == (
        "database[1] matches nothing in this period",
        "share[1] matches nothing in this period",
    )
    assert checked('[[forbid]]\ncallee = "nobody"').notes == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_dept = 3", "unknown key 'max_dept'"),
        ('[[forbid]]\ncaler = "x"', "unknown key 'caler' in forbid[1]"),
        ('[[forbid]]\nreason = "x"', "would forbid every edge"),
        ('[[forbid]]\nkind = "sql"', "no edge kind 'sql'"),
        ('[forbid]\ncaller = "x"', "forbid is not a list"),
        ('[[database]]\nname = "x"', "database[1] lacks callers"),
        ('[[database]]\nname = "x"\ncallers = [1]', "callers in database[1] is [1]"),
        ('[[share]]\ncallee = "x"', "share[1] lacks max_pct"),
        ('[[share]]\nmax_pct = "9"', "max_pct in share[1] is '9'"),
        ("[[share]]\nmax_pct = true", "max_pct in share[1] is True"),
        ("max_depth = 0", "max_depth is 0"),
        ("max_depth = true", "max_depth is True"),
        ('no_cycles = "yes"', "no_cycles is 'yes'"),
        ("no_cycles = false", "holds no rule"),
        ("", "holds no rule"),
        ("no_cycles = ", "is not valid TOML"),
    ],
)
def test_a_slip_in_a_rules_file_is_an_error(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"rules\.toml") as error:
        parse_rules(text, "rules.toml")
    assert said in str(error.value)


def test_the_example_can_be_read() -> None:
    assert parse_rules(EXAMPLE.read_text(), str(EXAMPLE)).count == 7


# -- the commands, on real traces -------------------------------------------------------------------


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OpenTelemetry's demo as Data Prepper kept it: 974 spans."""
    path = tmp_path_factory.mktemp("store") / "store"
    made = run("import", DATA / "opensearch-otel" / "spans.jsonl", "--store", path)
    assert made.exit_code == 0, (made.output, made.exception)
    return path


def test_check_exits_3_with_a_readable_list(store: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('no_cycles = true\n[[forbid]]\nkind = "db"\nreason = "none here"\n')
    made = run("check", rules, "--store", store)
    assert made.exit_code == 3
    assert "✗ forbid[1]: " in made.stdout
    assert "(none here)" in made.stdout
    assert made.stdout.splitlines()[-1].endswith("broken, 2 rules checked")
    told = json.loads(run("check", rules, "--store", store, "--format", "json").stdout)
    assert told["schema"] == "tracescope.check/1"
    assert not told["ok"]
    assert {each["evidence"]["kind"] for each in told["violations"]} == {"db"}


def test_check_exits_0_when_all_rules_hold_and_2_on_a_slip(store: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("max_depth = 30\n")
    assert run("check", rules, "--store", store).stdout == "ok: 1 rule checked\n"
    rules.write_text("max_dept = 30\n")
    made = run("check", rules, "--store", store)
    assert made.exit_code == 2
    assert "max_dept" in made.stderr
    assert run("check", tmp_path / "none.toml", "--store", store).exit_code == 1


def test_every_format_of_graph_is_written(store: Path, tmp_path: Path) -> None:
    """The beginning of each shows that it is what it claims."""
    begins = {
        "svg": b"<svg xmlns=", "png": b"\x89PNG", "dot": b"digraph", "mermaid": b"flowchart LR",
        "graphml": b"<graphml", "cytoscape": b"{", "structurizr": b"workspace ",
        "csv": b"kind,caller,callee", "json": b"{", "findings": b"", "table": b"edge", "tree": b"",
    }  # fmt: skip
    for form, begin in begins.items():
        out = tmp_path / form
        made = run("graph", "all", "--level", "dependency", "--store", store, "--format", form, "-o", out)
        assert made.exit_code == 0, made.output
        assert out.read_bytes().startswith(begin), form
        assert len(out.read_bytes()) > 100, form


def test_graph_tells_findings_beside_nodes_and_edges(store: Path) -> None:
    told = json.loads(run("graph", "--store", store, "--level", "dependency", "--format", "json").stdout)
    assert {"chain", "blast_radius"} <= {each["kind"] for each in told["findings"]}
    assert all(each["evidence"] for each in told["findings"])


def test_graph_says_when_nothing_matches(store: Path) -> None:
    made = run("graph", "--store", store, "--through", "no-such-service")
    assert made.exit_code == 4
    assert "--through" in made.stderr


def test_a_period_compared_with_itself_has_not_changed(store: Path) -> None:
    told = json.loads(run("graph", "all", "--diff", "all", "--store", store, "--format", "json").stdout)
    assert told["base"]["units"] == told["units"]
    assert {edge["state"] for edge in told["edges"]} == {"both"}
    assert {edge["significant"] for edge in told["edges"]} == {False}


def test_namespaces_are_read_from_the_resources_of_spans(tmp_path: Path) -> None:
    """Rollups keep none; and what one namespace alone uses is drawn as its own."""
    store = tmp_path / "store"
    assert run("import", DATA / "otlp" / "traces.pb", "--store", store).exit_code == 0
    told = json.loads(run("graph", "--store", store, "--format", "json").stdout)
    assert {node["namespace"] for node in told["nodes"]} == {"opentelemetry-demo"}


def test_a_png_without_its_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(UsageError, match="png extra") as error:
        as_png("<svg/>")
    assert error.value.hint is not None
    assert "tracescope[png]" in error.value.hint
