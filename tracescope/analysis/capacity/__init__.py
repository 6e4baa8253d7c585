"""Latency as a function of load: how much is left, and for how long.

    hours ─► arrivals ─► load_model (a curve, fitted) ─► split (growth apart from load)
                                    └─► levels, trends ─► forecast ─► forecast_verdict, early_warning

What the data do not say stays None, or a bound; it is never a made-up number.
"""
