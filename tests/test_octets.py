"""Bytes read with every step checked, against plain Python: numbers, tags, lengths, groups, hashes."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest

from tracescope.kernels import constant, kernel, octets
from tracescope.kernels.octets import (
    BAD_FIELD,
    BAD_LENGTH,
    BAD_VARINT,
    BAD_WIRE,
    DELIMITED,
    END_GROUP,
    FIXED_32,
    FIXED_64,
    GROUP,
    OK,
    OPEN_GROUP,
    SCRATCH,
    SHORT_32,
    SHORT_64,
    SLACK,
    TOO_DEEP,
    VARINT,
)

WORD = 2**64 - 1
STRANGE = bytes([13, *range(200, 199 + SLACK)])  # what stands in the slack says nothing


@kernel
def _read(data, begin, end):
    """Of each message: its varint, its tag, its length, and what is skipped by that tag."""
    out = np.zeros((len(begin), 12), np.int64)
    for k in range(len(begin)):
        value, after = octets.varint(data, begin[k], end[k])
        out[k, 0], out[k, 1] = np.int64(value), after
        number, wire, at, error = octets.tag(data, begin[k], end[k])
        out[k, 2], out[k, 3], out[k, 4], out[k, 5] = number, wire, at, error
        size, at, error = octets.length(data, begin[k], end[k])
        out[k, 6], out[k, 7], out[k, 8] = size, at, error
        if out[k, 5] == OK:
            at, error = octets.skip(data, out[k, 2], out[k, 3], out[k, 4], end[k])
            out[k, 9], out[k, 10] = at, error
    return out


@kernel
def _hash(data, begin, size, seeds):
    """Of each string: its hash, that of its ends, and its first eight bytes as a number."""
    out = np.zeros((len(begin), 3), np.int64)
    for k in range(len(begin)):
        out[k, 0] = np.int64(octets.hash_bytes(data, begin[k], size[k], seeds[k]))
        out[k, 1] = np.int64(octets.hash_ends(data, begin[k], size[k]))
        out[k, 2] = octets.big_endian(data, begin[k])
    return out


@kernel
def _compare(data, left, right, size):
    """Whether strings are equal, pair by pair."""
    out = np.zeros(len(left), np.bool_)
    for k in range(len(left)):
        out[k] = octets.same(data, left[k], data, right[k], size[k])
    return out


@kernel
def _write(values, words):
    """Varints one after another, then words, then a copy of all of that."""
    out = np.zeros(1 << 16, np.uint8)
    at = 0
    for k in range(len(values)):
        at = octets.put_varint(out, at, values[k])
    read = np.zeros(len(words), np.int64)
    for k in range(len(words)):
        octets.put_word(out, at, words[k])
        read[k] = octets.get_word(out, at)
        at += 4
    return out[: octets.copy(out, 0, at, out, at)], read


def number(value: int, more: int = 0) -> bytes:
    """A varint, `more` bytes longer than it need be."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    for _ in range(more):
        out[-1] |= 128
        out.append(0)
    return bytes(out)


def messages(each: list[bytes]) -> np.ndarray:
    """What `_read` says of messages among strange bytes; offsets count from where a message begins."""
    data, begin, end = bytearray(), [], []
    for message in each:
        data += STRANGE
        begin.append(len(data))
        data += message
        end.append(len(data))
    data += STRANGE + bytes(SCRATCH)
    array = np.frombuffer(bytes(data), np.uint8).copy()
    found = _read(array, np.array(begin), np.array(end))
    for column in (1, 4, 7, 9):
        there = found[:, column] > 0
        found[there, column] -= np.array(begin)[there]
    return found


def _numbers() -> list[int]:
    bounds = [2**power + by for power in range(64) for by in (-1, 0, 1)]
    return sorted({0, WORD, *bounds})


def test_numbers_of_all_lengths_are_read() -> None:
    """However long they are written, up to ten bytes."""
    texts = [(value, number(value, more)) for value in _numbers() for more in (0, 1, 3)]
    texts = [(value, text) for value, text in texts if len(text) <= 10]
    found = messages([text for _, text in texts])
    assert [int(value) & WORD for value in found[:, 0]] == [value for value, _ in texts]
    assert found[:, 1].tolist() == [len(text) for _, text in texts]


def test_no_number_is_longer_than_ten_bytes_than_64_bits_or_than_its_message() -> None:
    whole = number(WORD)
    bad = [whole[:-1] + b"\x02", b"\x80" * 10 + b"\x00", *(whole[:size] for size in range(10)), b"", b"\x80"]
    assert messages(bad)[:, 1].tolist() == [-1] * len(bad)


