"""Compressed requests, inflated no further than a limit.

A bomb costs what the limit allows and no more: the decompressor stops one byte beyond it.  What is
cut short, followed by junk, or fails its checksum is refused as malformed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any, Final

from isal import igzip_lib

from tracescope.errors import InputError, TooLargeError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: No OTLP request begins so: its first byte would be a field of wire type 7, which does not exist.
GZIP_MAGIC: Final = b"\x1f\x8b"
#: A zstd frame may ask for a window of at most so many bytes.
ZSTD_WINDOW_BYTES: Final = 64 * 1024 * 1024
MAX_MEMBERS: Final = 64
_ZSTD_OPTIONS: Final[dict[int, int]] = {
    zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_BYTES.bit_length() - 1
}


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        f"the request inflates to more than {limit} bytes", "send smaller batches, or raise --max-request-mb"
    )


def gunzip(data: bytes, limit: int) -> bytes:
    """Inflate one or more gzip members to at most `limit` bytes.

    Raises
    ------
    TooLargeError
        There is more.
    InputError
        It is no gzip, cut short, or damaged.
    """
    return _inflate(data, limit, _gzip_member, "gzip", "members")


def unzstd(data: bytes, limit: int) -> bytes:
    """Inflate zstd frames to at most `limit` bytes; raises as `gunzip` does."""
    return _inflate(data, limit, _zstd_frame, "zstd", "frames")


#: What a sender can do about it.
_WHOLE: Final = "send it whole, or without content-encoding"


def _said(error: Exception) -> str:
    """What a library says of a stream, without its numbers and who says so."""
    return re.sub(r"^(Error -?\d+ |Unable to decompress Zstandard data: )", "", str(error))


def _gzip_member() -> Any:
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)


def _zstd_frame() -> Any:
    return zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)


def _inflate(data: bytes, limit: int, begin: Callable[[], Any], name: str, parts: str) -> bytes:
    """Inflate parts that lie one after the other, each by a decompressor that `begin` makes."""
    if not data:
        raise InputError(f"the {name} stream is empty", _WHOLE)
    out: list[bytes] = []
    left = limit
    for _ in range(MAX_MEMBERS):
        inflater = begin()
        try:
            piece = inflater.decompress(data, left + 1)
        except (igzip_lib.IsalError, zstd.ZstdError) as error:  # pyright: ignore[reportGeneralTypeIssues]
            raise InputError(f"the {name} stream is damaged: {_said(error)}", _WHOLE) from error
        left -= len(piece)
        if left < 0:
            raise _too_large(limit)
        if not inflater.eof:
            raise InputError(f"the {name} stream ends early", _WHOLE)
        out.append(piece)
        data = inflater.unused_data
        if not data:
            return out[0] if len(out) == 1 else b"".join(out)
    raise InputError(f"more than {MAX_MEMBERS} {name} {parts} in one request", "compress it as one")
