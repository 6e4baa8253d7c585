"""Object storage for tests: servers of S3 on loopback, and stores in them.

    where = pytest.mark.parametrize("where", ["folder", "bucket"], indirect=True)

marks tests that hold for a store wherever it is; `stores.new_store` then makes it there.
A module whose fixture `s3_kind` has `KINDS` as parameters runs its tests on every kind of server.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from processes import free_ports

BUCKET: Final = "tracescope-tests"
KEYS: Final = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "very-secret",
    "AWS_REGION": "us-east-1",
}
_numbers = count()

everywhere = pytest.mark.parametrize("where", ["folder", "bucket"], indirect=True)
KINDS: Final = ("moto", "seaweedfs")


class S3Server(NamedTuple):
    """A server of S3, with the bucket `BUCKET`, that takes `KEYS`."""

    address: str
    process: subprocess.Popen[bytes]

    @property
    def variables(self) -> dict[str, str]:
        """What clients read."""
        return {**KEYS, "AWS_ENDPOINT_URL": self.address}


def seaweedfs() -> str | None:
    """The program of SeaweedFS: the variable WEED, or one on the path."""
    return os.environ.get("WEED") or shutil.which("weed")


def best() -> str:
    """A server that is no simulation, where there is one."""
    return "seaweedfs" if seaweedfs() else "moto"


@contextmanager
def s3_server(kind: str) -> Iterator[S3Server]:
    """One of moto, which is a simulation, or of SeaweedFS, which is not."""
    pytest.importorskip("obstore", reason="a store in object storage needs the extra `objects`")
    with tempfile.TemporaryDirectory(prefix="tracescope-s3-") as folder:
        port, *others = free_ports(8)
        command = _moto(port) if kind == "moto" else _seaweedfs(port, others, folder)
        output = subprocess.DEVNULL
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, **KEYS}, cwd=folder
        )
        try:
            server = S3Server(f"http://127.0.0.1:{port}", process)
            _await(server)
            make_bucket(server.address, BUCKET)
            yield server
        finally:
            process.kill()
            process.wait()


def _moto(port: int) -> list[str]:
    pytest.importorskip("moto", reason="an S3 server for tests comes with moto")
    return [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]


def _seaweedfs(port: int, others: list[int], folder: str) -> list[str]:
    program = seaweedfs()
    if program is None:
        pytest.skip("no SeaweedFS here: WEED=$(tests/tools/seaweedfs.sh) builds one")
    names = ("s3.port.grpc", *(f"{part}.port{of}" for part in _PARTS for of in ("", ".grpc")))
    ports = [f"-{name}={other}" for name, other in zip(names, others, strict=True)]
    quiet = ["-master.telemetry=false", "-iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    small = ["-master.volumeSizeLimitMB=64", "-volume.max=200"]
    here = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder}"]
    return [program, "server", "-s3", f"-s3.port={port}", *ports, *here, *quiet, *small]


_PARTS: Final = ("master", "volume", "filer")


def make_bucket(address: str, name: str) -> None:
    """Make a bucket."""
    boto3 = pytest.importorskip("boto3", reason="buckets for tests are made with what comes with moto")
    keys = dict(
        zip(("aws_access_key_id", "aws_secret_access_key", "region_name"), KEYS.values(), strict=True)
    )
    boto3.client("s3", endpoint_url=address, **keys).create_bucket(Bucket=name)


def _await(server: S3Server) -> None:
    for _ in range(600):
        assert server.process.poll() is None, "the S3 server ended at once"
        try:
            with urllib.request.urlopen(server.address, timeout=5):
                return
        except urllib.error.HTTPError as error:
            error.close()
            return  # it answers
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    pytest.fail("the S3 server did not start in 60 s")


def new_url(name: str = "store") -> str:
    """Where no store is yet."""
    return f"s3://{BUCKET}/{name}-{os.getpid()}-{next(_numbers)}"


def mirror(path: Path, url: str) -> Path:
    """Make a folder a mirror of a store, as another machine would have it."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "MIRROR.json").write_text(json.dumps({"url": url}))
    return path