def test_a_tag_is_a_field_from_one_on_and_a_wire_type() -> None:
    """In as many bytes as it is written in; what is not one, stands where it should have stood."""
    fields = [1, 2, 15, 16, 17, 2047, 2048, 2**20, 2**29 - 1]
    good = [(field, wire, more) for field in fields for wire in range(8) for more in (0, 1, 2)]
    found = messages([number(field << 3 | wire, more) for field, wire, more in good])
    sizes = [len(number(field << 3 | wire, more)) for field, wire, more in good]
    wanted = [[field, wire, size, OK] for (field, wire, _), size in zip(good, sizes, strict=True)]
    assert found[:, 2:6].tolist() == wanted
    bad = [number(value, more) for value in (*range(8), 2**32, 2**40) for more in (0, 1)]
    assert messages(bad)[:, 2:6].tolist() == [[0, 0, 0, BAD_FIELD]] * len(bad)
    cut = [b"", b"\x88", b"\x88\x80", b"\xff" * 11]
    assert messages(cut)[:, 2:6].tolist() == [[0, 0, 0, BAD_VARINT]] * len(cut)


def test_a_length_ends_inside_its_message() -> None:
    """At its last byte at most."""
    wanted, texts = [], []
    for size in (0, 1, 5, 126, 127, 128, 200, 16384):
        for more in (0, 1, 2):
            head = number(size, more)
            for missing in (0, 1):
                if size >= missing:
                    texts.append(head + bytes(size - missing))
                    wanted.append([0, 0, BAD_LENGTH] if missing else [size, len(head), OK])
    assert messages(texts)[:, 6:9].tolist() == wanted
    large = [number(value) + bytes(9) for value in (10, 2**31 - 1, 2**31, 2**63, WORD)]
    assert messages(large)[:, 6:9].tolist() == [[0, 0, BAD_LENGTH]] * len(large)
    assert messages([b"", b"\x80", b"\xff" * 11])[:, 6:9].tolist() == [[0, 0, BAD_VARINT]] * 3


def field(tag: int, wire: int, value: bytes = b"") -> bytes:
    return number(tag << 3 | wire) + value


VALUES = [
    (VARINT, number(300), BAD_VARINT), (FIXED_64, b"abcdefgh", SHORT_64), (FIXED_32, b"abcd", SHORT_32),
    (DELIMITED, number(300) + b"x" * 300, BAD_LENGTH), (DELIMITED, b"\x00", BAD_VARINT),
]  # fmt: skip


@pytest.mark.parametrize(("wire", "value", "error"), VALUES)
def test_a_value_is_skipped_to_its_end_and_not_beyond_its_message(
    wire: int, value: bytes, error: int
) -> None:
    """A byte short, it should have stood after its tag."""
    found = messages([field(4, wire, value), field(4, wire, value[:-1]), field(4, wire, value + b"z")])
    size = len(value) + 1
    assert found[:, 9:11].tolist() == [[size, OK], [1, error], [size, OK]]


def test_a_wire_type_that_there_is_not_is_no_value() -> None:
    """Nor is the end of a group that did not begin."""
    found = messages([field(4, wire, b"12345678") for wire in (END_GROUP, 6, 7)])
    assert found[:, 9:11].tolist() == [[1, BAD_WIRE]] * 3


def test_a_group_is_skipped_to_its_own_end() -> None:
    """Through values of all kinds and groups in it; after its end, all may follow."""
    inside = b"".join(field(k + 1, wire, value) for k, (wire, value, _) in enumerate(VALUES))
    inner = field(2000, GROUP) + inside + field(2000, END_GROUP)
    whole = field(3, GROUP) + inside + inner + inner + field(70000, GROUP) + field(70000, END_GROUP)
    whole += field(3, END_GROUP)
    after = len(whole)
    found = messages([whole, whole + b"\xff", whole[:-1], whole[:1], whole[:-4]])
    assert found[:, 9:11].tolist() == [[after, OK]] * 2 + [[1, OPEN_GROUP]] * 3
    for numbers in ((3, 4), (3, 2000), (300, 3), (2**28, 2**28 + 2**16)):
        other = field(numbers[0], GROUP) + field(numbers[1], END_GROUP)
        assert messages([other])[0, 9:11].tolist() == [len(other), BAD_WIRE]
    deep = field(3, GROUP) + field(4, GROUP) + field(3, END_GROUP)
    assert messages([deep])[0, 9:11].tolist() == [len(deep), BAD_WIRE]


