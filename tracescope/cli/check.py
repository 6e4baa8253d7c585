"""`tracescope check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracescope.cli import shell
from tracescope.errors import InputError, in_words

if TYPE_CHECKING:
    from tracescope.analysis.topology.rules import Checked

GATE_FAILED = 3


@click.command(name="check")
@click.argument("rules", metavar="RULES.TOML", type=click.Path(dir_okay=False))
@click.argument("period", default="all")
@shell.entry_options
@shell.store_options
@shell.print_options("text", "json")
@click.pass_context
def check_command(
    context: click.Context,
    rules: str,
    period: str,
    entry: str | None,
    include: str | None,
    exclude: str | None,
    store: shell.Given,
    env: str | None,
    tz: str | None,
    form: str,
    output: str | None,
) -> None:
    """Hold the dependencies of a PERIOD against rules; exit 3 where one is broken.

    RULES.TOML forbids edges, says who may use a database, how deep calls may go, how much of the
    clock an edge may take, and that there be no cycles; examples/rules.toml has one of each.
    """
    used = shell.settings(store=store, env=env, tz=tz, include=include, exclude=exclude)
    from tracescope.analysis.topology.rules import check, parse_rules
    from tracescope.report import checked_json
    from tracescope.report.text import checked_text

    try:
        text = Path(rules).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read the rules {rules}: {in_words(error)}", "examples/rules.toml shows the form"
        ) from error
    asked = parse_rules(text, rules)
    answers = shell.ask(used, entry=entry)
    found = answers.period_map(period, "dependency")
    checked: Checked = check(asked, found.graph, found.tables, found.selection)
    for note in (*found.notes, *checked.notes):
        shell.echo(f"note: {note}", err=True)
    made = shell.to_json(checked_json(checked, found.graph)) if form == "json" else checked_text(checked)
    shell.emit(made, output)
    if checked.violations:
        context.exit(GATE_FAILED)
