"""Object storage against servers: every object once, exact counts, and what goes wrong is a sentence."""

from __future__ import annotations

import base64
import gzip
import hmac
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import stores
import zstandard
from buckets import KEYS, KINDS, S3Server, make_bucket
from click.testing import CliRunner, Result
from processes import free_address
from stores import sealed_checksum
from tempo_blocks import BLOCK, write_block
from test_sources import payload
from test_sources_tempo import traces

from tracescope.cli import main
from tracescope.errors import SourceError
from tracescope.sources import Options, open_source
from tracescope.store import open_store

obstore = pytest.importorskip("obstore", reason="needs obstore")


@pytest.fixture(params=KINDS)
def s3_kind(request: pytest.FixtureRequest) -> str:
    """Every test on every kind of server."""
    return request.param


@pytest.fixture
def bucket(s3: S3Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty bucket of its own: a client that writes into it."""
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    name = f"b{abs(hash(request.node.name)) % 10**12}"
    make_bucket(s3.address, name)
    from obstore.store import S3Store

    store = S3Store(name, config={"endpoint": s3.address}, client_options={"allow_http": True})
    store_of[id(store)] = f"s3://{name}", s3.address
    return store


store_of: dict[int, tuple[str, str]] = {}


def url(store: Any, prefix: str = "") -> str:
    root, server = store_of[id(store)]
    return f"{root}/{prefix}?endpoint={server}"


def run(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], env=environment)


def exported(number: int) -> tuple[str, bytes]:
    """An object as the Collector's S3 exporter writes it, in one of its forms, and its key."""
    data = payload(number)
    if number % 2:
        from google.protobuf.json_format import MessageToDict
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        message = ExportTraceServiceRequest.FromString(data)
        said = MessageToDict(message)
        for resource, given in zip(said["resourceSpans"], message.resource_spans, strict=True):
            span, sent = resource["scopeSpans"][0]["spans"][0], given.scope_spans[0].spans[0]
            span |= {"traceId": sent.trace_id.hex(), "spanId": sent.span_id.hex()}
            span |= {"parentSpanId": sent.parent_span_id.hex()}
        data = json.dumps(said).encode()
    suffix = ("", ".gz", ".zst")[number % 3]
    data = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix](data)
    # minutes of whatever zone: keys say nothing of spans
    folder = f"traces/year=2031/month=01/day=0{number % 9 + 1}/hour=23/minute={number % 60:02}"
    return f"{folder}/traces_{number}.x{suffix}", data


def test_objects_of_the_s3_exporter_are_read_once_in_every_form(tmp_path: Path, bucket: Any) -> None:
    """JSON and protobuf, plain, gzip and zstd; the same rollups as their messages in files."""
    count = 230
    folder = tmp_path / "files"
    for number in range(count):
        key, data = exported(number)
        bucket.put(key, data)
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    bucket.put("traces/folder/", b"")
    result = run("import", url(bucket, "traces"), "--store", tmp_path / "store")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith(f"{2 * count} new, 0 duplicates, 0 rejected; ")
    assert run("import", folder, "--store", tmp_path / "plain").exit_code == 0
    assert sealed_checksum(open_store(tmp_path / "store")) == sealed_checksum(open_store(tmp_path / "plain"))
    for prefix in ("traces", "", "traces/year=2031/"):
        result = run("import", url(bucket, prefix), "--store", tmp_path / "store")
        assert result.stderr.startswith("0 new, 0 duplicates, 0 rejected; ")
        assert f"not read again: {count} parts imported before" in result.stderr
    key, _ = exported(0)
    bucket.put(key, payload(1000) + payload(0))
    bucket.put("other/one", payload(1001))
    result = run("import", url(bucket), "--store", tmp_path / "store")
    assert result.stderr.startswith("4 new, 2 duplicates, 0 rejected; ")


def test_one_object_is_a_prefix_and_others_that_begin_so_are_not(tmp_path: Path, bucket: Any) -> None:
    """Prefixes are whole folders."""
    bucket.put("day=1/a", payload(1))
    bucket.put("day=10/a", payload(2))
    bucket.put("day=1/a-more", payload(3))
    assert run("import", url(bucket, "day=1/a"), "--store", tmp_path / "a").stderr.startswith("2 new")
    assert run("import", url(bucket, "day=1"), "--store", tmp_path / "b").stderr.startswith("4 new")


