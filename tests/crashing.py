"""Crashes for tests: the calls that change a disk stop working at a chosen one, as in a killed process.

    with crash_after(3): drain(store, segments)     # the fourth change to the disk does not happen

From that call on every such call fails, so that `finally` blocks and cleaning up change nothing
either: what is left on the disk is what a process killed there would have left.  What libraries
write by themselves (Parquet files, Delta commits) happens whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest import mock


class Crash(BaseException):
    """The process is gone."""


CHANGES = ("fsync", "ftruncate", "mkdir", "rename", "replace", "rmdir", "unlink", "write")


@contextmanager
def crash_after(calls: int) -> Iterator[Callable[[], bool]]:
    """Let so many changes to the disk happen, then none; gives whether the crash has come."""
    made = 0

    def failing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal made
            made += 1
            if made > calls:
                raise Crash
            return real(*arguments, **options)

        return call

    patched = {name: failing(getattr(os, name)) for name in CHANGES}
    with mock.patch.multiple(os, **patched), suppress(Crash):
        yield lambda: made > calls
