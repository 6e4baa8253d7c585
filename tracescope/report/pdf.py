"""The report as PDF, by an extra: WeasyPrint, which lays out the same file for paper.

    review.html ─► pictures get their style sheet, colours written out ─► WeasyPrint ─► bytes

WeasyPrint styles each drawing by what stands inside it, and knows no variables there.  Nothing is
fetched: what a name could make it ask for is refused.

Source: WeasyPrint documentation, "API reference" (`URLFetcher`) and "SVG support".
"""

from __future__ import annotations

import re
from typing import Any

from tracescope.errors import UsageError
from tracescope.report import page

_ROOT = re.compile(r":root\s*\{(.*?)\}", re.DOTALL)
_DARK = re.compile(r"@media \(prefers-color-scheme: dark\) \{\s*:root \{.*?\}\s*\}", re.DOTALL)
_VARIABLE = re.compile(r"(--[\w-]+)\s*:\s*([^;]+);")
_USE = re.compile(r"var\((--[\w-]+)\)")
_OPENING = re.compile(r'<svg (?![^>]*class="ts-graph")[^>]*>')


def light_sheet() -> str:
    """The page's style sheet in the light theme, every colour written out."""
    css = page.asset("tracescope.css")
    root = _ROOT.search(css)
    assert root is not None, "the style sheet begins with its variables"
    values = dict(_VARIABLE.findall(root[1]))
    plain = css[root.end() :].partition("@media print")[0]
    return _USE.sub(lambda found: values[found[1]].strip(), _DARK.sub("", plain))


def as_pdf(html: str) -> bytes:
    """A report as PDF.

    Parameters
    ----------
    html
        What `tracescope.report.review.review_html` gives, its graph in a fixed theme.

    Raises
    ------
    UsageError
        The extra is not installed, or the system has no Pango.
    """
    try:
        from weasyprint import HTML
        from weasyprint.urls import URLFetcher
    except (ModuleNotFoundError, OSError) as error:
        raise UsageError(
            f"PDF needs the pdf extra and Pango: {error}",
            "pip install 'tracescope[pdf]' (and `apt-get install libpangoft2-1.0-0`), or write "
            "review.html and print that",
        ) from error
    sheet = f"<style>{light_sheet()}</style>"
    styled = _OPENING.sub(lambda found: found[0] + sheet, html)
    made: Any = HTML(string=styled, url_fetcher=URLFetcher(allowed_protocols=()))
    return bytes(made.write_pdf())
