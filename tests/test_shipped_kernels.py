"""What a wheel brings along is all that the commands call: after an install nothing is compiled."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from numba import types
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from processes import ROOT, free_address
from tempo_blocks import BLOCK, write_block

from tracescope.kernels import cache, ship

DATA = ROOT / "tests" / "data"

# The command line in a process that tells, at its end, which kernels it called and which were not shipped.
TELLING = """
import atexit, sys

def tell():
    from numba.core.dispatcher import Dispatcher
    from tracescope.kernels import cache, ship
    modules = [one for name, one in list(sys.modules.items()) if name.startswith("tracescope.kernels.")]
    values = [value for module in modules for value in vars(module).values()]
    found = {id(one): one for one in values if isinstance(one, Dispatcher)}
    with open(%r, "a") as told:
        for one in found.values():
            for kind, counts in (("loaded", one.stats.cache_hits), ("compiled", one.stats.cache_misses)):
                for signature in counts:
                    print(kind, ship.entry_of(one.py_func, signature), file=told)
        for function, signature in cache.KernelCache.unshipped:
            print("missing", ship.entry_of(function, signature), file=told)

atexit.register(tell)
from tracescope.cli import main
main()
"""


class Installed:
    """A copy of the package with its kernels, that nobody may write to, and no cache beside it."""

    def __init__(self, folder: Path) -> None:
        self.package = folder / "site" / "tracescope"
        self.store = str(folder / "store")
        self.told = folder / "told.txt"
        shutil.copytree(cache.PACKAGE, self.package, ignore=shutil.ignore_patterns("__pycache__", "compiled"))
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")},
            "PYTHONPATH": str(self.package.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        compiled = self.package / "kernels" / "compiled"
        modules = sorted({entry.module for entry in ship.entries()})
        # for this processor, whose code the other tests need too
        subprocess.run(
            [sys.executable, "-m", "tracescope.kernels.ship", str(compiled), *modules],
            env=self._environment, cwd=folder, check=True,
        )  # fmt: skip
        for path in sorted(self.package.rglob("*"), reverse=True):
            os.utime(path, (1, 1))
            path.chmod(0o555 if path.is_dir() else 0o444)
        self._environment |= {"HOME": "/nowhere", "XDG_CACHE_HOME": os.devnull + "/none"}
        self._folder = folder

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-W", "always", "-c", TELLING % str(self.told), *arguments]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments), env=self._environment, cwd=self._folder, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *arguments: str) -> str:
        process = self.start(*arguments)
        out, err = process.communicate()
        assert process.returncode == 0, err
        assert "no kernel cache" not in err, err
        return out + err

    def lines(self, kind: str) -> set[str]:
        told = self.told.read_text().splitlines()
        return {line.removeprefix(f"{kind} ") for line in told if line.startswith(f"{kind} ")}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    folder = tmp_path_factory.mktemp("installed")
    yield Installed(folder)
    for path in folder.rglob("*"):
        path.chmod(0o755)


def _jaeger(folder: Path) -> Path:
    """One trace of two services, as Jaeger's page saves it."""
    common = {"traceID": "0a0b0c0d0e0f0102", "flags": 1, "logs": [], "startTime": 1_790_000_000_000_000}
    kind = {"key": "span.kind", "type": "string"}
    spans = [
        {**common, "spanID": "01", "operationName": "GET /", "references": [], "duration": 900,
         "processID": "p1", "tags": [{**kind, "value": "server"}]},
        {**common, "spanID": "02", "operationName": "SELECT", "duration": 500, "processID": "p2",
         "references": [{"refType": "CHILD_OF", "traceID": common["traceID"], "spanID": "01"}],
         "tags": [{**kind, "value": "client"}, {"key": "db.system", "type": "string", "value": "mysql"}]},
    ]  # fmt: skip
    processes = {name: {"serviceName": f"service-{name}", "tags": []} for name in ("p1", "p2")}
    path = folder / "jaeger.json"
    path.write_text(
        json.dumps({"data": [{"traceID": common["traceID"], "spans": spans, "processes": processes}]})
    )
    return path


def _otlp() -> bytes:
    return (DATA / "otlp" / "traces.pb").read_bytes()


