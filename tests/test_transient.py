"""What a few blocks carry is transient, and nobody's growth: an hour of an outage, not a level that stays."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from tracescope.analysis.comparison.effects import transient
from tracescope.schema import HOUR_NS

Floats = NDArray[np.float64]
MS = 1e6
BLOCKS = 20


def side(own_ms: list[float], units: float = 10.0, visits: float = 2.0) -> Any:
    """One path of one entry: so much own time a visit in each block."""
    column = np.array(own_ms, float)[:, None]
    return SimpleNamespace(
        entries={"units": np.full_like(column, units)},
        paths={"visits": np.full_like(column, visits * units), "own_ns": column * visits * units * MS},
    )


def found(base: list[float], head: list[float], slot_ns: int = HOUR_NS) -> float:
    unit: Any = SimpleNamespace(
        base=side(base), head=side(head), tree=SimpleNamespace(entry=np.array([0])),
        paths=pl.DataFrame({"kind": [0]}),
    )  # fmt: skip
    return float(transient(unit, slot_ns)[0])


def blocks(
    at: dict[int, float] | None = None, level: float = 10.0, wave: float = 0.1, n: int = BLOCKS
) -> list[float]:
    """A level that swings a little, with other values in some blocks."""
    made = [level + (wave if k % 2 else -wave) for k in range(n)]
    for k, value in (at or {}).items():
        made[k] = value
    return made


def test_one_block_of_an_outage_is_its_excess_over_the_middle_for_each_unit() -> None:
    """Two visits a unit, 40 ms longer in one block of twenty: 4 ms a unit; of BASE with a minus."""
    assert found(blocks(), blocks({5: 50.0})) == pytest.approx(2 * (50 - 9.9) / BLOCKS, rel=0.01)
    assert found(blocks({5: 50.0}), blocks()) == pytest.approx(-2 * (50 - 9.9) / BLOCKS, rel=0.01)
    both = found(blocks({5: 50.0}), blocks({9: 50.0}))
    assert both == pytest.approx(0.0, abs=1e-9)


def test_what_stays_within_the_noise_is_no_outage() -> None:
    """Six deviations of the median, and a quarter of it at least."""
    noisy = 1.4826 * 1.0
    for value, told in ((10 + 5.5 * noisy, False), (10 + 7.5 * noisy, True)):
        assert (found(blocks(), blocks({5: value}, wave=1.0)) > 0) == told, value
    for value, told in ((12.4, False), (12.7, True)):  # a quarter of ten, however quiet the rest is
        assert (found(blocks(), blocks({5: value}, wave=0.0)) > 0) == told, value
    assert found(blocks(), blocks({5: 1.0})) == 0.0  # a quick hour is none


def test_what_many_blocks_have_or_the_last_is_growth() -> None:
    """A tenth of them are few, and one at least; what is there at the end may stay."""
    assert found(blocks(), blocks({3: 50.0, 9: 50.0})) == pytest.approx(2 * 2 * 40.1 / BLOCKS, rel=0.01)
    assert found(blocks(), blocks({3: 50.0, 9: 50.0, 12: 50.0})) == 0.0
    assert found(blocks(), blocks({BLOCKS - 1: 50.0})) == 0.0
    assert found(blocks(), blocks({BLOCKS - 2: 50.0})) > 0
    assert found(blocks(n=8), blocks({3: 50.0}, n=8)) > 0  # one of eight is more than a tenth
    assert found(blocks(n=8), blocks({2: 50.0, 3: 50.0}, n=8)) == 0.0


def test_of_few_blocks_and_of_slots_under_an_hour_nothing_is_transient() -> None:
    assert found(blocks(n=7), blocks({3: 50.0}, n=7)) == 0.0
    assert found(blocks(), blocks({5: 50.0}), HOUR_NS - 1) == 0.0
    assert found(blocks(), blocks({5: 50.0}), HOUR_NS) > 0
    assert found(blocks(level=0.0, wave=0.0), blocks({5: 50.0}, level=0.0, wave=0.0)) == 0.0


def test_an_entry_counts_by_its_part_of_all_units_in_both_periods() -> None:
    """Two entries, one of them a quarter of BASE and of HEAD; one that a period lacks counts for nothing."""
    head, quiet = side(blocks({5: 50.0})), side(blocks())

    def unit(shares: tuple[tuple[float, float], tuple[float, float]]) -> Any:
        sides = []
        for one, units in zip((quiet, head), shares, strict=True):
            both = np.array(units)[None, :]
            sides.append(
                SimpleNamespace(
                    entries={"units": np.repeat(both, BLOCKS, axis=0)},
                    paths={name: np.hstack([values] * 2) for name, values in one.paths.items()},
                )
            )
        return SimpleNamespace(
            base=sides[0], head=sides[1], tree=SimpleNamespace(entry=np.array([0, 1])),
            paths=pl.DataFrame({"kind": [0, 0]}),
        )  # fmt: skip

    first, second = transient(unit(((1.0, 3.0), (1.0, 3.0))), HOUR_NS)
    whole = 40.1 * 20 / BLOCKS
    assert (first, second) == (
        pytest.approx(whole * 0.25, rel=0.01),
        pytest.approx(whole / 3 * 0.75, rel=0.01),
    )
    lone, other = transient(unit(((0.0, 3.0), (1.0, 3.0))), HOUR_NS)
    assert lone == 0.0
    assert other == pytest.approx(whole / 3 * (1 + 0.75) / 2, rel=0.01)
