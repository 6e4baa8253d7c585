"""Compare two periods: which call paths changed the mean latency, why, and with which uncertainty.

    rollups ─► aggregate ─► matched ─► decompose ─► effects ─► edges, entries

Parts add up: the effects over all edges and the traffic mix are the change of the mean, to 1e-9 of it.
"""
