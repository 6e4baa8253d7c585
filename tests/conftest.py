"""Options of the test run."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Generator
from typing import Final, TypeVar

import pytest

R = TypeVar("R", pytest.TestReport, pytest.CollectReport)

#: Reasons that a machine of CI may have and cannot mend; any other skip is a test that it could have run.
UNAVOIDABLE: Final = (
    r"mounting a small (tmpfs|file system) needs root",  # CI may run as a user
    r"(a|no) tmpfs can(not)? be mounted here",  # ... or in a container that may not mount
    r"only \d+ files may be open here",  # a hard limit that only the machine's owner can raise
    r"looks at /proc, which is Linux's",
    r"the Collector is built for Linux",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--regenerate-goldens` writes rendered text anew instead of comparing it; read the diff after.

    `--no-skips` fails a test that is skipped for another reason than `UNAVOIDABLE`: a library or a program
    that is missing where everything should be would else go unnoticed.
    """
    parser.addoption("--regenerate-goldens", action="store_true", help="write tests/golden anew")
    parser.addoption("--no-skips", action="store_true", help="fail tests that skip but could have run")


def avoidable(report: pytest.TestReport | pytest.CollectReport) -> str | None:
    """Why a report's test or module was skipped, where that counts as a failure; else None."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return None
    said = report.longrepr
    reason = said[2] if isinstance(said, tuple) else str(said)
    return None if any(re.search(known, reason) for known in UNAVOIDABLE) else reason


def _judged(report: R, config: pytest.Config) -> R:
    if config.getoption("--no-skips") and (reason := avoidable(report)) is not None:
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} could have run, with --no-skips: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A skipped test."""
    return _judged((yield), item.config)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that is skipped as a whole."""
    return _judged((yield), collector.config)


@pytest.fixture(scope="session")
def _s3_server() -> Generator[tuple[str, subprocess.Popen[bytes]]]:
    """An S3 server with one bucket; its address and process."""
    import buckets

    with buckets.s3_server() as made:
        yield made


@pytest.fixture(scope="session")
def s3(_s3_server: tuple[str, subprocess.Popen[bytes]]) -> str:
    """The address of an S3 server with one bucket."""
    return _s3_server[0]


@pytest.fixture(scope="session")
def s3_process(_s3_server: tuple[str, subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Its process."""
    return _s3_server[1]


@pytest.fixture
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where `stores.new_store` makes stores: in a folder, or in a bucket of which the folder is a mirror."""
    import stores

    place = str(request.param)
    if place == "bucket":
        request.getfixturevalue("s3")
        monkeypatch.setattr(stores, "in_bucket", True)
    return place
