"""Object storage: S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage.

    s3://bucket/prefix?endpoint=http://127.0.0.1:9000&region=eu-central-1
    gs://bucket/prefix
    az://container/prefix?account_name=shop

A prefix is whole folders, or the key of one object.  Keys say nothing of when spans were: exporters name
folders in any time zone, and an object holds spans of several hours.  An object's name in the ledger is its
key and entity tag, so one that was written anew is read again.

Credentials come from the URL, the variables that each cloud's own tools read, or, only where the URL names
the cloud itself, from its metadata service: an endpoint of one's own is asked without a signature instead.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from tracescope.errors import InputError, SourceError
from tracescope.places import masked, scheme_of
from tracescope.sources import Options, Part, Source, digest, need


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

#: What a bucket or container may be called; anything else is part of credentials that were not quoted.
_BUCKET: Final = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{0,254}")
_STATUS: Final = re.compile(r"status code: (\d{3}) ?([A-Za-z ]*)")
_CODE: Final = re.compile(r"<Code>(\w{1,60})</Code>")
#: Who was asked where nobody gives credentials: metadata services, and servers of tokens.
_NO_CREDENTIALS: Final = re.compile(
    r"redential|/latest/(api/token|meta-data)|/computeMetadata/|/metadata/identity|/oauth2/"
)
_LISTED: Final = 1000
_PIECE_BYTES: Final = 1024 * 1024
_RETRY: Final[Mapping[str, Any]] = {
    "max_retries": 4,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=5),
        "base": 2,
    },
}


@dataclass(frozen=True, slots=True)
class Object:
    """An object as it was listed."""

    key: str
    size: int
    tag: str


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket or container, and the prefix that is read.

    Attributes
    ----------
    name, identity
        As every source has them.
    root, prefix
        The bucket's URL as shown, and the prefix.
    store, errors
        The client, and what it raises.
    export, endpoint
        How credentials are given, and which endpoint is asked; empty for the cloud's own.
    """

    name: str
    identity: str
    root: str
    prefix: str
    store: Any
    errors: tuple[type[Exception], ...]
    export: str
    endpoint: str

    def parts(self, known: frozenset[str]) -> Iterator[Part]:
        """Its objects by key, less empty ones."""
        for found in self.objects():
            name = digest(found.key, found.tag)
            yield Part(name, self.shown(found.key), self.reader(found), found.size)

    def shown(self, key: str) -> str:
        """An object as messages call it."""
        return f"{self.root}/{key}"

    def objects(self) -> Iterator[Object]:
        """Objects below the prefix, or the one that has it for a key; empty ones left out.

        Raises
        ------
        InputError
            The bucket cannot be listed, or there are none.
        """
        some = False
        try:
            for listed in self.store.list(self.prefix or None, chunk_size=_LISTED):
                for about in listed:
                    some = True
                    if about["size"]:
                        yield _object(about)
            if not some and self.prefix:
                yield _object(self.store.head(self.prefix))
                some = True
        except FileNotFoundError:
            some = False
        except self.errors as error:
            raise self.failed(error, self.name) from error
        if not some:
            raise InputError(
                f"{self.name}: no object there", "check the prefix: it is whole folders, or one object's key"
            )

    def reader(self, found: Object) -> Callable[[], Iterable[bytes]]:
        """What reads an object, as it was listed, in pieces."""

        def read() -> Iterator[bytes]:
            try:
                answer = self.store.get(found.key)
                if _object(answer.meta).tag != found.tag:
                    raise InputError(
                        f"{self.shown(found.key)}: it was written anew while it was read",
                        "run the import again",
                    )
                yield from answer.stream(min_chunk_size=_PIECE_BYTES)
            except FileNotFoundError as error:
                raise InputError(
                    f"{self.shown(found.key)}: it was listed, and is gone", "run the import again"
                ) from error
            except self.errors as error:
                raise self.failed(error, self.shown(found.key)) from error

        return read

    def failed(self, error: Exception, place: str) -> InputError:
        """What went wrong with a place, by what the client says; its words may hold secrets."""
        said = str(error)
        status, code = _STATUS.search(said), _CODE.search(said)
        answer = f"{status[1]} {status[2].strip()}".strip() if status else ""
        if code:
            answer = f"{answer} ({code[1]})"
        number = int(status[1]) if status else 0
        if _NO_CREDENTIALS.search(said.partition("\n")[0]):
            return InputError(f"{place}: there are no credentials for it", self.export)
        if number in (401, 403):
            return InputError(
                f"{place}: access is refused: {answer}",
                f"{self.export}, or ask for the right to list and read",
            )
        if number == 404:
            return InputError(
                f"{place}: there is no such bucket: {answer}", "check its name, and the endpoint"
            )
        if number in (301, 307, 400):
            return InputError(
                f"{place}: the server does not take the request: {answer}",
                "check region and endpoint: `?region=...&endpoint=...`, or their variables",
            )
        if status:
            return InputError(f"{place}: the server answers {answer}", "run the import again later")
        where = f" at {self.endpoint}" if self.endpoint else ""
        return InputError(
            f"{place}: the server{where} cannot be reached, or goes away in mid-answer",
            "check the endpoint and the network, and run the import again",
        )


