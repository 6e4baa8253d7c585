"""The long versions of the soak tests: a hundred kills under load, and a crash at every single change.

    PYTHONPATH=.:tests python benchmarks/soak.py [ROUNDS] [SEED]

Kills `tracescope serve` with SIGKILL at random points of up to three seconds under load, restarts it,
and counts after every kill: each acknowledged span is there, once.  Then crashes draining and sealing
at each change that they make to the disk, one after another.  Stops at the first thing that is wrong.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from killing import EACH, kill_rounds
from test_soak_store import crash_at

from tracescope.engine.upkeep import verify
from tracescope.store import open_store


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else time.time_ns() % 2**32
    print(f"{rounds} kills under load, seed {seed}")
    with tempfile.TemporaryDirectory() as name:
        begin = time.monotonic()
        ledger = kill_rounds(Path(name) / "store", rounds, seed=seed, up_to_s=3.0, tell=print)
        problems = verify(open_store(Path(name) / "store"))
        assert problems == [], problems
        print(
            f"{rounds} kills in {time.monotonic() - begin:.0f} s: {len(ledger.acknowledged) * EACH:,} spans "
            f"acknowledged, none lost, none doubled; {ledger.again or 'no'} requests left to send"
        )
        for work in ("drain", "seal"):
            calls = 0
            while crash_at(Path(name) / f"{work}-{calls}", work, calls):
                calls += 1
            print(f"crashed {work} at each of its {calls} changes to the disk: nothing lost, nothing doubled")


if __name__ == "__main__":
    main()
