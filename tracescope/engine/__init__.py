"""The plan over hours and slices: what to seal, what a period's rollups are made of, what is compared."""
