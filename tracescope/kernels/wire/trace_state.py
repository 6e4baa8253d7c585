"""The sampling threshold that a span's tracestate carries.

Source: OpenTelemetry, probability sampling: ``ot=th:HEX``; before that, ``ot=p:N``.
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import numpy as np

from tracescope.kernels import bare


@bare
def threshold_of(data, at, size):
    """T of ``ot=...;th:HEX`` in a tracestate, right-padded to 14 digits; -1 when absent or ill-formed.

    Older samplers write ``p:N`` for a probability of 2^-N; ``th`` beside it counts.
    """
    end = at + size
    member = at
    while member < end:
        stop = member
        while stop < end and data[stop] != 44:  # ','
            stop += 1
        k = member
        while k < stop and (data[k] == 32 or data[k] == 9):
            k += 1
        if stop - k > 3 and data[k] == 111 and data[k + 1] == 116 and data[k + 2] == 61:  # 'ot='
            k += 3
            older = np.int64(-1)
            while k < stop:
                if stop - k > 3 and data[k] == 116 and data[k + 1] == 104 and data[k + 2] == 58:  # 'th:'
                    return _hex(data, k + 3, stop)
                if older < 0 and stop - k > 2 and data[k] == 112 and data[k + 1] == 58:  # 'p:'
                    older = _exponent(data, k + 2, stop)
                while k < stop and data[k] != 59:
                    k += 1
                k += 1
            return older
        member = stop + 1
    return np.int64(-1)


@bare
def _exponent(data, at, end):
    """T of a probability of 2^-N, up to two decimal digits before a ``;``; -1 when T has no such bits."""
    value, digits = np.int64(0), 0
    while at < end and data[at] != 59 and data[at] != 32:
        c = np.int64(data[at]) - 48
        digits += 1
        if c < 0 or c > 9 or digits > 2:
            return np.int64(-1)
        value = 10 * value + c
        at += 1
    if digits == 0 or value > 56:
        return np.int64(-1)
    return (np.int64(1) << 56) - (np.int64(1) << (56 - value))


@bare
def _hex(data, at, end):
    """Up to 14 lower-case hex digits before a ``;``, right-padded to 14; -1 when ill-formed."""
    value, digits = np.int64(0), 0
    while at < end and data[at] != 59 and data[at] != 32:
        c = np.int64(data[at])
        if 48 <= c <= 57:
            c -= 48
        elif 97 <= c <= 102:
            c -= 87
        else:
            return np.int64(-1)
        value = value << 4 | c
        digits += 1
        if digits > 14:
            return np.int64(-1)
        at += 1
    return value << (4 * (14 - digits)) if digits > 0 else np.int64(-1)
