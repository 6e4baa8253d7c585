"""`tracescope diff`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from tracescope.analysis.report import State
from tracescope.cli import shell
from tracescope.errors import GateFailedError, InsufficientDataError, UsageError
from tracescope.near import suggestion

if TYPE_CHECKING:
    from tracescope.analysis.gate import Gate
    from tracescope.analysis.report import Edge, Report
    from tracescope.session import Answers

FORMS = ("table", "wide", "json", "ndjson", "markdown", "csv")


@click.command(name="diff")
@shell.period_arguments
@shell.store_options
@shell.question_options
@click.option("--service", metavar="NAME", help="List only edges with this service at an end.")
@click.option("--edge", metavar="REGEX", help="List only edges whose 'caller -> callee' matches.")
@click.option("--kind", multiple=True, metavar="KIND", help="List only edges of this kind; may be repeated.")
@click.option(
    "--by",
    type=click.Choice(("operation", "service", "kind")),
    default="operation",
    show_default=True,
    help="What a row is: an edge's operation, an edge between services, or a kind.",
)
@click.option(
    "--explain-by",
    "explain_by",
    is_flag=False,
    flag_value="",
    metavar="[ATTR,...]",
    help="Rank the attribute values (version, tenant, region, flag) that carry the change, from raw spans; "
    "without ATTR, all attributes of few values.",
)
@click.option(
    "--top", type=shell.Whole(1), metavar="N", help="Number of edges to list (default 10; JSON lists all)."
)
@click.option("--all", "everything", is_flag=True, help="List every edge.")
@click.option(
    "--fail-on",
    "fail_on",
    multiple=True,
    metavar="GATE",
    help="Exit with 3 if this holds, for example 'db.share>+5pp'; may be repeated.",
)
@shell.print_options(*FORMS)
def diff_command(
    base: str | None,
    head: str | None,
    store: shell.Given,
    env: str | None,
    tz: str | None,
    entry: str | None,
    include: str | None,
    exclude: str | None,
    where: tuple[str, ...],
    service: str | None,
    edge: str | None,
    kind: tuple[str, ...],
    by: str,
    explain_by: str | None,
    top: int | None,
    everything: bool,
    alpha: float | None,
    min_effect: float | None,
    quantile: float | None,
    fail_on: tuple[str, ...],
    form: str,
    output: str | None,
) -> None:
    """Compare two periods: which edges take more of the latency, why, and how sure that is.

    BASE and HEAD are periods: last-month, this-week, 30d, 2026-08, 2026-W40,
    2026-08-01/2026-08-15, ISO instants, or names given with `tracescope mark`. Without HEAD, what
    changed since BASE; without both, last week and this week. BASE..HEAD works too.
    """
    used = shell.settings(
        store=store,
        env=env,
        tz=tz,
        include=include,
        exclude=exclude,
        alpha=alpha,
        min_effect=min_effect,
        top=top,
    )
    from tracescope.analysis.gate import parse_gate
    from tracescope.analysis.rollups.where import attributes, conditions
    from tracescope.engine.question import pattern
    from tracescope.schema import EDGE_KINDS

    for name in kind:
        if name not in EDGE_KINDS:
            raise UsageError(
                f"no edge kind {name!r}", suggestion(name, EDGE_KINDS, f"kinds are {', '.join(EDGE_KINDS)}")
            )
    gates = [parse_gate(text) for text in fail_on]
    answers = shell.ask(
        used,
        base=base,
        head=head,
        entry=entry,
        where=conditions(where, used.policy),
        quantile=quantile,
        by=by,
    )
    wanted = None if explain_by is None else attributes(explain_by, used.policy)
    report = answers.explained(wanted)
    if form in ("table", "wide"):
        report = _with_hint(report, answers)
    named = pattern(edge or "", "--edge")
    chosen = [row for row in report.edges if _is_selected(row, service, named, kind)]
    if report.edges and not chosen:
        report = replace(report, notes=(*report.notes, _nothing_left(report, service, edge)))
    limit = (
        len(chosen) if everything or (form not in ("table", "wide", "markdown") and top is None) else used.top
    )
    print_report(replace(report, edges=tuple(chosen[:limit]), edges_in_all=len(chosen)), form, output)
    conclude(report, gates)


def _nothing_left(report: Report, service: str | None, edge: str | None) -> str:
    """Why no edge is listed, and which names are near those that were asked for."""
    services = sorted({end for each in report.edges for end in (each.caller, each.callee) if end})
    if service and service not in services:
        return f"no edge has the service {service!r}: {suggestion(service, services, 'the map lists all')}"
    if edge:
        names = [each.name for each in report.edges]
        return f"no edge matches {edge!r}: {suggestion(edge, names, '--all without --edge lists them')}"
    return "no edge is left by --service, --edge and --kind together"


def _with_hint(report: Report, answers: Answers) -> Report:
    """The report for a reader who can ask further: with the option that tells whose change it is."""
    if report.carriers is not None or not report.grew or answers.raw_spans() in (None, 0):
        return report
    hint = "--explain-by tells which versions, tenants or regions carry it"
    return replace(report, notes=(*report.notes, hint))


def conclude(report: Report, gates: Sequence[Gate]) -> None:
    """Turn a printed report into the exit code it deserves.

    Raises
    ------
    InsufficientDataError
        It could tell nothing.
    GateFailedError
        A gate's condition is met.
    """
    if report.state == State.INSUFFICIENT:
        raise InsufficientDataError(f"insufficient data: {report.reasons[0]}", "compare longer periods")
    failed = [(gate, line) for gate in gates for line in gate.broken(report)]
    if failed:
        listed = "".join(f"\n  {gate.text}: {line}" for gate, line in failed)
        raise GateFailedError(
            f"{len(failed)} gates failed{listed}" if len(failed) > 1 else f"gate failed{listed}"
        )


def _is_selected(
    edge: Edge, service: str | None, named: re.Pattern[str] | None, kinds: tuple[str, ...]
) -> bool:
    return (
        (service is None or service in (edge.caller, edge.callee))
        and (named is None or named.search(edge.name) is not None)
        and (not kinds or edge.kind in kinds)
    )


def print_report(report: Report, form: str, output: str | None) -> None:
    """Write a report in one of `FORMS`."""
    from tracescope.report import diff_json, text

    if form in ("table", "wide"):
        shell.show(lambda width: text.diff_text(report, width=width, wide=form == "wide"), output)
        return
    rendered = {
        "json": lambda: shell.to_json(diff_json(report)),
        "ndjson": lambda: text.diff_ndjson(report),
        "markdown": lambda: text.diff_markdown(report),
        "csv": lambda: text.diff_csv(report),
    }[form]()
    if form == "csv":  # which has no place for them
        for note in report.notes:
            shell.echo(f"note: {note}", err=True)
    shell.emit(rendered, output)
