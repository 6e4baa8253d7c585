"""Frames in, frames out: what rollups of periods say.  No store, no network, no clock, no environment.

    spans ─► rollups ─► comparison: what changed, by which cause, how sure    ─► diff, explain,
                    ├─► evidence:   since when, in which pattern              ─► verdict, gate
                    ├─► capacity:   load, headroom, weeks to the wall         ─► Report
                    └─► topology:   who depends on whom

`diff`, `explain`, `verdict` and `gate` put the questions; below them lie `comparison`, `evidence`, `capacity`
and `topology`, then `rollups`, then `statistics`, and `report`, the model that every surface renders.
Imports point down that list, which import contracts hold.
"""
