"""Marks and deploys as lines of a chart: what happened beside what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from tracescope.report.charts import Event
from tracescope.schema import DAY_NS

if TYPE_CHECKING:
    from tracescope.analysis.report import Appeared

#: From so many services on a version is told once.
_TOGETHER: Final = 3


def instants(marks: Mapping[str, int], deploys: Sequence[Appeared], *services: str) -> list[Event]:
    """Marks, and deploys of some services or of all, in the order of time.

    Parameters
    ----------
    marks
        Named instants of the store, in ns.
    deploys
        Versions that followed another one.
    services
        Whose deploys are wanted; none for everybody's.
    """
    found = [Event(at_ns, name) for name, at_ns in marks.items()]
    together: dict[tuple[str, int], list[Appeared]] = {}
    for each in deploys:
        if not services or each.service in services:
            together.setdefault((each.version, each.first_ns // DAY_NS), []).append(each)
    found += [Event(each[0].first_ns, _deployed(each)) for each in together.values()]
    return sorted(found, key=lambda event: (event.at_ns, event.words))


def _deployed(appeared: Sequence[Appeared]) -> str:
    """Versions alike that appeared on one day."""
    if len(appeared) < _TOGETHER:
        return ", ".join(f"{each.service} {each.version}" for each in appeared)
    return f"{appeared[0].version} of {len(appeared)} services"
