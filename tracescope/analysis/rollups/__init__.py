"""Spans in, rollups out, and what is read straight from rollups.

    SPANS ─► process (one slice) ─► partial rollups ─► merge ─► ROLLUPS ─► flows, instances

`process` is the whole way from spans to partial rollups and knows no machine: it runs in threads, in
processes and on other machines alike.  Partials merge to the same result in any order.
"""
