"""Attacks on a running receiver, a few of each: `benchmarks/attack.py` has the full counts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_no_attack_costs_a_receiver_its_memory_or_a_neighbour_its_spans() -> None:
    """Every shape of hostile request, questions and idle connections; mutated requests add up."""
    command = [sys.executable, "-m", "benchmarks.attack", "--short"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 are lost" in done.stdout
    assert "EXCEEDS" not in done.stdout
    assert done.stdout.count(" 0 wrong") == 2
