"""Small files that carry the checksum of their own text."""

from __future__ import annotations

import json

import pytest

from tracescope.store import checked

MEMBERS = {"accepted": 17, "rejected": {"too_old": 2}, "files": {"470000": [1, 2, 3]}, "name": "é"}


def test_what_is_written_is_read_and_is_json_for_others() -> None:
    text = checked.dump(MEMBERS)
    assert checked.load(text) == MEMBERS
    assert {**json.loads(text), "check": 0} == {**MEMBERS, "check": 0}
    assert checked.load(json.dumps(MEMBERS).encode()) == MEMBERS  # as they once were


def test_no_changed_bit_and_no_lost_byte_is_read_as_something_else() -> None:
    """Of a text that begins as it should, which the pointer insists on."""
    text = checked.dump(MEMBERS)
    for at in range(len(checked.HEAD), len(text)):
        for bit in range(8):
            damaged = bytearray(text)
            damaged[at] ^= 1 << bit
            with pytest.raises(ValueError, match=r"."):
                checked.load(bytes(damaged))
        with pytest.raises(ValueError, match=r"."):
            checked.load(text[:at] + text[at + 1 :])
        with pytest.raises(ValueError, match=r"."):
            checked.load(text[:at])


@pytest.mark.parametrize("text", [b"", b"[]", b"3", b'{"check":1}', b'{"check":"x",}'])
def test_what_is_no_such_text_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        checked.load(text)
