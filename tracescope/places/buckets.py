"""Buckets: clients of object storage by URL: S3 and what speaks its protocol, Google Cloud Storage, Azure.

    s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=eu-central-1
    gs://bucket/prefix
    az://container/prefix?account_name=shop

Credentials come from the URL, the variables that each cloud's own tools read, or, only where the URL names
the cloud itself, from its metadata service: an endpoint of one's own is asked without a signature instead.
What a client says of an error may hold secrets; `Place.why` says it in words that do not.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from tracescope.errors import SourceError
from tracescope.places import masked, need, scheme_of


class _Kind(NamedTuple):
    """One protocol of object storage.

    Attributes
    ----------
    store, endpoint
        The client's class, and what it calls an endpoint.
    options
        What a URL may say beside `endpoint`.
    credentials, variables
        Those of them, and variables, that bring credentials.
    endpoints, cloud
        Variables of an endpoint, and how hosts of the cloud itself end.
    export
        How credentials are given.
    """

    store: str
    endpoint: str
    options: tuple[str, ...]
    credentials: tuple[str, ...]
    variables: tuple[str, ...]
    endpoints: tuple[str, ...]
    cloud: tuple[str, ...]
    export: str


_S3 = _Kind(
    "S3Store", "endpoint",
    ("region", "access_key_id", "secret_access_key", "session_token", "virtual_hosted_style_request",
     "request_payer", "skip_signature"),
    ("access_key_id",),
    ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
     "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"), (".amazonaws.com", ".amazonaws.com.cn"),
    "export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
)  # fmt: skip
_GS = _Kind(
    "GCSStore", "base_url",
    ("service_account", "bearer_token", "skip_signature"),
    ("service_account", "bearer_token"),
    ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH", "GOOGLE_SERVICE_ACCOUNT_KEY",
     "GOOGLE_APPLICATION_CREDENTIALS"),
    ("GOOGLE_BASE_URL", "STORAGE_EMULATOR_HOST"), (".googleapis.com",),
    "export GOOGLE_APPLICATION_CREDENTIALS=FILE",
)  # fmt: skip
_AZ = _Kind(
    "AzureStore", "endpoint",
    ("account_name", "account_key", "sas_key", "client_id", "client_secret", "tenant_id", "skip_signature"),
    ("account_key", "sas_key", "client_id"),
    ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY",
     "AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_TOKEN", "AZURE_STORAGE_CLIENT_ID",
     "AZURE_CLIENT_ID", "AZURE_FEDERATED_TOKEN_FILE", "AZURE_USE_AZURE_CLI"),
    ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"), (".core.windows.net", ".azure.com"),
    "export AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
)  # fmt: skip
_KINDS: Final = {
    "s3": _S3, "s3a": _S3, "s3n": _S3, "gs": _GS, "gcs": _GS, "az": _AZ, "azure": _AZ,
}  # fmt: skip

SCHEMES: Final = frozenset(_KINDS)
#: Options that are no secret.
_OPEN: Final = frozenset(
    {
        "region", "endpoint", "account_name", "skip_signature", "request_payer",
        "virtual_hosted_style_request",
    }
)  # fmt: skip
#: What a bucket or container may be called; anything else is part of credentials that were not quoted.
_BUCKET: Final = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{0,254}")
_STATUS: Final = re.compile(r"status code: (\d{3}) ?([A-Za-z ]*)")
_CODE: Final = re.compile(r"<Code>(\w{1,60})</Code>")
#: Who was asked where nobody gives credentials: metadata services, and servers of tokens.
_NO_CREDENTIALS: Final = re.compile(
    r"redential|/latest/(api/token|meta-data)|/computeMetadata/|/metadata/identity|/oauth2/"
)
_RETRY: Final[Mapping[str, Any]] = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=5),
        "base": 2,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Objects below a prefix of a bucket or container.

    Attributes
    ----------
    shown, root, prefix
        The URL without secrets, the bucket's own, and the prefix.
    identity
        What tells the bucket from others, whoever asks and however.
    config
        What the client is told.
    endpoint
        Which is asked; empty for the cloud's own.
    has_secrets
        Whether the URL brings credentials.
    """

    shown: str
    root: str
    prefix: str
    identity: str
    config: Mapping[str, str]
    endpoint: str
    has_secrets: bool
    kind: _Kind
    bucket: str

    @property
    def export(self) -> str:
        """How credentials are given."""
        return self.kind.export

    @property
    def deletes_many(self) -> bool:
        """Whether many objects are removed by one request, there or not."""
        return self.kind is _S3

    def client(self, *, below: bool = False) -> tuple[Any, tuple[type[Exception], ...]]:
        """The client of the bucket (`below`: of the prefix in it), and what it raises.

        Raises
        ------
        SourceError
            What the client is told does not do.
        UsageError
            obstore is not installed.
        """
        clients = need("obstore.store", "objects", self.shown)
        base = need("obstore.exceptions", "objects", self.shown).BaseError
        plain = self.endpoint.startswith("http://")
        unsigned: dict[str, Any] = {}
        if self.kind is _GS and self.config.get("skip_signature", "").lower() in ("true", "1"):
            # Google's client leaves out signatures where it reads; to write it would ask the metadata service
            unsigned["credential_provider"] = _nobody
        try:
            store = getattr(clients, self.kind.store)(
                self.bucket,
                prefix=self.prefix if below and self.prefix else None,
                config=dict(self.config),
                client_options={"allow_http": plain, "connect_timeout": "5s", "timeout": "60s"},
                retry_config=_RETRY,
                **unsigned,
            )
        except (base, ValueError, OSError) as error:
            first = str(error).splitlines()[0]
            about = "it needs an account_name" if "ccount must" in first else "its credentials cannot be read"
            raise SourceError(f"{self.shown}: {about}", self.export) from error
        return store, (base, OSError, ValueError)

    def why(self, error: Exception, place: str, *, again: str, right: str) -> tuple[str, str]:
        """What went wrong with a place, by what the client says, and what to do.

        Parameters
        ----------
        again, right
            How to try again, and which rights are needed.
        """
        said = str(error)
        status, code = _STATUS.search(said), _CODE.search(said)
        answer = f"{status[1]} {status[2].strip()}".strip() if status else ""
        if code:
            answer = f"{answer} ({code[1]})"
        number = int(status[1]) if status else 0
        if _NO_CREDENTIALS.search(said.partition("\n")[0]):
            return f"{place}: there are no credentials for it", self.export
        if number in (401, 403):
            return f"{place}: access is refused: {answer}", f"{self.export}, or ask for the right to {right}"
        if number == 404:
            return f"{place}: there is no such bucket: {answer}", "check its name, and the endpoint"
        if number in (301, 307, 400):
            return (
                f"{place}: the server does not take the request: {answer}",
                "check region and endpoint: `?region=...&endpoint=...`, or their variables",
            )
        if status:
            return f"{place}: the server answers {answer}", f"{again} later"
        where = f" at {self.endpoint}" if self.endpoint else ""
        return (
            f"{place}: the server{where} cannot be reached, or goes away in mid-answer",
            f"check the endpoint and the network, and {again}",
        )


