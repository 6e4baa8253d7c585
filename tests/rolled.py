"""Rollups by hand, row by row: for laws of what is computed from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from tracescope import schema
from tracescope.analysis.rollups.period import PeriodRollups

_COLUMNS = {**schema.ROLLUPS, **schema.DIMENSIONS}
_USUAL = {"threshold": schema.NO_THRESHOLD, "callee": None, "operation": None, "uninstrumented": False}
#: A threshold at which one of two is kept: each counts twice.
HALF = 2**55


def table(name: str, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A table of a store; what a row does not name is 0, empty, or as it usually is."""
    types = schema.dtypes(_COLUMNS[name])
    empty = {column: "" if dtype == pl.String else 0 for column, dtype in types.items()}
    usual = {**empty, **{column: value for column, value in _USUAL.items() if column in types}}
    if name == "entries":
        usual["operation"] = ""
    return pl.DataFrame([{**usual, **row} for row in rows], schema=types)


def rolled(
    end_ns: int = schema.DAY_NS,
    *,
    start_ns: int = 0,
    slot_ns: int = schema.HOUR_NS,
    **tables: Sequence[Mapping[str, Any]],
) -> PeriodRollups:
    """A period of these tables; the others have no rows."""
    found = {name: table(name, tables.get(name, ())) for name in _COLUMNS}
    return PeriodRollups(start_ns, end_ns, slot_ns, "", found)