def _receive(installed: Installed) -> None:
    """Serve, and send what came in as protobuf and as JSON."""
    http, web = free_address(), free_address()
    server = installed.start(
        "serve", "--http", http, "--web", web, "--grpc", free_address(), "--store", installed.store
    )
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if web in line:
                break
        with (DATA / "collector" / "traces.jsonl").open("rb") as lines:
            document = next(lines)
        for body, kind in ((document, "application/json"), (_otlp(), "application/x-protobuf")):
            request = urllib.request.Request(
                f"http://{http}/v1/traces", body, {"Content-Type": kind}, method="POST"
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert answer.status == 200
    finally:
        server.send_signal(signal.SIGTERM)
        _, err = server.communicate(timeout=60)
    assert server.returncode == 0, err
    assert "no kernel cache" not in err, err


def test_no_command_compiles_what_was_shipped(installed: Installed, tmp_path) -> None:
    """In another place, with other times, read-only, and with no home: everything needed is there."""
    store = ("--store", installed.store)
    demo = installed.run("demo", *store)
    assert "postgresql/stock" in demo
    assert installed.lines("compiled") == set()
    files = [
        DATA / "collector" / "traces.jsonl",
        DATA / "collector" / "traces.binpb",
        DATA / "collector" / "traces.jsonl.framed.zst",
        *sorted((DATA / "zipkin").glob("*.json")),
        DATA / "cases" / "zipkin-v1-read-as-v2.json",
        _jaeger(tmp_path),
        *sorted((DATA / "hotrod").glob("*.jsonl.gz")),
    ]
    installed.run("import", *map(str, files), "--store", f"{installed.store}-0")
    write_block(tmp_path / "blocks" / BLOCK, [ExportTraceServiceRequest.FromString(_otlp())], 4)
    installed.run("import", f"tempo://{tmp_path}/blocks", "--store", f"{installed.store}-1")
    period = demo.rpartition("tracescope diff ")[2].split()[:2]
    assert all("/" in part for part in period), demo
    installed.run("diff", *period, *store)
    installed.run("diff", *period, *store, "--quantile", "0.9")
    installed.run("explain", "inventory -> postgresql/stock", *period, *store)
    installed.run("forecast", *store)
    installed.run("verify", "--store", f"{installed.store}-0")
    installed.run("rebuild", "--store", f"{installed.store}-0")
    _receive(installed)
    assert installed.lines("missing") == set(), "list these in tracescope/kernels/entries.txt"
    assert installed.lines("compiled") == set()
    unused = {str(entry) for entry in ship.entries()} - installed.lines("loaded")
    assert unused == set(), "nothing calls these: take them out of tracescope/kernels/entries.txt"


def test_a_package_with_code_for_another_compiler_compiles_and_says_so(installed, tmp_path) -> None:
    """Code of another numba is never run; the line that tells of compiling names both versions."""
    site = tmp_path / "site"
    shutil.copytree(installed.package, site / "tracescope", copy_function=shutil.copyfile)
    compiled = site / "tracescope" / "kernels" / "compiled"
    compiled.chmod(0o755)
    for folder in list(compiled.iterdir()):
        if folder.is_dir():
            folder.chmod(0o755)
            folder.rename(folder.with_name(folder.name.rpartition("-")[0] + "-000000000000"))
    versions = compiled / cache.BUILT_WITH
    made = json.loads(versions.read_text()) if versions.exists() else {}
    versions.write_text(json.dumps({**made, "numba": "0.1"}))
    program = (
        "import numpy as np\n"
        "from tracescope.kernels.sketch import _bins, bin_of\n"
        "print(bin_of(np.array([8])), sum(_bins.stats.cache_misses.values()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(site), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}, cwd=tmp_path,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["[47]", "1"]
    assert "not 0.1, with which they came compiled" in done.stderr
    assert done.stderr.count("\n") == 1


def test_types_are_written_as_they_are_read() -> None:
    """Every line of the list is what its own signature is written as, and they are in order."""
    listed = list(ship.entries())
    assert ship.ENTRIES.read_text().splitlines() == sorted(map(str, listed))
    assert len(set(listed)) == len(listed)


def test_what_cannot_be_listed_says_what_to_pass() -> None:
    """A column with gaps would be compiled once more: it is refused by name."""
    gaps = types.Array(types.int64, 1, "A")
    with pytest.raises(ship.KernelError, match="pass contiguous arrays"):
        ship.written(gaps)


def test_kernels_are_compiled_where_only_the_compiler_is_installed() -> None:
    """The wheel is built in an environment with numba alone: kernels import nothing else."""
    program = (
        "import sys\n"
        "class Nothing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('polars', 'scipy', 'click', 'orjson', 'rich', 'networkx'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Nothing())\n"
        "from tracescope.kernels import ship\n"
        "print(len({entry.kernel for entry in ship.entries()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert int(done.stdout) == len({(entry.module, entry.function) for entry in ship.entries()})
