"""One Span of a message into one row.

A span's bytes are kept as they came, but for its name, which its row has, and for what is cut: denied
attributes, also those of events and links, and free words.  What has been read stands in the room's scratch
until the span's end; only then is it known whether it has a flaw.
"""

# Inner kernels carry no annotations: their types are what the compiler infers from the arrays given.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from __future__ import annotations

import numpy as np

from tracescope.kernels import bare, inlined
from tracescope.kernels.octets import (
    BAD_VARINT,
    DELIMITED,
    FIXED_64,
    OK,
    SHORT_64,
    VARINT,
    big_endian,
    copy,
    hash_bytes,
    length,
    little_endian,
    put_varint,
    skip,
    tag,
    varint,
)
from tracescope.kernels.wire.keys import K_FIELD, K_FOLD, K_RANK, is_denied, is_known, key_of
from tracescope.kernels.wire.room import (
    C_COMBINATION,
    C_END,
    C_HASH,
    C_KIND,
    C_LINKS,
    C_LINKS_AT,
    C_NAME,
    C_PARENT,
    C_RAW_END,
    C_SPAN,
    C_START,
    C_STATUS,
    C_THRESHOLD,
    C_TRACE_HI,
    C_TRACE_LO,
    END,
    FLAW_FUTURE,
    FLAW_LARGE,
    FLAW_LONG,
    FLAW_OLD,
    FLAW_SPAN_ID,
    FLAW_TIME,
    FLAW_TRACE_ID,
    LINKS,
    NAME_AT,
    NAME_SIZE,
    PARENT_AT,
    PARENT_SIZE,
    RANKS,
    SPAN_AT,
    SPAN_SIZE,
    SPANS,
    START,
    TRACE_AT,
    TRACE_SIZE,
)
from tracescope.kernels.wire.strings import (
    LONGEST_STRING,
    combine,
    intern,
    intern_hashed,
    intern_value,
    mix,
    string_hash,
)
from tracescope.kernels.wire.trace_state import threshold_of
from tracescope.kernels.wire.values import attribute
from tracescope.schema import KIND_SERVER

#: No span without a flaw is shorter: two ids and a start, with a tag and a length each.
LEAST_SPAN = 18 + 10 + 9
#: A span whose kept bytes are more is flawed.
LARGEST_SPAN = 1024 * 1024
#: Before the latest start that is believed, nobody began a span: clocks that were never set say 1970 or 1980.
OLDEST_NS = 20 * 365 * 86_400_000_000_000
#: No span goes on for longer.
LONGEST_NS = 31 * 86_400_000_000_000

#: Fields of Span.
_TRACE_ID, _SPAN_ID, _STATE, _PARENT, _NAME, _KIND, _START, _END, _ATTRIBUTE = range(1, 10)
_EVENT, _LINK, _STATUS = 11, 13, 15


# -- events, links and status --------------------------------------------------------------------


@inlined
def _drops(room, part, number, wire, value, end, keys):
    """Whether a field of an event, a link or a status is not kept: a denied attribute, or free words."""
    data = room.window
    if wire != DELIMITED:
        return False
    size, first, _ = length(data, value, end)
    if part == _STATUS:
        return number == 2
    if part == _EVENT and number == 2:
        return not is_known(data, first, size, keys)
    if number != (3 if part == _EVENT else 4):
        return False
    ka, ks, va, vs, form, _, _ = attribute(data, first, first + size)
    return is_denied(room, key_of(room, data, ka, ks, np.int64(0), keys), data, va, vs, form, keys)


@bare
def _keep_nested(room, at, after, begin, end, to, part, keys):
    """Copy an event, link or status without what is not kept, its length mended; where the copy ends."""
    data, out = room.window, room.raw
    size = np.int64(0)
    for turn in range(2):
        if turn == 1:  # the tag, the length, then the fields
            to = copy(data, at, after - at, out, to)
            to = put_varint(out, to, size)
        inside = begin
        while inside < end:
            number, wire, value, _ = tag(data, inside, end)
            stop, _ = skip(data, number, wire, value, end)
            drop = _drops(room, part, number, wire, value, end, keys)
            if not drop and turn == 0:
                size += stop - inside
            elif not drop:
                to = copy(data, inside, stop - inside, out, to)
            inside = stop
    return to