def _object(about: Mapping[str, Any]) -> Object:
    tag = about["e_tag"] or f"{about['size']} {about['last_modified'].isoformat()}"
    return Object(about["path"], about["size"], tag)


def open_source(url: str, options: Options) -> Source:
    """Open ``s3://``, ``gs://`` or ``az://``; see the module's docstring.

    Raises
    ------
    SourceError
        The URL names no bucket, or says what is not known.
    UsageError
        obstore is not installed.
    """
    return open_bucket(url, options)


def open_bucket(url: str, options: Options) -> Bucket:
    """The same, as what it is."""
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
    config = {name: value for name, value in options.given.items() if name in known} | said
    endpoint = config.pop("endpoint", "") or next(filter(None, map(options.environ.get, kind.endpoints)), "")
    endpoint = re.sub(r"^(https?):/+", r"\1://", endpoint)
    if endpoint and not re.match(r"https?://[^/?#@\s]+", endpoint):
        raise SourceError(f"{shown}: its endpoint is no address", "write endpoint=https://host:port")
    prefix = unquote(parsed.path).strip("/")
    store, errors = _client(kind, bucket, endpoint, config, options, shown)
    at = urlsplit(endpoint).netloc or config.get("account_name", "")
    root = f"{scheme}://{bucket}"
    identity = f"{kind.store}:{at}/{bucket}"
    return Bucket(shown, identity, root, prefix, store, errors, kind.export, endpoint)


def _said(query: str, kind: _Kind, shown: str) -> dict[str, str]:
    """Options of a URL's query."""
    said = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(said.keys() - {*kind.options, "endpoint"})
    if unknown:
        raise SourceError(
            f"{shown}: {unknown[0]!r} is no option of it",
            f"it takes endpoint, {', '.join(kind.options)}",
        )
    return said


def _client(
    kind: _Kind, bucket: str, endpoint: str, config: dict[str, str], options: Options, shown: str
) -> tuple[Any, tuple[type[Exception], ...]]:
    """The client of a bucket, and what it raises."""
    clients = need("obstore.store", "objects", shown)
    base = need("obstore.exceptions", "objects", shown).BaseError
    config = dict(config)
    own = bool(endpoint) and not (urlsplit(endpoint).hostname or "").endswith(kind.cloud)
    given = any(config.get(name) for name in kind.credentials) or any(
        options.environ.get(name) for name in kind.variables
    )
    if own and not given:  # or the client would ask a metadata service of a cloud that nobody named
        config.setdefault("skip_signature", "true")
    if endpoint:
        config[kind.endpoint] = endpoint.rstrip("/")
    client = {"allow_http": endpoint.startswith("http://"), "connect_timeout": "5s", "timeout": "60s"}
    try:
        store = getattr(clients, kind.store)(
            bucket, config=config, client_options=client, retry_config=_RETRY
        )
    except (base, ValueError, OSError) as error:
        first = str(error).splitlines()[0]
        about = "it needs an account_name" if "ccount must" in first else "its credentials cannot be read"
        raise SourceError(f"{shown}: {about}", kind.export) from error
    return store, (base, OSError, ValueError)
