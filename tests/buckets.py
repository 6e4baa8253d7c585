"""Object storage for tests: an S3 server on loopback, and stores in it.

    where = pytest.mark.parametrize("where", ["folder", "bucket"], indirect=True)

marks tests that hold for a store wherever it is; `stores.new_store` then makes it there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final
from unittest import mock

import pytest
from processes import free_address

BUCKET: Final = "tracescope-tests"
_numbers = count()

everywhere = pytest.mark.parametrize("where", ["folder", "bucket"], indirect=True)


@contextmanager
def s3_process() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server of S3 without buckets; its address and process."""
    pytest.importorskip("moto", reason="an S3 server for tests comes with moto")
    host, port = free_address().split(":")
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", host, "-p", port]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(f"http://{host}:{port}")
        yield f"http://{host}:{port}", server
    finally:
        server.kill()
        server.wait()


@contextmanager
def s3_server() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """One with a bucket, named by the variables that clients read."""
    pytest.importorskip("obstore", reason="a store in object storage needs the extra `objects`")
    with s3_process() as (address, server):
        make_bucket(address, BUCKET)
        names = {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "secret-of-tests",
            "AWS_REGION": "us-east-1",
        }
        with mock.patch.dict(os.environ, names):
            yield address, server


def make_bucket(address: str, name: str) -> None:
    """Make a bucket."""
    made = urllib.request.Request(f"{address}/{name}", method="PUT")
    with urllib.request.urlopen(made, timeout=10):
        pass


def _await(address: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"{address}/moto-api/", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    pytest.fail("the S3 server did not start in 30 s")


def new_url(name: str = "store") -> str:
    """Where no store is yet."""
    return f"s3://{BUCKET}/{name}-{os.getpid()}-{next(_numbers)}"


def mirror(path: Path, url: str) -> Path:
    """Make a folder a mirror of a store, as another machine would have it."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "MIRROR.json").write_text(json.dumps({"url": url}))
    return path
