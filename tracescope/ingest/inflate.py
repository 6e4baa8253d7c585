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
_MAX_MEMBERS: Final = 64


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
    for _ in range(_MAX_MEMBERS):
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
    raise InputError(f"more than {_MAX_MEMBERS} gzip members in one request")


def inflated_size(data: bytes) -> int:
    """Bytes that a body, gzip or plain, claims to inflate to; only a hint, which may lie."""
    if not data.startswith(GZIP_MAGIC) or len(data) < 18:
        return len(data)
    return max(int.from_bytes(data[-4:], "little"), len(data))


def unzstd(data: bytes, limit: int) -> bytes:
    """Inflate zstd frames to at most `limit` bytes; raises as `gunzip` does."""
    import zstandard

    out = bytearray()
    if not data:
        raise InputError("the zstd stream is empty")
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).stream_reader(
            data, read_across_frames=True
        )
        while piece := reader.read(min(1 << 20, limit + 1 - len(out))):
            out += piece
            if len(out) > limit:
                raise _too_large(limit)
    except zstandard.ZstdError as error:
        raise InputError(f"the zstd stream is damaged: {error}") from error
    if not _complete(data):
        raise InputError("the zstd stream ends early")
    return bytes(out)


def _complete(data: bytes) -> bool:
    """Whether the last zstd frame ends where the data does."""
    import zstandard

    while data:
        inflater = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).decompressobj()
        inflater.decompress(data)
        if not inflater.eof:
            return False
        data = inflater.unused_data
    return True
