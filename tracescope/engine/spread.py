"""A ClickHouse table read by a pool: each task reads an hour, or a slice of one, and lands it.

    driver    counts hours and slices ─► task, task, task ─► all land by one rename ─► tasks seal them
    workers                              ask the server over HTTP, decode, land aside

The server parts the traces, so nothing is shuffled.  A task lands one batch, named as `import` names the
part: what the store has is not read again by either, and an attempt that comes again writes the same files.
A task has the URL that was given, which its description does not show; a user and a password that are not
in it are taken from the environment of the worker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from tracescope.engine.lake import Backfilled, Terms, group_at, still_open
from tracescope.engine.tasks import RULES, Done, check_version
from tracescope.errors import UsageError
from tracescope.sources import Options
from tracescope.sources.clickhouse import Plan, open_source

if TYPE_CHECKING:
    from tracescope.engine.tasks import Pool
    from tracescope.store import SpanStore

#: Schemes of URLs that are read so.
SCHEMES: Final = ("clickhouse", "clickhouses")


@dataclass(frozen=True, slots=True)
class Fetching:
    """Read a part of a table and land it.

    Attributes
    ----------
    url, given
        The table, and options from the settings.
    plan, batch
        Which part, and its name in the ledger.
    folder, terms
        Where to, and what holds for every span.
    rules
        RULES of whoever asks for it.
    """

    url: str = field(repr=False)
    given: Mapping[str, str] = field(repr=False)
    plan: Plan
    batch: str
    folder: str
    terms: Terms
    rules: str = RULES

    def run(self) -> Done:
        """Land it; the ledger tells how many spans.

        Raises
        ------
        StoreError, SourceError, InputError
            Another version asks for it, the folder is not here, or the server does not answer as it should.
        """
        import polars as pl

        from tracescope.ingest.decode import decode
        from tracescope.sources.reading import chunks_of

        check_version(self.rules)
        group = group_at(self.folder)
        part = open_source(self.url, Options(given=self.given)).part(self.plan)
        found: list[pl.DataFrame] = []
        rejected: Counter[str] = Counter()
        for chunk in chunks_of(part, part.read(), "auto"):
            made = decode(chunk.requests().data, self.terms.arrived_ns, policy=self.terms.policy)
            spans, refused = still_open(made.spans, made.rejected, self.terms.closed)
            found.append(spans)
            rejected.update(refused)
        if found:
            spans = pl.concat(found)
            group.land(
                spans,
                batch=self.batch,
                accepted=len(spans),
                rejected=rejected,
                arrived_ns=self.terms.arrived_ns,
            )
        return Done({}, {})


def fetched(
    store: SpanStore, pool: Pool, url: str, options: Options, terms: Terms, memory_bytes: int
) -> Backfilled:
    """Land a table's spans by tasks and seal them; with an error nothing of it is kept.

    Raises
    ------
    SourceError, InputError, StoreError
        The table cannot be read, or a task failed as often as the pool tries.
    """
    from tracescope.engine.seal import seal
    from tracescope.sources.reading import batch_prefix

    before = store.stored()
    snapshot = store.snapshot()
    given = options.of(url).given
    source = open_source(url, Options(given=given, environ=options.environ))
    prefix = batch_prefix(source)
    batches = {*snapshot.pointer.ledger.batches, *snapshot.ledger.batches}
    known = frozenset(name.removeprefix(prefix) for name in batches if name.startswith(prefix))
    terms = terms._replace(closed=tuple(snapshot.closed))
    done = Backfilled()
    with store.group(f"backfill-{uuid4().hex[:16]}") as group:
        folder = str(group.folder.absolute())
        tasks = [
            Fetching(url, given, plan, prefix + plan.name, folder, terms)
            for plan in source.plans(known)
            if plan.name not in known
        ]
        for _ in pool.run(tasks):
            pass
        landed = group.ledger(set())
        done.rejected = dict(landed.rejected)
        done.read = landed.accepted + sum(landed.rejected.values())
    seal(store, memory_bytes=memory_bytes, wait=True, pool=pool)
    done.new = store.stored() - before
    return done


def refuse_others(options: Mapping[str, object]) -> None:
    """Refuse options that are of Spark's tables alone.

    Raises
    ------
    UsageError
        One is given.
    """
    if given := [name for name, value in options.items() if value]:
        raise UsageError(f"{given[0]} is of a lake's tables", "leave it out: since= and until= are of a URL")
