"""What instrumentations mean: OpenTelemetry's semantic conventions, old and new spellings read alike.

    attributes of a span ─► semconv ─► class, peer, operation, how it ended, how it lives ─► SPANS
                              ├─ identity    what a database, a queue, another system is called
                              ├─ operations  templates without literals
                              ├─ outcomes    how a call ended
                              └─ lifetimes   streams, and what a clock runs
    keeping: which attributes are kept at all

Values in, values out: nothing here looks at a span's place in its trace, at a setting or a store.  Two
spellings of one thing give one name, and no literal (an id, a number) becomes part of a name.
"""
