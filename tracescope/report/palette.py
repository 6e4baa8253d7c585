"""Colours and marks of drawings, light and dark."""

from __future__ import annotations

import re
from typing import Final, Literal

#: Name -> colour in light, in dark.  Lines of changes and shares keep 3:1 against the paper.
_COLORS: Final[dict[str, tuple[str, str]]] = {
    "paper": ("#ffffff", "#11151d"),
    "text": ("#1d2433", "#e4e8f0"),
    "muted": ("#5d6778", "#9aa5b8"),
    "up3": ("#bf2f2c", "#f2695f"),
    "up2": ("#dc6a33", "#f08c52"),
    "up1": ("#d39322", "#e5b450"),
    "flat": ("#bcc4d1", "#465166"),
    "down": ("#2766b0", "#62a3ee"),
    "share3": ("#1f4fbf", "#7ba3ff"),
    "share2": ("#4e7fd6", "#5b82d8"),
    "share1": ("#8aa9dd", "#48639b"),
    "absent": ("#e3e7ee", "#262d3a"),
    "own": ("#7d8aa3", "#8391ab"),
    "service": ("#ffffff", "#1a2130"),
    "service-edge": ("#aab4c5", "#56627a"),
    "database": ("#fdf3df", "#2d2716"),
    "database-edge": ("#d8b163", "#94762f"),
    "cache": ("#fcebe6", "#301f1b"),
    "cache-edge": ("#d99781", "#96584a"),
    "queue": ("#e2f4ee", "#142a25"),
    "queue-edge": ("#66b39a", "#3f8a73"),
    "external": ("#f2f4f8", "#1b2029"),
    "external-edge": ("#98a3b6", "#66718a"),
    "namespace": ("#edf1fe", "#1c2440"),
    "namespace-edge": ("#8ea2e4", "#5a6eb8"),
}

#: Classes of edges: growth in three steps, no clear change, less; shares in three steps; not in the period.
INKS: Final = ("up3", "up2", "up1", "flat", "down", "share3", "share2", "share1", "absent")

#: Type -> its mark, path data in a box of 10 by 10.
MARKS: Final[dict[str, str]] = {
    "service": "M1 1h8v8h-8z",
    "database": "M1 2.2C1 .6 9 .6 9 2.2V7.8C9 9.4 1 9.4 1 7.8zM1 2.2C1 3.8 9 3.8 9 2.2M1 5C1 6.6 9 6.6 9 5",
    "cache": "M6 .5L1.5 5.7H5L4 9.5L8.5 4.3H5z",
    "queue": "M1 2h8M1 5h8M1 8h8",
    "external": "M5 1H1v8h8V5M6 1h3v3M9 1L4.5 5.5",
    "namespace": "M1 3h6v6h-6zM3 3V1h6v6H7",
}

_RULES: Final = """
.ts-graph{color-scheme:light dark}
.ts-paper{fill:var(--ts-paper)}
.ts-name{fill:var(--ts-text)}
.ts-heading{fill:var(--ts-text);font-size:14px;font-weight:600}
.ts-legend{fill:var(--ts-muted)}
.ts-line{fill:none}
.ts-tip{stroke:none}
.ts-own{fill:var(--ts-own)}
.ts-tint{fill-opacity:.22;stroke:none}
.ts-badge{font-size:9px;fill:var(--ts-muted)}
.ts-badge.ts-up2{fill:var(--ts-up3);font-weight:700}
.ts-box{stroke-width:1}
.ts-mark{fill:none;stroke-width:1.1;stroke-linejoin:round;stroke-linecap:round}
.ts-box.ts-external{stroke-dasharray:3 2}
.ts-entry .ts-box{stroke-width:2}
.ts-faint{opacity:.35}
.ts-halo{fill:var(--ts-paper);fill-opacity:.86}
.ts-say{font-size:10px;font-weight:700}
.ts-say.ts-flat{fill:var(--ts-muted)}
.ts-edge:hover .ts-line,.ts-edge:focus-within .ts-line{stroke:var(--ts-text)}
.ts-edge:hover .ts-tip,.ts-edge:focus-within .ts-tip{fill:var(--ts-text)}
.ts-node:hover .ts-box,.ts-node:focus-within .ts-box{stroke:var(--ts-text)}
"""


def _sheet() -> str:
    rules = [_RULES.strip()]
    for name in INKS:
        rules.append(f".ts-line.ts-{name}{{stroke:var(--ts-{name})}}")
        rules.append(f".ts-tip.ts-{name}{{fill:var(--ts-{name})}}")
        rules.append(f".ts-tint.ts-{name}{{fill:var(--ts-{name})}}")
        if name not in ("flat", "absent"):
            rules.append(f".ts-say.ts-{name}{{fill:var(--ts-{name})}}")
    for name in MARKS:
        rules.append(f".ts-box.ts-{name}{{fill:var(--ts-{name});stroke:var(--ts-{name}-edge)}}")
        rules.append(f".ts-mark.ts-{name}{{stroke:var(--ts-{name}-edge)}}")
    return "\n".join(rules)


def _variables(theme: int) -> str:
    return ";".join(f"--ts-{name}:{colors[theme]}" for name, colors in _COLORS.items())


#: The style sheet of drawings, for a page of ours; colours follow the reader's light or dark.
STYLE: Final = (
    f".ts-graph{{{_variables(0)}}}\n"
    f"@media (prefers-color-scheme:dark){{.ts-graph{{{_variables(1)}}}}}\n{_sheet()}\n"
)


def color_of(name: str) -> str:
    """A colour by its name, for light paper: forms of other programs know no variables."""
    return _COLORS[name][0]


def style(theme: Literal["auto", "light", "dark"]) -> str:
    """The style sheet; of a fixed theme it holds plain colours and no variables."""
    if theme == "auto":
        return STYLE
    at = 0 if theme == "light" else 1
    plain = re.sub(r"var\(--ts-([a-z0-9-]+)\)", lambda found: _COLORS[found[1]][at], _sheet())
    return "\n".join(
        line for line in plain.splitlines() if ":hover" not in line and "color-scheme" not in line
    )
