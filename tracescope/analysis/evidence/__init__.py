"""What speaks for a change: its instant, its pattern, its course over time.

    hours of both periods ─► series ─► change_points: since when, 95 % interval, versions first seen in it
    an edge's sums, base and head ─► patterns: N+1, retries, stragglers, contention, and how sure that is

Evidence decides no verdict: `comparison` says that an edge changed, and by how much, without it.
"""
