"""What a URL of a server asks for: who is where, which thing there, and options behind the question mark."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from tracescope.errors import PeriodError, SourceError
from tracescope.near import suggestion
from tracescope.periods import Context, parse
from tracescope.places import masked
from tracescope.schema import HOUR_NS
from tracescope.sources import Options

#: What switches on, and what leaves off.
_YES: Final = ("1", "true", "yes", "on")
_NO: Final = ("", "0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class Asked:
    """A URL's parts.

    Attributes
    ----------
    shown
        The URL without secrets.
    scheme, address, path
        Scheme in lower case; host and port, several with commas between; what follows, decoded.
    user, password
        Decoded; empty where none are given.
    options
        Of the settings and, winning over them, of the URL.
    """

    shown: str
    scheme: str
    address: str
    path: str
    user: str
    password: str = field(repr=False)
    options: Mapping[str, str] = field(repr=False)

    @classmethod
    def of(cls, url: str, options: Options, known: tuple[str, ...], usage: str) -> Asked:
        """Read a URL.

        Raises
        ------
        SourceError
            It names no host, or an option that is not among `known`; `usage` is what was expected.
        """
        shown = masked(url)
        try:
            found = urlsplit(url)
            given = dict(parse_qsl(found.query, keep_blank_values=True))
        except ValueError as error:
            raise SourceError(f"{shown}: {error}", usage) from error
        for name in given:
            if name not in known:
                raise SourceError(
                    f"{shown}: there is no option {name[:60]!r}",
                    suggestion(name, known, f"there are: {', '.join(known)}"),
                )
        login, _, address = found.netloc.rpartition("@")
        user, _, password = login.partition(":")
        if not address or address.startswith(":"):
            raise SourceError(f"{shown} names no host", usage)
        return cls(
            shown,
            found.scheme.lower(),
            address,
            unquote(found.path.strip("/")),
            unquote(user),
            unquote(password),
            {**options.given, **given},
        )

    def get(self, name: str, default: str = "") -> str:
        """An option's value, or the default where it is missing or empty."""
        return self.options.get(name, "") or default

    def on(self, name: str) -> bool:
        """Whether an option is switched on.

        Raises
        ------
        SourceError
            It is neither on nor off.
        """
        said = self.get(name).lower()
        if said not in (*_YES, *_NO):
            raise SourceError(f"{self.shown}: {name}={said[:60]} is neither 1 nor 0", f"give {name}=1")
        return said in _YES

    def hour(self, name: str, default_ns: int, *, last: bool = False) -> int:
        """Where the hour of an instant begins, or where it ends, in ns of the epoch.

        Raises
        ------
        PeriodError
            It is no instant.
        """
        said = self.get(name)
        return hour_of(said, name, self.shown, last=last) if said else default_ns


def hour_of(said: str, name: str, shown: str, *, last: bool = False) -> int:
    """Where the hour of an instant begins, or where it ends, in ns of the epoch.

    Parameters
    ----------
    said, name, shown
        The instant, the option that says it, and the URL as messages show it.

    Raises
    ------
    PeriodError
        It is no instant.
    """
    try:
        at = parse(said, Context(time.time_ns(), "UTC")).start_ns
    except PeriodError as error:
        raise PeriodError(
            f"{shown}: {name}: {error.message}",
            f"give {name}=7d, {name}=2026-11-01 or {name}=2026-11-01T08:00Z; hours are read whole",
        ) from error
    return -(-at // HOUR_NS) * HOUR_NS if last else at // HOUR_NS * HOUR_NS
