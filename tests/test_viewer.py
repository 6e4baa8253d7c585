"""`tracescope serve` without receivers: the page of a store, and nothing written to it."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import Program, eventually

from tracescope.serving.listen import url_of

DATA = Path(__file__).parent / "data"


@contextmanager
def viewer(store: Path, log: Path) -> Iterator[str]:
    """A viewer's page; stopped afterwards."""
    off = ["--grpc", "off", "--http", "off", "--web", "127.0.0.1:0"]
    program = Program([sys.executable, "-m", "tracescope", "serve", *off, "--store", str(store)], log)
    try:
        eventually(lambda: "web page on http" in log.read_text(), "it says where its page is")
        yield log.read_text().split("web page on ")[1].split(",")[0]
    finally:
        assert program.stop() == 0


def test_a_viewer_needs_no_receiver_and_leaves_the_store_alone(tmp_path: Path) -> None:
    """Two look at one store at once; no file of it changes."""
    store = tmp_path / "store"
    command = [sys.executable, "-m", "tracescope", "import", str(DATA / "nezha" / "ob0822-05.A.jsonl.gz")]
    subprocess.run([*command, "--store", str(store)], check=True, capture_output=True)
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    with viewer(store, tmp_path / "one.log") as one, viewer(store, tmp_path / "two.log") as two:
        for address in (one, two):
            with urllib.request.urlopen(address + "/") as answer:
                assert "tracescope" in answer.read().decode()
            with urllib.request.urlopen(address + "/readyz") as answer:
                assert answer.status == 200
            with urllib.request.urlopen(address + "/metrics") as answer:  # else the rule of readiness fires
                assert "\ntracescope_ready 1.0\n" in answer.read().decode()
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


def test_an_address_is_something_to_click_on() -> None:
    """With its scheme; what listens for everybody is reached by this machine's name."""
    assert url_of("127.0.0.1:8317") == "http://127.0.0.1:8317"
    assert url_of("0.0.0.0:8317") == "http://localhost:8317"
    assert url_of("[::]:8317", tls=True) == "https://localhost:8317"
    assert url_of("[::1]:8317") == "http://[::1]:8317"
