"""Which web pages may send spans: cross-origin requests to OTLP/HTTP, as the Collector answers them.

A browser asks first (a preflight: ``OPTIONS`` with ``Access-Control-Request-Method``), and shows an
answer to a page only where its origin is allowed.  Nobody is, unless the settings say so.

Source: Fetch Standard, "CORS protocol"; OpenTelemetry Collector, confighttp, `cors`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tracescope.errors import ConfigError

Headers = tuple[tuple[bytes, bytes], ...]

#: Headers that a page may always send.
_ALWAYS: Final = ("accept", "accept-language", "content-language", "content-type", "origin")
_VARY: Final = b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"


@dataclass(frozen=True, slots=True)
class Cors:
    """Origins that may send, their headers beside the usual ones, and for how long that holds."""

    origins: tuple[re.Pattern[str], ...] = ()
    headers: tuple[str, ...] = ()
    max_age_s: int = 0

    @classmethod
    def of(cls, origins: str, headers: str, max_age_s: int) -> Cors:
        """Of the settings: lists with commas; ``*`` stands for any part of an origin, or for every header.

        Raises
        ------
        ConfigError
            An origin has no scheme, or a path.
        """
        patterns: list[re.Pattern[str]] = []
        for origin in filter(None, (part.strip() for part in origins.split(","))):
            if origin != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", origin, re.IGNORECASE):
                raise ConfigError(
                    f"cors_allowed_origins has {origin!r}, which is not an origin",
                    "write scheme, host and port, as https://shop.example or http://localhost:*",
                )
            parts = (re.escape(part) for part in origin.split("*"))
            patterns.append(re.compile(".*".join(parts), re.IGNORECASE))
        names = tuple(part.strip().lower() for part in headers.split(",") if part.strip())
        return cls(tuple(patterns), names, max_age_s)

    def _allows(self, origin: str) -> bool:
        return any(pattern.fullmatch(origin) for pattern in self.origins)

    def _allows_headers(self, asked: str) -> bool:
        names = [name.strip().lower() for name in asked.split(",") if name.strip()]
        return "*" in self.headers or all(name in _ALWAYS or name in self.headers for name in names)

    def preflight(self, method: str, headers: Mapping[bytes, bytes]) -> Headers | None:
        """Headers that answer a preflight, fewer where it is refused; None where a request is none."""
        asked = headers.get(b"access-control-request-method")
        if not self.origins or method != "OPTIONS" or asked is None or b"origin" not in headers:
            return None
        vary = (b"vary", _VARY)
        origin = headers[b"origin"].decode("latin-1")
        wanted = headers.get(b"access-control-request-headers", b"")
        if not (self._allows(origin) and asked == b"POST" and self._allows_headers(wanted.decode("latin-1"))):
            return (vary,)
        age = ((b"access-control-max-age", str(self.max_age_s).encode()),) if self.max_age_s else ()
        names = ((b"access-control-allow-headers", wanted),) if wanted else ()
        return (vary, *_allowed(origin), (b"access-control-allow-methods", b"POST"), *names, *age)

    def answer(self, headers: Mapping[bytes, bytes]) -> Headers:
        """Headers of an answer, so that its page may read it."""
        if not self.origins or b"origin" not in headers:
            return ()
        origin = headers[b"origin"].decode("latin-1")
        return ((b"vary", b"Origin"), *(_allowed(origin) if self._allows(origin) else ()))


def _allowed(origin: str) -> Headers:
    return (
        (b"access-control-allow-origin", origin.encode("latin-1")),
        (b"access-control-allow-credentials", b"true"),
    )
