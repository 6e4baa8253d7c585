"""What people type: exit codes, help, settings, shapes; through real processes where it matters."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pydot
import pytest
from click.testing import CliRunner, Result
from stores import new_store, request

from tracescope.cli import VERBS, main

DATA = Path(__file__).parent / "data"


def run(*arguments: str | Path, environment: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env=environment)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """974 real spans, sealed."""
    path = tmp_path_factory.mktemp("cli") / "store"
    result = run("import", DATA / "collector" / "traces.jsonl", "--store", path)
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the shell that runs the tests."""
    for name in [name for name in os.environ if name.startswith("TRACESCOPE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


# -- help --


def test_help_imports_neither_polars_nor_numba_nor_anything_else_heavy() -> None:
    """Every command's one line is there without loading what it does."""
    code = (
        "import sys\n"
        "sys.argv = ['tracescope', '--help']\n"
        "from tracescope.cli import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    heavy = {'polars', 'numba', 'numpy', 'scipy', 'grpc', 'networkx', 'rich'}\n"
        "    print('LOADED', sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stderr
    for verb in VERBS:
        assert f"  {verb} " in done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_that_says_what_it_does(verb: str) -> None:
    """And every option a line of its own."""
    result = run(verb, "--help")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) > 4
    command = main.get_command(click.Context(main), verb)
    assert command is not None
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{verb} {parameter.name}"


def test_the_version_is_printed() -> None:
    """As the package says."""
    from tracescope import __version__

    assert run("--version").stdout.strip() == f"tracescope, version {__version__}"


# -- exit codes --


def test_exit_1_is_an_error_with_what_to_do(tmp_path: Path, store: Path) -> None:
    """A file that is none; a trace that is not here."""
    result = run("import", tmp_path / "none.jsonl", "--store", tmp_path / "s")
    assert result.exit_code == 1
    assert "no such file" in result.stderr
    assert result.stdout == ""
    result = run("path", "abc", "--store", store)
    assert result.exit_code == 1
    assert "no trace 00000000000000000000000000000abc" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("dif",),
        ("diff", "next-week"),
        ("diff", "--kind", "disk"),
        ("diff", "--entry", "("),
        ("diff", "--where", "region"),
        ("diff", "--where", "db.query.text=SELECT"),
        ("diff", "--tz", "Mars/Olympus"),
        ("diff", "--alpha", "2"),
        ("diff", "--format", "pdf"),
        ("path", "xyz"),
        ("path",),
        ("mark", "last-week"),
        ("mark", "a..b"),
        ("mark", "1st"),
        ("import",),
        ("completion", "cmd"),
    ],
    ids=" ".join,
)
def test_exit_2_is_usage(arguments: tuple[str, ...], store: Path) -> None:
    """What cannot be understood is said, and nothing is done."""
    takes_store = arguments[0] in ("diff", "path", "mark", "import")
    result = run(*arguments, *(("--store", store) if takes_store else ()))
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr


def test_exit_4_is_an_empty_store_or_period_and_names_the_next_command(tmp_path: Path, store: Path) -> None:
    """No store, a store without spans, and a period without any."""
    for arguments in (("diff",), ("status",), ("graph",), ("path", "1"), ("verify",), ("mark", "now")):
        result = run(*arguments, "--store", tmp_path / "none")
        assert result.exit_code == 4, (arguments, result.output)
        assert "tracescope import FILE" in result.stderr
    new_store(tmp_path / "empty")
    result = run("diff", "2026-08", "2026-09", "--store", tmp_path / "empty")
    assert result.exit_code == 4
    assert "the store is empty: `tracescope import FILE`" in result.stderr
    result = run("diff", "2001-01", "2001-02", "--store", store, "--tz", "UTC")
    assert result.exit_code == 4
    assert "BASE (2001-01: 2001-01-01T00:00Z .. 2001-02-01T00:00Z) holds no traces" in result.stderr
    assert "`tracescope diff all` compares its halves" in result.stderr
    assert run("graph", "2001-01", "--store", store).exit_code == 4


def test_a_reader_that_goes_away_is_no_error() -> None:
    """`tracescope ... | head -0`."""
    command = f"{sys.executable} -m tracescope config show | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
    assert done.stderr == ""


# -- the store's place --


