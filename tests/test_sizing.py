"""The page on sizing: what it derives follows from what it says was measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parent.parent / "collector-config" / "sizing.md").read_text()
USED = 0.6
DAY_S = 86_400


def table(heading: str) -> dict[str, list[str]]:
    """Rows of the table below a heading, by their first cell."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line[:1] == "|"
    ]
    return {first: rest for first, *rest in rows[2:]}


def figure(text: str) -> float:
    """The first number of a cell."""
    found = re.search(r"\d[\d,]*(?:\.\d+)?", text)
    assert found is not None, text
    return float(found[0].replace(",", ""))


def cost(stage: str) -> float:
    """What a span costs at a stage."""
    (cells,) = (cells for first, cells in table("What a span costs").items() if first.startswith(stage))
    return figure(cells[0])


def test_what_one_machine_carries_follows_from_the_costs() -> None:
    """Cores at 60 %, a fortnight of raw spans, the network."""
    rows = table("What one machine carries")
    assert rows
    for rate, (cores, disk, network) in rows.items():
        spans = figure(rate)
        assert figure(cores) == pytest.approx(
            spans * (cost("receive") + cost("seal by threads")) / 1e6 / USED, abs=0.06
        )
        unit = {"GB": 1e9, "TB": 1e12}[disk.split()[-1]]
        assert figure(disk) == pytest.approx(spans * cost("sealed") * 14 * DAY_S / unit, rel=0.01)
        assert figure(network) == pytest.approx(spans * cost("network") / 1e6, rel=0.03)


def test_the_plan_for_ten_millions_follows_from_the_costs() -> None:
    """Each part by itself."""
    expected = {
        "cores that receive": 1e7 * cost("receive") / 1e6 / USED,
        "cores that seal, by Spark": 1e7 * cost("seal by Spark") / 1e6 / USED,
        "network into the receivers": 1e7 * cost("network") / 1e6,
        "landed, until hours are sealed after two": 1e7 * cost("landed") * 7200 / 1e12,
        "raw spans of a day": 1e7 * cost("sealed") * DAY_S / 1e12,
        "rollups of a day, of a million call paths": 1e6 * cost("rollups") * 24 / 1e9,
    }
    plan = {name: figure(cells[0]) for name, cells in table("Ten million spans a second, simulated").items()}
    assert plan == pytest.approx(expected, rel=0.02)


def test_programs_that_measured_it_are_there() -> None:
    """Each is named by its path."""
    named = set(re.findall(r"`(benchmarks/\w+\.py)`", PAGE))
    assert len(named) >= 3
    for path in named:
        assert (Path(__file__).parent.parent / path).exists()
