"""Traces by what their spans carry: ``--where key=value``.

A trace counts when, for every condition, some span of it carries the attribute, on itself or on its
resource.  Attributes are kept as raw slices; only slices that contain the wanted bytes are parsed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from tracescope.conventions import keeping
from tracescope.conventions.keeping import Policy
from tracescope.errors import UsageError

_TRACE = ["trace_hi", "trace_lo"]


@dataclass(frozen=True, slots=True)
class Condition:
    """An attribute's key, and its value as text: ``true``, ``200``, ``eu-west-1``."""

    key: str
    value: str


def conditions(texts: Sequence[str], policy: Policy = keeping.DEFAULT) -> tuple[Condition, ...]:
    """Conditions from ``key=value``.

    Parameters
    ----------
    texts
        One a condition.
    policy
        Which attributes are kept, beside what is built in.

    Raises
    ------
    UsageError
        There is no ``=`` or no key, or the attribute is cut before spans are stored.
    """
    out: list[Condition] = []
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UsageError(
                f"--where {text!r}: expected a condition", "write key=value, as in --where region=eu-1"
            )
        if keeping.judge(key, policy) == keeping.Verdict.CUT:
            raise UsageError(
                f"--where {text!r}: {key} is cut before spans are stored",
                f'choose another attribute, or import anew with keep_attributes = ["{key}"]',
            )
        out.append(Condition(key, value))
    return tuple(out)


def attributes(text: str, policy: Policy = keeping.DEFAULT) -> tuple[str, ...]:
    """Attributes from ``key,key``.

    Parameters
    ----------
    text
        Keys, with commas between them; empty for none.
    policy
        As for `conditions`.

    Raises
    ------
    UsageError
        An attribute is cut before spans are stored.
    """
    keys = tuple(dict.fromkeys(key.strip() for key in text.split(",") if key.strip()))
    for key in keys:
        if keeping.judge(key, policy) == keeping.Verdict.CUT:
            raise UsageError(
                f"--explain-by {key}: {key} is cut before spans are stored",
                f'choose another attribute, or import anew with keep_attributes = ["{key}"]',
            )
    return keys


def attribute_text(value: Any) -> str | None:
    """An AnyValue as a user would write it; None for what is no scalar."""
    which = value.WhichOneof("value")
    if which == "bool_value":
        return "true" if value.bool_value else "false"
    if which in ("string_value", "int_value"):
        return str(getattr(value, which))
    return f"{value.double_value:g}" if which == "double_value" else None


def _carriers(slices: pl.Series, condition: Condition, parse: Callable[[bytes], Any]) -> pl.Series:
    """Distinct raw slices that carry the attribute."""
    likely = slices.unique().drop_nulls()
    likely = likely.filter(likely.bin.contains(condition.key.encode()))
    hit = [
        any(
            pair.key == condition.key and attribute_text(pair.value) == condition.value
            for pair in parse(raw).attributes
        )
        for raw in likely.to_list()
    ]
    return likely.filter(pl.Series(hit, dtype=pl.Boolean))


def carrying(spans: pl.DataFrame, conditions: Sequence[Condition]) -> pl.DataFrame:
    """The spans of the traces that meet every condition.

    Parameters
    ----------
    spans
        SPANS rows of whole traces.
    conditions
        What some span of a trace, or its resource, must carry.
    """
    from opentelemetry.proto.resource.v1.resource_pb2 import Resource
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    for condition in conditions:
        resources = _carriers(spans["resource"], condition, Resource.FromString)
        on_resource = spans["resource"].is_in(resources.implode())
        own = _carriers(spans["raw"].filter(~on_resource), condition, Span.FromString)
        hit = spans.filter(on_resource | spans["raw"].is_in(own.implode())).select(_TRACE).unique()
        spans = spans.join(hit, on=_TRACE, how="semi")
    return spans
