"""Google Cloud Storage for tests: fake-gcs-server on loopback, and the XML API before it.

The server has generations and their conditions, and speaks the JSON API; clients that write objects whole
speak the XML API.  `Gateway` puts one into the other: what is stored, on which condition, is the server's.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit
from xml.sax.saxutils import escape

import pytest
from processes import free_port

BUCKET: Final = "tracescope-tests"


@contextmanager
def gcs_server() -> Generator[str]:
    """A server with the bucket `BUCKET`; the address of its XML API."""
    tools = Path(os.environ.get("EXPORT_PARSERS", "/nowhere"))
    program = next(tools.glob("gcs-*/fake-gcs-server"), None)
    if program is None:
        pytest.skip("needs fake-gcs-server; tests/tools/install.sh brings it")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [program, "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    gateway = _Server(address)
    thread = Thread(target=gateway.serve_forever, daemon=True)
    try:
        _make_bucket(address)
        thread.start()
        yield f"http://127.0.0.1:{gateway.server_port}"
    finally:
        if thread.is_alive():
            gateway.shutdown()
        gateway.server_close()
        server.kill()
        server.wait()


def _make_bucket(address: str) -> None:
    made = urllib.request.Request(
        f"{address}/storage/v1/b?project=p",
        data=json.dumps({"name": BUCKET}).encode(),
        headers={"content-type": "application/json"},
    )
    for _ in range(300):
        with suppress(urllib.error.URLError, ConnectionError), urllib.request.urlopen(made, timeout=5):
            return
        time.sleep(0.1)
    pytest.fail("fake-gcs-server did not start in 30 s")


class _Server(ThreadingHTTPServer):
    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), Gateway)
        self.behind = behind


class Gateway(BaseHTTPRequestHandler):
    """Requests of the XML API as those of the JSON API, and answers back."""

    protocol_version = "HTTP/1.1"
    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as its base class calls it
        """Say nothing."""

    def _ask(self, path: str, *, method: str = "GET", data: bytes | None = None) -> bytes:
        asked = urllib.request.Request(f"{self.server.behind}{path}", method=method, data=data)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.read()

    @property
    def _names(self) -> tuple[str, str]:
        bucket, _, key = urlsplit(self.path).path.removeprefix("/").partition("/")
        return bucket, quote(unquote(key), safe="")

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, error: urllib.error.HTTPError) -> None:
        error.close()
        bucket, key = self._names
        code = {404: "NoSuchKey" if key else "NoSuchBucket", 412: "PreconditionFailed"}.get(
            error.code, "Error"
        )
        if error.code == 404 and key:
            try:
                self._ask(f"/storage/v1/b/{bucket}")
            except urllib.error.HTTPError as missing:
                missing.close()
                code = "NoSuchBucket"
        self._answer(error.code, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def do_PUT(self) -> None:
        """Write an object, of the generation that is asked for."""
        bucket, key = self._names
        query = {"uploadType": "media", "name": unquote(key)}
        if (generation := self.headers.get("x-goog-if-generation-match")) is not None:
            query["ifGenerationMatch"] = generation
        data = self.rfile.read(int(self.headers.get("content-length", 0)))
        path = f"/upload/storage/v1/b/{bucket}/o?{urlencode(query)}"
        try:
            made = json.loads(self._ask(path, method="POST", data=data))
        except urllib.error.HTTPError as error:
            self._refuse(error)
            return
        self._answer(200, etag=_tag(made), x_goog_generation=str(made["generation"]))

    def do_GET(self) -> None:
        """An object, or a listing."""
        bucket, key = self._names
        try:
            if not key:
                self._list(bucket)
                return
            about = json.loads(self._ask(f"/storage/v1/b/{bucket}/o/{key}"))
            known = self.headers.get("if-none-match") == _tag(about)
            reads = not known and self.command == "GET"
            data = self._ask(f"/storage/v1/b/{bucket}/o/{key}?alt=media") if reads else b""
        except urllib.error.HTTPError as error:
            self._refuse(error)
            return
        headers = {"etag": _tag(about), "x_goog_generation": str(about["generation"])}
        headers["last_modified"] = format_datetime(datetime.fromisoformat(about["updated"]), usegmt=True)
        if self.command == "HEAD":
            headers["content-length"] = str(about["size"])
        self._answer(304 if known else 200, data, **headers)

    do_HEAD = do_GET  # noqa: N815 - as its base class calls it

    def _list(self, bucket: str) -> None:
        asked = {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()}
        query = {"maxResults": asked.get("max-keys", "1000"), "prefix": asked.get("prefix", "")}
        if "continuation-token" in asked:
            query["pageToken"] = asked["continuation-token"]
        after = asked.get("start-after", "")
        if after:
            query["startOffset"] = after
        found: dict[str, Any] = json.loads(self._ask(f"/storage/v1/b/{bucket}/o?{urlencode(query)}"))
        rows = "".join(
            f"<Contents><Key>{escape(each['name'])}</Key><Size>{each['size']}</Size><ETag>{_tag(each)}</ETag>"
            f"<LastModified>{each['updated']}</LastModified></Contents>"
            for each in found.get("items", ())
            if each["name"] > after
        )
        more = found.get("nextPageToken")
        if more:
            rows += f"<NextContinuationToken>{escape(more)}</NextContinuationToken>"
        truncated = str(bool(more)).lower()
        rows = f"<ListBucketResult><IsTruncated>{truncated}</IsTruncated>{rows}</ListBucketResult>"
        self._answer(200, rows.encode(), content_type="application/xml")

    def do_DELETE(self) -> None:
        """Remove an object."""
        bucket, key = self._names
        try:
            self._ask(f"/storage/v1/b/{bucket}/o/{key}", method="DELETE")
        except urllib.error.HTTPError as error:
            self._refuse(error)
            return
        self._answer(204)


def _tag(about: dict[str, Any]) -> str:
    """The entity tag of the XML API: what the object holds, and not which generation of it."""
    return f'"{base64.b64decode(about["md5Hash"]).hex()}"'