def test_the_store_is_a_flag_or_a_variable_or_in_the_data_folder(tmp_path: Path, store: Path) -> None:
    """The flag wins."""
    there = {"TRACESCOPE_STORE": str(store)}
    assert json.loads(run("status", "--format", "json", environment=there).stdout)["spans"]["stored"] == 974
    result = run("status", "--store", tmp_path / "none", environment=there)
    assert result.exit_code == 4
    home = tmp_path / "data" / "tracescope" / "store"
    assert run("import", DATA / "hotrod" / "spans.jsonl.gz").exit_code == 0
    assert (home / "FORMAT.json").exists()
    assert json.loads(run("status", "--format", "json").stdout)["spans"]["stored"] == 379


# -- shapes that other programs rely on --

EDGE_KEYS = {
    "kind", "caller", "callee", "operation", "share_base", "share_head", "own_ms_base", "own_ms_head",
    "inclusive_ms_base", "inclusive_ms_head", "credited_ms", "credited_ms_ci", "q_value", "significant",
    "effects", "calls_per_unit_base", "calls_per_unit_head", "growth_pct_per_week", "load_elasticity",
    "headroom", "weeks_to_wall", "exemplars",
}  # fmt: skip
ENTRY_KEYS = {
    "service", "operation", "units_base", "units_head", "ms_base", "ms_head", "p95_base_ms", "p95_head_ms",
    "weight_base", "weight_head", "mix_ms", "state",
}  # fmt: skip
EFFECTS = {
    "calls", "latency_growth", "latency_load", "latency_unsplit", "criticality", "new", "gone", "transient",
}  # fmt: skip


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The two windows of a real incident."""
    path = tmp_path_factory.mktemp("compared") / "store"
    incident = next(
        one for one in json.loads((DATA / "nezha" / "incidents.json").read_text()) if one["id"] == "ob0822-11"
    )
    run("import", *(DATA / "nezha" / f"ob0822-11.{window}.jsonl.gz" for window in "AB"), "--store", path)
    periods = ["/".join(incident[f"window_{window}"]) for window in "AB"]
    result = run("diff", *periods, "--store", path, "--format", "json", "--tz", "UTC")
    assert result.exit_code == 0, result.output
    return path, {"periods": periods, **json.loads(result.stdout)}


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../../etc/passwd", "UTC\x00"])
@pytest.mark.parametrize("command", ["diff", "report", "graph", "digest"])
def test_a_zone_that_is_none_is_usage_also_where_no_period_is_named(
    compared: tuple[Path, dict[str, Any]], command: str, zone: str
) -> None:
    """Without periods the store's halves are compared, and nothing else reads the zone."""
    result = run(command, "--store", compared[0], "--tz", zone)
    assert result.exit_code == 2
    assert f"no time zone {zone!r}" in result.stderr
    assert "Europe/Berlin" in result.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty document"), (b"null", "not of the form"), (b"{}", "it lacks 'schema'"),
        (b"[]", "not of the form"), (bytes(range(128, 160)), "is damaged: "),
    ],
)  # fmt: skip
def test_a_damaged_pointer_is_told_in_words_with_what_repairs_it(
    compared: tuple[Path, dict[str, Any]], tmp_path: Path, content: bytes, said: str
) -> None:
    """Not in those of Python: no name of a class, and no key alone."""
    store = tmp_path / "store"
    shutil.copytree(compared[0], store)
    (store / "CURRENT.json").write_bytes(content)
    result = run("status", "--store", store)
    assert result.exit_code == 1
    assert said.lower() in result.stderr.lower()
    assert "tracescope verify --repair" in result.stderr
    assert not any(word in result.stderr for word in ("object", "NoneType", "Errno", "Traceback"))