def test_what_is_no_trace_is_skipped_and_named_and_what_is_damaged_stops_all(
    tmp_path: Path, bucket: Any
) -> None:
    """And once it is mended the next run goes on."""
    bucket.put("a.json", json.dumps({"resourceMetrics": []}).encode())
    bucket.put("b.csv", b"one,two\n1,2\n")
    bucket.put("c.parquet", b"PAR1" + random.Random(1).randbytes(300))
    bucket.put("d", payload(1))
    bucket.put("e.gz", gzip.compress(payload(2))[:-20])
    result = run("import", url(bucket), "--store", tmp_path / "store")
    assert result.exit_code == 1
    assert "/e.gz: " in result.stderr
    assert "very-secret" not in result.output
    assert open_store(tmp_path / "store").stored() == 0
    bucket.put("e.gz", gzip.compress(payload(2)))
    result = run("import", url(bucket), "--store", tmp_path / "store")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("4 new, 0 duplicates")
    assert "skipped documents without traces: 1 metrics" in result.stderr
    assert "skipped 2 files without traces" in result.stderr
    assert "b.csv" in result.stderr


def test_an_empty_prefix_and_a_missing_bucket_are_told_apart(tmp_path: Path, bucket: Any) -> None:
    """Nothing is asked again and again."""
    for place, said in (
        (url(bucket, "none"), "no object there"),
        (url(bucket), "no object there"),
        (
            url(bucket).replace("s3://b", "s3://nobody"),
            "there is no such bucket: 404 Not Found (NoSuchBucket)",
        ),
    ):
        result = run("import", place, "--store", tmp_path / "store")
        assert result.exit_code == 1, result.output
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 2


