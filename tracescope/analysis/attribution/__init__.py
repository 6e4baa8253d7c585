"""Separate causes from victims: which of the edges that grew made the others grow.

    edges that grew ─► ladder (who waits for whom) ─► causes, each with its victims ─► findings, ranked

A finding explains edges and moves no milliseconds.  Where the evidence does not order two edges they stand
side by side.
"""
