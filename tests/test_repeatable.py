"""The same question over the same store gives the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tracescope.cli import main
from tracescope.report import canonical

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def hotel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of real requests, sampled in part so that weights are no whole numbers."""
    store = tmp_path_factory.mktemp("repeatable") / "store"
    files = sorted((DATA / "dsb-hotel").glob("*.jsonl.gz"))
    done = CliRunner().invoke(main, ["import", *map(str, files), "--store", str(store)])
    assert done.exit_code == 0, done.output
    return store


@pytest.mark.parametrize(
    "question",
    [("diff", "all"), ("graph", "--level", "operation"), ("graph", "--diff", "all", "all")],
    ids=" ".join,
)
def test_a_question_asked_again_is_answered_with_the_same_bytes(
    hotel: Path, question: tuple[str, ...]
) -> None:
    """Sums of floats depend on their order, and threads have none: they are made in one."""
    said = {
        CliRunner().invoke(main, [*question, "--store", str(hotel), "--format", "json"]).stdout
        for _ in range(4)
    }
    assert len(said) == 1
    assert len(said.pop()) > 100


def test_numbers_are_written_with_twelve_significant_digits_and_no_negative_zero() -> None:
    """What adding up leaves in the last digits is nobody's business; small p-values stay what they are."""
    made = canonical(
        {"a": [0.1 + 0.2, 1e-20, -0.0], "b": (float("nan"), float("inf")), "c": 2**60, "d": True}
    )
    assert made == {"a": [0.3, 1e-20, 0.0], "b": [None, None], "c": 2**60, "d": True}
    assert str(made["a"][2]) == "0.0"