def _nobody() -> dict[str, Any]:
    """Google's credentials of whoever gives none."""
    return {"token": "", "expires_at": None}


def place_of(url: str, *, given: Mapping[str, str], environ: Mapping[str, str]) -> Place:
    """What a URL of `SCHEMES` names; nobody is asked.

    Parameters
    ----------
    url
        As in the module's docstring.
    given
        Options of the settings; those of the URL win.
    environ
        Variables, as clients of the place read them.

    Raises
    ------
    SourceError
        It names no bucket, or says what is not known.
    """
    scheme = scheme_of(url) or ""
    kind = _KINDS[scheme]
    shown = masked(url)
    parsed = urlsplit(re.sub(r"^([^:]+):/(?!/)", r"\1://", url.strip()))
    *user, bucket = parsed.netloc.rpartition("@")
    if not _BUCKET.fullmatch(bucket) or "@" in parsed.path:
        raise SourceError(
            f"{shown} names no bucket",
            f"write {scheme}://bucket/prefix, and characters such as / of a secret as %2F",
        )
    said = _said(parsed.query, kind, shown)
    if kind is _S3 and user[0]:
        said["access_key_id"], _, said["secret_access_key"] = map(unquote, user[0].partition(":"))
    known = (*kind.options, "endpoint")
    config = {name: value for name, value in given.items() if name in known} | said
    endpoint = config.pop("endpoint", "") or next(filter(None, map(environ.get, kind.endpoints)), "")
    endpoint = re.sub(r"^(https?):/+", r"\1://", endpoint)
    if endpoint and not re.match(r"https?://[^/?#@\s]+", endpoint):
        raise SourceError(f"{shown}: its endpoint is no address", "write endpoint=https://host:port")
    own = bool(endpoint) and not (urlsplit(endpoint).hostname or "").endswith(kind.cloud)
    signed = any(config.get(name) for name in kind.credentials) or any(map(environ.get, kind.variables))
    if own and not signed:  # or the client would ask a metadata service of a cloud that nobody named
        config.setdefault("skip_signature", "true")
    if endpoint:
        config[kind.endpoint] = endpoint.rstrip("/")
    at = urlsplit(endpoint).netloc or config.get("account_name", "")
    return Place(
        shown=shown,
        root=f"{scheme}://{bucket}",
        prefix=unquote(parsed.path).strip("/"),
        identity=f"{kind.store}:{at}/{bucket}",
        config=config,
        endpoint=endpoint,
        has_secrets=bool(said.keys() - _OPEN),
        kind=kind,
        bucket=bucket,
    )


def _said(query: str, kind: _Kind, shown: str) -> dict[str, str]:
    """Options of a URL's query."""
    said = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(said.keys() - {*kind.options, "endpoint"})
    if unknown:
        raise SourceError(
            f"{shown}: {unknown[0]!r} is not an option of it",
            f"it takes endpoint, {', '.join(kind.options)}",
        )
    return said


def store_folder(url: str, home: Path) -> Path:
    """The folder for what this machine holds of a store in a bucket, made where there is none.

    ``MIRROR.json`` in it says of which store; no secret is in it.

    Raises
    ------
    SourceError
        The URL names no bucket and prefix, or brings credentials.
    """
    place = place_of(url, given={}, environ={})
    if place.has_secrets:
        raise SourceError(
            f"{place.shown}: the URL of a store is written down, so it brings no credentials", place.export
        )
    if not place.prefix:
        raise SourceError(f"{place.shown} names a bucket", f"name a prefix in it: {place.root}/tracescope")
    query = urlsplit(url).query
    plain = f"{place.root}/{place.prefix}" + (f"?{query}" if query else "")
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{place.bucket}-{place.prefix}")[-80:].strip("-")
    folder = home / f"{readable}-{hashlib.blake2b(plain.encode(), digest_size=6).hexdigest()}"
    said, text = folder / "MIRROR.json", json.dumps({"url": plain})
    if not said.is_file() or said.read_text() != text:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        said.write_text(text)
    return folder
