"""Failures as findings: where they begin, whose requests fail, and what they are told behind.

A call that fails because what it waits for got slower is a consequence: then the slower work comes first, and
the failures beside it.  Else failures come first: a request that fails is worse than one that takes longer.

Source: design, section 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tracescope.analysis.report import Edge, EdgeKey, Failures, Finding, Mechanism, MissingWorkKind, Origin


def with_failures(
    findings: Sequence[Finding], failures: Failures, edges: Sequence[Edge]
) -> tuple[Finding, ...]:
    """Findings of growth with those of failures among them.

    Parameters
    ----------
    findings
        Of growth, ranked.
    failures
        As compared.
    edges
        Of the report.
    """
    known = {edge.key: edge for edge in edges}
    first: list[Finding] = []
    last: list[Finding] = []
    for origin in failures.origins:
        slower = [found for found in findings if found.cause in origin.within and _is_work(found)]
        made = _finding(origin, failures, known, slower)
        (last if slower else first).append(made)
    return (*first, *findings, *last)


def _is_work(finding: Finding) -> bool:
    """Whether a finding may be what calls fail for, rather than what failing does."""
    return finding.mechanism not in (Mechanism.RETRIES, Mechanism.MORE_CALLS, Mechanism.WAITED_FOR)


def _finding(
    origin: Origin, failures: Failures, known: Mapping[EdgeKey, Edge], slower: Sequence[Finding]
) -> Finding:
    edge = known.get(origin.key)
    grown = {(one.service, one.operation): one for one in failures.grown}
    most = max((grown[entry] for entry in origin.entries), key=lambda one: one.rate.change)
    where = f"{origin.key.name} {origin.key.operation or ''}".rstrip()
    rest = len(origin.entries) - 1
    more = f" and {rest} more {'entry' if rest == 1 else 'entries'}" if rest else ""
    sentence = (
        f"{where}: {_part(origin.rate.head)} of its calls fail ({_part(origin.rate.base)} before), and "
        f"{_part(most.rate.head)} of {most.unit}s of {most.service} {most.operation}{more} "
        f"({_part(most.rate.base)} before)"
    )
    lost = [
        one.sentence
        for one in failures.missing_work
        if one.kind is MissingWorkKind.NOT_REACHED or one.entry in origin.entries or one.edge == origin.key
    ]
    told = [f"{found.cause.name} got slower, and what waits for it fails" for found in slower[:1]]
    return Finding(
        cause=origin.key,
        mechanism=Mechanism.ERRORS,
        sentence=sentence,
        added_ms=0.0,
        unit=origin.key.unit,
        entries=origin.entries,
        q_value=most.rate.q_value,
        since=edge.change if edge is not None else None,
        evidence=(*told, *lost),
    )


def _part(value: float) -> str:
    return f"{100 * value:.3g} %"
