"""`tracescope mark`, `prune`, `verify`, `rebuild` and `warmup`."""

from __future__ import annotations

import click

from tracescope.cli import shell
from tracescope.cli.engine import Engine, engine_options
from tracescope.errors import StoreError
from tracescope.periods import check_mark, format_utc, instant_of


@click.command(name="mark")
@click.argument("name", required=False)
@click.argument("instant", required=False)
@shell.stores_option
@shell.zone_option
def mark_command(name: str | None, instant: str | None, store: shell.Given, tz: str | None) -> None:
    """Give an INSTANT a NAME (now, when none is given); without a name, list them."""
    used = shell.settings(store=store, tz=tz)
    from tracescope.store import marks_in

    opened = shell.existing(*(used.stores if name is None else (used.one_store,)))
    if name is None:
        marks: dict[str, int] = {}
        for one in reversed(opened.stores):  # as `SeveralStores.marks`; a damaged one is told
            marks |= marks_in(one.root)
        for known, at in sorted(marks.items(), key=lambda pair: pair[1]):
            shell.echo(f"{format_utc(at)}  {known}")
        return
    check_mark(name)
    context = shell.context(opened, used.tz)
    at = context.now_ns if instant is None else instant_of(instant, context)
    opened.mark(name, at)
    shell.echo(f"{name} is {format_utc(at)}", err=True)


@click.command(name="prune")
@click.option("--retain-spans-days", type=shell.Whole(0), metavar="DAYS", help="How long to keep raw spans.")
@click.option("--retain-rollups-days", type=shell.Whole(1), metavar="DAYS", help="How long to keep rollups.")
@click.option(
    "--trust-clock", is_flag=True, help="Remove by age even though the clock is far ahead of the store."
)
@shell.store_option
def prune_command(
    retain_spans_days: int | None, retain_rollups_days: int | None, trust_clock: bool, store: shell.Given
) -> None:
    """Remove raw spans and rollups that are older than the settings keep."""
    used = shell.settings(
        store=store, retain_spans_days=retain_spans_days, retain_rollups_days=retain_rollups_days
    )
    from tracescope.engine import clock
    from tracescope.engine.upkeep import prune

    opened, now_ns = shell.existing(used.one_store), shell.now_ns()
    told = "" if trust_clock else clock.doubt(opened, now_ns)
    if told:
        raise StoreError(told, "if the clock is right: `tracescope prune --trust-clock`")
    done = prune(
        opened,
        now_ns=now_ns,
        spans_days=used.retain_spans_days,
        rollups_days=used.retain_rollups_days,
        workers=used.workers,
        memory_bytes=used.memory_mb * 1024 * 1024,
    )
    clock.note(opened, now_ns)
    shell.echo(
        f"{done.spans} spans of {done.hours} hours and the rollups of {done.rollup_hours} hours removed",
        err=True,
    )


@click.command(name="verify")
@click.option("--repair", is_flag=True, help="Set damaged files aside, and rebuild rollups.")
@shell.store_option
def verify_command(repair: bool, store: shell.Given) -> None:
    """Compare every file with its checksum, count it, and make the rollups anew to compare them."""
    used = shell.settings(store=store)
    from tracescope.engine import upkeep
    from tracescope.store import mend_format, quarantine

    folder, workers, memory_bytes = used.one_store, used.workers, used.memory_mb * 1024 * 1024
    if repair:
        done = mend_format(folder)
        more, problems = upkeep.repair(
            shell.existing(used.one_store), workers=workers, memory_bytes=memory_bytes
        )
        for sentence in (*done, *more):
            shell.echo(sentence, err=True)
    else:
        problems = upkeep.verify(shell.existing(folder), workers=workers, memory_bytes=memory_bytes)
    opened = shell.existing(used.one_store)
    for note in quarantine.notes(opened.root):
        shell.echo(f"note: {note.path} lies in quarantine/: {note.reason}", err=True)
    for problem in problems:
        shell.echo(problem)
    if problems:
        hint = "restore what is missing from a backup" if repair else "`tracescope verify --repair` mends it"
        raise StoreError(f"{used.one_store}: {len(problems)} problems", hint)
    shell.echo("all well", err=True)


@click.command(name="rebuild")
@engine_options
@shell.store_option
def rebuild_command(
    engine: str,
    master: str | None,
    conf: tuple[str, ...],
    workers: int | None,
    memory_mb: int | None,
    store: shell.Given,
) -> None:
    """Rebuild the rollups of every hour that still has its spans.

    What the spans mean is resolved anew too, by the rules of this version and by the table `names`.
    """
    used = shell.settings(store=store, workers=workers, memory_mb=memory_mb)
    from tracescope.engine.rebuild import rebuild

    opened = shell.existing(used.one_store)
    with Engine(engine, master, conf).pool(used) as pool:
        done = rebuild(opened, memory_bytes=used.memory_mb * 1024 * 1024, policy=used.policy, pool=pool)
    shell.echo(f"{done.hours} hours made anew from {done.spans} spans", err=True)
    if done.left:
        shell.echo(
            f"{done.left} hours stay as an earlier version made them: their raw spans are gone", err=True
        )


@click.command(name="warmup")
def warmup_command() -> None:
    """Compile the kernels into their cache, where the package did not bring them along compiled."""
    from tracescope.kernels import ship
    from tracescope.kernels.cache import KernelCache

    ship.compile_entries()
    came = "" if KernelCache.unshipped else ": they came so with the package"
    shell.echo(f"kernels are compiled{came}", err=True)


def compile_decoder() -> None:
    """Run only what receiving needs: kernels that are loaded stay in memory."""
    from tracescope.ingest.decode import decode
    from tracescope.ingest.otlp_json import transcode

    decode([transcode(b'{"resourceSpans": []}')], shell.now_ns())