def test_the_json_of_diff_has_the_documented_keys(compared: tuple[Path, dict[str, Any]]) -> None:
    """Additions are fine; what is here may not go without a new number."""
    report = compared[1]
    assert report["schema"] == "tracescope.diff/1"
    assert {
        "environment",
        "notes",
        "base",
        "head",
        "clock",
        "verdict",
        "edges",
        "entries",
        "effects_total",
        "rejected",
    } <= set(report)
    for period in ("base", "head"):
        assert {"start", "end", "units", "hours"} <= set(report[period])
    assert {"base_ms", "head_ms", "delta_ms", "delta_mix_adjusted_ms"} <= set(report["clock"])
    assert {"state", "stage", "reasons"} <= set(report["verdict"])
    assert report["edges"]
    for edge in report["edges"]:
        assert set(edge) >= EDGE_KEYS
        assert set(edge["effects"]) >= EFFECTS
        assert len(edge["credited_ms_ci"]) == 2
        assert set(edge["exemplars"]) == {"base", "head"}
        assert (edge["callee"] is None) == (edge["kind"] == "self")
        for side in edge["exemplars"].values():
            assert all(len(trace) == 32 for trace in side)
    for entry in report["entries"]:
        assert set(entry) >= ENTRY_KEYS
    assert set(report["effects_total"]) >= {*EFFECTS, "mix"}
    assert sum(report["effects_total"].values()) == pytest.approx(report["clock"]["delta_ms"], abs=1e-6)


def test_the_json_of_status_has_the_documented_keys(store: Path) -> None:
    """Counted over the store's life."""
    status = json.loads(run("status", "--store", store, "--format", "json").stdout)
    assert status["schema"] == "tracescope.status/1"
    assert status["spans"] == {"accepted": 974, "stored": 974, "rejected": {}}
    assert {"units", "first", "last", "sealed_until", "journal_bytes", "disk_bytes"} <= set(status)


def test_the_json_of_graph_has_the_documented_keys(store: Path) -> None:
    """Every edge ends in nodes that are there."""
    graph = json.loads(run("graph", "--store", store, "--format", "json").stdout)
    assert graph["schema"] == "tracescope.graph/1"
    nodes = {node["id"] for node in graph["nodes"]}
    assert all({"id", "type"} <= set(node) for node in graph["nodes"])
    assert graph["edges"]
    for edge in graph["edges"]:
        assert {"kind", "caller", "callee", "calls"} <= set(edge)
        assert {edge["caller"], edge["callee"]} <= nodes


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")  # of the parser's own parts
def test_dot_parses_and_names_come_back_as_they_were_whatever_is_in_them(tmp_path: Path) -> None:
    """Quotes, backslashes, line ends, angle brackets and Graphviz's own words."""
    hostile = ['say "hi"', "back\\slash\\", "digraph", "<b>bold</b>", "semi;colon -> x", "grün | {a}", "n\\n"]
    message = request(
        "\n".join(["A S0 op 10:00:00 +9s"] + [f"  A S{n} op 10:00:0{n} +1s" for n in range(1, 7)])
    )
    for part, name in zip(message.resource_spans, hostile, strict=True):
        part.resource.attributes[0].value.string_value = name
    file = tmp_path / "hostile.pb"
    file.write_bytes(message.SerializeToString())
    assert run("import", file, "--store", tmp_path / "store").exit_code == 0
    dot = run("graph", "--store", tmp_path / "store", "--format", "dot").stdout
    (parsed,) = pydot.graph_from_dot_data(dot) or (None,)
    assert parsed is not None
    names = {node.get_name() for node in parsed.get_nodes()} - {"node", "edge", "graph", '"\\n"'}
    unquoted = {
        name[1:-1].replace('\\"', '"').replace("\\\\", "\\") for name in names if name.startswith('"')
    }
    assert set(hostile) <= unquoted
    assert len(parsed.get_edges()) == 6


def test_path_draws_a_real_trace_and_its_json_tiles_the_clock(compared: tuple[Path, dict[str, Any]]) -> None:
    """An exemplar of the diff, as a user would look it up."""
    path, report = compared
    trace = next(edge["exemplars"]["head"][0] for edge in report["edges"] if edge["exemplars"]["head"])
    shown = run("path", trace, "--store", path)
    assert shown.exit_code == 0, shown.output
    assert len(shown.stdout.splitlines()) > 5
    found = json.loads(run("path", trace, "--store", path, "--format", "json").stdout)
    assert trace in json.dumps(found)


