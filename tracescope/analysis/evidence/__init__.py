"""What speaks for a change: its instant, its pattern, its course over time."""
