"""A slip of the keyboard gets the name that was meant: commands, edges, periods and marks."""

from __future__ import annotations

from pathlib import Path

import pytest
from answered import edge
from click.testing import CliRunner

from tracescope.analysis.explain import choose
from tracescope.cli import VERBS, main
from tracescope.config import Settings
from tracescope.engine.trace_search import Criteria
from tracescope.errors import InputError, PeriodError, UsageError
from tracescope.near import near, suggestion
from tracescope.periods import Context, parse
from tracescope.session import Session

NOW = 1_795_737_600 * 10**9


def test_the_nearest_comes_first_and_what_is_far_is_not_offered() -> None:
    """Whatever the case of its letters."""
    assert near("Cartservise", ["cartservice", "adservice", "gateway"])[0] == "cartservice"
    assert near("zzz", ["cartservice"]) == []
    assert suggestion("zzz", ["cartservice"], "look there") == "look there"
    assert suggestion("gatway", ["gateway"], "") == "did you mean 'gateway'?"


@pytest.mark.parametrize(
    ("typed", "meant"), [("dif", "diff"), ("forcast", "forecast"), ("EXPLAIN", "explain")]
)
def test_a_mistyped_command_is_a_usage_error_with_the_right_one(typed: str, meant: str) -> None:
    """Exit code 2, on standard error."""
    result = CliRunner().invoke(main, [typed])
    assert result.exit_code == 2
    assert f"did you mean '{meant}'" in result.stderr
    assert "--help" in CliRunner().invoke(main, ["qqqqqq"]).stderr
    assert set(VERBS) >= {meant}


def test_a_mistyped_edge_gets_the_edge_that_was_meant() -> None:
    """With the arrow of a table as well."""
    edges = [edge("inventory -> postgresql/stock"), edge("cart -> pricing")]
    for typed in ("inventory -> postgres/stock", "inventry → postgresql/stock"):
        with pytest.raises(UsageError) as raised:
            choose(edges, typed)
        assert "'inventory -> postgresql/stock'" in (raised.value.hint or "")


def test_a_mistyped_period_gets_the_word_or_the_mark_that_was_meant() -> None:
    """Marks count as words do."""
    known = Context(NOW, "UTC", 1, NOW, {"release-1.4": NOW - 1})
    for typed, meant in (
        ("last-weeek", "last-week"),
        ("relase-1.4", "release-1.4"),
        ("relase-1.4/2026-11", "release-1.4"),
    ):
        with pytest.raises(PeriodError) as raised:
            parse(typed, known)
        assert f"'{meant}'" in (raised.value.hint or ""), typed


DATA = Path(__file__).parent / "data" / "nezha"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real traces of a shop's incident."""
    path = tmp_path_factory.mktemp("near") / "store"
    files = [str(DATA / f"ob0822-05.{side}.jsonl.gz") for side in "AB"]
    done = CliRunner().invoke(main, ["import", *files, "--store", str(path)])
    assert done.exit_code == 0, done.output
    return path


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("diff", "--service", "cartservise"), "cartservice"),
        (("diff", "--edge", "checkoutservice -> cartservise"), "checkoutservice -> cartservice"),
        (("diff", "--kind", "rcp"), "rpc"),
        (("diff", "--entry", "frontend hipstershop.Frontend/Rcv"), "frontend hipstershop.Frontend/Recv."),
        (("graph", "--service", "cartservise"), "cartservice"),
        (("graph", "--through", "cartservise"), "cartservice"),
        (("help", "glosary"), "glossary"),
    ],
)
def test_names_that_are_asked_for_get_the_one_that_was_meant(
    arguments: tuple[str, ...], meant: str, store: Path
) -> None:
    """Services, edges, kinds, entries and topics, whatever form the answer has."""
    where = () if arguments[0] == "help" else ("--store", str(store))
    said = " ".join(CliRunner().invoke(main, [*arguments, *where]).output.split())
    assert f"did you mean '{meant}'" in said, said


def test_a_trace_id_with_a_wrong_digit_gets_those_that_begin_alike(store: Path) -> None:
    """On the command line and on the page; one that is like none says where raw spans are told of."""
    session = Session(store, Settings(store=str(store)))
    whole = session.ask().search(Criteria(), side="head").traces[0].trace_id
    typed = whole[:-1] + ("0" if whole[-1] != "0" else "1")
    said = CliRunner().invoke(main, ["path", typed, "--store", str(store)])
    assert said.exit_code == 1
    assert whole in said.output
    with pytest.raises(InputError) as raised:
        session.ask().trace(typed)
    assert whole in (raised.value.hint or "")
    far = CliRunner().invoke(main, ["path", "f" * 31 + "e", "--store", str(store)])
    assert "begin alike" not in far.output
