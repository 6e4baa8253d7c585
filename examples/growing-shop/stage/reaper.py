"""Ends every process of a run when the supervisor is gone, however it went.

    supervisor ──pipe──► reaper        the pipe closes when the supervisor ends, by kill -9 too

Processes are known by the run's variable in their environment, never by name.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from stage.plan import RUN_VARIABLE

PATIENCE_S = 10.0


def of_run(run: str) -> list[int]:
    """Processes of a run, this one not."""
    wanted = f"{RUN_VARIABLE}={run}".encode()
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
        except OSError:
            continue  # ended meanwhile, or another user's
    return [pid for pid in found if pid != os.getpid() and not _zombie(pid)]


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def end(run: str, spared: frozenset[int] = frozenset()) -> list[int]:
    """End what is left of a run: first politely, then not; returns what was still there."""
    left = [pid for pid in of_run(run) if pid not in spared]
    deadline = time.monotonic() + PATIENCE_S
    for number in (signal.SIGCONT, signal.SIGTERM):
        _send(left, number)
    while time.monotonic() < deadline and any(pid not in spared for pid in of_run(run)):
        time.sleep(0.1)
    while rest := [pid for pid in of_run(run) if pid not in spared]:
        _send(rest, signal.SIGKILL)
        time.sleep(0.1)
    return left


def _send(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def main() -> None:
    """Wait for the end of standard input, then end the run."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C is the supervisor's; its end is what counts
    sys.stdin.buffer.read()
    end(sys.argv[1])


if __name__ == "__main__":
    main()
