"""PostgreSQL's own word: what sessions wait for, sampled beside the traces and independent of them."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from stage.plan import Plan

EVERY_S: Final = 0.1
ACTIVITY: Final = """
SELECT coalesce(wait_event_type, 'running') AS waits, coalesce(wait_event, '') AS event,
       left(regexp_replace(query, '\\s+', ' ', 'g'), 60) AS query
FROM pg_stat_activity
WHERE datname = 'shop' AND pid <> pg_backend_pid() AND state <> 'idle' AND backend_type = 'client backend'
"""
LOCKS: Final = "SELECT count(*) FROM pg_locks WHERE NOT granted"
SCANS: Final = "SELECT seq_scan, idx_scan FROM pg_stat_user_tables WHERE relname = 'orders'"


@dataclass
class Samples:
    """What was seen in a period.

    Attributes
    ----------
    samples
        How many looks.
    waits
        Sessions that were seen, by what they waited for and their query.
    locks
        Ungranted locks, summed over the looks.
    sequential, indexed
        Scans of the table of orders in the period.
    """

    samples: int = 0
    waits: Counter[tuple[str, str]] = field(default_factory=Counter)
    locks: int = 0
    sequential: int = 0
    indexed: int = 0

    def lines(self) -> list[str]:
        """A few lines of text."""
        top = ", ".join(f"{waits} {n} ({query})" for (waits, query), n in self.waits.most_common(3))
        each = f"{self.samples} samples: {self.locks} ungranted locks"
        scans = f"orders scanned {self.sequential} times whole, {self.indexed} times by index"
        return [f"{each}; {scans}", f"sessions seen: {top or 'none'}"]


class Watch:
    """Samples in a thread of its own until it is left."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self._stop = plan, threading.Event()
        self.samples = Samples()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Samples:
        self._thread.start()
        return self.samples

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            asyncio.run(self._sample())
        except (OSError, asyncpg.PostgresError) as error:
            self._error = error  # told by the thread that waits

    async def _sample(self) -> None:
        connection = await asyncpg.connect(self._plan.database)
        before = await connection.fetchrow(SCANS)
        while not self._stop.is_set():
            self.samples.samples += 1
            for row in await connection.fetch(ACTIVITY):
                what = f"{row['waits']} {row['event']}".strip()
                self.samples.waits[what, row["query"]] += 1
            self.samples.locks += await connection.fetchval(LOCKS)
            await asyncio.sleep(EVERY_S)
        after = await connection.fetchrow(SCANS)
        if before and after:
            self.samples.sequential = after["seq_scan"] - before["seq_scan"]
            self.samples.indexed = (after["idx_scan"] or 0) - (before["idx_scan"] or 0)
        await connection.close()
