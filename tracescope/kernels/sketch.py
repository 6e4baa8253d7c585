"""A mergeable latency sketch: OpenTelemetry's exponential histogram at scale 4.

Bin ``i`` counts values in ``(2**(i/16), 2**((i+1)/16)]``, so a value read back as the bin's
geometric middle is at most 2.2 % off.  A sketch is a set of (bin, count) rows and merges by SUM.

Source: OpenTelemetry metrics data model, "Exponential Scale".
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tracescope.kernels import constant, kernel

SCALE = 4
PER_OCTAVE = 1 << SCALE
#: Values of zero (and below, which no duration has).
ZERO_BIN = -PER_OCTAVE


@kernel
def _bins(values):
    out = np.empty(len(values), np.int16)
    for i in range(len(values)):
        value = values[i]
        if value <= 0:
            out[i] = ZERO_BIN
            continue
        octave = math.frexp(float(value))[1] - 1
        if octave > 62 or np.int64(1) << octave > value:  # the double was rounded up
            octave -= 1
        if value == np.int64(1) << octave:  # exact powers of two end a bin
            out[i] = octave * PER_OCTAVE - 1
            continue
        inside = math.log2(value / float(np.int64(1) << octave)) * PER_OCTAVE
        out[i] = octave * PER_OCTAVE + max(math.ceil(inside) - 1, 0)
    return out


def bin_of(values_ns: NDArray[np.int64]) -> NDArray[np.int16]:
    """Bin of each value ``(n,)``."""
    return _bins(constant(values_ns))
