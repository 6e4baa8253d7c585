"""A month of 720 hours at accelerated time, each sealed as it closes: how many files a store has.

    PYTHONPATH=.:tests python benchmarks/month.py [HOURS]

Every hour a batch of spans lands and the hour before is sealed; every day retention (two days of raw
spans) and what merging left are cleared away.  Stops where a count breaks the bound that the tests
state, which does not grow with the store's age; at the end everything that was sent is there.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import test_receiver_month
from test_receiver_month import Month, excessive

from tracescope.engine.upkeep import verify


def main() -> None:
    hours = int(sys.argv[1]) if len(sys.argv) > 1 else 720
    test_receiver_month.BATCHES = 1
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        month = Month(Path(folder) / "store")
        for hour in range(1, hours + 1):
            month.land_an_hour()
            month.pass_time(1)
            month.seal()
            if hour % 24 == 0:
                month.prune(days=2)
                files = month.files()
                broken = excessive(files)
                assert not broken, broken
                print(f"day {hour // 24:2}: {sum(files.values())} files")
        status = month.store.status()
        assert status.accepted == status.stored == status.units == month.sent
        assert verify(month.store) == []
    print(f"{hours} hours in {time.monotonic() - begin:.0f} s: nothing lost, every count bounded")


if __name__ == "__main__":
    main()
