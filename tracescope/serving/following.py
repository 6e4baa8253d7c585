"""Following a Kafka topic: messages into the intake, and the place kept once they are durable.

    poll ─► some messages ─► intake: check, journal, fsync ─► the place, written and fsynced ─► poll
              wait and offer again while spans are not accepted ◄─┘

The place of each partition is a small file in the store's folder, beside what it speaks of.  It is written
after the journal has what lies before it, so that nothing is lost; what came between the two, when the
process is killed there, comes again and is stored once, as any span that is sent twice.  While the intake
refuses, nothing is polled: the client keeps some MiB ahead, and the topic holds the rest.

A thread of its own, since the client blocks; a broker that goes away is waited for.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from tracescope.errors import InputError, OverloadedError, StoreError, TracescopeError, sentence
from tracescope.ingest.intake import Intake
from tracescope.serving.events import Events
from tracescope.sources import digest
from tracescope.sources.kafka import Topic, closing, request_of
from tracescope.store.landing import write_private

FOLDER: Final = "kafka"
_POLL_S: Final = 0.25
#: Messages and bytes offered to the intake at once.
_MESSAGES: Final = 256
_BYTES: Final = 8 * 1024 * 1024
#: How often partitions are looked for and lag is measured; how long a broker that is away is waited for.
_LOOK_S: Final = 10.0
_RETRY_S: Final = 2.0
_WARN_S: Final = 60.0


@dataclass(slots=True)
class Follower:
    """Reads a topic until it is told to stop.

    Attributes
    ----------
    topic, intake, events
        What is read, where to, and what is told.
    root
        The store's folder.
    loop
        The event loop that the intake runs on.
    lag
        Messages of the topic that are not read yet; None until that is known.
    problem
        Why it does not go on now; empty while it does.
    """

    topic: Topic
    intake: Intake
    events: Events
    root: Path
    loop: asyncio.AbstractEventLoop
    lag: int | None = None
    problem: str = ""
    _places: dict[int, int] = field(default_factory=dict[int, int])
    _stopping: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _looked: float = 0.0
    _warned: float = 0.0

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread = threading.Thread(target=self._run, name="kafka", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let what was polled become durable, and end; blocks until then."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except TracescopeError as error:
                self.problem = f"kafka: {error.message}"
            except Exception as error:  # noqa: BLE001 - the thread outlives whatever a broker does
                self.problem = f"kafka: {sentence(error)}"
            if self.problem:
                self._warn("kafka_failed", self.problem)
                self._stopping.wait(_RETRY_S)

    def _follow(self) -> None:
        """Read on until something is wrong or it is told to stop."""
        place = self.root / FOLDER / f"{digest(self.topic.identity)}.json"
        self._places = read_places(place)
        with closing(self.topic.consumer()) as consumer:
            self._look(consumer)
            while not self._stopping.is_set():
                messages = consumer.consume(_MESSAGES, timeout=_POLL_S)
                sound = [message for message in messages if message.error() is None]
                for some in _portions(sound):
                    if not self._keep(some):
                        return
                    for message in some:
                        self._places[message.partition()] = message.offset() + 1
                    write_places(place, self._places)
                for message in messages:
                    if (error := message.error()) is not None:
                        raise self.topic.failed(error)
                self._look(consumer)

    def _look(self, consumer: Any) -> None:
        """Assign partitions that are new, and measure the lag."""
        if time.monotonic() - self._looked < _LOOK_S and self.lag is not None:
            return
        numbers = self.topic.partitions(consumer)
        at = self.topic.at
        held = {each.partition for each in consumer.assignment()}
        lag = 0
        for number in numbers:
            low, high = consumer.get_watermark_offsets(at(self.topic.topic, number), timeout=_LOOK_S)
            if number not in self._places:
                self._places[number] = self.topic.begin(consumer, number)
            if self._places[number] < low:
                lost = low - self._places[number]
                self._warn("kafka_lost", f"partition {number}: {lost} messages went before they were read")
                self._places[number] = low
            lag += max(0, high - self._places[number])
        if held != set(numbers):
            consumer.assign([at(self.topic.topic, number, self._places[number]) for number in numbers])
            self.events("following", topic=self.topic.name, partitions=len(numbers), behind=lag)
        self.lag, self.problem, self._looked = lag, "", time.monotonic()

    def _keep(self, messages: Sequence[Any]) -> bool:
        """Have messages durable, offered again while spans are not accepted; whether they are."""
        left = list(messages)
        while left:
            again: list[Any] = []
            wait_s = 0.0
            for message, outcome in zip(left, self._offer(left), strict=True):
                try:
                    outcome.result()
                except InputError as error:
                    where = f"partition {message.partition()} offset {message.offset()}"
                    self._warn("kafka_refused", f"{where}: {error.message}", level="warning")
                except OverloadedError as error:
                    again.append(message)
                    wait_s = max(wait_s, error.retry_after_s)
                except StoreError:
                    again.append(message)
                    wait_s = max(wait_s, _RETRY_S)
            left = again
            if left and self._stopping.wait(wait_s):
                return False
        return True

    def _offer(self, messages: Sequence[Any]) -> list[Future[dict[str, int]]]:
        return [
            asyncio.run_coroutine_threadsafe(self._accept(message.value() or b""), self.loop)
            for message in messages
        ]

    async def _accept(self, value: bytes) -> dict[str, int]:
        json = value.lstrip()[:1] == b"{"
        return await self.intake.accept("kafka", value, "", request_of if json else None)

    def _warn(self, event: str, message: str, level: str = "error") -> None:
        """An event a minute at most."""
        if time.monotonic() - self._warned > _WARN_S or not self._warned:
            self._warned = time.monotonic()
            self.events(event, level=level, message=message)


def _portions(messages: Sequence[Any]) -> Iterator[list[Any]]:
    """Messages in their order, by what is offered at once."""
    some: list[Any] = []
    size = 0
    for message in messages:
        length = len(message.value() or b"")
        if some and size + length > _BYTES:
            yield some
            some, size = [], 0
        some.append(message)
        size += length
    if some:
        yield some


def read_places(path: Path) -> dict[int, int]:
    """The next offset of each partition, as it was written last."""
    try:
        return {int(number): offset for number, offset in orjson.loads(path.read_bytes()).items()}
    except FileNotFoundError:
        return {}


def write_places(path: Path, places: Mapping[int, int]) -> None:
    """Write the next offset of each partition durably: the old file or the new one."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    temporary = path.with_suffix(".new")
    with write_private(temporary) as file:
        file.write(orjson.dumps({str(number): offset for number, offset in places.items()}))
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
