"""Make the pictures of the README from the demo: what they show is what the program shows today.

    python examples/pictures.py    writes README.md and the pictures; needs Chromium and the extra `test`

Makes a demo in a temporary folder, prints its diff as a terminal would, draws its graph, and photographs
its pages in a browser: the first page by day, an edge by night, the forecast.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

HERE = Path(__file__).parent
COLUMNS = 132
README_COLUMNS = 116
ENVIRONMENT = {**os.environ, "TRACESCOPE_TZ": "UTC"}


def tracescope(*arguments: str | Path) -> list[str]:
    """The command that calls the program of this interpreter."""
    return [sys.executable, "-m", "tracescope", *map(str, arguments)]


@contextmanager
def page_of(store: Path) -> Iterator[str]:
    """The address of a store's page, as long as it is needed."""
    command = tracescope("serve", "--grpc", "off", "--http", "off", "--web", "127.0.0.1:0", "--store", store)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield line.removeprefix("web page on ").split(",")[0].strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def terminal(store: Path, output: Path) -> None:
    """The diff as a terminal shows it: as SVG, and what it begins with as text, in the README."""
    from rich.console import Console

    from tracescope.config import Settings
    from tracescope.report.text import causes, diff_text, headline
    from tracescope.session import Session

    report = Session(store, Settings(store=str(store), tz="UTC")).ask().report()
    lines = [headline(report), *causes(report, README_COLUMNS)]
    printed = "\n".join(part for line in lines for part in wrapped(line))
    readme = HERE.parent / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition("```text\n")
    after = rest.partition("\n```\n")[2]
    readme.write_text(f"{before}```text\n{printed.rstrip()}\n```\n{after}", encoding="utf-8")
    screen = Console(record=True, width=COLUMNS, file=open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    screen.print(diff_text(shortened(report), width=COLUMNS))
    screen.save_svg(str(output), title="tracescope diff")


def wrapped(line: str) -> list[str]:
    """A line as a terminal of the README's width breaks it."""
    return textwrap.wrap(line, README_COLUMNS, drop_whitespace=True) if len(line) > README_COLUMNS else [line]


def shortened(report: Any, most: int = 8) -> Any:
    """The first edges of a report."""
    from dataclasses import replace

    return replace(report, edges=report.edges[:most])


def photographs(address: str) -> None:
    """Pages as a reader sees them."""
    from playwright.sync_api import sync_playwright

    with urllib.request.urlopen(f"{address}/api/growth") as answer:
        edge = json.load(answer)["edges"][1]
    named = {"edge_kind": edge["kind"], "caller": edge["caller"], "callee": edge["callee"] or ""}
    query = urlencode({**named, "operation": edge["operation"] or "", "unit": edge["unit"]})
    wanted = [
        ("growth.png", "/", "light", 1500),
        ("edge.png", f"/edge?{query}", "dark", 1150),
        ("forecast.png", "/forecast", "light", 900),
    ]
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        for name, path, scheme, height in wanted:
            page = browser.new_page(viewport={"width": 1400, "height": height}, color_scheme=scheme)
            page.goto(address + path)
            page.screenshot(path=str(HERE / name))
        browser.close()


def main() -> None:
    """Make them all."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "demo"
        subprocess.run(tracescope("demo", "--store", store), check=True, capture_output=True, env=ENVIRONMENT)
        terminal(store, HERE / "diff.svg")
        with page_of(store) as address:
            photographs(address)
            with urllib.request.urlopen(f"{address}/export/map.svg") as answer:
                (HERE / "graph.svg").write_bytes(answer.read())


if __name__ == "__main__":
    main()