@bare
def _event_or_link(room, at, end, number, keys):
    """Check an event or link, keep a link's ids; whether something of it is cut, offset and error."""
    data, dirty = room.window, False
    attributes = 3 if number == _EVENT else 4
    trace_at, span_at = np.int64(-1), np.int64(-1)
    while at < end:
        inner, wire, after, error = tag(data, at, end)
        if error:
            return dirty, after, error
        at, error = skip(data, inner, wire, after, end)
        if error:
            return dirty, at, error
        if wire != DELIMITED:
            continue
        size, begin, _ = length(data, after, end)
        if inner == attributes:
            ka, ks, va, vs, form, where, error = attribute(data, begin, at)
            if error:
                return dirty, where, error
            key = key_of(room, data, ka, ks, np.int64(0), keys)
            dirty = is_denied(room, key, data, va, vs, form, keys) or dirty
        elif number == _EVENT and inner == 2:
            dirty = dirty or not is_known(data, begin, size, keys)
        elif number == _LINK and inner == 1:
            trace_at = begin if size == 16 else np.int64(-1)
        elif number == _LINK and inner == 2:
            span_at = begin if size == 8 else np.int64(-1)
    if trace_at >= 0 and span_at >= 0:
        link = room.filled[LINKS]
        for k in range(16):
            room.links[link, k] = data[trace_at + k]
        for k in range(8):
            room.links[link, 16 + k] = data[span_at + k]
        room.filled[LINKS] = link + 1
    return dirty, np.int64(at), np.int64(OK)


@bare
def _status(data, at, end, code):
    """Code of a Status (`code`: none), and whether it has a message; offset and error."""
    words = False
    while at < end:
        number, wire, after, error = tag(data, at, end)
        if error:
            return code, words, after, error
        if number == 3 and wire == VARINT:
            value, at = varint(data, after, end)
            if at < 0:
                return code, words, after, np.int64(BAD_VARINT)
            code = np.int64(value) & 0xFFFFFFFF
            continue
        words = words or (number == 2 and wire == DELIMITED)
        at, error = skip(data, number, wire, after, end)
        if error:
            return code, words, at, error
    return code, words, np.int64(at), np.int64(OK)


@inlined
def _nested(room, at, end, number, row, keys):
    """Check an event, a link or the status; whether something of it is cut, offset and error."""
    if number == _STATUS:
        row[C_STATUS], dirty, where, error = _status(room.window, at, end, row[C_STATUS])
        return dirty, where, error
    return _event_or_link(room, at, end, number, keys)


# -- fields --------------------------------------------------------------------------------------


@inlined
def _note_value(room, key, at, size, form, better, combined):
    """Take an attribute's value for its key's column, where no key before it goes first.

    Ranks of this span are `better` than all before.  Gives what the hashes of all columns XOR to.
    """
    best, codes = room.best, room.codes
    field, rank = room.met[key, K_FIELD], room.met[key, K_RANK] - better
    if field >= 0 and rank < best[field]:
        code = intern_value(room, at, size, form, room.met[key, K_FOLD])
        if code >= 0:
            if codes[field + 1] >= 0:
                combined ^= mix(field, codes[field + 1])
            codes[field + 1] = code
            combined ^= mix(field, code)
            best[field] = rank
    return combined


@inlined
def _note_place(fields, row, data, number, at, size):
    """Note where a field stands whose bytes are kept, but for those that are read one by one."""
    if number == _TRACE_ID:
        fields[TRACE_AT], fields[TRACE_SIZE] = at, size
    elif number == _SPAN_ID:
        fields[SPAN_AT], fields[SPAN_SIZE] = at, size
    elif number == _PARENT:
        fields[PARENT_AT], fields[PARENT_SIZE] = at, size
    elif number == _STATE:
        row[C_THRESHOLD] = threshold_of(data, at, size)


@inlined
def _number(room, row, number, wire, at, end):
    """Read a field that is a number: a time, the kind, or one that nobody asked for; offset and error."""
    if wire == FIXED_64 and (number == _START or number == _END):
        if end - at < 8:
            return np.int64(at), np.int64(SHORT_64)
        room.fields[START if number == _START else END] = np.int64(little_endian(room.window, at))
        return np.int64(at + 8), np.int64(OK)
    if wire == VARINT and number == _KIND:
        value, after = varint(room.window, at, end)
        if after < 0:
            return np.int64(at), np.int64(BAD_VARINT)
        row[C_KIND] = np.int64(value) & 0xFFFFFFFF
        return after, np.int64(OK)
    return skip(room.window, number, wire, at, end)


# -- rows ----------------------------------------------------------------------------------------


@inlined
def _judge(room, row, raw_at, latest_start):
    """Ids and times into the row; the flaw that the span has, or -1."""
    data, fields = room.window, room.fields
    start, stop = fields[START], fields[END]
    flaw = np.int64(FLAW_LARGE if row[C_RAW_END] - raw_at > LARGEST_SPAN else -1)
    if start <= 0 or stop < 0:  # none, or beyond what a signed integer holds
        flaw = np.int64(FLAW_TIME)
    else:
        row[C_START], row[C_END] = start, stop
        if start > latest_start or stop > latest_start:
            flaw = np.int64(FLAW_FUTURE)
        elif start < latest_start - OLDEST_NS:
            flaw = np.int64(FLAW_OLD)
        elif stop > start and stop - start > LONGEST_NS:
            flaw = np.int64(FLAW_LONG)
    row[C_SPAN] = big_endian(data, fields[SPAN_AT]) if fields[SPAN_SIZE] == 8 else 0
    if row[C_SPAN] == 0 or (fields[PARENT_SIZE] != 0 and fields[PARENT_SIZE] != 8):
        flaw = np.int64(FLAW_SPAN_ID)
    whole = fields[TRACE_SIZE] == 16
    row[C_TRACE_HI] = big_endian(data, fields[TRACE_AT]) if whole else 0
    row[C_TRACE_LO] = big_endian(data, fields[TRACE_AT] + 8) if whole else 0
    if row[C_TRACE_HI] == 0 and row[C_TRACE_LO] == 0:
        flaw = np.int64(FLAW_TRACE_ID)
    return flaw


