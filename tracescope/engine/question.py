"""What is asked of a store: one object, from every surface to the one place that answers.

The command line, the page, the agent's tools, the report and the metrics each make a `Question`;
`tracescope.session` answers it.  What is not given comes from the settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from tracescope.analysis.diff import Options
from tracescope.analysis.rollups.where import Condition
from tracescope.config import Settings
from tracescope.errors import UsageError
from tracescope.periods import Context, Period, first_and_last, pair, zone_of

KeepEntry = Callable[[str, str], bool]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes
    ----------
    base, head
        Periods as a user writes them; both empty for last week and this week.
    environment
        ``deployment.environment.name``; empty for the busiest of HEAD.
    entry
        A regular expression: only entries whose ``service operation`` matches.
    entry_id
        One entry by the 16 hex digits of its id.
    include, exclude
        Regular expressions of operations: only entries that match, none that match.
    where
        Only traces in which spans carry these attributes; read from raw spans.
    quantile
        Only each entry's requests above this quantile; read from raw spans.
    zone
        Time zone of calendar words and of the hour of the week.
    alpha
        False discovery rate.
    min_effect_ms
        Smallest change that is tested for; None for a part of BASE's mean.
    by
        What a row is: ``operation``, ``service`` or ``kind``.
    """

    base: str = ""
    head: str = ""
    environment: str = ""
    entry: str = ""
    entry_id: str = ""
    include: str = ""
    exclude: str = ""
    where: tuple[Condition, ...] = ()
    quantile: float | None = None
    zone: str = "UTC"
    alpha: float = 0.05
    min_effect_ms: float | None = None
    by: str = "operation"

    def __post_init__(self) -> None:
        """Raise UsageError for what is no regular expression, and for no time zone."""
        zone_of(self.zone)
        for name in ("entry", "include", "exclude"):
            pattern(getattr(self, name), name)

    @classmethod
    def of(cls, settings: Settings, **asked: Any) -> Question:
        """A question under the settings in force, `asked` first; None is what was not asked."""
        made = cls(
            environment=settings.env,
            include=settings.include,
            exclude=settings.exclude,
            zone=settings.tz,
            alpha=settings.alpha,
            min_effect_ms=settings.min_effect or None,
        )
        return replace(made, **{name: value for name, value in asked.items() if value is not None})

    def periods(self, context: Context) -> tuple[Period, Period, tuple[str, ...]]:
        """BASE and HEAD, and what a reader should know of the choice.

        Without either these are last week and this week, or the store's halves where it does not
        reach over both; of a demo its first month and its last.
        """
        if self.base or self.head:
            if self.head and not self.base:
                raise UsageError("head without base", "give both, or base alone")
            return *pair(self.base, self.head or None, context), ()
        if context.demo and context.last_ns:
            base, head = first_and_last(context)
            return base, head, (f"a demo's store: {base.text} and {head.text} are compared",)
        base, head = pair(None, None, context)
        first, last = context.first_ns, context.last_ns
        if not last or (first < base.end_ns and last > head.start_ns + head.length_ns // 4):
            return base, head, ()
        told = "the store does not reach over last week and this week: its two halves are compared"
        return *pair("all", None, context), (told,)

    def keep_entry(self) -> KeepEntry | None:
        """Which entries take part, of service and operation, by the patterns; None for all."""
        named, included, excluded = (
            pattern(getattr(self, name), name) for name in ("entry", "include", "exclude")
        )
        if named is None and included is None and excluded is None:
            return None

        def keep(service: str, operation: str) -> bool:
            return (
                (named is None or named.search(f"{service} {operation}") is not None)
                and (included is None or included.search(operation) is not None)
                and not (excluded is not None and excluded.search(operation))
            )

        return keep

    def options(self, keep_entry: KeepEntry | None) -> Options:
        """How to compare, of the entries that `keep_entry` keeps."""
        return Options(self.alpha, self.min_effect_ms, self.zone, keep_entry, self.by)


def pattern(text: str, what: str) -> re.Pattern[str] | None:
    """A regular expression, or None for an empty one; raises UsageError that says `what` it was for."""
    if not text:
        return None
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(
            f"{what} {text!r} is not a regular expression: {error}",
            "quote what is meant as it stands with \\",
        ) from error
