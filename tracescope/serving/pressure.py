"""When to stop accepting: before memory or disk is used up, and while the journal cannot be written.

    0 ............ reclaim ............ refuse .... limit
                   85 %                 95 %

Above *reclaim* the oldest raw spans are removed; above *refuse* requests are answered with "send again
later" until it is below again.  Memory has no reclaiming; it refuses at 90 % and takes again at 80 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

RECLAIM_SHARE: Final = 0.85
REFUSE_SHARE: Final = 0.95
MEMORY_REFUSE_SHARE: Final = 0.90
MEMORY_RESUME_SHARE: Final = 0.80
_MIB: Final = 1024 * 1024


@dataclass(slots=True)
class Pressure:
    """Bounds of memory and disk, and what they say now.

    Attributes
    ----------
    memory_limit_bytes, disk_limit_bytes
        0 for no limit.
    """

    memory_limit_bytes: int
    disk_limit_bytes: int
    _memory_high: bool = False

    def reason(self, *, memory_bytes: int, disk_bytes: int, journal_error: OSError | None) -> str:
        """Why nothing may be accepted now; empty when it may."""
        if journal_error is not None:
            return f"the journal cannot be written: {journal_error.strerror or journal_error}"
        limit = self.disk_limit_bytes
        if limit and disk_bytes > limit * REFUSE_SHARE:
            return f"the store has {disk_bytes // _MIB} of {limit // _MIB} MiB of disk"
        self._memory_high = self.memory_is_short(memory_bytes)
        if self._memory_high:
            limit = self.memory_limit_bytes
            return f"the receiver has {memory_bytes // _MIB} of {limit // _MIB} MiB of memory"
        return ""

    def memory_is_short(self, memory_bytes: int) -> bool:
        """Whether so much memory would be, or stay, a reason to refuse."""
        share = MEMORY_RESUME_SHARE if self._memory_high else MEMORY_REFUSE_SHARE
        return bool(self.memory_limit_bytes) and memory_bytes > self.memory_limit_bytes * share

    def excess_bytes(self, disk_bytes: int) -> int:
        """Bytes of raw spans to be removed now."""
        if not self.disk_limit_bytes or disk_bytes <= self.disk_limit_bytes * RECLAIM_SHARE:
            return 0
        return disk_bytes - int(self.disk_limit_bytes * RECLAIM_SHARE * 0.9)
