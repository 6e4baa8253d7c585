"""The C library's allocator, set up for a process that makes and frees the same large arrays all day.

By default glibc returns every large block to the kernel when it is freed, and the next one is made of
fresh pages that the kernel clears first.  Inflating and scanning a request spent half of its time so.
Kept blocks are bounded, and given back when memory is short.
"""

from __future__ import annotations

import ctypes
from typing import Final

#: Parameters of mallopt(3), in glibc's malloc.h.
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_ARENA_MAX: Final = -8
#: Larger blocks still come from the kernel and go back to it: what glibc allows at most.
MAPPED_BYTES: Final = 32 * 1024 * 1024
#: So much free memory at the end of a heap is kept.
KEPT_BYTES: Final = 64 * 1024 * 1024
#: Heaps: the event loop's, the drain's, and one for all other threads.
ARENAS: Final = 3


def keep_blocks(mapped_bytes: int = MAPPED_BYTES, kept_bytes: int = KEPT_BYTES) -> bool:
    """Let this process keep freed blocks; whether its C library can.

    Parameters
    ----------
    mapped_bytes, kept_bytes
        Larger blocks are not kept; and of a heap's end so many bytes are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none, and keeps blocks of its own accord
        return False
    chosen = ((_MMAP_THRESHOLD, mapped_bytes), (_TRIM_THRESHOLD, kept_bytes), (_ARENA_MAX, ARENAS))
    done = [mallopt(parameter, value) == 1 for parameter, value in chosen]  # each, whatever the others say
    return all(done)


def give_back() -> bool:
    """Return free memory to the kernel; whether there was any."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except AttributeError:
        return False
    return trim(0) == 1
