"""Tasks and pools for tests of engines: those that die once, and those that count."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tracescope.engine.slices import Room
from tracescope.engine.tasks import Done, Pool, Task


@dataclass(frozen=True)
class Dying:
    """Does its task, and then kills a process instead of saying so, once.

    Attributes
    ----------
    flag
        A file that is there until then.
    above
        Whose process: its own (0), or that of the parent of its parent (2).
    """

    task: Task
    flag: Path
    above: int = 0

    def run(self) -> Done:
        done = self.task.run()
        try:
            self.flag.unlink()
        except FileNotFoundError:
            return done
        victim = os.getpid()
        for _ in range(self.above):
            victim = int(Path(f"/proc/{victim}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(victim, signal.SIGKILL)
        return done


@dataclass(frozen=True)
class Failing:
    """Cannot be done."""

    message: str

    def run(self) -> Done:
        raise FileNotFoundError(self.message)


class Watched:
    """A pool whose tasks are counted, and one of which dies where a flag says so."""

    def __init__(self, pool: Pool, flag: Path | None = None, above: int = 0) -> None:
        self._pool, self._flag, self._above = pool, flag, above
        self.workers, self.inside, self.together = pool.workers, pool.inside, pool.together
        self.runs: list[int] = []
        self.sizes: list[int] = []

    def room(self, memory_bytes: int) -> Room:
        return self._pool.room(memory_bytes)

    def memory(self, spans: int) -> int:
        """Memory in which a slice has so many spans."""
        return spans * 10**12 // self.room(10**12).spans + 1

    def run(self, tasks: Sequence[Task]) -> Iterator[Done]:
        self.runs.append(len(tasks))
        if not self.inside:
            self.sizes += [len(pickle.dumps(task)) for task in tasks]
        if self._flag is not None and self._flag.exists():
            tasks = [Dying(tasks[0], self._flag, self._above), *tasks[1:]]
        return self._pool.run(tasks)


class Broken(Watched):
    """A pool whose last task fails."""

    def run(self, tasks: Sequence[Task]) -> Iterator[Done]:
        return super().run([*tasks[:-1], Failing("no such folder")])