@inlined
def _finish(room, row, raw_at, resource_hash, combined, keys):
    """What only a row without a flaw needs: parent, links, name, combination and hash."""
    data, fields, codes = room.window, room.fields, room.codes
    if fields[PARENT_SIZE] == 8:
        row[C_PARENT] = big_endian(data, fields[PARENT_AT])
    row[C_LINKS] = room.filled[LINKS] - row[C_LINKS_AT]
    if row[C_KIND] > 5:
        row[C_KIND] = 0
    if row[C_STATUS] > 2:
        row[C_STATUS] = 0
    name_at, name_size = fields[NAME_AT], fields[NAME_SIZE]
    named = string_hash(data, name_at, name_size)
    if name_size > LONGEST_STRING:
        row[C_NAME] = intern(room, data, name_at, name_size)
    else:
        row[C_NAME] = intern_hashed(room, data, name_at, name_size, named)
    codes[0] = row[C_KIND]
    if row[C_KIND] == KIND_SERVER:
        for k in range(len(keys.of_calls)):
            field = keys.of_calls[k]
            if codes[field + 1] >= 0:
                combined ^= mix(field, codes[field + 1])
                codes[field + 1] = -1
    row[C_COMBINATION] = combine(room, combined ^ mix(np.int64(-1), row[C_KIND]), len(codes))
    row[C_HASH] = np.int64(hash_bytes(room.raw, raw_at, row[C_RAW_END] - raw_at, resource_hash ^ named))


@inlined
def scan_span(room, at, end, row, raw_at, resource_hash, latest_start, keys):
    """One Span into its row, its kept bytes at `raw_at` of ``room.raw``; flaw (-1: none), offset and error.

    What a span with a flaw has written into its row is the next span's to write over.
    """
    data, fields = room.window, room.fields
    room.codes[:] = -1
    fields[:] = 0
    fields[NAME_AT] = at
    row[C_THRESHOLD], row[C_PARENT], row[C_KIND], row[C_STATUS] = -1, 0, 0, 0
    row[C_LINKS_AT] = room.filled[LINKS]
    better = RANKS * room.filled[SPANS]  # than all of the spans before, whose ranks need not be forgotten
    key, combined = np.int64(0), np.uint64(0)
    kept, to = at, raw_at  # what stands before `kept` is copied or cut
    while at < end:
        begin = at
        number, wire, after, error = tag(data, at, end)
        if error:
            return np.int64(-1), after, error
        if wire != DELIMITED:
            at, error = _number(room, row, number, wire, after, end)
            if error:
                return np.int64(-1), at, error
            continue
        size, first, error = length(data, after, end)
        if error:
            return np.int64(-1), first, error
        at = first + size
        if number == _ATTRIBUTE:
            ka, ks, va, vs, form, where, error = attribute(data, first, at)
            if error:
                return np.int64(-1), where, error
            key = key_of(room, data, ka, ks, key, keys)
            if is_denied(room, key, data, va, vs, form, keys):
                if begin > kept:
                    to = copy(data, kept, begin - kept, room.raw, to)
                kept = at
            combined = _note_value(room, key, va, vs, form, better, combined)
        elif number == _NAME:  # a column of its own holds its template
            fields[NAME_AT], fields[NAME_SIZE] = first, size
            to = copy(data, kept, begin - kept, room.raw, to)
            kept = at
        elif number == _STATUS or number == _EVENT or number == _LINK:
            dirty, where, error = _nested(room, first, at, number, row, keys)
            if error:
                return np.int64(-1), where, error
            if dirty:
                to = copy(data, kept, begin - kept, room.raw, to)
                to = _keep_nested(room, begin, after, first, at, to, number, keys)
                kept = at
        else:
            _note_place(fields, row, data, number, first, size)
    row[C_RAW_END] = copy(data, kept, end - kept, room.raw, to)
    flaw = _judge(room, row, raw_at, latest_start)
    if flaw >= 0:
        room.filled[LINKS] = row[C_LINKS_AT]
    else:
        _finish(room, row, raw_at, resource_hash, combined, keys)
    return flaw, np.int64(at), np.int64(OK)
