"""Who may send: TLS, client certificates and bearer tokens.

Tokens stand in a file, one a line, ``#`` begins a comment; the file is read again when it changes.
They are compared in constant time.  Health checks need none.
"""

from __future__ import annotations

import hmac
import ssl
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import grpc

from tracescope.errors import ConfigError, in_words
from tracescope.ingest.cors import Cors

_PREFIX: Final = b"bearer "
#: A client that has shown so many wrong tokens in `WAIT_S` seconds is not looked at for as long.
MOST_FAILED: Final = 20
WAIT_S: Final = 60
#: Clients that are remembered for it.
_CLIENTS: Final = 4096


@dataclass(slots=True)
class Tokens:
    """Bearer tokens of a file.  Made by `Tokens.read`."""

    path: Path
    _known: tuple[bytes, ...] = ()
    _seen: tuple[int, int, int] = (0, 0, 0)

    @classmethod
    def read(cls, path: str) -> Tokens:
        """Read the file for the first time.

        Raises
        ------
        ConfigError
            It cannot be read, or holds no token.
        """
        tokens = cls(Path(path))
        try:
            tokens.reload()
        except OSError as error:
            raise ConfigError(
                f"--token-file {path} cannot be read: {in_words(error)}",
                "give a file with one token a line, which the user of this process may read",
            ) from error
        return tokens

    def reload(self) -> bool:
        """Read the file again if it has changed; returns whether it had.

        An unreadable or empty file leaves the tokens as they were and raises; nobody is locked out,
        and nobody let in, by an editor that writes a file in two steps.

        Raises
        ------
        OSError
            It cannot be read.
        ConfigError
            It holds no token.
        """
        about = self.path.stat()
        seen = (about.st_mtime_ns, about.st_size, about.st_ino)
        if seen == self._seen:
            return False
        lines = [line.strip() for line in self.path.read_bytes().splitlines()]
        known = tuple(line for line in lines if line and not line.startswith(b"#"))
        if not known:
            raise ConfigError(f"--token-file {self.path} holds no token", "write one token a line into it")
        self._known, self._seen = known, seen
        return True

    def allow(self, authorization: bytes | str | None) -> bool:
        """Whether an ``authorization`` header carries one of the tokens."""
        if authorization is None:
            return False
        given = authorization.encode("utf-8", "replace") if isinstance(authorization, str) else authorization
        if given[: len(_PREFIX)].lower() != _PREFIX:
            return False
        token = given[len(_PREFIX) :].strip()
        allowed = False
        for known in self._known:  # all of them, always: the time tells nothing
            allowed |= hmac.compare_digest(token, known)
        return allowed


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificate files; with `client_ca`, clients must show a certificate that it signed."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    @classmethod
    def of(cls, cert: str, key: str, client_ca: str) -> Tls | None:
        """Of the settings; None where none is set.

        Raises
        ------
        ConfigError
            Half a configuration, or files that do not fit.
        """
        if not (cert or key or client_ca):
            return None
        for missing, name in ((cert, "--tls-cert"), (key, "--tls-key")):
            if not missing:
                raise ConfigError(
                    f"half a TLS configuration: {name} is missing",
                    "give --tls-cert and --tls-key together; --tls-client-ca adds client certificates",
                )
        tls = cls(Path(cert), Path(key), Path(client_ca) if client_ca else None)
        try:
            tls.context()
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"the TLS files cannot be used: {in_words(error)}",
                f"check {cert}, {key}" + (f" and {client_ca}" if client_ca else ""),
            ) from error
        return tls

    def context(self) -> ssl.SSLContext:
        """For Python's own servers."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.cert, self.key)
        if self.client_ca is not None:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def credentials(self) -> grpc.ServerCredentials:
        """For gRPC."""
        return grpc.ssl_server_credentials(
            [(self.key.read_bytes(), self.cert.read_bytes())],
            root_certificates=self.client_ca.read_bytes() if self.client_ca else None,
            require_client_auth=self.client_ca is not None,
        )


@dataclass(slots=True)
class Attempts:
    """Wrong tokens that clients showed lately, so that none can try many."""

    now: Callable[[], float] = time.monotonic
    _failed: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict[str, "deque[float]"])

    def too_many(self, client: str) -> bool:
        """Whether a client must wait."""
        failed = self._failed.get(client)
        while failed and failed[0] <= self.now() - WAIT_S:
            failed.popleft()
        return failed is not None and len(failed) >= MOST_FAILED

    def forget(self) -> None:
        """Forget failed attempts: the tokens have changed."""
        self._failed.clear()

    def note(self, client: str) -> None:
        """Write a failed attempt down."""
        self._failed.setdefault(client, deque(maxlen=MOST_FAILED)).append(self.now())
        self._failed.move_to_end(client)
        if len(self._failed) > _CLIENTS:
            self._failed.popitem(last=False)


class Problem(NamedTuple):
    """Why a client may not ask; `wait_s` is not 0 where it must wait first."""

    sentence: str
    wait_s: int = 0


@dataclass(frozen=True, slots=True)
class Access:
    """What a client must show, nothing by default; and which web pages may be clients, none by default."""

    tls: Tls | None = None
    tokens: Tokens | None = None
    cors: Cors = field(default_factory=Cors)
    attempts: Attempts = field(default_factory=Attempts)

    def problem(self, authorization: bytes | str | None, client: str) -> Problem | None:
        """Why a request of a client with that ``authorization`` header may not be served; None when it may.

        Who shows no token at all is told that one is needed, and does not count as guessing.
        """
        if self.tokens is None:
            return None
        if self.attempts.too_many(client):
            return Problem(f"too many wrong tokens; wait {WAIT_S} s", WAIT_S)
        if self.tokens.allow(authorization):
            return None
        if authorization is not None:
            self.attempts.note(client)
        return Problem("no valid bearer token")

    @property
    def asks(self) -> bool:
        """Whether a client must show who it is."""
        return self.tokens is not None or (self.tls is not None and self.tls.client_ca is not None)


def client_name(peer: str) -> str:
    """A client's address without its port, of gRPC's ``ipv4:10.0.0.7:4711`` or an address alone."""
    kind, found, rest = peer.partition(":")
    if found and kind in ("ipv4", "ipv6"):
        return rest.rpartition(":")[0]
    return peer
