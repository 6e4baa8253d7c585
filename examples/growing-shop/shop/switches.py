"""Switches: what is wrong with the shop today, read from a JSON file whenever it changes.

A list of names; a missing file means that nothing is wrong.  The file is mounted where the services run in
containers, so that a switch is thrown without a restart.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

#: What services know; the missing index and the starved service are made outside of them.
KNOWN: Final = frozenset(
    {"hot-row", "n-plus-one", "slow-consumer", "small-pool", "new-connection", "made-serial"}
)
_PATH = Path(os.environ.get("SHOP_SWITCHES", "switches.json"))
_read: tuple[int, frozenset[str]] = (0, frozenset())


def is_on(name: str) -> bool:
    """Whether a switch is thrown."""
    global _read  # noqa: PLW0603  the file's last state, one for the process
    if name not in KNOWN:
        raise KeyError(name)
    try:
        changed = _PATH.stat().st_mtime_ns
    except FileNotFoundError:
        return False
    if changed != _read[0]:
        _read = changed, frozenset(json.loads(_PATH.read_text()))
    return name in _read[1]
