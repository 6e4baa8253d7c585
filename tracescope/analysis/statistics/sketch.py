"""Reading a latency sketch: the numpy half of `tracescope.kernels.sketch`, without its compiler.

A comparison of two periods reads sketches, and moves few values in them; loading numba for that takes
longer than the comparison.

Source: OpenTelemetry metrics data model, "Exponential Scale".
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

#: Bins to a doubling at the sketch's scale, and the bin of zero.
PER_OCTAVE: Final = 16
ZERO_BIN: Final = -PER_OCTAVE
#: So near an edge of a bin, in bins, logarithms of numpy and of the C library may round apart.
_NEAR_EDGE: Final = 1e-6


def midpoint_of(bins: NDArray[np.int16]) -> NDArray[np.float64]:
    """Geometric midpoint of each bin ``(n,)``, in the unit of the values; 0 for the zero bin."""
    midpoint = np.exp2((bins.astype(np.float64) + 0.5) / PER_OCTAVE)
    return np.where(bins == ZERO_BIN, 0.0, midpoint)


def bin_of(values: NDArray[np.int64]) -> NDArray[np.int16]:
    """Bin of each value ``(n,)``, as `tracescope.kernels.sketch` has it, without loading the compiler."""
    above = np.maximum(values, 1)
    octaves = np.frexp(above.astype(np.float64))[1].astype(np.int64) - 1
    octaves -= (octaves > 62) | (np.left_shift(1, np.minimum(octaves, 62)) > above)  # rounded up
    powers = np.left_shift(1, octaves)
    parts = np.log2(above / powers.astype(np.float64)) * PER_OCTAVE
    near = np.flatnonzero(np.abs(parts - np.round(parts)) < _NEAR_EDGE)
    ratios = (above[near] / powers[near].astype(np.float64)).tolist()
    parts[near] = [math.log2(ratio) * PER_OCTAVE for ratio in ratios]
    inside = np.maximum(np.ceil(parts) - 1, 0).astype(np.int64)
    bins = octaves * PER_OCTAVE + np.where(above == powers, -1, inside)
    return np.where(values > 0, bins, ZERO_BIN).astype(np.int16)
