"""The web page and its JSON twins: server-rendered pages over the same Report as the terminal's.

    request ─► View (all state, from the URL) ─► Answers (what the store says, remembered) ─► page | JSON

Nothing here changes anything: every route answers GET and HEAD only.
"""
