"""The report on paper: a PDF that somebody else's reader opens, with the file's words and hostile names."""

from __future__ import annotations

import importlib
import io
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from tracescope.cli import main
from tracescope.errors import UsageError
from tracescope.report import pdf

pypdf = pytest.importorskip("pypdf", reason="the `test` extra brings pypdf")
try:
    importlib.import_module("weasyprint")
except OSError as error:  # the package is there, the system's Pango is not
    if os.environ.get("CI"):
        raise
    pytest.skip(f"no Pango on this machine: {error}", allow_module_level=True)

DATA = Path(__file__).parent / "data" / "nezha"


@pytest.fixture(scope="module")
def review(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The report of a real incident as PDF and as HTML."""
    folder = tmp_path_factory.mktemp("pdf")
    known = json.loads((DATA / "incidents.json").read_text())
    chosen = next(one for one in known if one["id"] == "ob0822-05")
    periods = ["/".join(chosen[f"window_{side}"]) for side in "AB"]
    store = str(folder / "store")
    files = [str(DATA / f"ob0822-05.{side}.jsonl.gz") for side in "AB"]

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    run("import", *files, "--store", store)
    file = folder / "review.pdf"
    run("report", *periods, "--store", store, "--tz", "UTC", "-o", str(file))
    return file, run("report", *periods, "--store", store, "--tz", "UTC")


def words_of(data: bytes) -> list[str]:
    """Text of each page, spaces made one."""
    return [" ".join(page.extract_text().split()) for page in pypdf.PdfReader(io.BytesIO(data)).pages]


def test_a_file_that_ends_in_pdf_is_a_pdf_of_the_same_report(review: tuple[Path, str]) -> None:
    """Its pages carry the headline, every growing edge, the findings and the command that makes it again."""
    pages = words_of(review[0].read_bytes())
    data = json.loads(review[1].split('id="data">')[1].split("</script>")[0])
    growing = [edge for edge in data["edges"] if edge["significant"] and edge["credited_ms"] > 0]
    assert growing
    whole = " ".join(pages)
    assert data["verdict"]["state"] in pages[0]
    for edge in growing[:12]:
        assert edge["caller"] in whole
    assert "To decide" in pages[0]
    assert "All edges" in whole
    assert "-o review.pdf" in whole
    assert len(pages) > len(growing[:12])


def test_every_page_is_a4_and_holds_its_text(review: tuple[Path, str]) -> None:
    """Landscape, and no line of text begins beyond the edge of the paper."""
    for page in pypdf.PdfReader(review[0]).pages:
        wide, high = float(page.mediabox.width), float(page.mediabox.height)
        assert (round(wide), round(high)) == (842, 595)
        places: list[float] = []

        def note(
            text: str,
            cm: list[float],
            tm: list[float],
            _font: object,
            _size: float,
            into: list[float] = places,
        ) -> None:
            if text.strip():
                into.append(tm[4] * cm[0] + tm[5] * cm[2] + cm[4])

        page.extract_text(visitor_text=note)
        assert places
        assert max(places) < wide


def test_pictures_are_styled_on_paper(review: tuple[Path, str]) -> None:
    """Each drawing holds its colours: nothing is left for a style sheet that is not applied there."""
    sheet = pdf.light_sheet()
    assert "var(" not in sheet
    assert "prefers-color-scheme" not in sheet
    assert ".spark-line" in sheet


def test_a_report_on_paper_fetches_nothing_and_runs_nothing() -> None:
    """Whatever asks for a picture, of the net or of a file, gets none."""
    hostile = (
        '<p>before</p><img src="http://127.0.0.1:1/x.png"><script>document.title = "no"</script><p>after</p>'
    )
    pages = words_of(pdf.as_pdf(f"<!doctype html><title>t</title>{hostile}"))
    assert pages == ["before after"]


def test_without_the_extra_the_next_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is an extra: its absence is a sentence."""
    import sys

    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(UsageError, match="pdf extra") as error:
        pdf.as_pdf("<p>")
    assert "tracescope[pdf]" in str(error.value.hint)
