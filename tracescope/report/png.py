"""Drawings as PNG, by an extra: resvg, which brings no system library and reads no network."""

from __future__ import annotations

from tracescope.errors import UsageError

#: Pixels for each px of the drawing.
SCALE = 2


def as_png(svg: str) -> bytes:
    """An SVG of a fixed theme as PNG.

    Raises
    ------
    UsageError
        The extra is not installed.
    """
    try:
        import resvg_py
    except ModuleNotFoundError as error:
        raise UsageError(
            "PNG needs the png extra", "pip install 'tracescope[png]', or take --format svg"
        ) from error
    return bytes(resvg_py.svg_to_bytes(svg_string=svg, zoom=SCALE))