def test_what_is_wrong_in_a_group_is_told_where_it_stands() -> None:
    for wire, value, error in VALUES:
        short = field(3, GROUP) + field(4, wire, value[:-1])
        assert messages([short])[0, 9:11].tolist() == [2, error]
    assert messages([field(3, GROUP) + b"\x00"])[0, 9:11].tolist() == [1, BAD_FIELD]
    assert messages([field(3, GROUP) + field(4, 7)])[0, 9:11].tolist() == [2, BAD_WIRE]


def test_groups_stand_in_one_another_up_to_a_hundred() -> None:
    """So many may begin; one more is told where it stands."""
    opened = b"".join(field(k, GROUP) for k in range(1, 101))
    closed = b"".join(field(k, END_GROUP) for k in range(100, 0, -1))
    more = opened + field(5, GROUP)
    found = messages([opened + closed, more + field(5, END_GROUP) + closed])
    assert found[:, 9:11].tolist() == [[len(opened + closed), OK], [len(more), TOO_DEEP]]


# -- strings ---------------------------------------------------------------------------------------


def stir(h: int, word: int) -> int:
    h = (h ^ word) * 0xBF58476D1CE4E5B9 & WORD
    return h ^ h >> 29


def words(text: bytes) -> list[int]:
    return [int.from_bytes(text[k : k + 8], "little") for k in range(0, len(text), 8)]


M1, M2, M3 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def hashed(text: bytes, seed: int) -> int:
    """What stores keep: it may never change."""
    a = seed ^ len(text) * M1 & WORD
    rest = text
    if len(text) >= 64:
        chains = [a, a ^ M1, a ^ M2, a ^ M3]
        while len(rest) >= 32:
            chains = [stir(chain, word) for chain, word in zip(chains, words(rest[:32]), strict=True)]
            rest = rest[32:]
        a = chains[0]
        for chain in chains[1:]:
            a = stir(a, chain)
    while len(rest) >= 8:
        a = stir(a, words(rest[:8])[0])
        rest = rest[8:]
    if rest:
        a = (a ^ words(rest)[0]) * M3 & WORD
    a = (a ^ a >> 32) * M1 & WORD
    return a ^ a >> 29


def hashed_ends(text: bytes) -> int:
    if len(text) >= 8:
        return stir(stir(len(text) * M1 & WORD, words(text[:8])[0]), words(text[-8:])[0]) * M3 & WORD
    word = words(text)[0] if text else 0
    return stir(word ^ len(text), M1) * M3 & WORD


def test_hashes_are_those_of_the_documented_steps() -> None:
    """Of every length around the steps, wherever a string begins; what follows it says nothing."""
    rng = random.Random(1)
    data = rng.randbytes(400)
    places = [(rng.randint(0, 200), size) for size in range(140)]
    seeds = [rng.choice((0, 1, 2**40, rng.randint(0, 2**62))) for _ in places]
    begin, size = (np.array(column) for column in zip(*places, strict=True))
    for tail in (STRANGE, bytes(SLACK)):
        array = constant(np.frombuffer(data + tail, np.uint8))
        found = _hash(array, begin, size, np.array(seeds))
        for (at, length), seed, row in zip(places, seeds, found.tolist(), strict=True):
            text = data[at : at + length]
            assert row[0] & WORD == hashed(text, seed), length
            assert row[1] & WORD == hashed_ends(text), length
            assert row[2] == struct.unpack(">q", data[at : at + 8])[0]


def test_strings_are_the_same_when_every_byte_is() -> None:
    """Of every length, whichever byte differs; what follows them does not count."""
    rng = random.Random(2)
    data, left, right, sizes, wanted = bytearray(), [], [], [], []
    for size in (*range(20), 63, 64):
        text = rng.randbytes(size)
        for place in (None, *range(size), size):
            other = bytearray(text + b"?")
            if place is not None:
                other[place] ^= 1 << rng.randint(0, 7)
            left.append(len(data))
            data += text + b"?"
            right.append(len(data))
            data += other
            sizes.append(size)
            wanted.append(place is None or place == size)
    array = constant(np.frombuffer(bytes(data) + STRANGE, np.uint8))
    assert _compare(array, np.array(left), np.array(right), np.array(sizes)).tolist() == wanted


def test_what_is_written_is_what_is_read() -> None:
    values = [value for value in _numbers() if value < 2**63]
    longs = [0, 1, 255, 256, 2**16, 2**24 + 5, 2**31 - 1, 0x01020304]
    out, read = _write(np.array(values, np.int64), np.array(longs, np.int64))
    text = b"".join(map(number, values)) + b"".join(struct.pack("<I", one) for one in longs)
    assert out.tobytes() == text + text
    assert read.tolist() == longs
