"""Real traces with ground truth, through the command line, as a user would run them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tracescope.cli import main

DATA = Path(__file__).parent / "data"
INCIDENTS = json.loads((DATA / "nezha" / "incidents.json").read_text())
LATENCY = [incident for incident in INCIDENTS if incident["latency_fault"]]


def run(*arguments: str | Path, exit_codes: tuple[int, ...] = (0,)) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code in exit_codes, result.output
    return result.stdout


def diff_incident(incident: dict[str, Any], store: Path, suffix: str = "") -> dict[str, Any]:
    """Import both windows of an incident and compare them."""
    files = [DATA / "nezha" / f"{incident['id']}.{window}{suffix}.jsonl.gz" for window in "AB"]
    run("import", *files, "--store", store)
    periods = ["/".join(incident[f"window_{window}"]) for window in "AB"]
    # 4: three minutes may be too few to tell a large rise from chance; the ranking stands all the same
    said = run("diff", *periods, "--store", store, "--format", "json", "--tz", "UTC", exit_codes=(0, 4))
    return json.loads(said)


def rank_of(service: str, report: dict[str, Any]) -> int:
    """1 for the top-ranked edge; a large number when no edge touches the service."""
    for rank, edge in enumerate(report["edges"], 1):
        if service in (edge["caller"], edge["callee"]):
            return rank
    return 999


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Rank of the root-cause service in each of the 12 latency incidents."""
    found: dict[str, int] = {}
    for incident in LATENCY:
        report = diff_incident(incident, tmp_path_factory.mktemp(incident["id"]) / "store")
        total = sum(report["effects_total"].values())
        assert total == pytest.approx(report["clock"]["delta_ms"], abs=1e-6 * report["clock"]["base_ms"])
        found[incident["id"]] = rank_of(incident["root_cause_service"], report)
    print("nezha root-cause ranks:", found)
    return found


def test_nezha_root_cause_is_an_end_of_the_first_edge_in_at_least_11_of_12(ranks: dict[str, int]) -> None:
    """Ground truth of real fault injections in Online Boutique and Train-Ticket."""
    assert len(ranks) == 12
    assert sum(rank == 1 for rank in ranks.values()) >= 11, ranks


@pytest.mark.parametrize("name", ["tt0129-24", "tt0129-26", "tt0129-27"])
def test_a_service_without_cpu_is_blamed_itself_and_not_what_it_calls(name: str, tmp_path: Path) -> None:
    """Its database and its callees look slow from its side only."""
    incident = next(incident for incident in INCIDENTS if incident["id"] == name)
    assert incident["fault"] == "cpu_contention"
    first = diff_incident(incident, tmp_path / "store")["edges"][0]
    assert (first["kind"], first["caller"]) == ("self", incident["root_cause_service"])


def test_nezha_root_cause_is_in_the_first_three_edges_in_all_12(ranks: dict[str, int]) -> None:
    """The same ground truth, for somebody who reads three lines."""
    assert all(rank <= 3 for rank in ranks.values()), ranks


def test_an_incident_without_span_kinds_is_found_all_the_same(tmp_path: Path) -> None:
    """Kind 0 and no attributes: services and parents alone."""
    incident = next(incident for incident in INCIDENTS if incident["id"] == "ob0822-20")
    report = diff_incident(incident, tmp_path / "store", ".nokind")
    assert rank_of(incident["root_cause_service"], report) <= 3


def test_a_code_fault_shows_as_calls_that_vanished(tmp_path: Path) -> None:
    """A service that returns too early fails in no span: what it always called is missing from 5 of 7."""
    incident = next(incident for incident in INCIDENTS if incident["id"] == "ob0822-09")
    assert incident["fault"] == "return"
    lost = diff_incident(incident, tmp_path / "store")["errors"]["lost"]
    assert {one["kind"] for one in lost} == {"calls vanished"}
    assert {one["edge"]["caller"] for one in lost} == {incident["root_cause_service"]}
    assert {one["edge"]["callee"] for one in lost} == {"emailservice", "cartservice", "shippingservice"}
    assert all("missing from 5 of 7 requests" in one["sentence"] for one in lost)


def test_opensearch_service_graph_equals_data_preppers_own_map(tmp_path: Path) -> None:
    """Thirteen edges, no more and no fewer."""
    golden = json.loads((DATA / "opensearch-otel" / "service_map.json").read_text())
    run("import", DATA / "opensearch-otel" / "spans.jsonl", "--store", tmp_path / "store")
    graph = json.loads(
        run("graph", "all", "--store", tmp_path / "store", "--level", "service", "--format", "json")
    )
    assert {(edge["caller"], edge["callee"]) for edge in graph["edges"]} == {
        tuple(edge) for edge in golden["edges"]
    }


def test_six_load_levels_of_hotel_reservation_import_and_diff(tmp_path: Path) -> None:
    """Every pair of neighbouring load levels diffs cleanly and its effects add up."""
    levels = (25, 50, 75, 100, 125, 150)
    starts: list[tuple[int, int]] = []
    for level in levels:
        run("import", DATA / "dsb-hotel" / f"load{level}.jsonl.gz", "--store", tmp_path / f"{level}")
        status = json.loads(run("status", "--store", tmp_path / f"{level}", "--format", "json"))
        assert status["spans"]["stored"] == 11_000
        assert status["spans"]["rejected"] == {}
        starts.append((status["first"], status["last"]))
    assert len(starts) == len(levels)
