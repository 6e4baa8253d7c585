"""`tracescope forecast`."""

from __future__ import annotations

import re

import click

from tracescope.cli import shell
from tracescope.errors import UsageError


def multiple(text: str) -> float:
    """``10x`` or ``10`` as a number above 0; raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*[x×]?", text.strip())
    if found is None or float(found.group(1)) <= 0:
        raise UsageError(f"--growth is {text!r}, not a multiple", "write 3x, 10x, 1.5x")
    return float(found.group(1))


def horizon(text: str) -> float:
    """``12w`` or ``90d`` in weeks; raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([wd])", text.strip())
    if found is None or float(found.group(1)) <= 0:
        raise UsageError(f"--horizon is {text!r}, not a length", "write 12w or 90d")
    return float(found.group(1)) / (7 if found.group(2) == "d" else 1)


@click.command(name="forecast")
@click.option("--growth", multiple=True, metavar="N", help="What if there were N times the users (10x)?")
@click.option("--horizon", "ahead", default="12w", show_default=True, metavar="LENGTH", help="How far ahead.")
@shell.entry_options
@shell.stores_option
@shell.env_option
@click.option("--top", type=shell.Whole(1), metavar="N", help="Number of entries and edges to list.")
@shell.print_options("table", "json")
def forecast_command(
    growth: tuple[str, ...],
    ahead: str,
    entry: str | None,
    include: str | None,
    exclude: str | None,
    store: shell.Given,
    env: str | None,
    top: int | None,
    form: str,
    output: str | None,
) -> None:
    """When each edge hits the wall at today's growth, and what 2, 5 or 10 times the users would do.

    The wall is where latency is three times its low-load value, or where the entry's SLO is reached
    (a table [slo] in tracescope.toml). What was not seen is marked as extrapolated, and where the
    data do not say, the answer is a bound or a question mark.
    """
    used = shell.settings(store=store, env=env, include=include, exclude=exclude, top=top)
    from tracescope.report import forecast as render

    multiples = tuple(multiple(text) for text in growth)
    answers = shell.ask(used, entry=entry)
    found, outlook = answers.forecast(horizon_weeks=horizon(ahead), multiples=multiples)
    if form == "json":
        shell.emit(shell.to_json(render.forecast_json(found, outlook)), output)
        return
    shell.show(lambda width: render.forecast_text(found, outlook, top=used.top, width=width), output)