def test_an_object_that_goes_or_changes_while_it_is_read_leaves_the_store_as_it_was(
    tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run reads what is there."""
    from tracescope.sources.objects import Bucket

    listed = Bucket.objects
    for number in range(5):
        bucket.put(f"{number}", payload(number))

    def meanwhile(change: Callable[[], object]) -> None:
        def objects(self: Bucket) -> Iterator[Any]:
            yield from list(listed(self))

        def then(self: Bucket) -> Iterator[Any]:
            found = list(objects(self))
            change()
            yield from found

        monkeypatch.setattr(Bucket, "objects", then)

    meanwhile(lambda: obstore.delete(bucket, "3"))
    result = run("import", url(bucket), "--store", tmp_path / "store")
    assert result.exit_code == 1
    assert "/3: it was listed, and is gone" in result.stderr
    meanwhile(lambda: bucket.put("4", payload(9)))
    result = run("import", url(bucket), "--store", tmp_path / "store")
    assert result.exit_code == 1
    assert "/4: it was written anew while it was read" in result.stderr
    assert open_store(tmp_path / "store").stored() == 0
    monkeypatch.setattr(Bucket, "objects", listed)
    assert run("import", url(bucket), "--store", tmp_path / "store").stderr.startswith("8 new")


def test_since_and_until_choose_spans_of_objects_and_leave_out_those_that_keys_rule_out(
    tmp_path: Path, bucket: Any
) -> None:
    """Times of keys are of any zone; an object that was read in part is read again by more."""
    sent = stores.request("A shop GET 08:30:00 +1s\nB shop GET 10:30:00 +1s").SerializeToString()
    inside = stores.request("C shop GET 08:40:00 +1s").SerializeToString()
    bucket.put("t/year=2026/month=09/day=30/hour=21/minute=00/far-east", sent)
    bucket.put("t/no-time", inside)
    for number, day in enumerate(("year=2026/month=09/day=28", "year=2026/month=10/day=05")):
        bucket.put(f"t/{day}/hour=10/other-{number}", inside)
    bucket.put("t/year=2026/month=99/day=01/no-day", inside)
    asked = "--since", "2026-09-30T08:00Z", "--until", "2026-09-30T09:00Z"
    result = run("import", url(bucket, "t"), *asked, "--store", tmp_path / "store")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("2 new, 1 duplicates, 0 rejected")
    assert "left out, of another time: 1 spans, and 2 parts unread" in result.stderr
    again = run("import", url(bucket, "t"), *asked, "--store", tmp_path / "store")
    assert again.stderr.startswith("0 new, 0 duplicates")
    assert "not read again: 3 parts" in again.stderr
    whole = run("import", url(bucket, "t"), "--store", tmp_path / "store")
    assert whole.stderr.startswith("1 new, 5 duplicates")
    (tmp_path / "sent").write_bytes(sent + inside)
    assert run("import", tmp_path / "sent", "--store", tmp_path / "plain").exit_code == 0
    assert sealed_checksum(open_store(tmp_path / "store")) == sealed_checksum(open_store(tmp_path / "plain"))


def test_blocks_of_tempo_in_a_bucket_are_read_among_objects_and_alone(tmp_path: Path, bucket: Any) -> None:
    """A block that is compacted away while it is read is told, and the next run goes on."""
    sent = traces(20)
    write_block(tmp_path / BLOCK, [sent], 4)
    for path in (tmp_path / BLOCK).iterdir():
        bucket.put(f"tempo/tenant/{BLOCK}/{path.name}", path.read_bytes())
    bucket.put(f"tempo/tenant/{BLOCK}/bloom-0", b"\0\1\2")
    bucket.put("tempo/otlp", payload(1))
    result = run("import", f"tempo+{url(bucket, 'tempo')}", "--store", tmp_path / "alone")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("80 new, 0 duplicates, 0 rejected; ")
    assert result.stderr.count("\n") == 1
    result = run("import", url(bucket, "tempo"), "--store", tmp_path / "alone")
    assert result.stderr.startswith("2 new, 0 duplicates, 0 rejected; ")
    assert "not read again: 1 parts" in result.stderr
    (tmp_path / "sent.binpb").write_bytes(sent.SerializeToString() + payload(1))
    assert run("import", tmp_path / "sent.binpb", "--store", tmp_path / "plain").exit_code == 0
    assert sealed_checksum(open_store(tmp_path / "alone")) == sealed_checksum(open_store(tmp_path / "plain"))
    obstore.delete(bucket, f"tempo/tenant/{BLOCK}/meta.json")
    result = run("import", url(bucket, "tempo"), "--store", tmp_path / "other")
    assert result.exit_code == 0, result.output
    assert f"tempo/tenant/{BLOCK}: a block of Tempo without meta.json" in result.stderr


def test_an_import_that_is_killed_leaves_the_store_as_it_was_and_the_next_goes_on(
    tmp_path: Path, bucket: Any, answering: Any
) -> None:
    """Killed while it waits for the last object."""
    for number in range(30):
        bucket.put(f"{number:02}", payload(number))
    _, address = store_of[id(bucket)]
    waiting = threading.Event()

    def slow(handler: Any) -> None:
        if handler.path.split("?")[0].endswith("/29"):
            waiting.set()
            time.sleep(60)
        with urllib.request.urlopen(
            urllib.request.Request(address + handler.path, headers=dict(handler.headers))
        ) as answer:
            body = answer.read()
            handler.send_response(answer.status)
            for name in ("content-length", "etag", "last-modified"):
                if name in answer.headers:
                    handler.send_header(name, answer.headers[name])
            handler.end_headers()
            handler.wfile.write(body)

    store = tmp_path / "store"
    place = url(bucket).replace(address, answering(slow).address)
    command = [sys.executable, "-m", "tracescope", "import", place, "--store", str(store)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as importing:
        assert waiting.wait(120)
        importing.kill()
    assert open_store(store).stored() == 0
    result = run("import", url(bucket), "--store", store)
    assert result.exit_code == 0, result.output
    assert open_store(store).stored() == 60


class Answering(ThreadingHTTPServer):
    """A server on loopback that answers everything by one function, and keeps what it was asked."""

    def __init__(self, answer: Callable[[BaseHTTPRequestHandler], None]) -> None:
        asked = self.asked = []

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                asked.append((self.path, dict(self.headers)))
                answer(self)

            do_GET = do_PUT = do_HEAD = do_POST = _any  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.daemon_threads, self.block_on_close = True, False
        threading.Thread(target=self.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def answering() -> Iterator[Callable[[Callable[[Any], None]], Answering]]:
    """Makes servers, and stops them."""
    made: list[Answering] = []

    def make(answer: Callable[[Any], None]) -> Answering:
        made.append(Answering(answer))
        return made[-1]

    yield make
    for each in made:
        each.shutdown()
        each.server_close()


def refusal(status: int, code: str) -> Callable[[Any], None]:
    body = f"<Error><Code>{code}</Code><Message>very-secret</Message></Error>".encode()

    def answer(handler: Any) -> None:
        handler.send_response(status)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.mark.parametrize(
    ("status", "code", "said", "way"),
    [
        (
            403,
            "InvalidAccessKeyId",
            "access is refused: 403 Forbidden (InvalidAccessKeyId)",
            "export AWS_ACCESS_KEY_ID",
        ),
        (401, "Unauthorized", "access is refused: 401 Unauthorized", "export AWS_ACCESS_KEY_ID"),
        (400, "AuthorizationHeaderMalformed", "does not take the request: 400 Bad Request", "region"),
        (501, "NotImplemented", "the server answers 501 Not Implemented (NotImplemented)", "again later"),
    ],
)
def test_a_refusal_is_told_with_its_code_and_what_to_do(
    tmp_path: Path, answering: Any, status: int, code: str, said: str, way: str
) -> None:
    """Never what else the answer says, which may hold secrets."""
    place = f"s3://key:very-secret@bucket/x?endpoint={answering(refusal(status, code)).address}"
    result = run("import", place, "--store", tmp_path / "store")
    assert result.exit_code == 1, result.output
    assert (
        f"s3://***@bucket/x: {said}" in result.stderr.replace("the server does", "does")
        or said in result.stderr
    )
    assert way in result.stderr
    assert "very-secret" not in result.output
    assert len(result.stderr.splitlines()) == 2


def test_a_server_that_is_not_there_or_stops_in_mid_answer_is_named(
    tmp_path: Path, answering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its endpoint."""
    from tracescope.places import buckets

    monkeypatch.setattr(buckets, "_RETRY", {**buckets._RETRY, "max_retries": 1})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    result = run("import", f"s3://bucket?endpoint={nobody}", "--store", tmp_path / "store")
    assert result.exit_code == 1, result.output
    assert f"the server at {nobody} cannot be reached" in result.stderr

    def cut(handler: Any) -> None:
        listing = b"list-type" in handler.path.encode()
        body = (
            b"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>x</Key><Size>900</Size><ETag>1</ETag>"
            b"<LastModified>2026-01-01T00:00:00Z</LastModified></Contents></ListBucketResult>"
        )
        handler.send_response(200)
        handler.send_header("content-length", str(len(body) if listing else 900))
        handler.send_header("etag", "1")
        handler.send_header("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        handler.end_headers()
        handler.wfile.write(body if listing else b"x" * 10)

    result = run("import", f"s3://bucket?endpoint={answering(cut).address}", "--store", tmp_path / "store")
    assert result.exit_code == 1, result.output
    assert "cannot be reached, or goes away in mid-answer" in result.stderr
    assert open_store(tmp_path / "store").stored() == 0


def test_no_metadata_service_is_asked_where_the_url_names_an_endpoint(
    tmp_path: Path, answering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without credentials requests are not signed; where the URL names the cloud it may be asked."""
    for name in (*KEYS, "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    trap, store = answering(refusal(404, "None")), answering(refusal(403, "AccessDenied"))
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", trap.address)
    assert (
        "access is refused"
        in run("import", f"s3://b?endpoint={store.address}", "--store", tmp_path / "s").stderr
    )
    assert not trap.asked
    assert store.asked
    assert not any("authorization" in {name.lower() for name in headers} for _, headers in store.asked)
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.address)
    assert run("import", "s3://b", "--store", tmp_path / "s").exit_code == 1
    assert not trap.asked
    for place in (f"gs://b?endpoint={store.address}", f"az://b?account_name=a&endpoint={store.address}"):
        before = len(store.asked)
        assert "access is refused" in run("import", place, "--store", tmp_path / "s").stderr
        assert len(store.asked) > before
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    result = run("import", "s3://b", "--store", tmp_path / "s")
    assert result.exit_code == 1
    assert "there are no credentials for it" in result.stderr
    assert trap.asked


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("s3://", "names no bucket"),
        ("s3:///x", "names no bucket"),
        ("s3://key:se/cret@bucket/x", "names no bucket"),
        ("s3://bucket?endpiont=http://x", "'endpiont' is not an option of it"),
        ("s3://bucket?endpoint=localhost:9000", "its endpoint is no address"),
        ("az://container", "it needs an account_name"),
        ("az://container?account_name=a&account_key=se!cret", "its credentials cannot be read"),
        ("gs://bucket?service_account=/none/se!cret", "its credentials cannot be read"),
    ],
)
def test_a_url_that_cannot_be_understood_is_exit_2_and_makes_no_store(
    tmp_path: Path, place: str, said: str
) -> None:
    """Without its secrets."""
    result = run("import", place, "--store", tmp_path / "store")
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "cret" not in result.stderr.replace("AWS_SECRET", "").replace("secret_access_key", "").replace(
        "a secret", ""
    )
    assert len(result.stderr.splitlines()) == 2
    assert not (tmp_path / "store").exists()


def test_where_a_bucket_is_does_not_depend_on_prefix_and_credentials() -> None:
    """But on its endpoint: two servers may have buckets of one name."""
    options = Options(environ={}, given={"region": "eu-central-1", "unheard": "of"})
    one = open_source("s3://b/x?endpoint=http://127.0.0.1:1&access_key_id=k&secret_access_key=s", options)
    assert one.name == "s3://b/x"
    assert one.identity == open_source("s3://u:p@b/y?endpoint=http://127.0.0.1:1", options).identity
    assert one.identity != open_source("s3://b/x?endpoint=http://127.0.0.1:2", options).identity
    assert one.identity == open_source("s3:/b?endpoint=http:/127.0.0.1:1", options).identity
    with pytest.raises(SourceError):
        open_source("gs://b?region=x", options)


def test_settings_give_options_of_what_begins_so_and_the_url_wins(
    tmp_path: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint that is written once; a bucket whose name only begins so is another."""
    monkeypatch.chdir(tmp_path)
    bucket.put("x/one", payload(1))
    root, address = store_of[id(bucket)]
    (tmp_path / "tracescope.toml").write_text(f'[sources]\n"{root}" = "endpoint={address}"\n')
    assert run("import", f"{root}/x", "--store", "store").stderr.startswith("2 new")
    result = run("import", f"tempo+{root}", "--store", "store")
    assert result.exit_code == 1
    assert f"tempo+{root}: no block of Tempo there" in result.stderr
    options = Options(settings={root: "endpoint=http://127.0.0.1:1", f"{root}/x": "region=eu"})
    assert options.of(f"{root}/x/y?z").given == {"endpoint": "http://127.0.0.1:1", "region": "eu"}
    assert options.of(f"tempo+{root}").given == {"endpoint": "http://127.0.0.1:1"}
    assert options.of(f"{root}-other/x").given == {}
    assert address not in run("config", "show").output


@pytest.fixture
def container() -> Iterator[tuple[Any, str, str]]:
    """A container in a server of Azure's blobs: a client that writes, its URL, and the account's key."""
    program = Path(os.environ.get("EXPORT_PARSERS", "/nowhere"), "node_modules", ".bin", "azurite-blob")
    if not program.exists():
        pytest.skip("needs azurite; tests/tools/install.sh brings it")
    key = base64.b64encode(b"a key of thirty-two bytes, so long").decode()
    host, port = free_address().split(":")
    endpoint = f"http://{host}:{port}/shop"
    command = [
        program,
        "--blobHost",
        host,
        "--blobPort",
        port,
        "--inMemoryPersistence",
        "--skipApiVersionCheck",
    ]
    running = subprocess.Popen(
        [*command, "--disableTelemetry"], env={**os.environ, "AZURITE_ACCOUNTS": f"shop:{key}"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        for _ in range(300):
            with suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
                break
            time.sleep(0.1)
        _make_container(endpoint, key)
        from obstore.store import AzureStore

        config = {"account_name": "shop", "account_key": key, "endpoint": endpoint}
        store = AzureStore("traces", config=config, client_options={"allow_http": True})
        yield store, f"?account_name=shop&endpoint={endpoint}", key
    finally:
        running.terminate()
        running.wait(10)


def _make_container(endpoint: str, key: str) -> None:
    """A container called traces, asked for with the account's key."""
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    text = "PUT" + "\n" * 12 + lines + "/shop/shop/traces\nrestype:container"
    signature = base64.b64encode(hmac.digest(base64.b64decode(key), text.encode(), "sha256")).decode()
    headers |= {"Authorization": f"SharedKey shop:{signature}", "Content-Length": "0"}
    asked = urllib.request.Request(f"{endpoint}/traces?restype=container", method="PUT", headers=headers)
    urllib.request.urlopen(asked).close()


def test_a_container_of_azure_is_read_as_a_bucket_is(tmp_path: Path, container: Any) -> None:
    """Its entity tags are quoted in one answer and not in the other; errors are told by its codes."""
    store, options, key = container
    for number in range(12):
        store.put(f"year=2026/{number}", payload(number))
    given = {"AZURE_STORAGE_ACCOUNT_KEY": key}
    place = f"az://traces/year=2026{options}"
    assert run("import", place, "--store", tmp_path / "store", **given).stderr.startswith("24 new")
    again = run("import", f"az://traces{options}", "--store", tmp_path / "store", **given)
    assert "not read again: 12 parts imported before" in again.stderr
    other = base64.b64encode(b"x" * 32).decode()
    for where, variables, said in (
        (place, {}, "access is refused: 403"),
        (
            place,
            {"AZURE_STORAGE_ACCOUNT_KEY": other},
            "access is refused: 403 Forbidden (AuthorizationFailure)",
        ),
        (f"az://none{options}", given, "there is no such bucket: 404 Not Found (ContainerNotFound)"),
        (f"az://traces/none{options}", given, "no object there"),
    ):
        result = run("import", where, "--store", tmp_path / "store", **variables)
        assert result.exit_code == 1, result.output
        assert said in result.stderr
        assert key not in result.output
