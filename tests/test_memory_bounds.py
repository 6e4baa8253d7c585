"""Byte kernels never reach beyond their arrays, whatever bytes they are given (`tests/guarded.py`)."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("guarded.py")


def run(what: str, count: int, note: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, PROGRAM, what, str(count), note]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)


def test_the_fence_stops_who_reads_one_byte_too_far(tmp_path: Path) -> None:
    """Else the tests below could not fail."""
    done = run("reach", 100, tmp_path / "note")
    assert done.stdout == "reached the last\n"
    assert done.returncode == -signal.SIGSEGV


@pytest.mark.parametrize("what", ["wire", "json", "jaeger", "zipkin", "zipkin-v1"])
def test_no_request_makes_a_kernel_read_or_write_outside_its_arrays(what: str, tmp_path: Path) -> None:
    """Cut at every byte, and thousands of times damaged: refused or read, and the process lives."""
    done = run(what, 4000, tmp_path / "note")
    assert done.returncode == 0, f"{done.stderr}\nlast document: {(tmp_path / 'note').read_text()}"
