"""A small discrete-event loop: processes are generators that yield what they wait for.

A process yields a float (so many seconds pass), a `Pool` (one of its places), a `Gate` (all of some children
are done) or a `Race` (whichever comes first).  Events at one instant run in the order in which they were made,
so a run repeats exactly.

    def customer():
        yield counter           # waits for its turn
        yield 2.5               # is served
        counter.leave()
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from heapq import heappop, heappush
from typing import Any, Protocol

#: What runs: yields what it waits for, is sent what became of it, and may return whether it went well.
Process = Generator[Any, Any, Any]


class Loop:
    """The clock, and what happens next."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Process, Any]] = []
        self._made = 0

    def later(self, seconds: float, process: Process, value: Any = None) -> None:
        """Go on with a process after some seconds."""
        self._made += 1
        heappush(self._due, (self.now + seconds, self._made, process, value))

    def step(self, process: Process, value: Any = None) -> None:
        """Run a process until it waits."""
        while True:
            try:
                wish = process.send(value)
            except StopIteration:
                return
            if wish.__class__ is float:
                self.later(wish, process)
                return
            value = wish.enter(process)
            if value is None:
                return

    def run(self, until: float) -> None:
        """Run everything that is due before an instant; the clock stands there afterwards."""
        due = self._due
        while due and due[0][0] < until:
            self.now, _, process, value = heappop(due)
            self.step(process, value)
        self.now = until


class Waitable(Protocol):
    """What a process may wait for beside time."""

    def enter(self, process: Process) -> Any:
        """What it is sent at once, or None: it is gone on with later."""


class Pool:
    """So many places, given away in the order in which they are asked for."""

    __slots__ = ("_free", "_loop", "_waiting", "size")

    def __init__(self, loop: Loop, size: int) -> None:
        self.size = self._free = size
        self._loop = loop
        self._waiting: deque[Process] = deque()

    def enter(self, process: Process) -> bool | None:
        """A place, now or in turn."""
        if self._free > 0:
            self._free -= 1
            return True
        self._waiting.append(process)
        return None

    def leave(self) -> None:
        """Give a place back."""
        self._free += 1
        self._admit()

    def resize(self, size: int) -> None:
        """Have more places, or fewer as they come back."""
        self._free += size - self.size
        self.size = size
        self._admit()

    def _admit(self) -> None:
        while self._waiting and self._free > 0:
            self._free -= 1
            self._loop.later(0.0, self._waiting.popleft(), True)


class Gate:
    """Opens when all of some children are done."""

    __slots__ = ("_left", "_loop", "_process", "well")

    def __init__(self, loop: Loop, children: int) -> None:
        self._loop, self._left = loop, children
        self._process: Process | None = None
        self.well = True

    def enter(self, process: Process) -> bool | None:
        """Wait for the last child."""
        if self._left == 0:
            return self.well
        self._process = process
        return None

    def run(self, child: Process) -> Process:
        """A child, so that it counts."""
        well = yield from child
        self.well = self.well and bool(well)
        self._left -= 1
        if self._left == 0 and self._process is not None:
            self._loop.later(0.0, self._process, self.well)


class Race:
    """A piece of work against its time-out; who waits is sent the work's result, or ``"late"``."""

    __slots__ = ("_loop", "_process", "_result", "over")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._process: Process | None = None
        self._result: Any = None
        self.over = False

    def enter(self, process: Process) -> Any:
        """Wait for the first of both."""
        if self.over:
            return self._result
        self._process = process
        return None

    def run(self, work: Process) -> Process:
        """The work; it goes on when its time-out was first."""
        self._settle((yield from work))

    def timer(self, seconds: float) -> Process:
        """The time-out."""
        yield seconds
        self._settle("late")

    def _settle(self, result: Any) -> None:
        if self.over:
            return
        self.over, self._result = True, result
        if self._process is not None:
            self._loop.later(0.0, self._process, result)
