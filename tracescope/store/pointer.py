"""The pointer: the one small file that says what of the sealed tables counts.

    CURRENT.json            the newest publication; replaced atomically
    sealed/log/<n>.json     the same, and a few before it, for when CURRENT.json is damaged

Readers read only files that it names, with how many rows, bytes and which checksum each has, and between
which hours its rows lie: so files need not be opened to know that they hold nothing that is asked for.
The checksum of the pointer's own text stands first in it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from tracescope import schema
from tracescope.errors import NewerFormatError, StoreError, in_words
from tracescope.store import checked
from tracescope.store.landing import Ledger

#: Batches remembered after their ledger entries were merged, so that none counts twice.
REMEMBERED: Final = 8192
#: ... and of parts of sources, which would be read again: their names begin so.
PARTS_REMEMBERED: Final = 1_000_000
OF_PART: Final = "s-"
#: Tables that earlier schemas had and nobody reads any more.
FORMER_TABLES: Final = ("edge_load",)
#: Bounds of a file that may hold rows of any hour.
_EVER: Final = (-(2**62), 2**62)


def remembered(batches: list[str]) -> list[str]:
    """The newest batches, of which those of sources are remembered longer; in their order."""
    parts = sum(name.startswith(OF_PART) for name in batches)
    drop = {True: max(0, parts - PARTS_REMEMBERED), False: max(0, len(batches) - parts - REMEMBERED)}
    if not any(drop.values()):
        return batches
    kept: list[str] = []
    for name in batches:
        kind = name.startswith(OF_PART)
        if drop[kind]:
            drop[kind] -= 1
        else:
            kept.append(name)
    return kept


@dataclass(frozen=True, slots=True)
class File:
    """A file of a sealed table, immutable once it is named.

    Attributes
    ----------
    path
        Below ``sealed/``.
    rows, size, check
        What it holds: rows, bytes, and CRC-32 of these; -1 where schema version 1 did not note it.
    first, last
        Its rows' slots (of spans: hours) lie between these; zeros for dimensions.
    version
        Schema version that wrote it.
    """

    path: str
    rows: int
    size: int
    check: int
    first: int
    last: int
    version: int = schema.SCHEMA_VERSION

    def among(self, slots: Collection[int]) -> bool:
        """Whether it may hold rows of some of `slots`."""
        if self.last - self.first < len(slots):
            return any(slot in slots for slot in range(self.first, self.last + 1))
        return any(self.first <= slot <= self.last for slot in slots)


@dataclass(frozen=True, slots=True)
class HourState:
    """One sealed hour.

    Attributes
    ----------
    spans
        How many were sealed.
    arrived_ns
        When the latest of them arrived; 0 where that is not known.
    has_raw
        Whether the spans are still here, or only what they added up to.
    rules
        Version of the rules (`schema.RULES`) that its rollups were made by.
    """

    spans: int
    arrived_ns: int
    has_raw: bool
    rules: int = schema.RULES


@dataclass(slots=True)
class Pointer:
    """What of the sealed tables counts.

    Attributes
    ----------
    sequence
        Counts publications.
    files
        Files that count, by table.
    hours
        What is sealed of each hour.
    ledger
        Totals of batches whose ledger entries were merged; its ``batches`` are remembered.
    first_ns, last_ns
        Earliest start and latest end among sealed spans; 0 when there are none.
    forgotten
        Spans of hours whose rollups have gone too.
    days
        Days since the epoch whose rows of `schema.DAILY` are the sums of their hours, ascending.
    version
        Which state of the object in a bucket this is; None in a folder, and for one that is not there yet.
    """

    sequence: int = 0
    files: dict[str, list[File]] = field(default_factory=dict[str, list[File]])
    hours: dict[int, HourState] = field(default_factory=dict[int, HourState])
    ledger: Ledger = field(default_factory=Ledger)
    first_ns: int = 0
    last_ns: int = 0
    forgotten: int = 0
    days: list[int] = field(default_factory=list[int])
    version: str | None = None

    def has_raw(self, hour: int) -> bool:
        """Whether an hour is sealed and its raw spans are here."""
        state = self.hours.get(hour)
        return state is not None and state.has_raw

    def is_closed(self, hour: int) -> bool:
        """Whether an hour's raw spans have gone: more spans for it are refused."""
        state = self.hours.get(hour)
        return state is not None and not state.has_raw

    def with_raw(self) -> list[int]:
        """Sealed hours whose raw spans are here, ascending."""
        return sorted(hour for hour, state in self.hours.items() if state.has_raw)

    def closed(self) -> list[int]:
        """Hours whose raw spans have gone, ascending."""
        return sorted(hour for hour, state in self.hours.items() if not state.has_raw)

    def unfold(self, hours: Collection[int]) -> None:
        """Let no day count of which some of `hours` change."""
        changed = {hour // 24 for hour in hours}
        self.days = [day for day in self.days if day not in changed]

    def forget_hours(self, hours: Collection[int]) -> None:
        """Drop hours, but go on counting their spans."""
        self.forgotten += sum(self.hours.pop(hour).spans for hour in hours)
        self.unfold(hours)

    def dump(self) -> bytes:
        """As JSON with a checksum."""
        return checked.dump(
            {
                "schema": schema.SCHEMA_VERSION,
                "sequence": self.sequence,
                "files": {
                    name: [(f.path, f.rows, f.size, f.check, f.first, f.last, f.version) for f in files]
                    for name, files in self.files.items()
                },
                "hours": {
                    str(hour): (state.spans, state.arrived_ns, state.has_raw, state.rules)
                    for hour, state in sorted(self.hours.items())
                },
                "accepted": self.ledger.accepted,
                "rejected": self.ledger.rejected,
                "batches": remembered(self.ledger.batches),
                "arrived_ns": self.ledger.arrived_ns,
                "first_ns": self.first_ns,
                "last_ns": self.last_ns,
                "forgotten": self.forgotten,
                "days": self.days,
            }
        )

    @classmethod
    def load(cls, data: bytes, path: Path) -> Pointer:
        """From JSON.

        Raises
        ------
        NewerFormatError
            A newer program wrote it.
        StoreError
            It is damaged.
        """
        try:
            version = int(orjson.loads(data)["schema"])  # a newer one may check itself otherwise
            if version <= schema.SCHEMA_VERSION:
                return _of(checked.load(data, required=version > 1), version)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise StoreError(
                f"{path} is damaged: {in_words(error)}",
                "`tracescope verify --repair` restores it from its log",
            ) from error
        raise NewerFormatError(
            f"{path} has schema {version}; this program knows {schema.SCHEMA_VERSION}", "upgrade tracescope"
        )


def _of(raw: dict[str, Any], version: int) -> Pointer:
    hours: dict[str, list[Any]] = raw["hours"]
    files: dict[str, list[Any]] = raw["files"]
    if version == 1:  # hours did not note their rules, files nothing about themselves
        hours = {hour: [*state, 1] for hour, state in hours.items()}
        files = {
            name: [_former(path) for path in paths]
            for name, paths in files.items()
            if name not in FORMER_TABLES
        }
    else:
        files = {name: [File(*about) for about in each] for name, each in files.items()}
    return Pointer(
        sequence=raw["sequence"],
        files=files,
        hours={int(hour): HourState(*state) for hour, state in hours.items()},
        ledger=Ledger(raw["accepted"], raw["rejected"], raw["batches"], raw["arrived_ns"]),
        first_ns=raw["first_ns"],
        last_ns=raw["last_ns"],
        forgotten=raw.get("forgotten", 0),
        days=raw.get("days", []),
    )


def _former(path: str) -> File:
    """A file as schema version 1 named it; those of spans lay by hour."""
    hour = path.split("/")[1].removeprefix("hour=")
    bounds = (int(hour), int(hour)) if path.startswith("spans/") else _EVER
    return File(path, -1, -1, -1, *bounds, version=1)
