"""Reading a latency sketch: the numpy half of `tracescope.kernels.sketch`, without its compiler.

A comparison of two periods reads sketches and makes none; loading numba for that takes longer than
the comparison.

Source: OpenTelemetry metrics data model, "Exponential Scale".
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Bins to a doubling at the sketch's scale, and the bin of zero.
PER_OCTAVE: Final = 16
ZERO_BIN: Final = -PER_OCTAVE


def midpoint_of(bins: NDArray[np.int16]) -> NDArray[np.float64]:
    """Geometric midpoint of each bin ``(n,)``, in the unit of the values; 0 for the zero bin."""
    midpoint = np.exp2((bins.astype(np.float64) + 0.5) / PER_OCTAVE)
    return np.where(bins == ZERO_BIN, 0.0, midpoint)
