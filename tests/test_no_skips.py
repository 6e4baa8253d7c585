"""`--no-skips`: a test that could have run may not be skipped where everything should be installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import UNAVOIDABLE

HERE = Path(__file__).parent
TESTS = """
import pytest
def test_passes(): pass
@pytest.mark.skipif(True, reason="no Foo on this machine")
def test_marked(): raise AssertionError
def test_called(): pytest.skip("no Bar on this machine")
def test_root(): pytest.skip("mounting a small tmpfs needs root")
@pytest.mark.xfail(reason="known", strict=True)
def test_known(): raise AssertionError
"""
MODULE = 'import pytest\npytest.importorskip("there_is_no_such_library")\ndef test_in_it(): pass\n'


def outcome(folder: Path, *options: str) -> dict[str, int]:
    """What a run of the tests above counts, by outcome."""
    (folder / "conftest.py").write_text((HERE / "conftest.py").read_text())
    (folder / "test_some.py").write_text(TESTS)
    (folder / "test_module.py").write_text(MODULE)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    done = subprocess.run(
        [*command, "--rootdir", str(folder), *options, str(folder)],
        capture_output=True, text=True, check=False, cwd=folder,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )  # fmt: skip
    counts = re.findall(r"(\d+) (passed|failed|skipped|xfailed|errors)", done.stdout.splitlines()[-1])
    return {name: int(count) for count, name in counts}


def test_a_skip_is_a_failure_unless_its_reason_is_one_that_no_machine_of_ci_can_help(tmp_path: Path) -> None:
    """Marks, calls and whole modules; what is expected to fail is not skipped."""
    assert outcome(tmp_path) == {"passed": 1, "skipped": 4, "xfailed": 1}
    strict = outcome(tmp_path, "--no-skips")
    assert strict == {"passed": 1, "failed": 1, "errors": 2, "skipped": 1, "xfailed": 1}


@pytest.mark.parametrize("reason", UNAVOIDABLE)
def test_every_unavoidable_reason_is_given_by_some_test(reason: str) -> None:
    """A reason that nobody gives any more would excuse whoever writes something like it."""
    formatted = re.sub(r"\{[^}]*\}", "17", " ".join(p.read_text() for p in HERE.glob("test_*.py")))
    assert re.search(reason, formatted), reason


def test_ci_runs_the_tests_without_skips() -> None:
    """The README's command, with the option."""
    assert re.search(r'bash .*-c "\$command --no-skips"', (HERE.parent / ".ci" / "run").read_text())
