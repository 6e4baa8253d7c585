"""Series of the verdict, its findings and growing edges; and the alert rules that ask for them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from answered import edge, report
from click.testing import CliRunner
from processes import CONFIGURATIONS
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from test_surfaces import store as store  # noqa: PLC0414 - a fixture

from tracescope.analysis.report import EdgeKey, Finding, Mechanism, Mute, State
from tracescope.cli import main
from tracescope.config import Settings
from tracescope.ingest.meters import Meters
from tracescope.serving.finding_metrics import edge_families, finding_families
from tracescope.serving.graph_metrics import GraphSeries
from tracescope.session import Session

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed (comes with '.[dev]')")
RULES = CONFIGURATIONS / "prometheus-rules.yaml"
DASHBOARD = Path(__file__).parent.parent / "examples" / "grafana-dashboard.json"
#: What Prometheus adds to whatever it scrapes.
SCRAPED = {"instance", "job"}


def samples(families: list[Metric]) -> dict[str, list[tuple[dict[str, str], float]]]:
    return {family.name: [(one.labels, one.value) for one in family.samples] for family in families}


def key(name: str) -> EdgeKey:
    return EdgeKey("request", "db", name, "stock", None)


def test_a_finding_is_a_series_while_it_holds() -> None:
    """With who owns it and whether it is muted; what is not known has no sample; so many and no more."""
    one = Finding(key("shop"), Mechanism.SLOWER, "slower", 2.0, "request", weeks_to_wall=3.0, q_value=0.01)
    two = Finding(key("pay"), Mechanism.NEW, "new", 5.0, "message", owner="team-a", mute=Mute(1, "x"))
    made = report(findings=(one, two))
    found = samples(finding_families(made, 30))
    labels = {
        "id": two.id, "mechanism": "new dependency", "kind": "db", "caller": "pay", "callee": "stock",
        "operation": "", "owner": "team-a", "muted": "true",
    }  # fmt: skip
    assert found["tracescope_finding"][1] == (labels, 1.0)
    assert found["tracescope_finding"][0][0]["muted"] == "false"
    assert found["tracescope_finding_added_seconds"] == [
        ({"id": one.id, "unit": "request"}, 0.002), ({"id": two.id, "unit": "message"}, 0.005),
    ]  # fmt: skip
    assert found["tracescope_finding_weeks_left"] == [({"id": one.id}, 3.0)]
    assert found["tracescope_finding_q_value"] == [({"id": one.id}, 0.01)]
    states = {labels["state"]: value for labels, value in found["tracescope_verdict"]}
    assert [state for state, value in states.items() if value] == ["drifting"]
    assert set(states) == set(State) - {State.COMPARED}
    assert len(samples(finding_families(made, 1))["tracescope_finding"]) == 1
    assert not any(family.samples for family in finding_families(None, 30))


def test_an_edge_has_one_sample_whatever_units_it_stands_in() -> None:
    """A scrape with two samples of one name and labels would be refused."""
    grown = edge("a -> b", credited=250.0, significant=True, q_value=0.001, headroom=2.0, weeks_to_wall=9.0)
    fell = edge("c -> d", credited=-3.0, significant=True)
    found = samples(edge_families(report((grown, replace(grown, unit="message", q_value=0.5), fell)), 30))
    named = {"kind": "http", "caller": "a", "callee": "b", "operation": ""}
    assert found["tracescope_edge_credited_seconds"][0] == (named, 0.25)
    assert [value for _, value in found["tracescope_edge_grown"]] == [1.0, 0.0]
    assert found["tracescope_edge_q_value"][0][1] == 0.001
    assert found["tracescope_edge_headroom"] == [(named, 2.0)]
    assert found["tracescope_edge_weeks_to_wall"] == [(named, 9.0)]
    assert found["tracescope_edge_growth_percent_per_week"] == []


def test_series_say_what_diff_says(store: Path) -> None:
    """State, findings and every edge's growth, on a store of four weeks."""
    done = CliRunner().invoke(main, ["diff", "--all", "--store", str(store), "--format", "json"])
    diff = json.loads(done.stdout)
    registry = CollectorRegistry()
    registry.register(GraphSeries(Session(store, Settings(store=str(store)))))
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        found |= {family.name: [(one.labels, one.value) for one in family.samples]}
    (state,) = [labels["state"] for labels, value in found["tracescope_verdict"] if value]
    assert state == diff["verdict"]["state"]
    ids = [labels["id"] for labels, _ in found["tracescope_finding"]]
    assert ids == [row["id"] for row in diff["findings"]]
    assert ids
    credited = {
        (labels["kind"], labels["caller"], labels["callee"], labels["operation"]): value
        for labels, value in found["tracescope_edge_credited_seconds"]
    }
    for row in diff["edges"]:
        name = row["kind"], row["caller"], row["callee"] or "", row["operation"] or ""
        assert credited[name] == pytest.approx(row["credited_ms"] / 1e3)


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def known_labels() -> dict[str, set[str]]:
    """Labels of every family that is made here; of the receiver's own they are not looked at."""
    made = GraphSeries(Session("none", Settings())).describe()
    known: dict[str, set[str]] = {name.removesuffix("_total"): set() for name in Meters().names()}
    for family in made:
        known[family.name] = set(getattr(family, "_labelnames", ()))
    return known


