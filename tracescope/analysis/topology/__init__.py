"""Who depends on whom: the graph, its backbone, findings of its structure, rules it is held against."""
