"""Random systems with the truth written down: topologies, their traces, what was changed in them."""
