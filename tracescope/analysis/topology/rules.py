"""Rules that a graph must keep: an architecture's fitness function, written in TOML.

    no_cycles = true                      # services do not call each other in a circle
    max_depth = 5                         # synchronous hops from an entry

    [[forbid]]                            # edges that must not be
    caller = "web*"
    callee = "postgresql/*"
    reason = "the web tier goes through services"

    [[database]]                          # who may use a database; nobody else
    name = "postgresql/orders"
    callers = ["orders", "orders-*"]

    [[share]]                             # how much of the clock edges may take
    callee = "api.psp.example"
    max_pct = 30

Names are compared as in a shell: ``*``, ``?``, ``[abc]``.  An unknown key is an error, and a rule that
matches nothing is told, for a rule with a slip in it would always hold.

Source: Ford, Parsons and Kua, "Building Evolutionary Architectures", 2017 (fitness functions).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

import polars as pl

from tracescope import schema
from tracescope.analysis.rollups.flows import Selection, Tables, flows
from tracescope.analysis.topology.findings import chain_of, cycles, depths
from tracescope.analysis.topology.graph import Graph
from tracescope.errors import ConfigError

#: Section -> its keys and their types; those with None need not be given.
_SECTIONS: Final[dict[str, dict[str, tuple[type, ...]]]] = {
    "forbid": {"caller": (str,), "callee": (str,), "kind": (str,), "reason": (str,)},
    "database": {"name": (str,), "callers": (list,), "reason": (str,)},
    "share": {
        "caller": (str,), "callee": (str,), "kind": (str,), "max_pct": (int, float), "reason": (str,),
    },
}  # fmt: skip
#: What types are called.
_WORDS: Final[dict[type, str]] = {str: "a text", int: "a whole number", float: "a number"}
_FORM: Final = "examples/rules.toml shows the form"
_NEEDED: Final = {"forbid": (), "database": ("name", "callers"), "share": ("max_pct",)}


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of a section; ``label`` is where it stands, such as ``forbid[2]``."""

    label: str
    section: str
    values: Mapping[str, Any]

    def matches(self, edge: Mapping[str, Any], names: Mapping[str, str]) -> bool:
        """Whether an edge is one that ``caller``, ``callee`` and ``kind`` mean."""
        return (
            fnmatchcase(names[edge["caller"]], self.values.get("caller", "*"))
            and fnmatchcase(names[edge["callee"]], self.values.get("callee", "*"))
            and edge["kind"] == self.values.get("kind", edge["kind"])
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """What a rules file asks for."""

    no_cycles: bool = False
    max_depth: int | None = None
    rules: tuple[Rule, ...] = ()

    @property
    def count(self) -> int:
        """How many rules there are."""
        return len(self.rules) + int(self.no_cycles) + int(self.max_depth is not None)


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule broken at one place."""

    rule: str
    text: str
    reason: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of checking: violations, and notes about rules that match nothing."""

    rules: int
    violations: tuple[Violation, ...]
    notes: tuple[str, ...]


def parse_rules(text: str, source: str) -> Rules:
    """Rules of a TOML text.

    Raises
    ------
    ConfigError
        It is no TOML, asks for nothing, or has an unknown key or a value of another type; `source`
        and the key are named.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{source} is not valid TOML: {error}", _FORM) from error
    known = ("no_cycles", "max_depth", *_SECTIONS)
    for key in raw:
        if key not in known:
            raise ConfigError(f"{source}: unknown key {key!r}", f"keys are {', '.join(known)}")
    no_cycles, max_depth = raw.get("no_cycles", False), raw.get("max_depth")
    if not isinstance(no_cycles, bool):
        raise ConfigError(f"{source}: no_cycles is {no_cycles!r}, not true or false", _FORM)
    if max_depth is not None and (
        isinstance(max_depth, bool) or not isinstance(max_depth, int) or max_depth < 1
    ):
        raise ConfigError(f"{source}: max_depth is {max_depth!r}, not a whole number above 0", _FORM)
    rules = [rule for section in _SECTIONS for rule in _section(raw.get(section, []), section, source)]
    made = Rules(no_cycles, max_depth, tuple(rules))
    if not made.count:
        raise ConfigError(f"{source} holds no rule", f"give some of {', '.join(known)}")
    return made


def _section(entries: Any, section: str, source: str) -> list[Rule]:
    if not isinstance(entries, list):
        raise ConfigError(f"{source}: {section} is not a list of tables", f"write it as [[{section}]]")
    out: list[Rule] = []
    for number, entry in enumerate(entries, 1):
        label = f"{section}[{number}]"
        if not isinstance(entry, dict):
            raise ConfigError(f"{source}: {label} is {entry!r}, no table", f"write it as [[{section}]]")
        for key, value in entry.items():
            types = _SECTIONS[section].get(key)
            if types is None:
                raise ConfigError(
                    f"{source}: unknown key {key!r} in {label}", f"keys are {', '.join(_SECTIONS[section])}"
                )
            listed = isinstance(value, list) and not all(isinstance(each, str) for each in value)
            if isinstance(value, bool) or not isinstance(value, types) or listed:
                wanted = "a list of texts" if list in types else " or ".join(_WORDS[kind] for kind in types)
                raise ConfigError(f"{source}: {key} in {label} is {value!r}, not {wanted}", _FORM)
        for key in _NEEDED[section]:
            if key not in entry:
                raise ConfigError(f"{source}: {label} lacks {key}", _FORM)
        if section == "forbid" and not {"caller", "callee", "kind"} & set(entry):
            raise ConfigError(
                f"{source}: {label} would forbid every edge", "give a caller, a callee or a kind"
            )
        if entry.get("kind", "db") not in schema.EDGE_KINDS:
            raise ConfigError(
                f"{source}: no edge kind {entry['kind']!r} in {label}",
                f"kinds are {', '.join(schema.EDGE_KINDS)}",
            )
        out.append(Rule(label, section, entry))
    return out


def check(rules: Rules, graph: Graph, tables: Tables, selection: Selection | None = None) -> Checked:
    """Hold a graph of dependencies against rules.

    Parameters
    ----------
    rules
        From `parse_rules`.
    graph, tables, selection
        The graph, at the dependency level, and what it was made of.
    """
    names = dict(graph.nodes.select("id", "name").iter_rows())
    edges = graph.edges.filter(pl.col("calls") > 0).rows(named=True)
    violations: list[Violation] = []
    notes: list[str] = []
    if rules.no_cycles:
        violations += [
            Violation("no_cycles", " → ".join([*each, each[0]]), evidence={"services": each})
            for each in cycles(graph, synchronous=True)
        ]
    if rules.max_depth is not None:
        violations += _too_deep(rules.max_depth, tables, selection or Selection())
    judges = {"forbid": _forbidden, "database": _strangers, "share": _too_much}
    for rule in rules.rules:
        found, matched = judges[rule.section](rule, edges, names)
        violations += found
        if not matched and rule.section != "forbid":
            notes.append(f"{rule.label} matches nothing in this period")
    return Checked(rules.count, tuple(violations), tuple(notes))


_Violations = tuple[list[Violation], bool]
_Rows = Sequence[Mapping[str, Any]]


def _named(edge: Mapping[str, Any]) -> str:
    return f"{edge['caller']} → {edge['callee']} ({edge['kind']})"


def _forbidden(rule: Rule, edges: _Rows, names: Mapping[str, str]) -> _Violations:
    found = [edge for edge in edges if rule.matches(edge, names)]
    return [
        Violation(
            rule.label,
            f"{_named(edge)} must not be: {edge['calls']} calls",
            rule.values.get("reason"),
            {
                "caller": edge["caller"],
                "callee": edge["callee"],
                "kind": edge["kind"],
                "calls": edge["calls"],
            },
        )
        for edge in found
    ], bool(found)


def _strangers(rule: Rule, edges: _Rows, names: Mapping[str, str]) -> _Violations:
    uses = [e for e in edges if e["kind"] == "db" and fnmatchcase(names[e["callee"]], rule.values["name"])]
    allowed: list[str] = rule.values["callers"]
    found = [e for e in uses if not any(fnmatchcase(names[e["caller"]], each) for each in allowed)]
    return [
        Violation(
            rule.label,
            f"{edge['caller']} uses {edge['callee']}, which is for {', '.join(allowed) or 'nobody'}: "
            f"{edge['calls']} calls",
            rule.values.get("reason"),
            {"caller": edge["caller"], "callee": edge["callee"], "calls": edge["calls"]},
        )
        for edge in found
    ], bool(uses)


def _too_much(rule: Rule, edges: _Rows, names: Mapping[str, str]) -> _Violations:
    meant = [edge for edge in edges if rule.matches(edge, names)]
    limit = float(rule.values["max_pct"])
    return [
        Violation(
            rule.label,
            f"{_named(edge)} takes {edge['share'] * 100:.1f} % of the {edge['unit']}s' clock, "
            f"more than {limit:g} %",
            rule.values.get("reason"),
            {
                "caller": edge["caller"],
                "callee": edge["callee"],
                "kind": edge["kind"],
                "share_pct": edge["share"] * 100,
                "max_pct": limit,
            },
        )
        for edge in meant
        if edge["share"] * 100 > limit
    ], bool(meant)


def _too_deep(limit: int, tables: Tables, selection: Selection) -> list[Violation]:
    """Chains that are too long, each told once where it first passes the limit, the most used first."""
    rows = flows(tables, selection)
    reached = depths(rows)
    remote = rows["callee"].is_not_null().to_list()
    calls = rows["calls"].round().cast(pl.Int64).to_list()
    seen: dict[tuple[str, ...], list[int]] = {}
    for at, depth in enumerate(reached):
        if remote[at] and depth == limit + 1:
            seen.setdefault(tuple(chain_of(rows, at)), []).append(at)
    found = sorted(seen.items(), key=lambda each: (-sum(calls[at] for at in each[1]), each[0]))
    return [
        Violation(
            "max_depth",
            f"{' → '.join(chain)} has {limit + 1} synchronous hops or more, more than {limit}",
            evidence={"chain": list(chain), "calls": sum(calls[at] for at in rows_of)},
        )
        for chain, rows_of in found
    ]
