"""Statistics without tracing: intervals and tests over blocks, rank statistics, quantiles of sketches.

Arrays in, numbers out; every formula names its source.
"""
