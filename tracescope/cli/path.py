"""`tracescope path`."""

from __future__ import annotations

import re

import click

from tracescope.cli import shell
from tracescope.errors import InputError, UsageError


@click.command(name="path")
@click.argument("trace_id")
@click.option("--no-skew", is_flag=True, help="Show times as sent, without correcting clocks between hosts.")
@shell.stores_option
@shell.print_options("table", "json")
def path_command(trace_id: str, no_skew: bool, store: shell.Given, form: str, output: str | None) -> None:
    """One trace as a waterfall: solid blocks are what the unit of work was waiting for."""
    used = shell.settings(store=store)
    if not re.fullmatch(r"[0-9a-fA-F]{1,32}", trace_id):
        raise UsageError(f"invalid trace ID {trace_id!r}", "give its 32 hex digits")
    from tracescope.analysis.rollups.trace_path import critical_path
    from tracescope.engine.rollups import trace_spans
    from tracescope.engine.trace_search import begins_with, nearest
    from tracescope.report import path_json, text

    opened = shell.existing(*used.stores)
    digits = trace_id.zfill(32)
    spans = trace_spans(opened, *_words(digits))
    if spans.is_empty() and len(trace_id) < len(digits):
        begun = begins_with(opened, trace_id.lower())
        if len(begun) > 1:
            raise InputError(f"{len(begun)} traces and more begin with {trace_id}", "\n  ".join(begun))
        spans = trace_spans(opened, *_words(begun[0])) if begun else spans
    if spans.is_empty():
        raise InputError(
            f"no trace {digits} in {opened.name}",
            f"these begin alike: {', '.join(near)}"
            if (near := nearest(opened, digits.lower()))
            else "raw spans may have gone; `tracescope status` shows the store",
        )
    found = critical_path(spans, skew=not no_skew)
    if form == "json":
        shell.emit(shell.to_json(path_json(found)), output)
    else:
        shell.show(lambda width: text.path_text(found, width=width), output)


def _words(digits: str) -> tuple[int, int]:
    """Both halves of an id as they are kept."""
    high, low = (
        int.from_bytes(bytes.fromhex(half), "big", signed=True) for half in (digits[:16], digits[16:])
    )
    return high, low
