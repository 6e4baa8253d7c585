"""Periods with next to nothing in common are not compared, and what looks renamed is told in pairs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from simulated import Work, call, compare, query, serve, told
from starlette.testclient import TestClient

from tracescope.cli import main
from tracescope.config import Settings
from tracescope.errors import IncomparableError
from tracescope.session import Session
from tracescope.web.app import make_app

CASE = Path(__file__).parent / "data" / "cases" / "nothing-in-common-is-growth-stable.jsonl.gz"
PERIODS = ("2026-11-26T08:00:00Z/2026-11-26T08:01:00Z", "2026-11-26T08:01:00Z/2026-11-26T08:02:00Z")


def shop(*entries: Work) -> object:
    """A program whose requests are of each entry in turn."""

    def program(rng: np.random.Generator, _: float) -> Work:
        return entries[int(rng.integers(len(entries)))]

    return program


def cart(service: str = "gateway", operation: str = "GET /cart", ms: float = 5.0) -> Work:
    return serve(
        service, operation, 2.0, [query("postgresql/carts", "SELECT carts", ms), call("prices", "GET /p", 3)]
    )


def stock(service: str = "gateway", operation: str = "GET /stock") -> Work:
    return serve(service, operation, 1.0, [query("postgresql/stock", "SELECT stock", 4.0)])


def health() -> Work:
    return serve("gateway", "GET /health", 1.0)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minute of one service, then a minute of another."""
    folder = tmp_path_factory.mktemp("overlap") / "store"
    assert CliRunner().invoke(main, ["import", str(CASE), "--store", str(folder)]).exit_code == 0
    return folder


# -- nothing in common ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [["diff"], ["diff", "--format", "json"], ["report"], ["explain", "new -> (itself)"]]
)
def test_no_command_gives_two_systems_a_clean_bill(store: Path, tmp_path: Path, command: list[str]) -> None:
    """Exit code 4 and a sentence that names what each period holds, on stderr only."""
    more = ["-o", str(tmp_path / "review.html")] if command[0] == "report" else []
    result = CliRunner().invoke(main, [*command, *PERIODS, *more, "--store", str(store), "--tz", "UTC"])
    assert result.exit_code == 4
    assert result.stdout == ""
    assert "hardly any entries in common (BASE: old GET /old; HEAD: new GET /new)" in result.stderr
    assert not (tmp_path / "review.html").exists()


@pytest.mark.parametrize("place", ["/", "/api/growth"])
def test_no_page_gives_two_systems_a_clean_bill(store: Path, place: str) -> None:
    client = TestClient(
        make_app(Session(store, Settings(store=str(store), tz="UTC"))), base_url="http://127.0.0.1"
    )
    answer = client.get(place, params={"base": PERIODS[0], "head": PERIODS[1]})
    assert answer.status_code == 404
    assert "growth-stable" not in answer.text
    assert "hardly any entries in common" in answer.text


def test_a_tool_gives_two_systems_no_clean_bill(store: Path) -> None:
    pytest.importorskip("mcp", reason="the `mcp` extra brings it")
    from test_tools import _ask

    asked = {"base": PERIODS[0], "head": PERIODS[1]}
    _, (answer,) = asyncio.run(_ask(store, [("diff", asked)]))
    assert "hardly any entries in common" in answer["error"]
    assert answer["hint"]


def test_services_that_all_changed_their_names_are_told_in_pairs() -> None:
    """The operations and what they call stayed."""
    base = shop(cart(), stock())
    head = shop(cart("prod-gateway"), stock("prod-gateway"))
    with pytest.raises(IncomparableError) as raised:
        compare(base, head)  # type: ignore[arg-type]
    assert raised.value.exit_code == 4
    for pair in (
        "gateway GET /cart → prod-gateway GET /cart",
        "gateway GET /stock → prod-gateway GET /stock",
    ):
        assert pair in raised.value.message


def test_operations_that_all_changed_their_names_are_told_by_what_they_call() -> None:
    base, head = (
        shop(cart(), stock()),
        shop(cart(operation="CartController"), stock(operation="StockController")),
    )
    with pytest.raises(IncomparableError) as raised:
        compare(base, head)  # type: ignore[arg-type]
    assert "gateway GET /cart → gateway CartController" in raised.value.message
    assert "gateway GET /stock → gateway StockController" in raised.value.message


def test_services_behind_one_entry_that_all_changed_are_not_compared() -> None:
    """The entry's own service is a fiftieth of the spans."""
    base = serve("gateway", "GET /", 1.0, [call(f"a{k}", "GET /x", 2.0) for k in range(25)])
    head = serve("gateway", "GET /", 1.0, [call(f"b{k}", "GET /y", 2.0, times=2) for k in range(25)])
    report = compare(base, head)  # half of all spans are the gateway's calls
    assert report.state
    with pytest.raises(IncomparableError, match="hardly any services in common"):
        compare(*(_deep(name) for name in "ab"))


def _deep(name: str) -> Work:
    below: list[Work] = []
    for k in range(12):
        below = [call(f"{name}{k}", "GET /x", 1.0, below)]
    return serve("gateway", "GET /", 1.0, below)


# -- something in common -------------------------------------------------------------------------


def test_a_renamed_entry_is_told_and_not_scored() -> None:
    """Half of the requests come by another name; they are no slower."""
    report = compare(shop(cart(), stock()), shop(cart(operation="GET /basket"), stock()))  # type: ignore[arg-type]
    assert "looks renamed: gateway GET /cart → gateway GET /basket; told, not scored" in report.notes
    assert not any(edge.significant for edge in report.edges)


@pytest.mark.parametrize("swapped", [False, True])
def test_periods_are_compared_where_one_holds_all_of_the_other(swapped: bool) -> None:
    """A new endpoint with most of the traffic, or one that went, is a change of one system."""
    few, many = shop(cart()), shop(cart(), *[stock(operation=f"POST /new{k}") for k in range(30)])
    report = compare(many, few) if swapped else compare(few, many)  # type: ignore[arg-type]
    assert report.state
    assert not [note for note in report.notes if "renamed" in note]


def test_entries_that_call_nothing_look_renamed_only_by_a_name_they_share() -> None:
    base = shop(cart(), serve("gateway", "GET /ping", 1.0))
    head = shop(cart(), health(), serve("admin", "GET /pong", 1.0))
    report = compare(base, head)  # type: ignore[arg-type]
    assert not [note for note in report.notes if "pong" in note]


def test_an_entry_that_got_slower_is_still_found_beside_a_renamed_one() -> None:
    report = compare(
        shop(cart(), stock()),  # type: ignore[arg-type]
        shop(cart(ms=15.0), stock(operation="GET /stocks")),  # type: ignore[arg-type]
    )
    assert any("GET /stock → gateway GET /stocks" in note for note in report.notes)
    assert "gateway -> postgresql/carts SELECT carts" in told(report)
