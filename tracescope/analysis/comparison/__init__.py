"""Two periods compared: which call paths changed the mean latency, by which cause, how sure that is.

    rollups ─► aggregate ─► matched ─► decompose ─► effects ─► edges, entries

Parts add up: the effects over all edges and the traffic mix are the change of the mean, to 1e-9 of it.
"""
