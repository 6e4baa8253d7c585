"""A receiver that runs for months: one process receives and drains, a short-lived one seals.

    event loop    gRPC, HTTP, health, metrics, the web page
    journal       one thread: write, fsync, answer
    drain         one thread: journal -> landing
    watch         a task: gauges, back-pressure, readiness, when to seal
    sealer        a process while there is something to seal or to remove; its memory goes with it

Decoding and the event loop share one interpreter: the kernels, the inflating and the Parquet writing
let go of it.  Sealing does not, for long stretches, and holds far more memory; so it is apart.
"""
