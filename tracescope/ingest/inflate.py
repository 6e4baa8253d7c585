"""Compressed requests, inflated no further than a limit.

A bomb costs what the limit allows and no more: the decompressor stops one byte beyond it.  What is
cut short, followed by junk, or fails its checksum is refused as malformed.
"""

from __future__ import annotations

from typing import Final

from isal import igzip_lib

from tracescope.errors import InputError, TooLargeError

#: No OTLP request begins so: its first byte would be a field of wire type 7, which does not exist.
GZIP_MAGIC: Final = b"\x1f\x8b"
#: A zstd frame may ask for a window of at most so many bytes.
ZSTD_WINDOW_BYTES: Final = 64 * 1024 * 1024
MAX_MEMBERS: Final = 64
#: A zstd frame is read in pieces of so many bytes: no more than 32 MiB can come of one.
_PIECE_BYTES: Final = 1024


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
    out: list[bytes] = []
    left = limit
    for _ in range(MAX_MEMBERS):
        inflater = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        try:
            piece = inflater.decompress(data, left + 1)
        except igzip_lib.IsalError as error:  # pyright: ignore[reportGeneralTypeIssues]
            raise InputError(f"the gzip stream is damaged: {error}") from error
        left -= len(piece)
        if left < 0:
            raise _too_large(limit)
        if not inflater.eof:
            raise InputError("the gzip stream ends early")
        out.append(piece)
        data = inflater.unused_data
        if not data:
            return out[0] if len(out) == 1 else b"".join(out)
    raise InputError(f"more than {MAX_MEMBERS} gzip members in one request")


def unzstd(data: bytes, limit: int) -> bytes:
    """Inflate zstd frames to at most `limit` bytes; raises as `gunzip` does."""
    import zstandard

    out: list[bytes] = []
    left = limit
    frames = 0
    inflater = None
    for at in range(0, len(data), _PIECE_BYTES):
        piece = data[at : at + _PIECE_BYTES]
        while piece:
            if inflater is None:
                frames += 1
                if frames > MAX_MEMBERS:
                    raise InputError(f"more than {MAX_MEMBERS} zstd frames in one request")
                inflater = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).decompressobj()
            try:
                out.append(inflater.decompress(piece))
            except zstandard.ZstdError as error:
                raise InputError(f"the zstd stream is damaged: {error}") from error
            left -= len(out[-1])
            if left < 0:
                raise _too_large(limit)
            piece = b""
            if inflater.eof:
                piece, inflater = inflater.unused_data, None
    if inflater is not None or not frames:
        raise InputError("the zstd stream ends early" if frames else "the zstd stream is empty")
    return b"".join(out)