def test_where_keeps_the_traces_that_carry_an_attribute_and_says_so(tmp_path: Path) -> None:
    """On a span of the trace or on a resource; nothing matches nothing, and exits 4."""
    text = "\n".join(
        f"{name} web GET 10:{second // 60:02}:{second % 60:02} +{length}s\n"
        f"  {name} shop buy 10:{second // 60:02}:{second % 60:02} +{length}s tier={tier}"
        for second in range(0, 3600, 30)
        for name, tier, length in ((f"G{second}", "gold", 1), (f"S{second}", "silver", 5))
    )
    file = tmp_path / "two.pb"
    file.write_bytes(request(text).SerializeToString())
    store = tmp_path / "store"
    assert run("import", file, "--store", store).exit_code == 0
    halves = ("2026-09-30T10:00Z/2026-09-30T10:30Z", "2026-09-30T10:30Z/2026-09-30T11:00Z")

    def diff(*conditions: str) -> dict[str, Any]:
        flags = [word for condition in conditions for word in ("--where", condition)]
        result = run("diff", *halves, "--store", store, "--format", "json", *flags)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    assert diff()["clock"]["base_ms"] == pytest.approx(3000)
    gold = diff("tier=gold")
    assert (gold["base"]["units"], gold["clock"]["base_ms"]) == (60, pytest.approx(1000))
    assert any("a condition on attributes is computed from raw spans" in note for note in gold["notes"])
    assert diff("tier=silver", "service.name=web")["clock"]["head_ms"] == pytest.approx(5000)
    nothing = run("diff", *halves, "--store", store, "--where", "tier=lead")
    assert nothing.exit_code == 4
    assert "--where tier=lead" in nothing.stderr


# -- small verbs --


def test_marks_name_instants_and_are_listed_in_order(tmp_path: Path) -> None:
    """A mark can be moved, and used as a period."""
    store = tmp_path / "store"
    run("import", DATA / "hotrod" / "spans.jsonl.gz", "--store", store)
    assert run("mark", "v2", "2023-01-24T12:00", "--store", store, "--tz", "UTC").exit_code == 0
    assert run("mark", "v1", "2023-01-20", "--store", store, "--tz", "UTC").exit_code == 0
    assert run("mark", "--store", store).stdout == "2023-01-20T00:00Z  v1\n2023-01-24T12:00Z  v2\n"
    run("mark", "v2", "2023-01-24T13:00", "--store", store, "--tz", "Europe/Berlin")
    assert "2023-01-24T12:00Z  v2" in run("mark", "--store", store).stdout
    graph = run("graph", "v1", "--store", store, "--format", "json")
    assert graph.exit_code == 0, graph.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_code_of_the_shell(shell: str) -> None:
    """It asks the program itself."""
    code = run("completion", shell).stdout
    assert "_TRACESCOPE_COMPLETE" in code
    assert "tracescope" in code


def test_config_show_gives_every_setting_its_value_and_origin(tmp_path: Path) -> None:
    """As text and as JSON."""
    rows = json.loads(run("config", "show", "--format", "json", environment={"TRACESCOPE_TOP": "3"}).stdout)
    assert rows["top"] == {"value": 3, "origin": "environment", "about": rows["top"]["about"]}
    shown = run("config", "show").stdout
    for name in rows:
        assert f"{name} = " in shown


def test_verify_prune_and_rebuild_say_what_they_did(store: Path) -> None:
    """On a store where all is well."""
    assert run("verify", "--store", store).stderr == "all well\n"
    result = run("rebuild", "--store", store)
    assert result.exit_code == 0
    assert "made anew from 974 spans" in result.stderr
    assert run("prune", "--store", store, "--retain-spans-days", "99999").stderr.startswith(
        "0 spans of 0 hours"
    )
    assert run("verify", "--store", store).exit_code == 0


def test_verify_exits_1_and_names_what_is_wrong(tmp_path: Path) -> None:
    """Problems are data: stdout."""
    run("import", DATA / "hotrod" / "spans.jsonl.gz", "--store", tmp_path / "store")
    file = next((tmp_path / "store" / "sealed" / "spans").rglob("*.parquet"))
    file.unlink()
    result = run("verify", "--store", tmp_path / "store")
    assert result.exit_code == 1
    assert str(file) in result.stdout
    assert "1 problems" in result.stderr


def test_demo_replaces_only_a_store_that_a_demo_made(tmp_path: Path) -> None:
    """Anything else is left as it is."""
    new_store(tmp_path / "mine")
    result = run("demo", "--store", tmp_path / "mine")
    assert result.exit_code == 1
    assert "holds a store that no demo made" in result.stderr
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    result = run("demo", "--store", tmp_path / "notes")
    assert result.exit_code == 1
    assert (tmp_path / "notes" / "a.txt").read_text() == "mine"
