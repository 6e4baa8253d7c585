"""Small JSON files with the checksum of their own text in front, so that one flipped byte is seen.

    {"check":<CRC-32 of the rest, from its brace>, ...}

Files that were written before they had one are read as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
from isal import isal_zlib

#: What such a text begins with.
HEAD: Final = b'{"check":'


def dump(members: Mapping[str, Any]) -> bytes:
    """The text of an object of at least one member."""
    body = orjson.dumps(members)
    return b"%s%d,%s" % (HEAD, isal_zlib.crc32(body), body[1:])


def load(data: bytes, *, required: bool = False) -> dict[str, Any]:
    """The members of such a text; raises ValueError where it is damaged, or lacks a `required` checksum."""
    members = orjson.loads(data)
    if not isinstance(members, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - what is wrong is the text
    if required and not data.startswith(HEAD):
        raise ValueError("it is without its checksum")
    if data.startswith(HEAD):
        head, _, body = data.partition(b",")
        check: object = members.pop("check", None)
        if head != b"%s%d" % (HEAD, check) or isal_zlib.crc32(b"{" + body) != check:
            raise ValueError("it is not the text that its checksum is of")
    return members
