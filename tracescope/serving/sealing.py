"""The sealer: a process that comes when hours are ripe, and goes when they are sealed.

It may be killed at any instant; the next one begins anew from what the pointer says.  Its priority is
low and its threads are few, because whoever waits for an acknowledgement waits less patiently than an
hour's rollup does.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final, Literal

from tracescope.errors import StoreBusyError, TracescopeError, sentence

_NICE: Final = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sealer has to do.

    Attributes
    ----------
    root
        Folder of the store.
    now_ns, grace_s
        Hours that ended so long before now, and got nothing for as long, are sealed.
    memory_bytes
        What sealing may take.
    prune
        Apply `spans_days` and `rollups_days`.
    excess_bytes
        Remove the oldest raw spans until so many bytes are gone.
    """

    root: str
    now_ns: int
    grace_s: float
    memory_bytes: int
    prune: bool
    spans_days: int
    rollups_days: int
    excess_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a sealer did; `state` is ``busy`` when another process was sealing."""

    state: Literal["done", "busy", "failed"]
    hours: int = 0
    spans: int = 0
    pruned_hours: int = 0
    message: str = ""


def work(plan: Plan) -> Outcome:
    """Seal, and remove what is to be removed."""
    from tracescope.engine.seal import seal_quiet
    from tracescope.engine.upkeep import prune, reclaim
    from tracescope.store import open_store
    from tracescope.store.sealed import READERS_S

    store = open_store(plan.root)
    try:
        sealed = seal_quiet(
            store, now_ns=plan.now_ns, grace_s=plan.grace_s, workers=1, memory_bytes=plan.memory_bytes
        )
        pruned = 0
        if plan.prune:
            pruned += prune(
                store,
                now_ns=plan.now_ns,
                spans_days=plan.spans_days,
                rollups_days=plan.rollups_days,
                sealing_first=False,
                readers_s=READERS_S,
            ).hours
        if plan.excess_bytes > 0 and store.mirror is not None:
            store.mirror.tidy(0)  # the disk is short of room for copies
        elif plan.excess_bytes > 0:
            pruned += reclaim(store, plan.excess_bytes).hours
    except StoreBusyError:
        return Outcome("busy")
    return Outcome("done", sealed.hours, sealed.spans, pruned)


def _main(plan: Plan, answer: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the receiver, which tells us
    os.nice(_NICE)
    os.environ["POLARS_MAX_THREADS"] = "1"  # read when polars is imported, by `work`
    try:
        outcome = work(plan)
    except (OSError, TracescopeError) as error:
        outcome = Outcome("failed", message=sentence(error))
    answer.send(outcome)
    answer.close()


class Sealer:
    """At most one sealing process at a time."""

    def __init__(self) -> None:
        self._process: BaseProcess | None = None
        self._answer: Connection | None = None

    @property
    def running(self) -> bool:
        """Whether one is at work, or its outcome has not been looked at."""
        return self._process is not None

    def start(self, plan: Plan) -> None:
        """Begin; only when none is running."""
        context = multiprocessing.get_context("spawn")
        self._answer, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_main, args=(plan, theirs), name="sealer", daemon=True)
        self._process.start()
        theirs.close()

    def poll(self) -> Outcome | None:
        """What it did, once it has ended; None until then."""
        if self._process is None or self._answer is None or self._process.is_alive():
            return None
        outcome = Outcome("failed", message=f"the sealer ended with code {self._process.exitcode}")
        try:
            if self._answer.poll():
                outcome = self._answer.recv()
        except EOFError:
            pass  # it was killed before it could say anything
        self._forget()
        return outcome

    def stop(self, wait_s: float) -> None:
        """End it: kindly, then not."""
        if self._process is None:
            return
        self._process.terminate()
        self._process.join(wait_s)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._forget()

    def _forget(self) -> None:
        if self._process is not None:
            self._process.join()
            self._process.close()
        if self._answer is not None:
            self._answer.close()
        self._process = self._answer = None