def test_rules_and_dashboard_ask_for_series_and_labels_that_exist() -> None:
    """In expressions and in what they say; a name that is spelled wrong never fires."""
    known = known_labels()
    assert len(rules()) >= 8
    for rule in rules():
        asked = set(re.findall(r"\btracescope_\w+", rule["expr"]))
        assert asked, rule
        labels = {*SCRAPED}
        for name in asked:
            assert name.removesuffix("_total") in known, (rule["alert"], name)
            labels |= known[name.removesuffix("_total")]
        used = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        used |= set(re.findall(r"(\w+)=", rule["expr"]))
        used |= {
            part.strip() for one in re.findall(r"on \(([^)]*)\)", rule["expr"]) for part in one.split(",")
        }
        assert used <= labels, (rule["alert"], used - labels)
    wanted = {"finding", "finding_weeks_left", "edge_headroom", "edge_grown", "edge_credited_seconds"}
    exprs = " ".join(rule["expr"] for rule in rules())
    shown = " ".join(
        t["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for t in panel["targets"]
    )
    for name in wanted:
        assert re.search(rf"\btracescope_{name}\b", exprs), name
        assert re.search(rf"\btracescope_{name}\b", shown), name


#: Panels that Grafana brings, and units of its `valueFormats` that are used.
PANELS = {"stat", "table", "bargauge", "timeseries"}
UNITS = {"short", "none", "s", "bytes", "percentunit", "reqps"}


def test_the_dashboard_is_one_that_can_be_imported() -> None:
    """Ids once, a grid of 24 without overlaps, one chosen source for every query, units that are known."""
    board = json.loads(DASHBOARD.read_text())
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= set(board)
    assert "id" not in board  # one of another installation would be overwritten
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,40}", board["uid"])
    (variable,) = board["templating"]["list"]
    source = {"type": variable["query"], "uid": f"${{{variable['name']}}}"}
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["type"] in PANELS, panel["title"]
        assert panel["description"], panel["title"]
        assert panel["datasource"] == source, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert {"defaults", "overrides"} <= set(panel["fieldConfig"]), panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs) > 0, panel["title"]
        assert all(target["datasource"] == source and target["expr"].strip() for target in panel["targets"])
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert max(x for x, _ in cells) < 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)


def test_rules_are_whole_and_tell_each_other_apart() -> None:
    """The fields that Prometheus takes and no others; a name, a severity and words for each."""
    document = yaml.safe_load(RULES.read_text())
    assert set(document) == {"groups"}
    assert len({group["name"] for group in document["groups"]}) == len(document["groups"])
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert {"summary", "description"} == set(rule["annotations"])
        assert re.fullmatch(r"\d+[mh]", rule.get("for", "1h"))


def test_every_series_of_the_rollups_is_documented() -> None:
    """The tables of the receiver's page, as far as series come from the rollups."""
    text = (CONFIGURATIONS / "receiver.md").read_text()
    rows = set(re.findall(r"^\| `((?:tracescope|traces)_\w+)` \|", text, re.MULTILINE))
    made = {family.name for family in GraphSeries(Session("none", Settings())).describe()}
    named = {name.removesuffix("_total") for name in rows}
    assert made <= named
