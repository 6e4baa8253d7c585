"""The allocator of a receiver: freed memory is kept for the next request, and given back when asked."""

from __future__ import annotations

import subprocess
import sys

CHILD = """
import ctypes
from tracescope.serving.allocator import give_back, keep_blocks
from tracescope.serving.state import resident_bytes

can = keep_blocks()
before = resident_bytes()
blocks = [ctypes.create_string_buffer(b"x" * 2**20) for _ in range(40)]
full = resident_bytes()
del blocks
freed = resident_bytes()
give_back()
print(can, *((now - before) >> 20 for now in (full, freed, resident_bytes())))
"""


def test_freed_blocks_are_kept_until_they_are_given_back() -> None:
    """40 MiB in blocks of one: still resident when they are free, and gone when memory is short."""
    said = subprocess.run([sys.executable, "-c", CHILD], check=True, capture_output=True, text=True)
    can, full, freed, returned = said.stdout.split()
    assert can == "True"
    assert int(full) >= 40
    assert int(freed) >= 35
    assert int(returned) < 10
