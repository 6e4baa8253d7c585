"""Rules of a graph at their bounds, on a few calls."""

from __future__ import annotations

from typing import Any

import pytest
from flows import rollups

from tracescope import schema
from tracescope.analysis.topology.graph import graph
from tracescope.analysis.topology.rules import Checked, Violation, check, parse_rules
from tracescope.errors import ConfigError

SHOP = """
request web GET /: 100 units, 1000 ms
  http web -> cart [x]: 100 calls, 125 own, 500 inclusive
    db cart -> pg/carts [q]: 300 calls, 250 own
    db cart -> redis/c [q]: 7 calls, 5 own
  rpc web -> mail [x]: 50 calls, 10 own
  http web -> idle [x]: 0 calls, 0 own
"""


def checked(rules: str, text: str = SHOP) -> Checked:
    tables = rollups(text)
    return check(parse_rules(rules, "r.toml"), graph(tables, "dependency"), tables)


def broken(rules: str, text: str = SHOP) -> list[Violation]:
    return list(checked(rules, text).violations)


def test_a_forbidden_edge_matches_all_that_is_given_of_it() -> None:
    """Caller, callee and kind, each as a shell would; of calls that were made."""

    def told(rule: str) -> list[tuple[Any, ...]]:
        return [tuple(one.evidence.values()) for one in broken(f"[[forbid]]\n{rule}")]

    carts, redis = ("cart", "pg/carts", "db", 300), ("cart", "redis/c", "db", 7)
    calls, mail = ("web", "cart", "http", 100), ("web", "mail", "rpc", 50)
    assert told('kind = "db"') == [carts, redis]
    assert told('caller = "web"') == [calls, mail]
    assert told('caller = "w?b"\ncallee = "c*"') == [calls]
    assert told('caller = "web"\nkind = "rpc"') == [mail]
    assert told('callee = "[m-p]*"') == [carts, mail]
    assert told('callee = "idle"') == told('caller = "web"\ncallee = "pg*"') == []
    (one,) = broken('[[forbid]]\nkind = "rpc"\nreason = "no"')
    assert (one.rule, one.reason) == ("forbid[1]", "no")
    assert broken('[[forbid]]\nkind = "rpc"')[0].reason is None


def test_a_database_is_for_whom_the_rule_names() -> None:
    """Databases alone; what matches nothing is told, and what all keep is not."""

    def made(name: str, callers: str) -> Checked:
        return checked(f'[[database]]\nname = "{name}"\ncallers = [{callers}]')

    (one,) = made("pg/*", '"web", "mail"').violations
    assert one.text == "cart uses pg/carts, which is for web, mail: 300 calls"
    assert one.evidence == {"caller": "cart", "callee": "pg/carts", "calls": 300}
    (one,) = made("pg/*", "").violations
    assert "which is for nobody" in one.text
    assert made("pg/*", '"c*"').violations == made("pg/*", '"c*"').notes == ()
    assert len(made("*", '"web"').violations) == 2
    assert made("mail", "").notes == ("database[1] matches nothing in this period",)


@pytest.mark.parametrize(("most", "too_much"), [("12.5", False), ("12.4", True), ("12", True), ("13", False)])
def test_a_share_may_be_as_large_as_the_rule_says(most: str, too_much: bool) -> None:
    found = checked(f'[[share]]\ncallee = "cart"\nmax_pct = {most}')
    assert bool(found.violations) == too_much
    assert found.notes == ()
    if too_much:
        one = found.violations[0]
        assert (
            one.text == f"web → cart (http) takes 12.5 % of the requests' clock, more than {float(most):g} %"
        )
        assert one.evidence["share_pct"] == pytest.approx(12.5)
        assert one.evidence["max_pct"] == float(most)


def test_chains_are_told_where_they_first_pass_the_limit_most_calls_first() -> None:
    """All paths of a chain together; names where as many."""
    text = SHOP + """
request web GET /b: 100 units, 1000 ms
  http web -> cart [y]: 10 calls, 1 own
    db cart -> redis/c [q]: 293 calls, 5 own
      external redis/c -> far [x]: 5 calls, 1 own
  http web -> abba [y]: 10 calls, 1 own
    db abba -> x [q]: 300 calls, 5 own
"""  # fmt: skip
    two = broken("max_depth = 1", text)
    assert [one.evidence for one in two] == [
        {"chain": ["web", "abba", "x"], "calls": 300}, {"chain": ["web", "cart", "pg/carts"], "calls": 300},
        {"chain": ["web", "cart", "redis/c"], "calls": 300},
    ]  # fmt: skip
    assert two[0].text == "web → abba → x has 2 synchronous hops or more, more than 1"
    (three,) = broken("max_depth = 2", text)
    assert three.evidence["chain"] == ["web", "cart", "redis/c", "far"]
    assert broken("max_depth = 3", text) == []


def test_circles_are_told_with_who_is_in_them() -> None:
    text = """
request a GET /: 10 units, 100 ms
  http a -> b [x]: 10 calls, 10 own, 50 inclusive
    http b -> a [y]: 7 calls, 10 own
"""
    (one,) = broken("no_cycles = true", text)
    assert (one.rule, one.evidence) == ("no_cycles", {"services": ["a", "b"]})


def test_rules_are_counted_with_those_that_are_no_table() -> None:
    text = 'no_cycles = true\nmax_depth = 1\n[[forbid]]\nkind = "db"\n[[share]]\nmax_pct = 100'
    rules = parse_rules(text, "r.toml")
    assert (rules.count, rules.no_cycles, rules.max_depth) == (4, True, 1)
    assert [(one.label, one.section) for one in rules.rules] == [
        ("forbid[1]", "forbid"),
        ("share[1]", "share"),
    ]
    assert checked(text).rules == 4
    assert parse_rules("max_depth = 1", "r").count == parse_rules("no_cycles = true", "r").count == 1


@pytest.mark.parametrize(
    ("text", "said", "hint"),
    [
        ("x = 1", "r: unknown key 'x'", "keys are no_cycles, max_depth, forbid, database, share"),
        ("max_depth = 0", "r: max_depth is 0, not a whole number above 0", ""),
        ("max_depth = 1.5", "r: max_depth is 1.5, not a whole number above 0", ""),
        ("forbid = [1]", "r: forbid[1] is 1, no table", "write it as [[forbid]]"),
        ('[[forbid]]\nkind = "db"\n[[forbid]]\nx = 1', "r: unknown key 'x' in forbid[2]", "keys are caller"),
        ("[[forbid]]\nkind = 1", "r: kind in forbid[1] is 1, not a text", ""),
        ('[[share]]\nmax_pct = "1"', "r: max_pct in share[1] is '1', not a whole number or a number", ""),
        ("[[share]]\nmax_pct = true", "r: max_pct in share[1] is True, not a whole number or a number", ""),
        ('[[database]]\nname = "x"\ncallers = "y"', "callers in database[1] is 'y', not a list of texts", ""),
        ('[[database]]\nname = "x"\ncallers = ["a", 1]', "is ['a', 1], not a list of texts", ""),
        ("[[database]]\ncallers = []", "r: database[1] lacks name", ""),
        ('[[share]]\nmax_pct = 1\nkind = "x"', "r: no edge kind 'x' in share[1]",
         f"kinds are {', '.join(schema.EDGE_KINDS)}"),
        ("", "r holds no rule", "give some of no_cycles, max_depth, forbid, database, share"),
    ],
)  # fmt: skip
def test_a_slip_is_told_with_its_place_and_what_would_do(text: str, said: str, hint: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_rules(text, "r")
    assert said in str(error.value)
    assert hint in str(error.value.hint or "")
