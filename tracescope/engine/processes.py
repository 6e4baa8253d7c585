"""Tasks run by processes of this machine: each has an interpreter and a memory of its own.

A process that dies takes its task with it; the task is run again by another one.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from tracescope.engine.slices import Room, in_threads
from tracescope.engine.tasks import Done, Task, unpack
from tracescope.engine.worker import ENVIRONMENT, FAILED, read_sized, write_sized
from tracescope.errors import StoreError

#: A task whose process dies is tried so often; it may be the task that kills it.
TRIES: Final = 4


class _Worker:
    """One process, or the one after it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def answer(self, task: bytes) -> bytes | None:
        """What the process says; None where it died over it."""
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tracescope.engine.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**ENVIRONMENT, **os.environ},
            )
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            write_sized(process.stdin, task)
            said = read_sized(process.stdout)
        except BrokenPipeError:
            said = None
        if said is None:
            self.end()
        return said

    def end(self) -> None:
        """Let it finish, which it does where its input ends."""
        process, self._process = self._process, None
        if process is not None:
            process.communicate()


class Processes:
    """So many processes, which last as long as this is used as a context."""

    inside = False

    def __init__(self, workers: int) -> None:
        self.workers = self.together = workers
        self._free: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._all = [_Worker() for _ in range(workers)]
        for worker in self._all:
            self._free.put(worker)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._all:
            worker.end()

    def room(self, memory_bytes: int) -> Room:
        """They share it."""
        return Room(self.workers, memory_bytes)

    def run(self, tasks: Sequence[Task]) -> Iterator[Done]:
        """Run tasks; one whose process dies is run again.

        Raises
        ------
        StoreError
            A task failed, or its process died each time.
        """
        return in_threads(self._run, tasks, self.workers)

    def _run(self, task: Task) -> Done:
        worker = self._free.get()
        try:
            pickled = pickle.dumps(task)
            for _ in range(TRIES):
                said = worker.answer(pickled)
                if said is not None:
                    break
            else:
                raise StoreError(
                    f"a worker process died {TRIES} times over the same task",
                    "more memory, or --memory-mb, helps",
                )
        finally:
            self._free.put(worker)
        if said[:1] == FAILED:
            raise StoreError(f"a worker process failed: {said[1:].decode()}", "nothing is sealed")
        return unpack(said[1:])
