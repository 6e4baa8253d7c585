"""Who depends on whom: the graph, its backbone, findings of its structure, rules it is held against.

    ROLLUPS of one or two periods ─► graph (services, operations, edges) ─► backbone, for a picture
                                                        └─► findings (cycles, hubs, depth), rules

A node or an edge is there because a call was seen; a finding says what is there, and no verdict.
"""
