"""The plan over hours and slices: what to seal, what a period's rollups are made of, what is compared.

    landing ─► seal: slices of whole traces ─► processes ─► merge ─► sealed hours ─► days
    Question ─► rollups of its periods (days, hours, what is not sealed yet) ─► compare, graph, forecast

Here the store meets the analysis: `analysis` computes and knows no store, `store` keeps and computes
nothing.  A slice holds whole traces, so slices are worked on in any order and number, in processes or on a
cluster, within `memory_mb`, and give the same rollups.
"""
