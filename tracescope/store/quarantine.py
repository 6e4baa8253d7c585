"""Quarantine: files that are damaged, or none of the store's, set aside with a note of why.

    quarantine/<number>-<name>         the file, as it was found
    quarantine/<number>-<name>.json    where it lay, why it was moved, and what was lost with it

Nothing reads them again but whoever wants to save what they still hold; they may be removed by hand.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tracescope.store import modes
from tracescope.store.landing import fsync_path, write_durably

FOLDER: Final = "quarantine"


@dataclass(frozen=True, slots=True)
class Note:
    """Why a file was set aside.

    Attributes
    ----------
    path
        Where it lay, below the store's folder.
    reason
        What is wrong with it.
    lost_requests
        Acknowledged requests that could not be read from it.
    at_ns
        When it was moved.
    """

    path: str
    reason: str
    lost_requests: int = 0
    at_ns: int = 0


def set_aside(root: Path, path: Path, reason: str, *, lost_requests: int = 0) -> Path:
    """Move a file of the store at `root` out of the way; where it is then."""
    folder = root / FOLDER
    modes.make_folder(folder)
    at_ns = time.time_ns()
    aside = folder / f"{at_ns}-{path.name}"
    note = Note(str(path.relative_to(root)), reason, lost_requests, at_ns)
    # the note first: a file without one would be forgotten, a note without its file tells of it still
    write_durably(aside.with_name(f"{aside.name}.json"), json.dumps(asdict(note)).encode())
    path.rename(aside)
    fsync_path(folder)
    fsync_path(path.parent)
    return aside


def notes(root: Path) -> Iterator[Note]:
    """What was set aside, oldest first; a note that cannot be read counts as one of its file."""
    try:
        found = sorted((root / FOLDER).glob("*.json"))
    except OSError:
        return
    for path in found:
        if path.with_name(f"{path.name}.json") in found:
            continue  # no note, but what one is about
        try:
            yield Note(**json.loads(path.read_bytes()))
        except (OSError, ValueError, TypeError):
            yield Note(path.name.removesuffix(".json"), "its note is damaged too")
