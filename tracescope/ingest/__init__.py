"""Bytes in, spans out: what senders and files give becomes rows of SPANS, or is counted by reason.

    gRPC, HTTP ─► access ─► intake (admit, inflate, decode) ─► journal ─► drain ─► landing of the store
    files, parts of sources ─► files (which format?) ─► documents, foreign ─► decode ─► landing

Every format is rewritten to OTLP's bytes first, so there is one decoder (`decode`, over `kernels.wire`) and
one way in which attributes get their meaning (`conventions`).  A request is checked before it is
acknowledged, and acknowledged after it is on disk: what was answered with success is neither lost nor
refused later.  A span that cannot be kept is counted by the reason, and the sender is told how many.
"""
